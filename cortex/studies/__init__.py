"""Studies beside the paper's method: each a folder with its settings, computation, cost and page section."""

from cortex.core.registry import Registry

STUDIES = Registry(
    "study",
    {
        "attributions": "cortex.studies.attributions:STUDY",
        "sanity": "cortex.studies.sanity:STUDY",
        "stability": "cortex.studies.stability:STUDY",
        "combinations": "cortex.studies.combinations:STUDY",
        "transfer": "cortex.studies.transfer:STUDY",
        "planted": "cortex.studies.planted:STUDY",
        "bias": "cortex.studies.bias:STUDY",
    },
)
