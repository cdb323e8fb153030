"""VAR's tokenizer: taming's, whose codes of ten scales add up to what it decodes (Tian et al., 2024)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.generators.nearest import nearest_codes
from cortex.generators.network.vqgan import VQGAN
from cortex.generators.scales import Composition


class ScaleVQGAN(VQGAN):
    """A VQGAN of ten token maps an image.

    Args:
        sides: rows and columns of every map, from coarse to fine.
        vqgan: arguments of a VQGAN; ``n_embed`` are the vectors that all scales share, K.
    """

    def __init__(self, sides: Sequence[int], **vqgan: Any):
        super().__init__(**vqgan)
        channels, inner = vqgan["embed_dim"], vqgan["ddconfig"]["z_channels"]
        self.quant_conv = nn.Conv2d(inner, channels, 3, padding=1)
        self.post_quant_conv = nn.Conv2d(channels, inner, 3, padding=1)
        self.quantize.quant_resi = Composition(sides, channels)

    @property
    def composition(self) -> Composition:
        """From vectors to what is decoded."""
        return self.quantize.quant_resi

    @property
    def vectors(self) -> Tensor:
        """``[K, d]``: what all scales share."""
        return self.quantize.embedding.weight

    @property
    def codebook(self) -> Tensor:
        """``[S·K, d]``: the vectors once for every scale."""
        return repeated(self.vectors, len(self.composition.sides))

    def encode(self, images: Tensor) -> Tensor:
        """Tokens ``[B, 1, P]`` int64 of images ``[B, 3, H, W]``: at every scale the nearest codes of what is left."""
        left, found = self.embed_images(images), []
        for scale, side in enumerate(self.composition.sides):
            codes = nearest_codes(F.adaptive_avg_pool2d(left, side).flatten(2).transpose(1, 2), self.vectors)
            left = left - self.composition.add_scale(scale, self.vectors[codes])
            found.append(codes + scale * len(self.vectors))
        return torch.cat(found, 1)[:, None]

    def decode(self, grids: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` float of tokens ``[B, 1, P]`` int64."""
        return self.decode_embeddings(self.composition(self.vectors[grids.flatten(1) % len(self.vectors)]))


def repeated(vectors: Tensor, scales: int) -> Tensor:
    """The codebook ``[S·K, d]`` of vectors ``[K, d]``."""
    return vectors.repeat(scales, 1)
