"""taming-transformers' tokenizer: images to token grids and back (Esser et al., CVPR 2021).

The tokenizers of many later generators compute the same, with other sizes and other names of their weights.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import Any, Literal

from taming.modules.diffusionmodules import model as networks
from taming.modules.diffusionmodules.model import Decoder, Encoder
from taming.modules.vqvae.quantize import VectorQuantizer
from torch import Tensor, nn

from cortex.generators.nearest import nearest_codes


@contextlib.contextmanager
def _groups(number: int) -> Iterator[None]:
    """Give taming's networks so many groups in every normalization; their constructors have no argument for it."""
    published = networks.Normalize

    def normalize(channels: int) -> nn.GroupNorm:
        return nn.GroupNorm(number, channels, eps=1e-6)

    networks.Normalize = normalize
    try:
        yield
    finally:
        networks.Normalize = published


class VQGAN(nn.Module):
    """taming-transformers' ``VQModel`` without its training framework: same modules, same weight names.

    Args:
        ddconfig: taming's encoder and decoder settings (``ch``, ``ch_mult``, ``resolution``, ``z_channels`` ...).
        n_embed: codes in the codebook, K.
        embed_dim: channels of a code, d.
        encodes: whether it has an encoder; some are published without.
        assign: the code of a vector: the nearest, or the one of the largest inner product.
        beta: commitment weight, used in training only.
        norm_groups: groups of channels that every normalization of encoder and decoder takes the mean and the
            variance of. With as many groups as channels, no layer after it would know how bright the image is.
    """

    def __init__(
        self,
        ddconfig: dict[str, Any],
        n_embed: int,
        embed_dim: int,
        encodes: bool = True,
        assign: Literal["nearest", "product"] = "nearest",
        beta: float = 0.25,
        norm_groups: int = 32,
    ):
        super().__init__()
        if assign not in ("nearest", "product"):
            raise ValueError(f"assign = {assign!r}: allowed: nearest, product")
        self.assign = assign
        with contextlib.redirect_stdout(io.StringIO()), _groups(norm_groups):  # taming's constructors print
            if encodes:
                self.encoder = Encoder(**ddconfig)
            self.decoder = Decoder(**ddconfig)
        self.quantize = VectorQuantizer(n_embed, embed_dim, beta)
        if encodes:
            self.quant_conv = nn.Conv2d(ddconfig["z_channels"], embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, ddconfig["z_channels"], 1)
        side = ddconfig["resolution"] // 2 ** (len(ddconfig["ch_mult"]) - 1)
        self.grid_shape = (side, side)

    @property
    def codebook(self) -> Tensor:
        """``[K, d]`` float: the embedding of every code."""
        return self.quantize.embedding.weight

    def embed_images(self, images: Tensor) -> Tensor:
        """Continuous embeddings ``[B, d, h, w]`` of images ``[B, 3, H, W]``, before quantization."""
        return self.quant_conv(self.encoder(images))

    def encode(self, images: Tensor) -> Tensor:
        """Token grids ``[B, h, w]`` int64 of images ``[B, 3, H, W]``: a code for the vector of every position."""
        vectors = self.embed_images(images).permute(0, 2, 3, 1)
        if self.assign == "product":
            return (vectors @ self.codebook.T).argmax(-1)
        return nearest_codes(vectors, self.codebook)

    def decode(self, grids: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` float, nominally in the tokenizer's range, of token grids ``[B, h, w]`` int64."""
        return self.decode_embeddings(self.codebook[grids].permute(0, 3, 1, 2))

    def decode_embeddings(self, embeddings: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` of embeddings ``[B, d, h, w]``."""
        return self.decoder(self.post_quant_conv(embeddings.contiguous()))
