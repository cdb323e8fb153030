"""Which tokens carry a concept: in an image, over a concept's images, over the whole codebook (METHOD.md, 4 and 5)."""

from typing import Literal

from cortex.core.registry import Registry

IMPORTANCE = "importance"  # column of the token importance score in token tables, and the method's name

# Attributions: functions of an extractor, embeddings, labels and an AttributionContext that give a score a position.
ATTRIBUTIONS = Registry(
    "attribution",
    {
        "gradient": "cortex.explain.attributions:gradient",
        "gradient_input": "cortex.explain.attributions:gradient_input",
        "integrated_gradients": "cortex.explain.attributions:integrated_gradients",
        "smoothgrad_mean": "cortex.explain.attributions:smoothgrad_mean",
        "occlusion": "cortex.explain.attributions:occlusion",
        "random": "cortex.explain.attributions:random",
    },
)

# Goes away with its last user.
Attribution = Literal["gradient", "gradient_input", "integrated_gradients", "smoothgrad_mean", "occlusion", "random"]
