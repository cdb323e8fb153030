"""RAR: its published files, against formulations in float64 written from its description, without cache."""

import copy
import json
from math import erf, sqrt

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from cortex.core.errors import InputError
from cortex.core.flops import count_flops
from cortex.core.randomness import uniforms
from cortex.core.weights import read_weights, write_weights
from cortex.generators.convert import convert_generator
from cortex.generators.load import load_generator
from cortex.generators.network.raster import RasterSampler
from cortex.generators.prior import log_likelihoods
from cortex.generators.rar import FAMILY
from cortex.generators.rar.networks import RarSteps
from cortex.generators.sampling import Sampling
from cortex.generators.spec import Origin
from tests.published import (
    CLASSES,
    CODES,
    HEADS,
    LAYERS,
    RAR_HIDDEN,
    RAR_SIDE,
    WIDTH,
    foreign,
    maskgit_tokenizer,
    rar_prior,
    shapes_by_name,
    stand_in,
    tiny_rar,
)
from tests.unit.generators.test_sampler import slow_choice, slow_distribution

POSITIONS = RAR_SIDE * RAR_SIDE
UNCUT = Sampling(top_k=None, top_p=None)
GUIDED = Sampling(
    top_k=None, top_p=None, temperature=1.02, guidance=6.9, guidance_schedule="power_cosine", guidance_power=1.5
)


@pytest.fixture(scope="module")
def files():
    """Tensors of the tokenizer's and the prior's file."""
    return tiny_rar()


@pytest.fixture(scope="module")
def converted(files, tmp_path_factory):
    """The folder, with foreign objects beside the tensors, and the weights file made of it."""
    folder = tmp_path_factory.mktemp("rar")
    tokenizer, prior = files
    torch.save({"state_dict": tokenizer} | foreign(), folder / "maskgit-vqgan-imagenet-f16-256.bin")
    torch.save(
        {"model": {f"module.{name}": weight for name, weight in prior.items()}} | foreign(), folder / "rar_t.bin"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cortex.generators.rar.SIDE", RAR_SIDE)
        convert_generator(folder / "weights.safetensors", folder=folder)
    return folder


@pytest.fixture(scope="module")
def generator(converted):
    return load_generator(converted / "weights.safetensors", family="rar")


# --- the prior ---------------------------------------------------------------------------------------------------


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return x * np.array([(1 + erf(each / sqrt(2))) / 2 for each in x])


def layer_norm(x, weight=1.0, bias=0.0):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-6) * weight + bias


class SlowRar:
    """The transformer, place by place and head by head, by its authors' names."""

    def __init__(self, prior):
        self.w = {name: weight.double().numpy() for name, weight in prior.items()}

    def linear(self, x, name):
        return self.w[f"{name}.weight"] @ x + self.w[f"{name}.bias"]

    def norm(self, x, name):
        return layer_norm(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def input_at(self, place, word):
        """The vector of its own, the class, or token k at place 2 + k, which precedes token k + 1."""
        found = self.w["pos_embed"][0, place]
        found = found + (self.w["cls_token"][0, 0] if place == 0 else self.w["embeddings.weight"][word])
        return found if place == 0 else found + self.w["target_aware_pos_embed"][0, 2 + (place - 1)]

    def logits(self, label, tokens):
        """Float64 [K] of the token after some; label CLASSES is the null class."""
        word = CODES + 1 + label  # after the codes and the mask
        xs = [self.input_at(place, each) for place, each in enumerate([None, word, *tokens])]
        given = [
            self.w["embeddings.weight"][word] + self.w["timesteps_embeddings"][0, place] for place in range(len(xs))
        ]
        for layer in range(LAYERS):
            xs = self.block(f"blocks.{layer}", xs, given)
        scale, shift = np.split(self.linear(silu(given[-1]), "adaln_before_head.adaLN_modulation.1"), 2)
        return self.linear(layer_norm(xs[-1]) * (1 + scale) + shift, "lm_head")

    def block(self, name, xs, given):
        parts = [np.split(self.linear(silu(each), f"{name}.adaLN_modulation.1"), 6) for each in given]
        q, k, v = [], [], []
        for x, (shift, scale, *_) in zip(xs, parts, strict=True):
            projected = self.linear(self.norm(x, f"{name}.norm1") * (1 + scale) + shift, f"{name}.attn.qkv")
            for kept, of_all in zip((q, k, v), np.split(projected, 3), strict=True):
                kept.append(np.split(of_all, HEADS))
        found = []
        for place, (x, (_, _, gate, shift2, scale2, gate2)) in enumerate(zip(xs, parts, strict=True)):
            mixed = []
            for head in range(HEADS):
                query = self.norm(q[place][head], f"{name}.attn.q_norm")
                keys = [self.norm(k[other][head], f"{name}.attn.k_norm") for other in range(place + 1)]
                weights = np.exp([query @ key / sqrt(WIDTH / HEADS) for key in keys])
                mixed.append(sum(a * v[other][head] for other, a in enumerate(weights / weights.sum())))
            attended = x + gate * self.linear(np.concatenate(mixed), f"{name}.attn.proj")
            normal = self.norm(attended, f"{name}.norm2") * (1 + scale2) + shift2
            hidden = gelu(self.linear(normal, f"{name}.mlp.fc1"))
            found.append(attended + gate2 * self.linear(hidden, f"{name}.mlp.fc2"))
        return found

    def tokens(self, label, numbers, sampling):
        """Drawn row by row; the strength of guidance as its authors compute it."""
        tokens = []
        for step, number in enumerate(numbers):
            logits = self.logits(label, tokens)
            if sampling.guidance != 1:
                share = (1 - np.cos((step / len(numbers)) ** sampling.guidance_power * np.pi)) / 2
                null = self.logits(CLASSES, tokens)
                logits = null + ((sampling.guidance - 1) * share + 1) * (logits - null)
            tokens.append(slow_choice(slow_distribution(logits, temperature=sampling.temperature), number))
        return tokens


@pytest.mark.parametrize("how", ["plain", "captured"])
@pytest.mark.parametrize("sampling", [UNCUT, GUIDED], ids=["alone", "guided"])
def test_sampled_tokens_are_those_of_the_slow_formulation(files, generator, how, sampling):
    exact = copy.deepcopy(generator.transformer).double()
    sampler = RasterSampler(RarSteps(exact, torch.float64), how, CLASSES)
    labels, numbers = [0, 7, 9], np.random.default_rng(1).random((3, POSITIONS))
    slow = SlowRar(files[1])
    expected = [slow.tokens(label, row, sampling) for label, row in zip(labels, numbers, strict=True)]
    for _ in range(2):  # anew in the same cache
        assert sampler.draw(torch.tensor(labels), torch.from_numpy(numbers), sampling).tolist() == expected
    assert len(set(map(tuple, expected))) == 3


def test_a_grid_is_a_function_of_class_and_seed(files, generator):
    """In float32, as a run draws it."""
    labels, seeds = np.array([3, 3, 8]), np.array([1, 2, 1], np.uint64)
    grids = generator.sample(labels, seeds, GUIDED)
    for label, seed, grid in zip(labels, seeds, grids, strict=True):
        numbers = uniforms(np.array([seed]), POSITIONS)[0]
        assert grid.flatten().tolist() == SlowRar(files[1]).tokens(label, numbers, GUIDED)
    assert torch.equal(generator.sample(labels[::-1].copy(), seeds[::-1].copy(), GUIDED), grids.flip(0))


def test_likelihoods_are_those_of_the_slow_formulation(files, generator):
    tokens = torch.randint(CODES, (2, POSITIONS), generator=torch.Generator().manual_seed(1))
    places = [0, 3, 15]
    found = log_likelihoods(generator.prior(), torch.tensor([4, CLASSES]), tokens, places)
    for image, label in enumerate((4, CLASSES)):
        for column, place in enumerate(places):
            logits = SlowRar(files[1]).logits(label, tokens[image, :place].tolist())
            expected = logits[tokens[image, place]] - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
            assert found[image, column].item() == pytest.approx(expected, abs=1e-4)


def test_a_token_is_drawn_for_the_place_that_its_input_is_told(generator):
    """Entry 2 + k of the table of targets reaches the logits of token k and of later ones; 0 and 1 reach none."""
    network, tokens = copy.deepcopy(generator.transformer), torch.arange(9)[None]
    before = network.all_logits(torch.tensor([2]), tokens)
    for entry in range(13):
        changed = copy.deepcopy(network)
        changed.target_aware_pos_embed.data[0, entry] += 1.0
        differs = (changed.all_logits(torch.tensor([2]), tokens) != before).any(-1)[0].tolist()
        assert differs == [entry >= 2 and token >= entry - 2 for token in range(10)]


def test_the_heads_scale_comes_before_its_shift(files, generator):
    """In layers, the shift comes first; swapped as there, the logits would be others."""
    tokens = torch.tensor([[5, 40, 7]])
    found = generator.transformer.all_logits(torch.tensor([2]), tokens)[0, -1]
    np.testing.assert_allclose(found.numpy(), SlowRar(files[1]).logits(2, tokens[0].tolist()), atol=1e-4)
    swapped = copy.deepcopy(generator.transformer)
    linear = swapped.adaln_before_head.adaLN_modulation[1]
    linear.weight.data, linear.bias.data = linear.weight.roll(WIDTH, 0), linear.bias.roll(WIDTH, 0)
    assert (swapped.all_logits(torch.tensor([2]), tokens)[0, -1] - found).abs().max() > 0.1


def test_guidance_of_1_is_none_bit_for_bit(converted, generator, tmp_path):
    tensors, metadata = read_weights(converted / "weights.safetensors")
    bare = json.loads(metadata["architecture"]) | {"null_class": None}
    write_weights(tmp_path / "bare.safetensors", tensors, {"architecture": json.dumps(bare)})
    unguided = load_generator(tmp_path / "bare.safetensors", family="rar")
    assert not unguided.spec.guidance and generator.spec.guidance
    labels, seeds = np.arange(10), np.arange(10, dtype=np.uint64)
    of_one = GUIDED.model_copy(update={"guidance": 1.0})
    plain = of_one.model_copy(update={"guidance_schedule": "constant", "guidance_power": None})
    assert torch.equal(unguided.sample(labels, seeds, plain), generator.sample(labels, seeds, of_one))
    with pytest.raises(InputError, match=r"guidance 6\.9: the generator has no null class"):
        unguided.sample(labels, seeds, GUIDED)


def test_bfloat16_draws_from_nearly_the_same_distribution(generator):
    labels, numbers = torch.arange(10).repeat(6), torch.from_numpy(np.random.default_rng(3).random((60, POSITIONS)))
    drawn = [
        RasterSampler(RarSteps(copy.deepcopy(generator.transformer), dtype)).draw(labels, numbers, UNCUT)
        for dtype in (torch.float32, torch.bfloat16)
    ]
    assert (drawn[0][:, 0] == drawn[1][:, 0]).float().mean() > 0.9
    assert not torch.equal(*drawn), "another precision, or the test shows nothing"


def test_the_arithmetic_and_the_memory_of_sampling_are_the_samplers(generator):
    """The vector of its own is passed and kept, too."""
    size = FAMILY.prior_size({"layers": LAYERS, "width": WIDTH, "hidden": RAR_HIDDEN, "codes": CODES})
    sampler = RasterSampler(RarSteps(copy.deepcopy(generator.transformer)), null_class=CLASSES)
    labels, numbers = torch.zeros(5, dtype=torch.int64), torch.rand(5, POSITIONS, dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH):  # its products are counted
        counted = count_flops(lambda: sampler.draw(labels, numbers, GUIDED))
    assert counted == 10 * size.token_flops(POSITIONS)
    assert sampler._buffers.cache.nbytes == 10 * size.kept_bytes(POSITIONS, 4)


# --- the tokenizer -----------------------------------------------------------------------------------------------


class SlowTokenizer:
    """MaskGIT's convolutions in float64 by the names in the file; ``shortcut`` says what a shortcut reads."""

    def __init__(self, state, shortcut="transformed"):
        self.w, self.shortcut = {name: weight.double() for name, weight in state.items()}, shortcut

    def conv(self, x, name):
        weight = self.w[f"{name}.weight"]
        return F.conv2d(x, weight, self.w.get(f"{name}.bias"), padding=weight.shape[-1] // 2)

    def active(self, x, name):
        groups = x.unflatten(1, (32, -1))
        mean, variance = groups.mean((2, 3, 4), keepdim=True), groups.var((2, 3, 4), keepdim=True, correction=0)
        normal = ((groups - mean) / (variance + 1e-6).sqrt()).flatten(1, 2)
        normal = normal * self.w[f"{name}.weight"][:, None, None] + self.w[f"{name}.bias"][:, None, None]
        return normal * normal.sigmoid()

    def block(self, x, name):
        found = self.conv(self.active(x, f"{name}.norm1"), f"{name}.conv1")
        found = self.conv(self.active(found, f"{name}.norm2"), f"{name}.conv2")
        if f"{name}.nin_shortcut.weight" not in self.w:
            return found + x
        if self.shortcut == "input":  # as elsewhere: of as many of its channels as there are, for the test of the trap
            weight = self.w[f"{name}.nin_shortcut.weight"][:, : x.shape[1]]
            return found + F.conv2d(x[:, : weight.shape[1]], weight)
        return found + self.conv(found, f"{name}.nin_shortcut")

    def encode(self, images):
        x = self.conv(images, "encoder.conv_in")
        for level in range(3):
            for place in range(2):
                x = self.block(x, f"encoder.down.{level}.block.{place}")
            if level < 2:
                x = (x[..., 0::2, 0::2] + x[..., 1::2, 0::2] + x[..., 0::2, 1::2] + x[..., 1::2, 1::2]) / 4
        for place in range(2):
            x = self.block(x, f"encoder.mid.{place}")
        vectors = self.conv(self.active(x, "encoder.norm_out"), "encoder.conv_out").permute(0, 2, 3, 1)
        codes = self.w["quantize.embedding.weight"]
        return (vectors[..., None, :] - codes).square().sum(-1).argmin(-1)

    def decode(self, grids):
        x = self.conv(self.w["quantize.embedding.weight"][grids].permute(0, 3, 1, 2), "decoder.conv_in")
        for place in range(2):
            x = self.block(x, f"decoder.mid.{place}")
        for level in (2, 1, 0):
            for place in range(2):
                x = self.block(x, f"decoder.up.{level}.block.{place}")
            if level:
                x = self.conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3), f"decoder.up.{level}.upsample_conv")
        return self.conv(self.active(x, "decoder.norm_out"), "decoder.conv_out")


def test_images_are_those_of_the_slow_formulation_in_0_to_1(files, generator):
    grids = torch.randint(CODES, (3, RAR_SIDE, RAR_SIDE), generator=torch.Generator().manual_seed(2))
    expected = SlowTokenizer(files[0]).decode(grids)
    torch.testing.assert_close(generator.tokenizer.decode(grids), expected.float(), atol=1e-4, rtol=1e-4)
    pixels = (expected.clamp(0, 1) * 255).permute(0, 2, 3, 1)
    assert (generator.decode(grids).double() - pixels).abs().max() < 0.51 and generator.spec.pixels == (0, 1)
    assert ((expected > 0) & (expected < 1)).double().mean() > 0.05, "some pixels lie within the range"
    assert generator.spec.image == (16, 16)


def test_codes_are_those_of_the_slow_formulation(files, generator):
    images = torch.randint(256, (4, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    expected = SlowTokenizer(files[0]).encode(images.permute(0, 3, 1, 2).double() / 255)
    assert torch.equal(generator.encode(images), expected) and len(expected.unique()) > 4


def test_a_shortcut_reads_the_transformed_activation(files):
    """Were it the block's input, images would be others."""
    grids = torch.arange(POSITIONS).view(1, RAR_SIDE, RAR_SIDE)
    kept, other = (SlowTokenizer(files[0], what).decode(grids) for what in ("transformed", "input"))
    assert (kept - other).abs().max() > 0.1


# --- files -------------------------------------------------------------------------------------------------------

PUBLISHED = [  # layers, width, units of an MLP, tensors, parameters, temperature, guidance, power
    ("rar_b.bin", 24, 768, 3072, 441, 260_923_648, 1.0, 16.0, 2.75),
    ("rar_l.bin", 24, 1024, 4096, 441, 461_668_352, 1.02, 15.5, 2.5),
    ("rar_xl.bin", 32, 1280, 5120, 585, 955_425_024, 1.02, 6.9, 1.5),
    ("rar_xxl.bin", 40, 1408, 6144, 729, 1_498_520_704, 1.02, 8.0, 1.2),
]


@pytest.mark.parametrize(
    ("name", "layers", "width", "hidden", "tensors", "count", "temperature", "guidance", "power"), PUBLISHED
)
def test_every_published_size_has_its_names_and_parameters(
    tmp_path, name, layers, width, hidden, tensors, count, temperature, guidance, power
):
    shapes, tokenizer = rar_prior(layers, width, hidden), maskgit_tokenizer()
    assert len(shapes) == tensors and sum(np.prod(shape, dtype=int) for shape in shapes.values()) == count
    torch.save(stand_in(shapes), tmp_path / name)
    torch.save(stand_in(tokenizer), tmp_path / "maskgit-vqgan-imagenet-f16-256.bin")
    source = FAMILY.source(tmp_path, None, None)
    expected = {f"transformer.{key}": shape for key, shape in shapes.items()}
    expected |= {f"first_stage_model.{key}": shape for key, shape in tokenizer.items()}
    assert shapes_by_name(FAMILY, source.architecture) == expected
    spec = FAMILY.spec(Origin(folder=tmp_path))
    assert (spec.grid, spec.image, spec.codes, spec.channels) == ((16, 16), (256, 256), 1024, 256)
    assert spec.guidance and spec.prior and spec.encodes and spec.decodes and len(spec.class_names) == 1000
    assert spec.published == Sampling(
        temperature=temperature,
        top_k=None,
        top_p=None,
        guidance=guidance,
        guidance_schedule="power_cosine",
        guidance_power=power,
    )
    assert source.architecture["prior"]["heads"] == 16 and source.architecture["null_class"] == 1000


def test_the_tokenizer_alone_has_its_names_and_parameters(tmp_path):
    shapes = maskgit_tokenizer()
    assert len(shapes) == 168 and sum(np.prod(shape, dtype=int) for shape in shapes.values()) == 54_515_587
    torch.save(stand_in(shapes), tmp_path / "maskgit-vqgan-imagenet-f16-256.bin")
    found = shapes_by_name(FAMILY, FAMILY.source(tmp_path, None, None).architecture)
    assert found == {f"first_stage_model.{name}": shape for name, shape in shapes.items()}
    assert not FAMILY.spec(Origin(folder=tmp_path)).samples


def test_what_a_folder_lacks_or_has_too_much_is_told(files, tmp_path, monkeypatch):
    tokenizer, prior = files
    with pytest.raises(InputError, match=r"none of maskgit-vqgan\*\.bin, .* is there"):
        FAMILY.spec(Origin(folder=tmp_path))
    torch.save(tokenizer, tmp_path / "maskgit-vqgan-imagenet-f16-256.bin")
    torch.save(prior, tmp_path / "rar_t.bin")
    with pytest.raises(InputError, match=r"grid \[4, 4\]: should not be set: it is 16 × 16"):
        FAMILY.spec(Origin(folder=tmp_path, grid=(4, 4)))
    with pytest.raises(InputError, match=r"the prior has 48 codes in a grid of 4 × 4, the tokenizer 48 in 16 × 16"):
        FAMILY.spec(Origin(folder=tmp_path))
    monkeypatch.setattr("cortex.generators.rar.SIDE", RAR_SIDE)
    torch.save(prior | {"blocks.0.attn.other": torch.ones(2)}, tmp_path / "rar_t.bin")
    with pytest.raises(InputError, match=r"1 unexpected weights: blocks\.0\.attn\.other$"):
        convert_generator(tmp_path / "weights.safetensors", family="rar", folder=tmp_path)
    torch.save({name: weight for name, weight in prior.items() if name != "lm_head.weight"}, tmp_path / "rar_t.bin")
    with pytest.raises(InputError, match=r"rar_t\.bin: not a prior of RAR: 'lm_head\.weight'"):
        FAMILY.spec(Origin(folder=tmp_path))
    torch.save(prior | {"pos_embed": torch.ones(1, 1039, WIDTH)}, tmp_path / "rar_t.bin")
    with pytest.raises(InputError, match=r"rar_t\.bin: not a prior of RAR: 15 tokens make no square"):
        FAMILY.spec(Origin(folder=tmp_path))
    assert not (tmp_path / "weights.safetensors").exists()
