"""Published files of generators at any size: layouts as the authors', with stand-ins for weights that nobody reads."""

import re

import torch

from cortex.generators.ibq import sizes as ibq_sizes
from cortex.generators.llamagen import sizes
from cortex.generators.network.build import empty_networks
from cortex.generators.network.vqgan import VQGAN
from cortex.generators.var.tokenizer import ScaleVQGAN
from tests.checkpoints import Hostile

TAMING_F16 = {  # the tokenizer of most generators of 256 × 256 pixels
    "ch": 128,
    "out_ch": 3,
    "ch_mult": [1, 1, 2, 2, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [16],
    "in_channels": 3,
    "resolution": 256,
    "z_channels": 256,
    "double_z": False,
}
TINY_DDCONFIG = TAMING_F16 | {
    "ch": 32,
    "ch_mult": [1, 2, 2],
    "attn_resolutions": [4],
    "resolution": 16,
    "z_channels": 32,
}


def shapes_by_name(family, architecture):
    """Shapes of a generator's weights by our names, without weights."""
    return {name: tuple(weight.shape) for name, weight in empty_networks(family, architecture).state_dict().items()}


def stand_in(shapes):
    """Tensors of these shapes that take one number each in a file."""
    return {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}


def foreign(command="exit 1"):
    """What trainers save beside weights, and what would run if it were unpickled."""
    return {
        "optimizer": {"state": {0: {"exp_avg": torch.ones(7, 2)}}, "param_groups": [{"lr": 1e-4}]},
        "steps": 1_500_000,
        "args": Hostile(command),
    }


def detoker(tokenizer):
    """min-dalle's file of a VQGAN's weights by taming's names."""
    kept = {name: weight for name, weight in tokenizer.items() if not re.match(r"(encoder|quant_conv)\.", name)}
    kept["embedding.weight"] = kept.pop("quantize.embedding.weight")
    return kept


def llamagen_tokenizer(tokenizer):
    """LlamaGen's file of a VQGAN's weights by taming's names: levels of the decoder from the lowest resolution on."""
    levels = 1 + max(int(name.split(".")[2]) for name in tokenizer if name.startswith("decoder.up."))
    found = {}
    for name, weight in tokenizer.items():
        parts = name.split(".")
        if parts[:2] in (["encoder", "mid"], ["decoder", "mid"]):
            parts[2] = {"block_1": "0", "attn_1": "1", "block_2": "2"}[parts[2]]
        elif parts[1] in ("down", "up"):
            level = int(parts[2])
            parts[1:3] = ["conv_blocks", str(level if parts[1] == "down" else levels - 1 - level)]
            parts[3] = "res" if parts[3] == "block" else parts[3]
        found[".".join(parts)] = weight
    return found | {"quantize.codebook_used": torch.zeros(65536)}


def llamagen_tokenizer_file(multipliers):
    """A stand-in for LlamaGen's file of a tokenizer of these levels."""
    lowest = 256 >> (len(multipliers) - 1)
    with torch.device("meta"):
        vqgan = VQGAN(TAMING_F16 | {"ch_mult": multipliers, "attn_resolutions": [lowest]}, n_embed=16384, embed_dim=8)
    return stand_in({name: tuple(weight.shape) for name, weight in llamagen_tokenizer(vqgan.state_dict()).items()})


def llamagen_prior(layers, width, hidden, codes=16384, classes=1000):
    """Names and shapes of LlamaGen's file of a prior."""
    shapes = {
        "cls_embedding.embedding_table.weight": (classes + 1, width),
        "tok_embeddings.weight": (codes, width),
        "norm.weight": (width,),
        "output.weight": (codes, width),
    }
    for layer in range(layers):
        shapes |= {
            f"layers.{layer}.attention.wqkv.weight": (3 * width, width),
            f"layers.{layer}.attention.wo.weight": (width, width),
            f"layers.{layer}.feed_forward.w1.weight": (hidden, width),
            f"layers.{layer}.feed_forward.w3.weight": (hidden, width),
            f"layers.{layer}.feed_forward.w2.weight": (width, hidden),
            f"layers.{layer}.attention_norm.weight": (width,),
            f"layers.{layer}.ffn_norm.weight": (width,),
        }
    return shapes


# A LlamaGen of a size that is not published: no weight tells its heads.
CODES, CLASSES, WIDTH, HEADS, LAYERS, HIDDEN = 48, 10, 32, 2, 3, 256
TINY_SIZE = (WIDTH, LAYERS), sizes.Size("T", HEADS, 2.5)


def tiny_llamagen(side):
    """Tensors of both files by the authors' names; the prior's predictions are far from uniform."""
    random = torch.Generator().manual_seed(3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        ddconfig = TINY_DDCONFIG | {"resolution": 4 * side, "attn_resolutions": [side]}
        vqgan = VQGAN(ddconfig, n_embed=CODES, embed_dim=8)
        vqgan.codebook.data.normal_(generator=random)
    prior = {}
    for name, shape in llamagen_prior(LAYERS, WIDTH, HIDDEN, CODES, CLASSES).items():
        weight = torch.randn(shape, generator=random)
        prior[name] = 1 + 0.2 * weight if name.endswith("norm.weight") else weight * 1.5 * shape[-1] ** -0.5
    prior["cls_embedding.embedding_table.weight"] *= 3
    return llamagen_tokenizer(vqgan.state_dict()), prior


# --- IBQ ---------------------------------------------------------------------------------------------------------


def ibq_prior(layers, width, hidden, codes=16384, classes=1000):
    """Names and shapes of the prior in IBQ's file, without their prefix."""
    shapes = {
        "tok_emb.weight": (codes, width),
        "class_emb.embedding_table.weight": (classes + 1, width),
        "head_nm.rmsnorm.weight": (width,),
        "head_nm.ada_lin.1.weight": (2 * width, width),
        "head_nm.ada_lin.1.bias": (2 * width,),
        "head.weight": (codes, width),
    }
    of_layers = llamagen_prior(layers, width, hidden, codes, classes)
    shapes |= {name.replace("layers.", "blocks."): shape for name, shape in of_layers.items() if "layers." in name}
    for layer in range(layers):
        shapes[f"blocks.{layer}.ada_lin.1.weight"] = (6 * width, width)
        shapes[f"blocks.{layer}.ada_lin.1.bias"] = (6 * width,)
    return shapes


TINY_IBQ_SIZE = (WIDTH, LAYERS), ibq_sizes.Size("T", HEADS, 1.1, 2.5)


def tiny_ibq_prior():
    """Tensors of a prior of a size that is not published; its predictions are far from uniform."""
    random, weights = torch.Generator().manual_seed(4), {}
    for name, shape in ibq_prior(LAYERS, WIDTH, HIDDEN, CODES, CLASSES).items():
        weight = torch.randn(shape, generator=random)
        weights[name] = 1 + 0.2 * weight if name.endswith("norm.weight") else weight * 1.3 * shape[-1] ** -0.5
    weights["class_emb.embedding_table.weight"] *= 3
    return weights


def ibq_state(tokenizer, prior):
    """The state dict of IBQ's file of both."""
    first = {f"first_stage_model.{name}": weight for name, weight in tokenizer.items()}
    return first | {f"transformer.{name}": weight for name, weight in prior.items()}


# --- RAR ---------------------------------------------------------------------------------------------------------


def rar_prior(layers, width, hidden, heads=16, codes=1024, classes=1000, side=16):
    """Names and shapes of RAR's file of a prior."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, side * side + 1024, width),
        "target_aware_pos_embed": (1, side * side + 1024, width),
        "timesteps_embeddings": (1, side * side + 100, width),
        "embeddings.weight": (codes + 1 + classes + 1, width),
        "lm_head.weight": (codes, width),
        "lm_head.bias": (codes,),
        "adaln_before_head.adaLN_modulation.1.weight": (2 * width, width),
        "adaln_before_head.adaLN_modulation.1.bias": (2 * width,),
    }
    matrices = {
        "attn.qkv": (3 * width, width),
        "attn.proj": (width, width),
        "mlp.fc1": (hidden, width),
        "mlp.fc2": (width, hidden),
        "adaLN_modulation.1": (6 * width, width),
    }
    norms = {"norm1": width, "norm2": width, "attn.q_norm": width // heads, "attn.k_norm": width // heads}
    for layer in range(layers):
        for name, shape in matrices.items():
            shapes |= {f"blocks.{layer}.{name}.weight": shape, f"blocks.{layer}.{name}.bias": shape[:1]}
        for name, size in norms.items():
            shapes |= {f"blocks.{layer}.{name}.weight": (size,), f"blocks.{layer}.{name}.bias": (size,)}
    return shapes


def maskgit_tokenizer(ch=128, multipliers=(1, 1, 2, 2, 4), blocks=2, channels=256, codes=1024):
    """Names and shapes of RAR's file of MaskGIT's tokenizer."""
    shapes = {"quantize.embedding.weight": (codes, channels), "encoder.conv_in.weight": (ch, 3, 3, 3)}
    widths = [ch * multiple for multiple in multipliers]
    low = widths[-1]

    def block(name, inputs, outputs):
        for place, size in ((1, inputs), (2, outputs)):
            shapes.update({f"{name}.norm{place}.weight": (size,), f"{name}.norm{place}.bias": (size,)})
            shapes[f"{name}.conv{place}.weight"] = (outputs, size, 3, 3)
        if inputs != outputs:
            shapes[f"{name}.nin_shortcut.weight"] = (outputs, outputs, 1, 1)

    for level, width in enumerate(widths):
        from_above, from_below = [ch, *widths][level], [*widths, low][level + 1]
        for place in range(blocks):
            block(f"encoder.down.{level}.block.{place}", from_above if place == 0 else width, width)
            block(f"decoder.up.{level}.block.{place}", from_below if place == 0 else width, width)
        if level:
            up = f"decoder.up.{level}.upsample_conv"
            shapes |= {f"{up}.weight": (width, width, 3, 3), f"{up}.bias": (width,)}
    for part in ("encoder", "decoder"):
        for place in range(blocks):
            block(f"{part}.mid.{place}", low, low)
    for part, width, last in (("encoder", low, (channels, low, 1, 1)), ("decoder", widths[0], (3, widths[0], 3, 3))):
        shapes |= {f"{part}.norm_out.weight": (width,), f"{part}.norm_out.bias": (width,)}
        shapes |= {f"{part}.conv_out.weight": last, f"{part}.conv_out.bias": last[:1]}
    return shapes | {"decoder.conv_in.weight": (low, channels, 3, 3), "decoder.conv_in.bias": (low,)}


def drawn(shapes, random, scale):
    """Random weights of these shapes: norms are near 1, products keep the size of what they read times ``scale``."""
    found = {}
    for name, shape in shapes.items():
        weight = torch.randn(shape, generator=random)
        if len(shape) == 1:
            found[name] = (1 + 0.2 * weight) if "norm" in name and name.endswith("weight") else 0.3 * weight
        else:
            found[name] = scale * weight * torch.tensor(shape[1:]).prod() ** -0.5
    return found


RAR_SIDE, RAR_HIDDEN = 4, 48


def tiny_rar(side=RAR_SIDE, multipliers=(1, 2, 2)):
    """Tensors of both files by the authors' names; the prior's predictions are far from uniform."""
    random = torch.Generator().manual_seed(5)
    tokenizer = drawn(maskgit_tokenizer(32, multipliers, 2, 16, CODES), random, 1.3)
    tokenizer["quantize.embedding.weight"] *= 4
    prior = drawn(rar_prior(LAYERS, WIDTH, RAR_HIDDEN, HEADS, CODES, CLASSES, side), random, 1.0)
    for name in ("cls_token", "pos_embed", "target_aware_pos_embed", "timesteps_embeddings", "embeddings.weight"):
        prior[name] = torch.randn(prior[name].shape, generator=random)
    prior["lm_head.weight"] *= 2
    return tokenizer, prior


# --- MaskGIT-pytorch ---------------------------------------------------------------------------------------------


def maskgit_prior(layers=24, width=768, hidden=3072, codes=1024, classes=1000, side=16):
    """Names and shapes of MaskGIT-pytorch's file of a prior."""
    words, places = codes + 1 + classes + 1, side * side + 1
    shapes = {"tok_emb.weight": (words, width), "pos_emb": (1, places, width), "bias": (places, words)}
    vectors = ["first_layer.0", "first_layer.4", "last_layer.0", "last_layer.4"]
    matrices = dict.fromkeys(("first_layer.2", "first_layer.6", "last_layer.2"), (width, width))
    for layer in range(layers):
        name = f"transformer.layers.{layer}"
        vectors += [f"{name}.0.norm", f"{name}.1.norm"]
        shapes |= {f"{name}.0.fn.mha.in_proj_weight": (3 * width, width), f"{name}.0.fn.mha.in_proj_bias": (3 * width,)}
        matrices |= {f"{name}.0.fn.mha.out_proj": (width, width)}
        matrices |= {f"{name}.1.fn.net.0": (hidden, width), f"{name}.1.fn.net.3": (width, hidden)}
    for name in vectors:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    for name, shape in matrices.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


TINY_HEADS = (WIDTH, LAYERS), HEADS


def tiny_maskgit(side=4, multipliers=(1, 2, 2)):
    """Tensors of both files by the authors' names; the prior's predictions are far from uniform."""
    random = torch.Generator().manual_seed(6)
    with torch.random.fork_rng():
        torch.manual_seed(6)
        resolution = side << (len(multipliers) - 1)
        sizes = {"ch_mult": list(multipliers), "resolution": resolution, "attn_resolutions": [side]}
        vqgan = VQGAN(TINY_DDCONFIG | sizes, n_embed=CODES, embed_dim=16)
        vqgan.codebook.data.normal_(generator=random)
    prior = drawn(maskgit_prior(LAYERS, WIDTH, 48, CODES, CLASSES, side), random, 1.0)
    for name in prior:
        if name.endswith(("layer.0.weight", "layer.4.weight")):
            prior[name] = 1 + 0.2 * torch.randn(prior[name].shape, generator=random)
    prior["tok_emb.weight"] = torch.randn(prior["tok_emb.weight"].shape, generator=random) * 0.5
    prior["pos_emb"] = torch.randn(prior["pos_emb"].shape, generator=random) * 0.5
    prior["bias"] = torch.randn(prior["bias"].shape, generator=random)
    return vqgan.state_dict(), prior


# --- Halton-MaskGIT ----------------------------------------------------------------------------------------------


def halton_prior(layers, width, inner, hidden, codes=16384, classes=1000, side=16):
    """Names and shapes of Halton-MaskGIT's file of a prior; the head's weight is the table of the codes once more."""
    shapes = {
        "cls_emb.weight": (classes + 1, width),
        "tok_emb.weight": (codes + 1, width),
        "pos_emb.weight": (side * side, width),
        "reg_tokens.weight": (1, width),
        "last_norm.norm_final.weight": (width,),
        "last_norm.norm_final.bias": (width,),
        "last_norm.mlp.1.weight": (2 * width, width),
        "last_norm.mlp.1.bias": (2 * width,),
        "head.weight": (codes + 1, width),
        "head.bias": (codes + 1,),
    }
    for layer in range(layers):
        name = f"transformer.layers.{layer}"
        shapes |= {f"{name}.mlp.1.weight": (6 * width, width), f"{name}.mlp.1.bias": (6 * width,)}
        shapes |= {f"{name}.ln1.weight": (width,), f"{name}.ln2.weight": (width,)}
        shapes |= {f"{name}.attn.{part}.weight": (inner, width) for part in ("wq", "wk", "wv")}
        shapes |= {f"{name}.attn.wo.weight": (width, inner)}
        shapes |= {f"{name}.ff.{part}.weight": (hidden, width) for part in ("w1", "w3")}
        shapes |= {f"{name}.ff.w2.weight": (width, hidden)}
    return shapes


INNER = 30  # of two heads: as in the published small one, not the width
TINY_HALTON_SIZE = (WIDTH, LAYERS), (HEADS, 1.5)


def tiny_halton(side=4):
    """Tensors of both files by the authors' names; the prior's predictions are far from uniform."""
    random = torch.Generator().manual_seed(7)
    prior = drawn(halton_prior(LAYERS, WIDTH, INNER, HIDDEN, CODES, CLASSES, side), random, 1.0)
    for name in ("cls_emb.weight", "tok_emb.weight", "pos_emb.weight", "reg_tokens.weight"):
        prior[name] = torch.randn(prior[name].shape, generator=random)
    for name in prior:
        if name.endswith(("ln1.weight", "ln2.weight")):
            prior[name] = 1 + 0.2 * torch.randn(prior[name].shape, generator=random)
    prior["head.weight"] = prior["tok_emb.weight"]
    return tiny_llamagen(side)[0], prior


# --- VAR ---------------------------------------------------------------------------------------------------------


def var_tokenizer(tokenizer, scales=10):
    """VAR's file of a tokenizer's weights by taming's names: queries, keys and values are one product."""
    found = {}
    for name, weight in tokenizer.items():
        if match := re.search(r"\.([qkv])\.(weight|bias)$", name):
            rest = name[: match.start()]
            found[f"{rest}.qkv.{match[2]}"] = torch.cat([tokenizer[f"{rest}.{part}.{match[2]}"] for part in "qkv"])
        else:
            found[name] = weight
    return found | {"quantize.ema_vocab_hit_SV": torch.zeros(scales, len(tokenizer["quantize.embedding.weight"]))}


def var_tokenizer_file():
    """A stand-in for VAR's file of a tokenizer."""
    ddconfig = TAMING_F16 | {"ch": 160, "z_channels": 32}
    with torch.device("meta"):
        vqgan = ScaleVQGAN(range(1, 11), ddconfig=ddconfig, n_embed=4096, embed_dim=32)
    return stand_in({name: tuple(weight.shape) for name, weight in var_tokenizer(vqgan.state_dict()).items()})


def var_prior(layers, width, hidden, positions=680, heads=None, codes=4096, channels=32, classes=1000, shared=False):
    """Names and shapes of VAR's file of a prior."""
    heads = heads or layers
    shapes = {
        "lvl_1L": (1, positions),
        "attn_bias_for_masking": (1, 1, positions, positions),
        "pos_start": (1, 1, width),
        "pos_1LC": (1, positions, width),
        "word_embed.weight": (width, channels),
        "word_embed.bias": (width,),
        "class_emb.weight": (classes + 1, width),
        "lvl_embed.weight": (10, width),
        "head_nm.ada_lin.1.weight": (2 * width, width),
        "head_nm.ada_lin.1.bias": (2 * width,),
        "head.weight": (codes, width),
        "head.bias": (codes,),
    }
    if shared:
        shapes |= {"shared_ada_lin.1.weight": (6 * width, width), "shared_ada_lin.1.bias": (6 * width,)}
    for layer in range(layers):
        name = f"blocks.{layer}"
        shapes |= {f"{name}.attn.{vector}": (width,) for vector in ("q_bias", "v_bias", "zero_k_bias", "proj.bias")}
        shapes |= {
            f"{name}.attn.scale_mul_1H11": (1, heads, 1, 1),
            f"{name}.attn.mat_qkv.weight": (3 * width, width),
            f"{name}.attn.proj.weight": (width, width),
            f"{name}.ffn.fc1.weight": (hidden, width),
            f"{name}.ffn.fc1.bias": (hidden,),
            f"{name}.ffn.fc2.weight": (width, hidden),
            f"{name}.ffn.fc2.bias": (width,),
        }
        if shared:
            shapes[f"{name}.ada_gss"] = (1, 1, 6, width)
        else:
            shapes |= {f"{name}.ada_lin.1.weight": (6 * width, width), f"{name}.ada_lin.1.bias": (6 * width,)}
    return shapes


VAR_HIDDEN, VAR_CHANNELS = 48, 16
TINY_SIDES = {4: (1, 1, 2, 2, 2, 3, 3, 3, 4, 4), 8: (1, 1, 2, 2, 3, 3, 4, 5, 6, 8)}  # by the last one's


def tiny_var(side=4, shared=False):
    """Tensors of both files by the authors' names; the prior's predictions are far from uniform."""
    random, sides = torch.Generator().manual_seed(8), TINY_SIDES[side]
    with torch.random.fork_rng():
        torch.manual_seed(8)
        ddconfig = TINY_DDCONFIG | {"resolution": 4 * side, "attn_resolutions": [side], "z_channels": VAR_CHANNELS}
        vqgan = ScaleVQGAN(sides, ddconfig=ddconfig, n_embed=CODES, embed_dim=VAR_CHANNELS)
        vqgan.vectors.data.normal_(generator=random)
    positions = sum(each**2 for each in sides)
    shapes = var_prior(LAYERS, WIDTH, VAR_HIDDEN, positions, HEADS, CODES, VAR_CHANNELS, CLASSES, shared)
    prior = drawn(shapes, random, 1.0)
    for name in ("pos_start", "pos_1LC", "class_emb.weight", "lvl_embed.weight"):
        prior[name] = torch.randn(prior[name].shape, generator=random)
    for name in prior:
        if name.endswith("scale_mul_1H11"):
            prior[name] = torch.tensor([1.0, 7.0]).view(1, HEADS, 1, 1)  # a head beyond the most
        elif name.endswith("zero_k_bias"):
            prior[name] = torch.zeros(WIDTH)
    prior["head.weight"] *= 2
    prior["lvl_1L"] = torch.cat([torch.full((each**2,), scale) for scale, each in enumerate(sides)])[None]
    prior["attn_bias_for_masking"] = torch.full((1, 1, positions, positions), -torch.inf)
    return var_tokenizer(vqgan.state_dict()), prior
