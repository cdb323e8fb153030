"""The config file: every setting of a run, its type, its range and its default.

The defaults are those of the paper (METHOD.md); ``config.yaml`` states what the digits run does instead.
"""

from typing import Any

from pydantic import ValidationError

from cortex.config.controls import Attributions
from cortex.config.cross_checks import cross_checks
from cortex.config.messages import one_line
from cortex.config.method import PerClass, PretrainedJudge, TrainedJudge, Training
from cortex.config.schema import Config
from cortex.core.errors import InputError
from cortex.generators.spec import GeneratorSpec, spec_of

__all__ = ["Attributions", "Config", "PretrainedJudge", "TrainedJudge", "Training", "parse_config"]


def parse_config(settings: dict[str, Any]) -> tuple[Config, GeneratorSpec]:
    """The validated config of the nested mapping that a YAML file holds, and the facts of its generator.

    Raises:
        InputError: one line naming the first wrong key, its value and what is allowed.
    """
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        raise InputError(one_line(error)) from None
    origin = "weights" if config.generator.folder is None else "folder"
    path = getattr(config.generator, origin)
    try:
        architecture = config.generator.architecture()
        facts = spec_of(architecture)
        drawn = PerClass.model_fields.keys() - config.data.imports.chosen().keys()
        if architecture["transformer"] is None and drawn:
            splits = ", ".join(sorted(drawn))
            raise InputError(f"a VQGAN without a transformer draws no images: data.imports lacks {splits}")
        if not facts.class_names:
            raise InputError("a VQGAN without a transformer has no classes: set generator.class_names, a file of names")
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise InputError(f"config: generator.{origin} = {path!r}: {reason}") from None
    search = config.controls.search
    if architecture["transformer"] is None and search is not None and search.prior_weights:
        key = f"controls.search.prior_weights = {search.prior_weights}"
        raise InputError(f"config: {key}: should be [], as a VQGAN without a transformer has no prior")
    for problem in cross_checks(config, facts):
        raise InputError(f"config: {problem}")
    return config, facts
