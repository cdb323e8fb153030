"""Arguments that attributions share."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cortex.core.randomness import key_seeds
from cortex.explain import IMPORTANCE
from cortex.explain.settings import Reduction


@dataclass(frozen=True)
class AttributionContext:
    """Arguments that attributions share.

    Args:
        nothing: vector of a position without information, ``[d]``: for occlusion, and for the baseline of integrated
            gradients. It is the mean of the codebook's vectors: it lies amid the vectors that an extractor has seen
            and is no code's own. Zero may lie far from every code.
        codebook: vectors of all codes, ``[K, d]``: for methods that put one code in place of another.
        grids: codes of the images, int64 ``[B, h, w]``: those that the embeddings were looked up for.
        keys: keys of the images, B.
        seed: seed of the random numbers; see :meth:`seeds`.
        samples: noisy copies of an image (SmoothGrad); methods that change an image evaluate so many changes at once.
        noise: standard deviation of the noise, in units of max − min of the image's embedding.
        reduction: reduction of the importance over the d channels.
        steps: steps of a numerical integral.
        stream: name of the noise's random numbers; the noise of two streams is independent.
    """

    nothing: Tensor
    codebook: Tensor
    grids: Tensor
    keys: Sequence[str]
    seed: int
    samples: int
    noise: float
    reduction: Reduction
    steps: int
    stream: str = IMPORTANCE

    def seeds(self, purpose: str) -> list[int]:
        """A seed for every image, a function of the seed, the purpose and the image's key alone."""
        seeds: list[int] = key_seeds(self.seed, purpose, self.keys).tolist()
        return seeds

    def noise_seeds(self) -> list[int]:
        """The seeds of SmoothGrad's noise: the same for all methods that draw it."""
        return self.seeds(self.stream)
