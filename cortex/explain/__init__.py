"""Which tokens carry a concept: in an image, over a concept's images, over the whole codebook (METHOD.md, 4 and 5)."""

from cortex.core.registry import Registry

IMPORTANCE = "importance"  # column of scores in token tables, and the evaluations' method beside its baselines
TIS = "tis"  # the published attribution: the token importance score

# Attributions: functions of an extractor, embeddings, labels and an AttributionContext that give a score a position.
ATTRIBUTIONS = Registry(
    "attribution",
    {
        TIS: "cortex.explain.importance:tis",
        "gradient": "cortex.explain.attributions:gradient",
        "gradient_input": "cortex.explain.attributions:gradient_input",
        "integrated_gradients": "cortex.explain.attributions:integrated_gradients",
        "smoothgrad_mean": "cortex.explain.attributions:smoothgrad_mean",
        "occlusion": "cortex.explain.attributions:occlusion",
        "random": "cortex.explain.attributions:random",
    },
)
