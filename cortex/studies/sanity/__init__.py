"""Does importance depend on learned weights? Cascading randomisation (Adebayo et al., NeurIPS 2018)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cortex.extractors.names import split_name
from cortex.extractors.settings import PretrainedExtractor
from cortex.generators.spec import GeneratorSpec
from cortex.studies.base import Study
from cortex.studies.checks import at_most_positions, enough_images
from cortex.studies.sanity.settings import Sanity


def _checks(settings: Sanity, config: Any, spec: GeneratorSpec) -> Iterator[str]:
    yield from enough_images(settings, config)
    yield from at_most_positions("top_n", [settings.top_n], spec)
    for name in settings.shuffled:
        if name not in config.extractors:
            yield f"shuffled = {name!r}: allowed: the run's extractors, {', '.join(config.extractors)}"
        elif isinstance(config.extractors[name], PretrainedExtractor):
            yield f"shuffled = {name!r}: should be an extractor that the run trains"


def _shuffled(settings: Sanity, extractor: str) -> Mapping[str, str]:
    """The same extractor, trained on shuffled labels, where the settings ask for it."""
    if split_name(extractor)[0] not in settings.shuffled:
        return {}
    return {"shuffled": f"studies/sanity/shuffled/{extractor}/model.safetensors"}


STUDY = Study(
    settings=Sanity,
    rows="cortex.studies.sanity.randomise:rows",
    by=("test", "step", "layer", "measure", "n"),
    checks=_checks,
    extra=_shuffled,
    selecting=("shuffled",),
    rules=Path(__file__).parent / "rules.smk",
    commands={
        "shuffle-labels": (
            "cortex.studies.sanity.shuffled:shuffle_labels",
            "shuffle the labels of packed grids",
        ),
    },
    cost="cortex.studies.sanity.cost:costs",
    page="cortex.studies.sanity.page:section",
    order=20,
)
