"""Studies beside the paper's method: each a folder with its settings, computation, cost and page section."""

import contextlib
from collections.abc import Iterable

from cortex.core.errors import InputError, shown
from cortex.core.registry import Registry
from cortex.studies.base import Study, StudySettings

STUDIES = Registry(
    "study",
    {
        "attributions": "cortex.studies.attributions:STUDY",
        "sanity": "cortex.studies.sanity:STUDY",
        "stability": "cortex.studies.stability:STUDY",
        "combinations": "cortex.studies.combinations:STUDY",
        "transfer": "cortex.studies.transfer:STUDY",
        "planted": "cortex.studies.planted:STUDY",
        "scales": "cortex.studies.scales:STUDY",
        "bias": "cortex.studies.bias:STUDY",
    },
)


def load_study(name: str) -> Study:
    """The study of a registered name, or of a reference ``module:STUDY``.

    Raises:
        InputError: there is no such study, or it cannot be imported.
    """
    found = STUDIES.load(name)
    if not isinstance(found, Study):
        raise InputError(f"study {shown(name)}: no study: a {type(found).__name__}, not a cortex.Study")
    return found


def study_settings(name: str) -> type[StudySettings]:
    """The class of a study's settings.

    Raises:
        InputError: there is no such study, or it cannot be imported.
    """
    return load_study(name).settings


def study_commands(references: Iterable[str] = ()) -> dict[str, tuple[str, str]]:
    """Commands of all registered studies: name → (``module:function``, description).

    A study of another package that cannot be imported has none here; a config that names it is refused.

    Args:
        references: ``module:Attribute``; those of a study add its commands.
    """
    found: dict[str, tuple[str, str]] = {}
    for name in (*STUDIES.names(), *references):
        with contextlib.suppress(InputError):
            found |= load_study(name).commands
    return found
