"""MaskGIT's tokenizer (Chang et al., 2022), which RAR draws tokens of: a VQGAN without attention, pixels in 0..1.

Names are those of the torch port that RAR's authors publish. Images are halved by averages of four pixels. Where the
channels of a block change, its shortcut reads the *transformed* activation, not the block's input: so does the
original in JAX, and its weights were trained so.
"""

from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from cortex.generators.nearest import nearest_codes


def norm(channels: int) -> nn.GroupNorm:
    """The normalization before every activation."""
    return nn.GroupNorm(32, channels, eps=1e-6)


class Block(nn.Module):
    """Two convolutions, and a shortcut around them."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm1 = norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm2 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.nin_shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(outputs, outputs, 1, bias=False)
        self.changes = inputs != outputs

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv1(F.silu(self.norm1(x)))
        found = self.conv2(F.silu(self.norm2(found)))
        return found + self.nin_shortcut(found if self.changes else x)


def blocks(inputs: int, outputs: int, number: int) -> nn.ModuleList:
    """So many blocks, one after another."""
    return nn.ModuleList(Block(inputs if place == 0 else outputs, outputs) for place in range(number))


class Level(nn.Module):
    """Blocks of one resolution."""

    def __init__(self, inputs: int, outputs: int, number: int, *, rises: bool = False):
        super().__init__()
        self.block = blocks(inputs, outputs, number)
        if rises:
            self.upsample_conv = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return x


class Encoder(nn.Module):
    """Images to vectors."""

    def __init__(self, ch: int, ch_mult: list[int], num_res_blocks: int, z_channels: int):
        super().__init__()
        widths = [ch, *(ch * multiple for multiple in ch_mult)]
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1, bias=False)
        self.down = nn.ModuleList(Level(inputs, outputs, num_res_blocks) for inputs, outputs in pairwise(widths))
        self.mid = blocks(widths[-1], widths[-1], num_res_blocks)
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], z_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv_in(images)
        for place, level in enumerate(self.down):
            x = level(x if place == 0 else F.avg_pool2d(x, 2))
        for block in self.mid:
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder(nn.Module):
    """Vectors to images. Levels are numbered from the highest resolution on, and passed from the last to the first."""

    def __init__(self, ch: int, ch_mult: list[int], num_res_blocks: int, z_channels: int):
        super().__init__()
        widths = [*(ch * multiple for multiple in ch_mult), ch * ch_mult[-1]]
        self.conv_in = nn.Conv2d(z_channels, widths[-1], 3, padding=1)
        self.mid = blocks(widths[-1], widths[-1], num_res_blocks)
        self.up = nn.ModuleList(
            Level(widths[place + 1], widths[place], num_res_blocks, rises=place > 0) for place in range(len(ch_mult))
        )
        self.norm_out = norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, vectors: Tensor) -> Tensor:
        x = self.conv_in(vectors)
        for block in self.mid:
            x = block(x)
        levels: list[Any] = list(self.up)
        for level in reversed(levels[1:]):
            x = level.upsample_conv(F.interpolate(level(x), scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(levels[0](x))))


class MaskgitVQGAN(nn.Module):
    """The tokenizer.

    Args:
        ddconfig: ``ch``, ``ch_mult``, ``num_res_blocks``, ``z_channels`` and ``resolution``, as taming's.
        n_embed: codes in the codebook, K.
        embed_dim: channels of a code, d: those of the encoder's vectors, ``z_channels``.
    """

    def __init__(self, ddconfig: dict[str, Any], n_embed: int, embed_dim: int):
        super().__init__()
        arguments = {name: value for name, value in ddconfig.items() if name != "resolution"}
        self.encoder, self.decoder = Encoder(**arguments), Decoder(**arguments)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(n_embed, embed_dim)})

    @property
    def codebook(self) -> Tensor:
        """``[K, d]`` float: the embedding of every code."""
        embedding: Any = self.quantize["embedding"]
        codes: Tensor = embedding.weight
        return codes

    def encode(self, images: Tensor) -> Tensor:
        """Token grids ``[B, h, w]`` int64 of images ``[B, 3, H, W]``: the nearest code to the vector of a position."""
        return nearest_codes(self.encoder(images).permute(0, 2, 3, 1), self.codebook)

    def decode(self, grids: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` float, nominally in 0..1, of token grids ``[B, h, w]`` int64."""
        return self.decoder(self.codebook[grids].permute(0, 3, 1, 2).contiguous())
