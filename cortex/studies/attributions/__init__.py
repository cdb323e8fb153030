"""Other attributions, judged as the token importance score is (METHOD.md, section 9)."""

from pathlib import Path

from cortex.studies.attributions.settings import Attributions
from cortex.studies.base import Study
from cortex.studies.checks import enough_images

STUDY = Study(
    settings=Attributions,
    needs=frozenset({"extractors", "judges"}),
    checks=lambda settings, config, spec: enough_images(settings, config),
    rules=Path(__file__).parent / "rules.smk",
    commands={
        "attributions": (
            "cortex.explain.scores:attribute_images",
            "compare attributions on some images",
        ),
        "judge-attributions": (
            "cortex.studies.attributions.judged:judge_attributions",
            "judge images without the positions of highest score",
        ),
        "rank-attributions": (
            "cortex.studies.attributions.judged:rank_attributions",
            "rank attributions by the area under their curves",
        ),
    },
    cost="cortex.studies.attributions.cost:costs",
    page="cortex.studies.attributions.page:section",
    order=10,
)
