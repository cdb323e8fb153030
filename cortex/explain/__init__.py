"""Which tokens carry a concept: in an image, over a concept's images, over the whole codebook."""

from typing import Literal

# Attributions beside the importance, by name: here, where the config finds them without importing what computes them.
Attribution = Literal["gradient", "gradient_input", "integrated_gradients", "smoothgrad_mean", "occlusion", "random"]
