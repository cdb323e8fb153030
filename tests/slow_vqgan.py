"""The tokenizers' convolutions in float64, from their authors' description: images and codes that ours must equal."""

from torch.nn import functional as F

from tests.published import llamagen_tokenizer


class SlowTokenizer:
    """LlamaGen's convolutions in float64 by its authors' names, from its description."""

    def __init__(self, state, levels=3, blocks=2):
        self.w = {name: weight.double() for name, weight in state.items()}
        self.levels, self.blocks = levels, blocks

    def conv(self, x, name, **options):
        return F.conv2d(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], **options)

    def norm(self, x, name):
        groups = x.unflatten(1, (32, -1))
        mean, variance = groups.mean((2, 3, 4), keepdim=True), groups.var((2, 3, 4), keepdim=True, correction=0)
        normal = ((groups - mean) / (variance + 1e-6).sqrt()).flatten(1, 2)
        return normal * self.w[f"{name}.weight"][:, None, None] + self.w[f"{name}.bias"][:, None, None]

    def residual(self, x, name):
        h = x
        for part in "12":
            h = self.norm(h, f"{name}.norm{part}")
            h = self.conv(h * h.sigmoid(), f"{name}.conv{part}", padding=1)
        return (self.conv(x, f"{name}.nin_shortcut") if f"{name}.nin_shortcut.weight" in self.w else x) + h

    def attend(self, x, name):
        normal = self.norm(x, f"{name}.norm")
        q, k, v = (self.conv(normal, f"{name}.{part}").flatten(2) for part in "qkv")
        weights = (q.transpose(1, 2) @ k / x.shape[1] ** 0.5).softmax(-1)
        return x + self.conv((v @ weights.transpose(1, 2)).view_as(x), f"{name}.proj_out")

    def middle(self, x, half):
        x = self.attend(self.residual(x, f"{half}.mid.0"), f"{half}.mid.1")
        return self.residual(x, f"{half}.mid.2")

    def level(self, x, half, level, blocks):
        for block in range(blocks):
            x = self.residual(x, f"{half}.conv_blocks.{level}.res.{block}")
            if f"{half}.conv_blocks.{level}.attn.{block}.norm.weight" in self.w:
                x = self.attend(x, f"{half}.conv_blocks.{level}.attn.{block}")
        return x

    def end(self, x, half):
        x = self.norm(x, f"{half}.norm_out")
        return self.conv(x * x.sigmoid(), f"{half}.conv_out", padding=1)

    def vectors(self, images):
        x = self.conv(images, "encoder.conv_in", padding=1)
        for level in range(self.levels):
            x = self.level(x, "encoder", level, self.blocks)
            if level < self.levels - 1:
                x = self.conv(F.pad(x, (0, 1, 0, 1)), f"encoder.conv_blocks.{level}.downsample.conv", stride=2)
        return self.project(self.end(self.middle(x, "encoder"), "encoder"), "quant_conv")

    def project(self, x, name):
        """A filter of 1 × 1 pixels, and of 3 × 3 in VAR."""
        return self.conv(x, name, padding=self.w[f"{name}.weight"].shape[-1] // 2)

    @property
    def codes(self):
        table = self.w["quantize.embedding.weight"]
        return table / table.norm(dim=1, keepdim=True)

    def encode(self, images):
        """The code of the least distance between vectors of length 1."""
        vectors = self.vectors(images).permute(0, 2, 3, 1)
        vectors = vectors / vectors.norm(dim=-1, keepdim=True)
        return (vectors[..., None, :] - self.codes).square().sum(-1).argmin(-1)

    def decode(self, grids):
        return self.decode_vectors(self.codes[grids].permute(0, 3, 1, 2))

    def decode_vectors(self, vectors):
        x = self.project(vectors, "post_quant_conv")
        x = self.middle(self.conv(x, "decoder.conv_in", padding=1), "decoder")
        for level in range(self.levels):  # from the lowest resolution on
            x = self.level(x, "decoder", level, self.blocks + 1)
            if level < self.levels - 1:
                x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
                x = self.conv(x, f"decoder.conv_blocks.{level}.upsample.conv", padding=1)
        return self.end(x, "decoder")


class SlowTaming(SlowTokenizer):
    """The same by taming's names; a code keeps its length."""

    def __init__(self, state, levels=3, blocks=2):
        super().__init__(llamagen_tokenizer(state), levels, blocks)

    @property
    def codes(self):
        return self.w["quantize.embedding.weight"]

    def encode(self, images):
        vectors = self.vectors(images).permute(0, 2, 3, 1)
        return (vectors[..., None, :] - self.codes).square().sum(-1).argmin(-1)
