"""MaskGIT-pytorch: its published files and its steps, against formulations in float64 from its authors' description."""

import copy
import json
from math import acos, erf, pi, sqrt

import numpy as np
import pytest
import torch
import yaml
from torch.nn.attention import SDPBackend, sdpa_kernel

from cortex.config import parse_config
from cortex.config.cross_checks import cross_checks
from cortex.core.errors import InputError
from cortex.core.flops import count_flops
from cortex.core.randomness import uniforms
from cortex.core.weights import read_weights, write_weights
from cortex.generators import maskgit
from cortex.generators.convert import convert_generator
from cortex.generators.halton.networks import HaltonOrder
from cortex.generators.load import load_generator
from cortex.generators.maskgit import FAMILY
from cortex.generators.network.masked import MaskedSampler, MostConfident, counts
from cortex.generators.network.vqgan import VQGAN
from cortex.generators.recognise import recognise
from cortex.generators.sampling import Sampling
from cortex.generators.spec import Origin
from tests.checkpoints import lightning
from tests.pipeline import CHECKOUT
from tests.published import (
    CLASSES,
    CODES,
    HEADS,
    LAYERS,
    TAMING_F16,
    TINY_HEADS,
    WIDTH,
    foreign,
    maskgit_prior,
    shapes_by_name,
    stand_in,
    tiny_maskgit,
)
from tests.slow_vqgan import SlowTaming
from tests.unit.generators.test_sampler import slow_choice, slow_distribution

SIDE, POSITIONS, STEPS = 4, 16, 4
ALONE = Sampling(top_k=None, top_p=None, steps=STEPS, choice_temperature=4.5)
GUIDED = ALONE.model_copy(update={"guidance": 4.0, "guidance_schedule": "linear", "temperature": 0.8})


@pytest.fixture(scope="module")
def files():
    """Tensors of the tokenizer's and the prior's file."""
    return tiny_maskgit(SIDE)


@pytest.fixture(scope="module")
def converted(files, tmp_path_factory):
    """The folder as published, with foreign objects beside the tensors, and the weights file made of it."""
    folder = tmp_path_factory.mktemp("maskgit")
    (folder / "VQGAN").mkdir()
    (folder / "MaskGIT").mkdir()
    lightning(files[0] | {"loss.logvar": torch.ones(1)})(folder / "VQGAN/last.ckpt")
    content = {"iter": 7, "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(3)}}}} | foreign()
    torch.save(content | {"model_state_dict": files[1]}, folder / "MaskGIT/MaskGIT_ImageNet_t.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(maskgit.HEADS, *TINY_HEADS)
        convert_generator(folder / "weights.safetensors", family="maskgit_pytorch", folder=folder)
    return folder


@pytest.fixture(scope="module")
def generator(converted):
    return load_generator(converted / "weights.safetensors", family="maskgit_pytorch")


# --- the prior ---------------------------------------------------------------------------------------------------


class SlowMaskGit:
    """The transformer position by position and head by head, and its steps, by its authors' names."""

    def __init__(self, prior):
        self.w = {name: weight.double().numpy() for name, weight in prior.items()}

    def linear(self, x, name):
        return self.w[f"{name}.weight"] @ x + self.w[f"{name}.bias"]

    def norm(self, x, name, epsilon):
        normal = (x - x.mean()) / np.sqrt(x.var() + epsilon)
        return normal * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def gelu(self, x):
        return x * np.array([(1 + erf(each / sqrt(2))) / 2 for each in x])

    def half(self, x, name):
        """A norm, a product and an activation."""
        return self.gelu(self.linear(self.norm(x, f"{name}.0", 1e-12), f"{name}.2"))

    def logits(self, label, grid):
        """Float64 [P, K + 1]; the class is the last word, and CLASSES the null class."""
        words = [*grid, CODES + 1 + label]
        xs = [self.w["tok_emb.weight"][word] + self.w["pos_emb"][0, place] for place, word in enumerate(words)]
        halves = [self.norm(self.half(x, "first_layer"), "first_layer.4", 1e-12) for x in xs]
        xs = [self.linear(half, "first_layer.6") for half in halves]
        for layer in range(LAYERS):
            xs = self.layer(f"transformer.layers.{layer}", xs)
        last = [self.norm(self.half(x, "last_layer"), "last_layer.4", 1e-12) for x in xs[:POSITIONS]]
        table, bias = self.w["tok_emb.weight"][: CODES + 1], self.w["bias"][:, : CODES + 1]
        return np.array([table @ x + bias[place] for place, x in enumerate(last)])

    def layer(self, name, xs):
        weight, bias = self.w[f"{name}.0.fn.mha.in_proj_weight"], self.w[f"{name}.0.fn.mha.in_proj_bias"]
        normal = [self.norm(x, f"{name}.0.norm", 1e-5) for x in xs]
        q, k, v = zip(*(np.split(weight @ x + bias, 3) for x in normal), strict=True)
        found = []
        for place, x in enumerate(xs):
            mixed = []
            for head in np.split(np.arange(WIDTH), HEADS):
                weights = np.exp([q[place][head] @ key[head] / sqrt(WIDTH / HEADS) for key in k])
                mixed.append(sum(a * value[head] for a, value in zip(weights / weights.sum(), v, strict=True)))
            attended = x + self.linear(np.concatenate(mixed), f"{name}.0.fn.mha.out_proj")
            hidden = self.gelu(self.linear(self.norm(attended, f"{name}.1.norm", 1e-5), f"{name}.1.fn.net.0"))
            found.append(attended + self.linear(hidden, f"{name}.1.fn.net.3"))
        return found

    def grid(self, label, numbers, sampling):
        """The grid of a sample's numbers, step by step and position by position; the mask may be drawn, too."""
        of_codes = numbers[: STEPS * POSITIONS].reshape(STEPS, POSITIONS)
        of_choice = numbers[STEPS * POSITIONS :].reshape(STEPS, POSITIONS)
        grid, left = [CODES] * POSITIONS, set(range(POSITIONS))
        for step, count in enumerate(slow_counts(STEPS, POSITIONS)):
            logits, share = self.logits(label, grid), step / (STEPS - 1)
            if sampling.guidance != 1:
                null, w = self.logits(CLASSES, grid), (sampling.guidance - 1) * share
                logits = (1 + w) * logits - w * null
            drawn, confidence = {}, {}
            for place in left:
                chances = slow_distribution(logits[place], temperature=sampling.temperature)
                drawn[place] = slow_choice(chances, of_codes[step, place])
                gumbel = -np.log(-np.log(of_choice[step, place]))
                confidence[place] = np.log(chances[drawn[place]]) + sampling.choice_temperature * gumbel * (1 - share)
            for place in sorted(left, key=confidence.get)[-count:]:
                grid[place] = drawn[place]
                left.remove(place)
        assert not left
        return [min(code, CODES - 1) for code in grid]


def slow_counts(steps, positions):
    """Codes that a step keeps."""
    arcs = [acos(1 - step / (steps - 1)) / (pi / 2) for step in range(steps)]
    found = [max(round(arc / sum(arcs) * positions), 1) for arc in arcs]
    return [*found[:-1], positions - sum(found[:-1])]


@pytest.mark.parametrize(("steps", "positions"), [(8, 256), (15, 1024), (32, 256), (4, 16), (2, 16)])
def test_every_step_keeps_as_many_codes_as_published(steps, positions):
    assert counts(steps, positions) == slow_counts(steps, positions)
    assert sum(counts(steps, positions)) == positions


def test_the_published_steps_keep_few_codes_at_first():
    assert counts(8, 256) == [1, 18, 26, 32, 38, 43, 48, 50]
    assert counts(1, 16) == [16]
    assert sum(counts(16, 16)) == sum(counts(40, 16)) == 16 and min(counts(40, 16)) == 0


@pytest.mark.parametrize("sampling", [ALONE, GUIDED], ids=["alone", "guided"])
def test_grids_are_those_of_the_slow_formulation(files, generator, sampling):
    exact = copy.deepcopy(generator.transformer).double()
    sampler = MaskedSampler(exact, MostConfident(), torch.float64, CLASSES)
    labels, numbers = [0, 7, 9, 7], np.random.default_rng(1).random((4, sampler.numbers(POSITIONS, sampling)))
    found = sampler.draw(torch.tensor(labels), torch.from_numpy(numbers), sampling).tolist()
    slow = SlowMaskGit(files[1])
    assert found == [slow.grid(label, row, sampling) for label, row in zip(labels, numbers, strict=True)]
    assert len(set(map(tuple, found))) == 4


def test_a_grid_is_a_function_of_class_and_seed(files, generator):
    """In float32, as a run draws it."""
    labels, seeds = np.array([3, 3, 8]), np.array([1, 2, 1], np.uint64)
    grids = generator.sample(labels, seeds, GUIDED)
    for label, seed, grid in zip(labels, seeds, grids, strict=True):
        numbers = uniforms(np.array([seed]), 2 * STEPS * POSITIONS)[0]
        assert grid.flatten().tolist() == SlowMaskGit(files[1]).grid(label, numbers, GUIDED)
    assert torch.equal(generator.sample(labels[::-1].copy(), seeds[::-1].copy(), GUIDED), grids.flip(0))


def test_a_mask_that_is_drawn_is_decoded_as_the_last_code(generator):
    """It is among the outputs, and stays a mask for the steps after it."""
    biased = copy.deepcopy(generator.transformer)
    biased.bias.data[:, CODES] += 100
    sampler = MaskedSampler(biased, MostConfident(), torch.float32, CLASSES)
    numbers = torch.rand(2, sampler.numbers(POSITIONS, ALONE), dtype=torch.float64)
    assert (sampler.draw(torch.tensor([0, 1]), numbers, ALONE) == CODES - 1).all()


def test_guidance_of_1_is_none_bit_for_bit(converted, generator, tmp_path):
    tensors, metadata = read_weights(converted / "weights.safetensors")
    bare = json.loads(metadata["architecture"]) | {"null_class": None}
    write_weights(tmp_path / "bare.safetensors", tensors, {"architecture": json.dumps(bare)})
    unguided = load_generator(tmp_path / "bare.safetensors", family="maskgit_pytorch")
    assert not unguided.spec.guidance and generator.spec.guidance
    labels, seeds = np.arange(10), np.arange(10, dtype=np.uint64)
    of_one = GUIDED.model_copy(update={"guidance": 1.0})
    plain = of_one.model_copy(update={"guidance_schedule": "constant"})
    assert torch.equal(unguided.sample(labels, seeds, plain), generator.sample(labels, seeds, of_one))
    with pytest.raises(InputError, match=r"guidance 4\.0: the generator has no null class"):
        unguided.sample(labels, seeds, GUIDED)


class Stated:
    """A network that gives the same logits whatever it is given."""

    positions, codes = POSITIONS, CODES

    def __init__(self):
        self.table = torch.from_numpy(np.random.default_rng(5).normal(size=(POSITIONS, CODES + 1)) * 2)
        self.table[:, CODES] = -1000.0

    def logits(self, classes, tokens, precision):
        return self.table.expand(len(tokens), -1, -1).to(precision)


@pytest.mark.parametrize("choice", [MostConfident(), HaltonOrder(SIDE)], ids=["MaskGIT-pytorch", "Halton"])
def test_sm_temp_is_an_inverse_temperature(choice):
    """Of the authors: softmax(logits · sm_temp). sm_temp = 1.3 is a temperature of 1/1.3, and draws more sharply."""
    network, sm_temp = Stated(), 1.3
    sampling = Sampling(top_k=None, top_p=None, steps=1, temperature=1 / sm_temp)
    sampler = MaskedSampler(network, choice, torch.float64)
    numbers = torch.from_numpy(np.random.default_rng(6).random((40, sampler.numbers(POSITIONS, sampling))))
    found = sampler.draw(torch.zeros(40, dtype=torch.int64), numbers, sampling).numpy()

    def drawn(factor):
        shares = np.exp(network.table.numpy() * factor)
        ends = (shares / shares.sum(1, keepdims=True)).cumsum(1)
        return np.array([[int((ends[p] <= row[p]).sum()) for p in range(POSITIONS)] for row in numbers.numpy()])

    assert np.array_equal(found, drawn(sm_temp))
    assert (found != drawn(1 / sm_temp)).mean() > 0.05, "the two readings differ"
    likelihood = network.table.log_softmax(1).numpy()[np.arange(POSITIONS), found].mean()
    assert likelihood > network.table.log_softmax(1).numpy()[np.arange(POSITIONS), drawn(1 / sm_temp)].mean()


def test_sm_temp_sharpens_the_confidence_too():
    """The choice of positions compares log softmax(logits · sm_temp) + noise."""
    network, sm_temp = Stated(), 1.3
    network.table[:, :CODES] *= torch.linspace(0.2, 1.5, POSITIONS)[:, None]
    sampling = Sampling(top_k=None, top_p=None, steps=STEPS, choice_temperature=2.0, temperature=1 / sm_temp)
    seen = []

    class Watched(MostConfident):
        def kept(self, step, masks, confidence, numbers, sampling):
            seen.append(confidence.clone())
            return super().kept(step, masks, confidence, numbers, sampling)

    sampler = MaskedSampler(network, Watched(), torch.float64)
    numbers = torch.from_numpy(np.random.default_rng(7).random((3, sampler.numbers(POSITIONS, sampling))))
    sampler.draw(torch.zeros(3, dtype=torch.int64), numbers, sampling)
    chances = (network.table * sm_temp).log_softmax(1)
    codes = chances.exp().cumsum(1)
    first = [[int((codes[p] <= row[p]).sum()) for p in range(POSITIONS)] for row in numbers[:, :POSITIONS]]
    expected = torch.stack([chances[torch.arange(POSITIONS), torch.tensor(row)] for row in first])
    torch.testing.assert_close(seen[0], expected)
    assert len(seen) == STEPS


def test_steps_belong_to_generators_that_draw_in_steps(generator):
    with pytest.raises(InputError, match="steps null: the generator draws in steps: allowed: a number from 1 on"):
        generator.sample([0], np.zeros(1, np.uint64), Sampling(top_k=None, top_p=None))
    with pytest.raises(InputError, match="steps 4: the generator draws token by token: allowed: null"):
        load_generator().sample([0], np.zeros(1, np.uint64), ALONE)
    assert generator.prior() is None and not generator.spec.prior, "no order, no likelihood"


def test_a_config_of_no_steps_is_refused(generator):
    config, _ = parse_config(yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text()))
    without = config.model_copy(update={"generator": config.generator.model_copy(update={"steps": None})})
    assert "generator.steps = None: should be a number, as 8" in list(cross_checks(without, generator.spec))
    published = config.generator.model_copy(update=generator.spec.published.model_dump())
    found = cross_checks(config.model_copy(update={"generator": published}), generator.spec)
    assert not any(line.startswith("generator.") for line in found)


def test_bfloat16_draws_from_nearly_the_same_distribution(generator):
    """The codes of the first step are those of equal grids."""
    once = ALONE.model_copy(update={"steps": 1})
    dtypes = (torch.float32, torch.bfloat16)
    samplers = [MaskedSampler(generator.transformer, MostConfident(), dtype) for dtype in dtypes]
    numbers = torch.from_numpy(np.random.default_rng(3).random((60, samplers[0].numbers(POSITIONS, once))))
    drawn = [sampler.draw(torch.arange(10).repeat(6), numbers, once) for sampler in samplers]
    assert (drawn[0] == drawn[1]).float().mean() > 0.9
    assert not torch.equal(*drawn), "another precision, or the test shows nothing"


def test_the_arithmetic_of_a_step_is_the_networks(generator):
    size = FAMILY.prior_size({"layers": LAYERS, "width": WIDTH, "hidden": 48, "codes": CODES})
    grids = torch.full((5, POSITIONS), CODES)
    with sdpa_kernel(SDPBackend.MATH):  # its products are counted
        counted = count_flops(lambda: generator.transformer.logits(torch.arange(5), grids, torch.float32))
    assert counted == 5 * size.token_flops(POSITIONS)
    assert size.kept_bytes(POSITIONS, 2) == 8 * POSITIONS * (CODES + 1)


# --- the tokenizer and the files ---------------------------------------------------------------------------------


def test_images_and_codes_are_those_of_the_slow_formulation(files, generator):
    slow = SlowTaming(files[0])
    grids = torch.randint(CODES, (2, SIDE, SIDE), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(generator.tokenizer.decode(grids).double(), slow.decode(grids), atol=1e-4, rtol=1e-4)
    images = generator.decode(grids)
    codes = slow.encode(images.permute(0, 3, 1, 2).double() / 127.5 - 1)
    assert torch.equal(generator.encode(images), codes)
    assert (generator.spec.image, generator.spec.pixels) == ((16, 16), (-1, 1))


@pytest.mark.parametrize(
    ("name", "side", "count", "steps", "noise", "guidance"),
    [("256", 16, 174_160_874, 8, 4.5, 4.0), ("512", 32, 176_306_666, 15, 7.0, 3.8)],
)
def test_every_published_size_has_its_names_and_parameters(tmp_path, name, side, count, steps, noise, guidance):
    shapes = maskgit_prior(side=side)
    assert len(shapes) == 305 and sum(np.prod(shape, dtype=int) for shape in shapes.values()) == count
    with torch.device("meta"):
        vqgan = VQGAN(TAMING_F16, n_embed=1024, embed_dim=256)
    tokenizer = {key: tuple(weight.shape) for key, weight in vqgan.state_dict().items()}
    assert sum(np.prod(shape, dtype=int) for shape in tokenizer.values()) == 72_141_699
    torch.save({"model_state_dict": stand_in(shapes)}, tmp_path / f"MaskGIT_ImageNet_{name}.pth")
    torch.save({"state_dict": stand_in(tokenizer)}, tmp_path / "last.ckpt")
    source = FAMILY.source(tmp_path, None, None)
    expected = {f"transformer.{key}": shape for key, shape in shapes.items()}
    expected |= {f"first_stage_model.{key}": shape for key, shape in tokenizer.items()}
    assert shapes_by_name(FAMILY, source.architecture) == expected
    assert source.architecture["tokenizer"]["ddconfig"]["attn_resolutions"] == [side], "where it was in training"
    spec = FAMILY.spec(Origin(folder=tmp_path))
    assert (spec.grid, spec.image, spec.codes, spec.channels) == ((side, side), (16 * side, 16 * side), 1024, 256)
    assert spec.guidance and not spec.prior and spec.encodes and len(spec.class_names) == 1000
    assert spec.published == Sampling(
        top_k=None,
        top_p=None,
        guidance=guidance,
        guidance_schedule="linear",
        steps=steps,
        choice_temperature=noise,
    )
    assert source.architecture["prior"]["heads"] == 16 and source.architecture["null_class"] == 1000


def test_the_strength_of_guidance_grows_evenly():
    assert GUIDED.strengths(4) == [1, 2, 3, 4] and GUIDED.strengths(1) == [1]


def test_what_a_folder_lacks_or_has_too_much_is_told(files, tmp_path, monkeypatch):
    tokenizer, prior = files
    with pytest.raises(InputError, match=r"none of VQGAN/ckpts/last\.ckpt, VQGAN/last\.ckpt, last\.ckpt is there"):
        FAMILY.spec(Origin(folder=tmp_path))
    torch.save(tokenizer, tmp_path / "last.ckpt")
    torch.save(prior, path := tmp_path / "MaskGIT_ImageNet_t.pth")
    with pytest.raises(InputError, match=r"grid \[4, 4\]: should not be set: the prior's tensors tell it"):
        FAMILY.spec(Origin(folder=tmp_path, grid=(4, 4)))
    with pytest.raises(InputError, match=r"a prior of width 32 and 3 layers: no published size; allowed: 768 × 24"):
        FAMILY.spec(Origin(folder=tmp_path))
    monkeypatch.setitem(maskgit.HEADS, *TINY_HEADS)
    assert FAMILY.spec(Origin(folder=tmp_path)).grid == (SIDE, SIDE)
    torch.save(prior | {"transformer.other": torch.ones(2)}, path)
    with pytest.raises(InputError, match=r"1 unexpected weights: transformer\.other$"):
        convert_generator(tmp_path / "weights.safetensors", family="maskgit_pytorch", folder=tmp_path)
    torch.save(prior | {"pos_emb": torch.ones(1, 16, WIDTH)}, path)
    with pytest.raises(InputError, match=r"not a prior of MaskGIT-pytorch: 15 tokens make no square"):
        FAMILY.spec(Origin(folder=tmp_path))
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_folder_is_recognised_though_its_tokenizer_is_tamings(converted, files, tmp_path):
    assert recognise(converted) == "maskgit_pytorch"
    torch.save(files[0], tmp_path / "last.ckpt")
    assert recognise(tmp_path) == "taming", "the tokenizer alone"
    torch.save(files[1], tmp_path / "MaskGIT_ImageNet_t.pth")
    torch.save({"transformer.blocks.0.attn.key.weight": torch.ones(1)}, tmp_path / "other.ckpt")
    torch.save({"first_stage_model.quantize.embedding.weight": torch.ones(1)}, tmp_path / "another.ckpt")
    with pytest.raises(InputError, match=r"files of taming and maskgit_pytorch: name the family"):
        convert_generator(tmp_path / "weights.safetensors", folder=tmp_path)
