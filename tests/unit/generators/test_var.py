"""VAR: its published files, scales and steps, against formulations in float64 from its description."""

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
from cortex.generators.convert import convert_generator
from cortex.generators.load import load_generator, read_codebook
from cortex.generators.recognise import recognise
from cortex.generators.sampling import Sampling
from cortex.generators.scales import FILTERS, Composition, ends_of
from cortex.generators.spec import Origin
from cortex.generators.var import FAMILY, files
from cortex.generators.var.networks import ScaleSampler
from tests.published import (
    CLASSES,
    CODES,
    HEADS,
    LAYERS,
    TINY_SIDES,
    VAR_CHANNELS,
    VAR_HIDDEN,
    WIDTH,
    foreign,
    shapes_by_name,
    stand_in,
    tiny_var,
    var_prior,
    var_tokenizer_file,
)
from tests.slow_vqgan import SlowTaming
from tests.unit.generators.test_sampler import slow_choice, slow_distribution

SIDES = TINY_SIDES[4]
POSITIONS = sum(side**2 for side in SIDES)
ALONE = Sampling(top_k=None, top_p=None)
GUIDED = ALONE.model_copy(
    update={"guidance": 2.5, "guidance_schedule": "linear", "temperature": 0.8, "top_k": 30, "top_p": 0.9}
)


@pytest.fixture(scope="module", params=[False, True], ids=["own", "shared"])
def published(request):
    """Tensors of the tokenizer's and the prior's file; layers have products of the class of their own, or share one."""
    return tiny_var(4, request.param)


@pytest.fixture(scope="module")
def converted(published, tmp_path_factory):
    """The folder, with foreign objects beside the tensors, and the weights file made of it."""
    folder = tmp_path_factory.mktemp("var")
    torch.save({"state_dict": published[0]} | foreign(), folder / "vae_ch32v48z16.pth")
    torch.save(foreign() | {"model": published[1]}, folder / "var_d3.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(files.SIDES, POSITIONS, SIDES)
        convert_generator(folder / "weights.safetensors", family="var", folder=folder)
    return folder


@pytest.fixture(scope="module")
def generator(converted):
    return load_generator(converted / "weights.safetensors", family="var")


# --- the map that scales add up to -------------------------------------------------------------------------------


def cubic(x):
    """The kernel of bicubic interpolation with a = −0.75, as torch has it."""
    x, a = abs(x), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def enlarging(small, large):
    """The matrix [large, small] of bicubic interpolation along one axis; pixels beyond the edge are those of it."""
    matrix = np.zeros((large, small))
    for row in range(large):
        centre = (row + 0.5) * small / large - 0.5
        for pixel in range(math.floor(centre) - 1, math.floor(centre) + 3):
            matrix[row, min(max(pixel, 0), small - 1)] += cubic(centre - pixel)
    return matrix


def shrinking(large, small):
    """The matrix [small, large] of means over the pixels that a smaller one covers, in part too."""
    matrix = np.zeros((small, large))
    for row in range(small):
        start, end = row * large // small, -(-(row + 1) * large // small)
        matrix[row, start:end] = 1 / (end - start)
    return matrix


class SlowScales:
    """The map of all scales, channel by channel, by the authors' names."""

    def __init__(self, tokenizer, sides=SIDES):
        self.w = {name: weight.double().numpy() for name, weight in tokenizer.items()}
        self.sides, self.last = sides, sides[-1]

    def added(self, scale, codes):
        """What a scale's codes add, [d, h, w]."""
        side = self.sides[scale]
        vectors = self.w["quantize.embedding.weight"][np.asarray(codes)].T.reshape(-1, side, side)
        if side != self.last:
            matrix = enlarging(side, self.last)
            vectors = np.stack([matrix @ channel @ matrix.T for channel in vectors])
        name = f"quantize.quant_resi.qresi_ls.{[0, 0, 1, 1, 1, 2, 2, 3, 3, 3][scale]}"
        kernel, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        padded = np.pad(vectors, ((0, 0), (1, 1), (1, 1)))
        filtered = np.empty_like(vectors)
        for row in range(self.last):
            for column in range(self.last):
                window = padded[:, row : row + 3, column : column + 3]
                filtered[:, row, column] = np.einsum("oiyx,iyx->o", kernel, window) + bias
        return 0.5 * vectors + 0.5 * filtered

    def composed(self, codes):
        """The map of all codes of an image, less their scales' offsets."""
        ends = ends_of(self.sides)
        return sum(self.added(scale, codes[ends[scale] : ends[scale + 1]]) for scale in range(10))


def test_the_filters_are_those_of_the_authors_arithmetic():
    """The nearest of four numbers to k/9; where two are as near, floating-point numbers decide."""
    ticks = np.linspace(1 / 3 / 4, 1 - 1 / 3 / 4, 4)
    assert [int(np.argmin(np.abs(ticks - k / 9))) for k in range(10)] == list(FILTERS) == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("side", [4, 8])
def test_token_vectors_add_up_to_the_authors_map(side):
    (tokenizer, _), sides = tiny_var(side), TINY_SIDES[side]
    composition = Composition(sides, VAR_CHANNELS).double()
    filters = {name.removeprefix("quantize.quant_resi."): w for name, w in tokenizer.items() if "quant_resi" in name}
    composition.load_state_dict(filters)
    codes = np.random.default_rng(0).integers(0, CODES, sum(each**2 for each in sides))
    vectors = tokenizer["quantize.embedding.weight"].double()[torch.from_numpy(codes)]
    found = composition(vectors[None])[0].detach().numpy()
    np.testing.assert_allclose(found, SlowScales(tokenizer, sides).composed(codes), atol=1e-10)


def test_images_are_decoded_from_the_map(published, generator):
    grids = torch.from_numpy(np.random.default_rng(1).integers(0, CODES, (3, POSITIONS)))
    exact, slow = copy.deepcopy(generator.tokenizer).double(), SlowScales(published[0])
    maps = torch.from_numpy(np.stack([slow.composed(row) for row in grids.tolist()]))
    offsets = torch.repeat_interleave(torch.arange(10) * CODES, torch.tensor([side**2 for side in SIDES]))
    images = exact.decode((grids + offsets)[:, None])
    torch.testing.assert_close(images, SlowTaming(exact.state_dict()).decode_vectors(maps))
    assert images.shape == (3, 3, 16, 16) and images.std() > 0.01
    assert exact.post_quant_conv.weight.shape == exact.quant_conv.weight.shape == (VAR_CHANNELS, VAR_CHANNELS, 3, 3)


def test_queries_keys_and_values_are_the_thirds_of_one_product(published, converted):
    stored, _ = read_weights(converted / "weights.safetensors", only="first_stage_model.")
    for kind in ("weight", "bias"):
        for block in ("encoder.mid.attn_1", "decoder.up.2.attn.0"):
            parts = [stored[f"first_stage_model.{block}.{part}.{kind}"] for part in "qkv"]
            assert torch.equal(torch.cat(parts), published[0][f"{block}.qkv.{kind}"])


def test_an_image_has_the_nearest_codes_of_what_coarser_scales_leave(published, generator):
    exact, slow = copy.deepcopy(generator.tokenizer).double(), SlowScales(published[0])
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)).double() * 2 - 1
    found = exact.encode(images)[:, 0].tolist()
    vectors, used = published[0]["quantize.embedding.weight"].double().numpy(), set()
    slow_vectors = SlowTaming(exact.state_dict()).vectors(images)
    torch.testing.assert_close(exact.embed_images(images), slow_vectors)
    for image, tokens in zip(slow_vectors.detach().numpy(), found, strict=True):
        left, expected = image * 1.0, []
        for scale, side in enumerate(SIDES):
            matrix = shrinking(4, side)
            small = np.stack([matrix @ channel @ matrix.T for channel in left]).reshape(VAR_CHANNELS, -1).T
            codes = [int(np.argmin(((vectors - vector) ** 2).sum(1))) for vector in small]
            left = left - slow.added(scale, codes)
            expected += [code + scale * CODES for code in codes]
        assert tokens == expected
        used |= set(expected)
    assert len(used) > 30


# --- the prior ---------------------------------------------------------------------------------------------------


class SlowVar:
    """The transformer position by position and head by head, and its scales, by its authors' names."""

    def __init__(self, tokenizer, prior):
        self.w = {name: weight.double().numpy() for name, weight in prior.items()}
        self.scales, self.ends = SlowScales(tokenizer), ends_of(SIDES)

    def levels(self, scales):
        """The scale of every position of so many scales."""
        return [scale for scale in range(scales) for _ in range(SIDES[scale] ** 2)]

    def linear(self, name, x):
        return self.w[f"{name}.weight"] @ x + self.w[f"{name}.bias"]

    def of_class(self, name, given):
        return self.linear(f"{name}.1", given / (1 + np.exp(-given)))

    def norm(self, x):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-6)

    def logits(self, label, codes):
        """Float64 [side², K] of the scale after the codes of all coarser scales."""
        given, scales = self.w["class_emb.weight"][label], self.ends.index(len(codes)) + 1
        xs = [given + self.w["pos_start"][0, 0]]
        composed = np.zeros((VAR_CHANNELS, 4, 4))
        for scale in range(1, scales):
            composed = composed + self.scales.added(scale - 1, codes[self.ends[scale - 1] : self.ends[scale]])
            matrix = shrinking(4, SIDES[scale])
            small = np.stack([matrix @ channel @ matrix.T for channel in composed]).reshape(VAR_CHANNELS, -1).T
            xs += [self.linear("word_embed", vector) for vector in small]
        levels = self.levels(scales)
        xs = [x + self.w["lvl_embed.weight"][level] for x, level in zip(xs, levels, strict=True)]
        xs = [x + place for x, place in zip(xs, self.w["pos_1LC"][0], strict=False)]
        for layer in range(LAYERS):
            xs = self.layer(f"blocks.{layer}", xs, levels, given)
        scale, shift = np.split(self.of_class("head_nm.ada_lin", given), 2)
        last = xs[self.ends[scales - 1] :]
        return np.array([self.linear("head", self.norm(x) * (1 + scale) + shift) for x in last])

    def layer(self, name, xs, levels, given):
        if f"{name}.ada_gss" in self.w:
            six = self.of_class("shared_ada_lin", given) + self.w[f"{name}.ada_gss"].ravel()
        else:
            six = self.of_class(f"{name}.ada_lin", given)
        gamma1, gamma2, scale1, scale2, shift1, shift2 = np.split(six, 6)
        wq, wk, wv = np.split(self.w[f"{name}.attn.mat_qkv.weight"], 3)
        inside = [self.norm(x) * (1 + scale1) + shift1 for x in xs]
        q = [wq @ x + self.w[f"{name}.attn.q_bias"] for x in inside]
        k, v = [wk @ x for x in inside], [wv @ x + self.w[f"{name}.attn.v_bias"] for x in inside]
        factors = np.exp(np.minimum(self.w[f"{name}.attn.scale_mul_1H11"].ravel(), math.log(100)))
        found = []
        for place, x in enumerate(xs):
            seen, mixed = [other for other in range(len(xs)) if levels[other] <= levels[place]], []
            for head, factor in zip(np.split(np.arange(WIDTH), HEADS), factors, strict=True):
                query = q[place][head] / np.linalg.norm(q[place][head]) * factor
                scores = np.array([query @ k[other][head] / np.linalg.norm(k[other][head]) for other in seen])
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                mixed.append(sum(a * v[other][head] for a, other in zip(weights, seen, strict=True)))
            attended = x + gamma1 * self.linear(f"{name}.attn.proj", np.concatenate(mixed))
            up = self.linear(f"{name}.ffn.fc1", self.norm(attended) * (1 + scale2) + shift2)
            hidden = 0.5 * up * (1 + np.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
            found.append(attended + gamma2 * self.linear(f"{name}.ffn.fc2", hidden))
        return found

    def tokens(self, label, numbers, sampling):
        """The tokens of a sample's numbers, each scale from logits of all that stands before it."""
        codes, choice = [], sampling.choice
        for scale in range(10):
            logits = self.logits(label, codes)
            if sampling.guidance != 1:
                t = (sampling.guidance - 1) * scale / 9  # the authors' cfg · ratio
                logits = (1 + t) * logits - t * self.logits(CLASSES, codes)
            places = range(self.ends[scale], self.ends[scale + 1])
            codes += [
                slow_choice(slow_distribution(row, **choice), numbers[place])
                for place, row in zip(places, logits, strict=True)
            ]
        return [code + scale * CODES for scale, code in zip(self.levels(10), codes, strict=True)]


@pytest.mark.parametrize("sampling", [ALONE, GUIDED], ids=["alone", "guided"])
def test_tokens_are_those_of_the_slow_formulation(published, generator, sampling):
    exact, tokenizer = (copy.deepcopy(part).double() for part in (generator.transformer, generator.tokenizer))
    sampler = ScaleSampler(exact, tokenizer, torch.float64, CLASSES)
    labels, numbers = [0, 9], np.random.default_rng(1).random((2, sampler.numbers(POSITIONS, sampling)))
    found = sampler.draw(torch.tensor(labels), torch.from_numpy(numbers), sampling).tolist()
    slow = SlowVar(*published)
    assert found == [slow.tokens(label, row, sampling) for label, row in zip(labels, numbers, strict=True)]
    assert len(set(map(tuple, found))) == 2


def test_a_grid_is_a_function_of_class_and_seed(published, generator):
    """In float32, as a run draws it."""
    labels, seeds = np.array([3, 8, 3]), np.array([1, 1, 2], np.uint64)
    grids = generator.sample(labels, seeds, GUIDED)
    assert grids.shape == (3, 1, POSITIONS)
    numbers = uniforms(seeds[1:2], POSITIONS)[0]
    assert grids[1, 0].tolist() == SlowVar(*published).tokens(labels[1], numbers, GUIDED)
    assert torch.equal(generator.sample(labels[::-1].copy(), seeds[::-1].copy(), GUIDED), grids.flip(0))


def test_guidance_of_1_is_none_bit_for_bit(generator):
    plain = ScaleSampler(generator.transformer, generator.tokenizer, torch.float32)
    guided = ScaleSampler(generator.transformer, generator.tokenizer, torch.float32, CLASSES)
    numbers = torch.rand(10, POSITIONS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn = [sampler.draw(torch.arange(10), numbers, ALONE) for sampler in (plain, guided)]
    assert torch.equal(*drawn) and generator.prior() is None
    with pytest.raises(InputError, match=r"guidance 2\.5: the generator has no null class"):
        plain.draw(torch.arange(10), numbers, GUIDED)
    with pytest.raises(InputError, match=r"steps 8: the generator draws scale by scale: allowed: null"):
        plain.numbers(POSITIONS, ALONE.model_copy(update={"steps": 8}))


def test_bfloat16_draws_from_nearly_the_same_distribution(generator):
    """The first scales: a token that differs changes all finer ones."""
    numbers = torch.from_numpy(np.random.default_rng(3).random((100, POSITIONS)))
    networks, types = (generator.transformer, generator.tokenizer), (torch.float32, torch.bfloat16)
    drawn = [ScaleSampler(*networks, dtype).draw(torch.arange(10).repeat(10), numbers, ALONE) for dtype in types]
    assert (drawn[0][:, :2] == drawn[1][:, :2]).float().mean() > 0.85
    assert not torch.equal(*drawn), "another precision, or the test shows nothing"


def test_the_arithmetic_of_a_sample_is_the_samplers(published, generator):
    shared = "shared_ada_lin.1.weight" in published[1]
    prior = {"layers": LAYERS, "width": WIDTH, "hidden": VAR_HIDDEN, "codes": CODES, "channels": VAR_CHANNELS}
    size = FAMILY.prior_size(prior | {"sides": SIDES, "shared": shared})
    numbers = torch.rand(5, POSITIONS, dtype=torch.float64)
    sampler = ScaleSampler(generator.transformer, generator.tokenizer, torch.float32)
    with sdpa_kernel(SDPBackend.MATH):  # its products are counted
        counted = count_flops(lambda: sampler.draw(torch.arange(5), numbers, ALONE))
    filters = 2 * 10 * 9 * VAR_CHANNELS**2 * 16  # left out of the count: 0.02 % of d16's
    assert counted == 5 * (size.token_flops(POSITIONS) + filters)


# --- files -------------------------------------------------------------------------------------------------------

PUBLISHED = [  # layers, positions, parameters, tensors of the file
    ("var_d12.pth", 12, 680, 133_186_960),
    ("var_d16.pth", 16, 680, 310_283_520),
    ("var_d20.pth", 20, 680, 600_917_136),
    ("var_d24.pth", 24, 680, 1_033_399_360),
    ("var_d30.pth", 30, 680, 2_010_020_356),
    ("var_d36.pth", 36, 2240, 2_353_893_904),
]
BUFFERS = ("lvl_1L", "attn_bias_for_masking", "zero_k_bias")


@pytest.mark.parametrize(("name", "layers", "positions", "parameters"), PUBLISHED)
def test_every_published_size_has_its_names_and_parameters(tmp_path, name, layers, positions, parameters):
    """The README states 310, 600, 1,000, 2,000 and 2,300 million."""
    width, shared = 64 * layers, layers == 36
    shapes = var_prior(layers, width, 4 * width, positions, shared=shared)
    weights = {key: shape for key, shape in shapes.items() if not key.endswith(BUFFERS)}
    assert sum(np.prod(shape, dtype=int) for shape in weights.values()) == parameters
    if layers == 16:
        assert len(shapes) == 220 and len(shapes) - len(weights) == 2 + 16
    torch.save(stand_in(shapes), tmp_path / name)
    torch.save(tokenizer := var_tokenizer_file(), tmp_path / "vae_ch160v4096z32.pth")
    assert len(tokenizer) == 324
    source = FAMILY.source(tmp_path, None, None)
    found = shapes_by_name(FAMILY, source.architecture)
    ours = {key: shape for key, shape in found.items() if key.startswith("transformer.")}
    assert ours == {f"transformer.{key}": shape for key, shape in weights.items()}
    assert sum(np.prod(shape, dtype=int) for key, shape in found.items() if key not in ours) == 108_948_355
    spec, side = FAMILY.spec(Origin(folder=tmp_path)), 16 if positions == 680 else 32
    assert (spec.grid, spec.image, spec.codes, spec.channels) == ((1, positions), (16 * side,) * 2, 40_960, 32)
    assert spec.scales[-1] == side and len(spec.scales) == 10 and sum(each**2 for each in spec.scales) == positions
    assert spec.published == Sampling(top_k=900, top_p=0.96, guidance=2.5, guidance_schedule="linear")
    assert spec.published.strengths(10)[::3] == [1, 1.5, 2, 2.5], "1 + cfg · k/9, of the authors' cfg 1.5"
    prior = source.architecture["prior"]
    assert (prior["layers"], prior["heads"], prior["shared"]) == (layers, layers, shared) and not spec.prior


def test_a_codebook_has_the_vectors_once_a_scale(published, generator, converted):
    vectors, spec = published[0]["quantize.embedding.weight"], generator.spec
    assert torch.equal(generator.codebook.view(10, CODES, -1), vectors.expand(10, -1, -1))
    assert torch.equal(read_codebook(converted / "weights.safetensors", "var"), generator.codebook)
    assert (spec.codes, spec.grid, spec.scales) == (10 * CODES, (1, POSITIONS), SIDES)
    grids = generator.sample([2], np.array([5], np.uint64), GUIDED)
    ends = ends_of(SIDES)
    for scale in range(10):
        part = grids[0, 0, ends[scale] : ends[scale + 1]]
        assert (part // CODES == scale).all()
    vectors = generator.codebook[grids.flatten(1)]
    np.testing.assert_allclose(
        generator.compose(vectors)[0], SlowScales(published[0]).composed((grids % CODES).flatten()), atol=1e-4
    )
    images = generator.decode(grids)
    assert images.shape == (1, 16, 16, 3) and generator.encode(images).shape == grids.shape


def test_a_tokenizer_alone_decodes_and_is_of_small_images(published, tmp_path):
    torch.save(var_tokenizer_file(), tmp_path / "vae_ch160v4096z32.pth")
    spec = FAMILY.spec(Origin(folder=tmp_path))
    assert (spec.image, spec.grid, spec.samples, spec.encodes) == ((256, 256), (1, 680), False, True)


def test_a_folder_is_recognised_though_its_tokenizer_has_tamings_names(published, converted, tmp_path):
    assert recognise(converted) == "var"
    torch.save(published[0], tmp_path / "vae_t.pth")
    assert recognise(tmp_path) == "var", "the tokenizer alone"
    torch.save({"transformer.blocks.0.attn.key.weight": torch.ones(1)}, tmp_path / "other.ckpt")
    torch.save({"first_stage_model.quantize.embedding.weight": torch.ones(1)}, tmp_path / "another.ckpt")
    with pytest.raises(InputError, match="files of taming and var: name the family"):
        recognise(tmp_path)


def test_what_a_folder_lacks_or_has_too_much_is_told(published, tmp_path, monkeypatch):
    tokenizer, prior = published
    torch.save(tokenizer, tmp_path / "vae_t.pth")
    torch.save(prior, path := tmp_path / "var_d3.pth")
    with pytest.raises(InputError, match=rf"{POSITIONS} positions, whose scales no weight tells; allowed: \[680, 2240"):
        FAMILY.spec(Origin(folder=tmp_path))
    monkeypatch.setitem(files.SIDES, POSITIONS, SIDES)
    with pytest.raises(InputError, match=r"grid \[4, 4\]: should not be set: tokens have 10 scales"):
        FAMILY.spec(Origin(folder=tmp_path, grid=(4, 4)))
    assert FAMILY.spec(Origin(folder=tmp_path)).scales == SIDES
    torch.save(prior | {"blocks.0.attn.k_bias": torch.ones(2)}, path)
    with pytest.raises(InputError, match=r"1 unexpected weights: blocks\.0\.attn\.k_bias$"):
        convert_generator(tmp_path / "weights.safetensors", family="var", folder=tmp_path)
    torch.save(prior | {"word_embed.weight": torch.ones(WIDTH, 8)}, path)
    with pytest.raises(InputError, match=r"the prior has sides, codes and channels .*, 8\), the tokenizer .*, 16\)"):
        FAMILY.spec(Origin(folder=tmp_path))
    name = "decoder.mid.attn_1.qkv.bias"
    torch.save(tokenizer | {name: tokenizer[name][:-1]}, tmp_path / "vae_t.pth")
    torch.save(prior, path)
    with pytest.raises(InputError, match=r"attn_1\.qkv\.bias: \(191,\) has no 3 equal parts of rows"):
        convert_generator(tmp_path / "weights.safetensors", family="var", folder=tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()
