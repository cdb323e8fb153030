"""Halton-MaskGIT: its published files, order and steps, against formulations in float64 from its description."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from cortex.core.errors import InputError
from cortex.core.flops import count_flops
from cortex.core.randomness import uniforms
from cortex.core.weights import read_weights
from cortex.generators import halton
from cortex.generators.convert import convert_generator
from cortex.generators.halton import FAMILY
from cortex.generators.halton.networks import HaltonOrder, halton_order, passed
from cortex.generators.load import load_generator
from cortex.generators.network.masked import MaskedSampler
from cortex.generators.recognise import recognise
from cortex.generators.sampling import Sampling
from cortex.generators.spec import Origin
from tests.published import (
    CLASSES,
    CODES,
    HEADS,
    INNER,
    LAYERS,
    TINY_HALTON_SIZE,
    WIDTH,
    foreign,
    halton_prior,
    llamagen_tokenizer_file,
    shapes_by_name,
    stand_in,
    tiny_halton,
)
from tests.slow_vqgan import SlowTokenizer
from tests.unit.generators.test_sampler import slow_choice, slow_distribution

SIDE, POSITIONS, STEPS = 4, 16, 5
ALONE = Sampling(top_k=None, top_p=None, steps=STEPS)
GUIDED = ALONE.model_copy(update={"guidance": 1.5, "temperature": 0.8})


@pytest.fixture(scope="module")
def files():
    """Tensors of the tokenizer's and the prior's file."""
    return tiny_halton(SIDE)


@pytest.fixture(scope="module")
def converted(files, tmp_path_factory):
    """The folder, with foreign objects beside the tensors, and the weights file made of it."""
    folder = tmp_path_factory.mktemp("halton")
    torch.save({"model": files[0]} | foreign(), folder / "vq_ds4_c2i.pt")
    compiled = {f"module._orig_mod.{name}": weight for name, weight in files[1].items()}
    torch.save(foreign() | {"model_state_dict": compiled}, folder / "ImageNet_16_tiny.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(halton.SIZES, *TINY_HALTON_SIZE)
        convert_generator(folder / "weights.safetensors", family="halton", folder=folder)
    return folder


@pytest.fixture(scope="module")
def generator(converted):
    return load_generator(converted / "weights.safetensors", family="halton")


# --- the order and the steps -------------------------------------------------------------------------------------


def authors_order(side):
    """As the authors compute it, in float32, from 10,000 points."""

    def sequence(base):
        n, d, found = 0, 1, []
        for _ in range(10_000):
            x = d - n
            if x == 1:
                n, d = 1, d * base
            else:
                y = d // base
                while x <= y:
                    y //= base
                n = (base + 1) * y - x
            found.append(n / d)
        return torch.asarray(found)

    points = (torch.stack([sequence(2), sequence(3)], dim=1) * side).floor().int().tolist()
    return list(dict.fromkeys(row * side + column for row, column in points))


@pytest.mark.parametrize("side", [4, 16, 24])
def test_positions_come_in_the_authors_order(side):
    assert halton_order(side) == authors_order(side)
    assert sorted(halton_order(side)) == list(range(side * side))


def authors_end(done, steps, positions):
    """Positions of the order that were drawn after some of the steps."""
    share = 1 - (torch.arccos(torch.tensor(done / steps)) / (math.pi * 0.5))
    return max(done, int(share * positions))


@pytest.mark.parametrize(("steps", "side"), [(32, 16), (32, 24), (STEPS, SIDE), (1, 4)])
def test_every_step_keeps_the_next_positions_of_the_order(steps, side):
    positions, order = side * side, authors_order(side)
    masks = torch.ones(2, positions, dtype=torch.bool)
    sampling, ends = ALONE.model_copy(update={"steps": steps}), [0]
    for step in range(steps):
        ends.append(authors_end(step + 1, steps, positions))
        kept = HaltonOrder(side).kept(step, masks, masks.double(), torch.zeros(2, 0), sampling)
        assert kept[0].nonzero()[:, 0].tolist() == sorted(order[ends[-2] : ends[-1]]) and torch.equal(*kept)
    assert ends[-1] == positions


def test_more_steps_than_positions_keep_one_each():
    assert [passed(done, 40, 16) for done in (1, 2, 15, 16, 17, 40)] == [1, 2, 15, 16, 16, 16]


# --- the prior ---------------------------------------------------------------------------------------------------


class SlowHalton:
    """The transformer position by position and head by head, and its steps, by its authors' names."""

    def __init__(self, prior):
        self.w = {name: weight.double().numpy() for name, weight in prior.items()}

    def norm(self, x):
        return x / np.sqrt(np.mean(x**2) + 1e-5)

    def modulation(self, given, name, parts):
        smooth = given / (1 + np.exp(-given))
        return np.split(self.w[f"{name}.mlp.1.weight"] @ smooth + self.w[f"{name}.mlp.1.bias"], parts)

    def logits(self, label, grid):
        """Float64 [P, K + 1]; a register is the last word, CLASSES the null class."""
        given = self.w["cls_emb.weight"][label]
        xs = [self.w["tok_emb.weight"][word] + self.w["pos_emb.weight"][place] for place, word in enumerate(grid)]
        xs.append(self.w["reg_tokens.weight"][0])
        for layer in range(LAYERS):
            xs = self.layer(f"transformer.layers.{layer}", xs, given)
        shift, scale = self.modulation(given, "last_norm", 2)
        weight, bias = self.w["last_norm.norm_final.weight"], self.w["last_norm.norm_final.bias"]
        last = [(self.norm(x) * weight + bias) * (1 + scale) + shift for x in xs[:-1]]
        return np.array([self.w["tok_emb.weight"] @ x + self.w["head.bias"] for x in last])

    def layer(self, name, xs, given):
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(given, name, 6)
        normal = [self.norm(x) * self.w[f"{name}.ln1.weight"] * (1 + scale) + shift for x in xs]
        q, k = ([self.norm(self.w[f"{name}.attn.{part}.weight"] @ x) for x in normal] for part in ("wq", "wk"))
        v = [self.w[f"{name}.attn.wv.weight"] @ x for x in normal]
        found = []
        for place, x in enumerate(xs):
            mixed = []
            for head in np.split(np.arange(INNER), HEADS):
                weights = np.exp([q[place][head] @ key[head] / math.sqrt(INNER / HEADS) for key in k])
                mixed.append(sum(a * value[head] for a, value in zip(weights / weights.sum(), v, strict=True)))
            attended = x + gate * (self.w[f"{name}.attn.wo.weight"] @ np.concatenate(mixed))
            inside = self.norm(attended) * self.w[f"{name}.ln2.weight"] * (1 + scale2) + shift2
            up = self.w[f"{name}.ff.w1.weight"] @ inside
            hidden = up / (1 + np.exp(-up)) * (self.w[f"{name}.ff.w3.weight"] @ inside)
            found.append(attended + gate2 * (self.w[f"{name}.ff.w2.weight"] @ hidden))
        return found

    def grid(self, label, numbers, sampling):
        """The grid of a sample's numbers: each position's code is drawn once, in the order."""
        numbers = numbers.reshape(STEPS, POSITIONS)
        grid, order, start = [CODES] * POSITIONS, authors_order(SIDE), 0
        for step in range(STEPS):
            end = authors_end(step + 1, STEPS, POSITIONS)
            logits = self.logits(label, grid)
            if sampling.guidance != 1:
                w = sampling.guidance - 1
                logits = (1 + w) * logits - w * self.logits(CLASSES, grid)
            for place in order[start:end]:
                chances = slow_distribution(logits[place], temperature=sampling.temperature)
                grid[place] = slow_choice(chances, numbers[step, place])
            start = end
        return [min(code, CODES - 1) for code in grid]


@pytest.mark.parametrize("sampling", [ALONE, GUIDED], ids=["alone", "guided"])
def test_grids_are_those_of_the_slow_formulation(files, generator, sampling):
    exact = copy.deepcopy(generator.transformer).double()
    sampler = MaskedSampler(exact, HaltonOrder(SIDE), torch.float64, CLASSES)
    labels, numbers = [0, 7, 9], np.random.default_rng(1).random((3, sampler.numbers(POSITIONS, sampling)))
    found = sampler.draw(torch.tensor(labels), torch.from_numpy(numbers), sampling).tolist()
    slow = SlowHalton(files[1])
    assert found == [slow.grid(label, row, sampling) for label, row in zip(labels, numbers, strict=True)]
    assert len(set(map(tuple, found))) == 3


def test_a_grid_is_a_function_of_class_and_seed(files, generator):
    """In float32, as a run draws it."""
    labels, seeds = np.array([3, 3, 8]), np.array([1, 2, 1], np.uint64)
    grids = generator.sample(labels, seeds, GUIDED)
    for label, seed, grid in zip(labels, seeds, grids, strict=True):
        numbers = uniforms(np.array([seed]), STEPS * POSITIONS)[0]
        assert grid.flatten().tolist() == SlowHalton(files[1]).grid(label, numbers, GUIDED)
    assert torch.equal(generator.sample(labels[::-1].copy(), seeds[::-1].copy(), GUIDED), grids.flip(0))


def test_guidance_of_1_is_none_bit_for_bit(generator):
    unguided = MaskedSampler(generator.transformer, HaltonOrder(SIDE), torch.float32)
    numbers = torch.rand(10, unguided.numbers(POSITIONS, ALONE), dtype=torch.float64)
    guided = MaskedSampler(generator.transformer, HaltonOrder(SIDE), torch.float32, CLASSES)
    drawn = [sampler.draw(torch.arange(10), numbers, ALONE) for sampler in (unguided, guided)]
    assert torch.equal(*drawn) and generator.prior() is None
    with pytest.raises(InputError, match=r"guidance 1\.5: the generator has no null class"):
        unguided.draw(torch.arange(10), numbers, GUIDED)


def test_bfloat16_draws_from_nearly_the_same_distribution(generator):
    once = ALONE.model_copy(update={"steps": 1})
    numbers = torch.from_numpy(np.random.default_rng(3).random((60, POSITIONS)))
    samplers = [
        MaskedSampler(generator.transformer, HaltonOrder(SIDE), dtype) for dtype in (torch.float32, torch.bfloat16)
    ]
    drawn = [sampler.draw(torch.arange(10).repeat(6), numbers, once) for sampler in samplers]
    assert (drawn[0] == drawn[1]).float().mean() > 0.9
    assert not torch.equal(*drawn), "another precision, or the test shows nothing"


def test_the_arithmetic_of_a_step_is_the_networks(generator):
    size = FAMILY.prior_size({"layers": LAYERS, "width": WIDTH, "inner": INNER, "registers": 1, "codes": CODES})
    grids = torch.full((5, POSITIONS), CODES)
    with sdpa_kernel(SDPBackend.MATH):  # its products are counted
        counted = count_flops(lambda: generator.transformer.logits(torch.arange(5), grids, torch.float32))
    assert counted == 5 * size.token_flops(POSITIONS)


# --- files -------------------------------------------------------------------------------------------------------

PUBLISHED = [  # layers, width, channels of all heads, units of an MLP, side, parameters, guidance
    ("ImageNet_256_tiny.pth", 6, 384, 384, 1024, 16, 23_031_425, 2.5),
    ("ImageNet_256_small.pth", 12, 512, 510, 1536, 16, 69_344_769, 2.0),
    ("ImageNet_256_base.pth", 12, 768, 768, 2048, 16, 142_224_641, 1.7),
    ("ImageNet_384_small.pth", 12, 512, 510, 1536, 24, 69_508_609, 2.0),
    ("ImageNet_384_base.pth", 12, 768, 768, 2048, 24, 142_470_401, 1.7),
    ("ImageNet_384_large.pth", 24, 1024, 1024, 2816, 24, 479_984_641, 1.5),
]


@pytest.mark.parametrize(("name", "layers", "width", "inner", "hidden", "side", "parameters", "guidance"), PUBLISHED)
def test_every_published_size_has_its_names_and_parameters(
    tmp_path, name, layers, width, inner, hidden, side, parameters, guidance
):
    """The README states 23, 69, 142 and 480 million: those that the head and the codes share are counted once."""
    shapes = halton_prior(layers, width, inner, hidden, side=side)
    count = sum(np.prod(shape, dtype=int) for key, shape in shapes.items() if key != "head.weight")
    assert count == parameters and len(shapes) == 10 + 11 * layers
    torch.save({"model_state_dict": stand_in(shapes)}, tmp_path / name)
    torch.save({"model": llamagen_tokenizer_file([1, 1, 2, 2, 4])}, tmp_path / "vq_ds16_c2i.pt")
    source = FAMILY.source(tmp_path, None, None)
    found = shapes_by_name(FAMILY, source.architecture)
    ours = {key: shape for key, shape in found.items() if key.startswith("transformer.")}
    assert ours == {f"transformer.{key}": shape for key, shape in shapes.items() if key != "head.weight"}
    tokenizer = {key: shape for key, shape in found.items() if key not in ours}
    assert sum(np.prod(shape, dtype=int) for shape in tokenizer.values()) == 71_883_403
    spec = FAMILY.spec(Origin(folder=tmp_path))
    assert (spec.grid, spec.image, spec.codes, spec.channels) == ((side, side), (16 * side, 16 * side), 16384, 8)
    assert spec.published == Sampling(top_k=None, top_p=None, guidance=guidance, steps=32) and not spec.prior
    assert source.architecture["prior"]["heads"] == {384: 6, 512: 6, 768: 12, 1024: 16}[width]


def test_images_and_codes_are_those_of_the_slow_formulation(files, generator):
    slow = SlowTokenizer(files[0])
    grids = torch.randint(CODES, (2, SIDE, SIDE), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(generator.tokenizer.decode(grids).double(), slow.decode(grids), atol=1e-4, rtol=1e-4)
    images = torch.randint(256, (6, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    codes = slow.encode(images.permute(0, 3, 1, 2).double() / 127.5 - 1)
    assert torch.equal(generator.encode(images), codes) and len(codes.unique()) > 5


def test_the_codebook_is_kept_as_it_is_looked_up(files, generator, converted):
    raw = files[0]["quantize.embedding.weight"]
    torch.testing.assert_close(generator.codebook, raw / raw.norm(dim=1, keepdim=True))
    stored, _ = read_weights(converted / "weights.safetensors", only="transformer.head")
    assert list(stored) == ["transformer.head.bias"], "the table of the codes is kept once"


def test_what_a_folder_lacks_or_has_too_much_is_told(files, tmp_path, monkeypatch):
    tokenizer, prior = files
    torch.save(tokenizer, tmp_path / "vq_ds4_c2i.pt")
    with pytest.raises(InputError, match=r"none of ImageNet_\*\.pth is there"):
        FAMILY.spec(Origin(folder=tmp_path))
    torch.save(prior, path := tmp_path / "ImageNet_16_tiny.pth")
    with pytest.raises(InputError, match=r"grid \[4, 4\]: should not be set: the prior's tensors tell it"):
        FAMILY.spec(Origin(folder=tmp_path, grid=(4, 4)))
    with pytest.raises(InputError, match=r"a prior of width 32 and 3 layers: no published size; allowed: 384 × 6, "):
        FAMILY.spec(Origin(folder=tmp_path))
    monkeypatch.setitem(halton.SIZES, *TINY_HALTON_SIZE)
    assert FAMILY.spec(Origin(folder=tmp_path)).grid == (SIDE, SIDE)
    torch.save(prior | {"in_proj.weight": torch.ones(2, 2)}, path)
    with pytest.raises(InputError, match=r"1 unexpected weights: in_proj\.weight$"):
        convert_generator(tmp_path / "weights.safetensors", family="halton", folder=tmp_path)
    torch.save(prior | {"pos_emb.weight": torch.ones(15, WIDTH)}, path)
    with pytest.raises(InputError, match=r"not a prior of Halton-MaskGIT: 15 tokens make no square"):
        FAMILY.spec(Origin(folder=tmp_path))
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_folder_is_recognised_though_its_tokenizer_is_llamagens(converted, files, tmp_path):
    assert recognise(converted) == "halton"
    torch.save(files[0], tmp_path / "vq_ds4_c2i.pt")
    assert recognise(tmp_path) == "llamagen", "the tokenizer alone"
    torch.save(files[1], tmp_path / "ImageNet_16_tiny.pth")
    prior = {"cls_embedding.embedding_table.weight": torch.ones(1), "layers.0.attention.wqkv.weight": torch.ones(1)}
    torch.save(prior, tmp_path / "c2i_B_256.pt")
    with pytest.raises(InputError, match=r"files of llamagen and halton: name the family"):
        convert_generator(tmp_path / "weights.safetensors", folder=tmp_path)
