"""LlamaGen: its published files, against formulations in float64 written from its description, without cache."""

import copy
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel

from cortex.core.errors import InputError
from cortex.core.flops import count_flops
from cortex.core.randomness import uniforms
from cortex.core.weights import read_weights, write_weights
from cortex.core.weights_metadata import read_metadata
from cortex.generators.convert import convert_generator
from cortex.generators.llamagen import FAMILY, sizes
from cortex.generators.llamagen.networks import LlamaSteps, rotations
from cortex.generators.load import generator_spec, load_generator
from cortex.generators.network.raster import RasterSampler
from cortex.generators.prior import log_likelihoods
from cortex.generators.sampling import Sampling
from cortex.generators.spec import Origin
from tests.published import (
    CLASSES,
    CODES,
    HEADS,
    LAYERS,
    TINY_SIZE,
    WIDTH,
    foreign,
    shapes_by_name,
    stand_in,
    tiny_llamagen,
)
from tests.published import llamagen_prior as prior_shapes
from tests.published import llamagen_tokenizer_file as tokenizer_file
from tests.slow_vqgan import SlowTokenizer
from tests.unit.generators.test_sampler import slow_choice, slow_distribution

SIDE = 4
POSITIONS = SIDE * SIDE
UNCUT = Sampling(top_k=None, top_p=None)


@pytest.fixture(scope="module")
def files():
    """Tensors of the tokenizer's and the prior's file."""
    return tiny_llamagen(SIDE)


@pytest.fixture(scope="module")
def converted(files, tmp_path_factory):
    """The folder, with foreign objects in its files, and the weights file made of it; its size is a published one."""
    folder = tmp_path_factory.mktemp("llamagen")
    tokenizer, prior = files
    torch.save({"model": tokenizer} | foreign(), folder / "vq_ds4_c2i.pt")
    torch.save({"model": prior | {"freqs_cis": torch.zeros(17, 4, 2)}} | foreign(), folder / "c2i_T.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sizes.SIZES, *TINY_SIZE)
        convert_generator(folder / "weights.safetensors", folder=folder, grid=(SIDE, SIDE))
    return folder


@pytest.fixture(scope="module")
def generator(converted):
    return load_generator(converted / "weights.safetensors", family="llamagen")


# --- the prior ---------------------------------------------------------------------------------------------------


def angle(position, pair, side=SIDE):
    """Of a pair of a head's channels at a position of the grid: rows turn the first half of the pairs."""
    half = WIDTH // HEADS // 2  # channels that turn by the row
    row, column = divmod(position, side)
    place, index = (row, pair) if pair < half // 2 else (column, pair - half // 2)
    return place * 10000.0 ** (-2 * index / half)


def turned(x, position, class_turns=0.0, side=SIDE):
    """A head's channels as complex pairs, turned; ``position`` −1 is the class's, whose factor is 0."""
    pairs = x[0::2] + 1j * x[1::2]
    if position < 0:
        return pairs * class_turns
    return pairs * np.exp([1j * angle(position, pair, side) for pair in range(len(pairs))])


def slow_logits(prior, label, tokens, class_turns=0.0):
    """Logits float64 [K] of the token after some, position by position and head by head: the whole of it each time."""
    w = {name: weight.double().numpy() for name, weight in prior.items()}

    def norm(x, weight):
        return x / np.sqrt(np.mean(x**2) + 1e-5) * weight

    xs = [w["cls_embedding.embedding_table.weight"][label], *(w["tok_embeddings.weight"][token] for token in tokens)]
    for layer in range(LAYERS):
        name = f"layers.{layer}."
        normal = [norm(x, w[name + "attention_norm.weight"]) for x in xs]
        q, k, v = zip(*(np.split(w[name + "attention.wqkv.weight"] @ x, 3) for x in normal), strict=True)
        mixed = []
        for place in range(len(xs)):
            heads = []
            for of_head in np.split(np.arange(WIDTH), HEADS):
                query = turned(q[place][of_head], place - 1, class_turns)
                keys = [turned(k[other][of_head], other - 1, class_turns) for other in range(place + 1)]
                scores = np.array([(query * key.conj()).real.sum() for key in keys]) / np.sqrt(WIDTH / HEADS)
                weights = np.exp(scores - scores.max())
                heads.append(sum(a * v[other][of_head] for other, a in enumerate(weights / weights.sum())))
            mixed.append(np.concatenate(heads))
        xs = [x + w[name + "attention.wo.weight"] @ m for x, m in zip(xs, mixed, strict=True)]
        for place, x in enumerate(xs):
            normal = norm(x, w[name + "ffn_norm.weight"])
            gate = w[name + "feed_forward.w1.weight"] @ normal
            hidden = gate / (1 + np.exp(-gate)) * (w[name + "feed_forward.w3.weight"] @ normal)
            xs[place] = x + w[name + "feed_forward.w2.weight"] @ hidden
    return w["output.weight"] @ norm(xs[-1], w["norm.weight"])


def slow_tokens(prior, label, numbers, guidance=1.0, **cut):
    tokens = []
    for number in numbers:
        logits = slow_logits(prior, label, tokens)
        if guidance != 1:
            null = slow_logits(prior, CLASSES, tokens)
            logits = null + guidance * (logits - null)
        tokens.append(slow_choice(slow_distribution(logits, **cut), number))
    return tokens


@pytest.mark.parametrize("how", ["plain", "captured"])
@pytest.mark.parametrize(
    ("guidance", "cut"), [(1.0, {}), (2.5, {}), (4.0, {"top_k": 20, "top_p": 0.9, "temperature": 0.8})], ids=str
)
def test_sampled_tokens_are_those_of_the_slow_formulation(files, generator, how, guidance, cut):
    exact = copy.deepcopy(generator.transformer).double()
    sampler = RasterSampler(LlamaSteps(exact, torch.float64), how, CLASSES)
    labels, numbers = [0, 7, 9], np.random.default_rng(1).random((3, POSITIONS))
    sampling = Sampling(**{"top_k": None, "top_p": None, "guidance": guidance} | cut)
    expected = [slow_tokens(files[1], label, row, guidance, **cut) for label, row in zip(labels, numbers, strict=True)]
    for _ in range(2):  # anew in the same cache
        assert sampler.draw(torch.tensor(labels), torch.from_numpy(numbers), sampling).tolist() == expected
    assert len(set(map(tuple, expected))) == 3


def test_a_grid_is_a_function_of_class_and_seed_as_published(files, generator):
    """In float32, as a run draws it."""
    labels, seeds = np.array([3, 3, 8]), np.array([1, 2, 1], np.uint64)
    assert generator.spec.published == Sampling(top_k=None, top_p=None, guidance=1.5)  # of a size that is not published
    sampling = UNCUT.model_copy(update={"guidance": 2.5})
    grids = generator.sample(labels, seeds, sampling)
    for label, seed, grid in zip(labels, seeds, grids, strict=True):
        numbers = uniforms(np.array([seed]), POSITIONS)[0]
        assert grid.flatten().tolist() == slow_tokens(files[1], label, numbers, 2.5)
    assert torch.equal(generator.sample(labels[::-1].copy(), seeds[::-1].copy(), sampling), grids.flip(0))


def test_likelihoods_are_those_of_the_slow_formulation(files, generator):
    tokens = torch.randint(CODES, (2, POSITIONS), generator=torch.Generator().manual_seed(1))
    places = [0, 3, 15]
    found = log_likelihoods(generator.prior(), torch.tensor([4, CLASSES]), tokens, places)
    for image, label in enumerate((4, CLASSES)):
        for column, place in enumerate(places):
            logits = slow_logits(files[1], label, tokens[image, :place].tolist())
            expected = logits[tokens[image, place]] - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
            assert found[image, column].item() == pytest.approx(expected, abs=1e-4)


def test_the_classs_key_is_zero_and_its_value_is_not(files, generator):
    """Were it not turned (factor 1) but zero, other tokens would give it another weight."""
    sampler = RasterSampler(LlamaSteps(copy.deepcopy(generator.transformer)))
    sampler.draw(torch.tensor([0, 5]), torch.rand(2, POSITIONS, dtype=torch.float64), UNCUT)
    keys, values = sampler._buffers.cache.unbind(1)
    assert not keys[:, :, :, 0].any() and values[:, :, :, 0].all()
    assert keys[:, :, :, 1:].any(-1).all()
    tokens = [5, 40, 7]
    zero, unturned = slow_logits(files[1], 2, tokens), slow_logits(files[1], 2, tokens, class_turns=1.0)
    found = generator.transformer.all_logits(torch.tensor([2]), torch.tensor([tokens]))[0, -1]
    np.testing.assert_allclose(found.numpy(), zero, atol=1e-4)
    assert np.abs(unturned - zero).max() > 0.1, "the trap matters, or this shows nothing"


def test_rotations_are_by_row_and_column():
    table = rotations(SIDE, WIDTH // HEADS, torch.zeros((), dtype=torch.float64))
    assert table.shape == (1 + POSITIONS, 8, 2) and not table[0].any()
    for position in range(POSITIONS):
        for pair in range(8):
            expected = [np.cos(angle(position, pair)), np.sin(angle(position, pair))]
            np.testing.assert_allclose(table[1 + position, pair].numpy(), expected, atol=1e-12)


def test_guidance_of_1_is_none_bit_for_bit(converted, generator, tmp_path):
    tensors, metadata = read_weights(converted / "weights.safetensors")
    bare = json.loads(metadata["architecture"]) | {"null_class": None}
    write_weights(tmp_path / "bare.safetensors", tensors, {"architecture": json.dumps(bare)})
    unguided = load_generator(tmp_path / "bare.safetensors", family="llamagen")
    assert not unguided.spec.guidance and generator.spec.guidance
    labels, seeds = np.arange(10), np.arange(10, dtype=np.uint64)
    assert torch.equal(unguided.sample(labels, seeds, UNCUT), generator.sample(labels, seeds, UNCUT))
    with pytest.raises(InputError, match=r"guidance 2\.0: the generator has no null class"):
        unguided.sample(labels, seeds, Sampling(guidance=2.0))


def test_bfloat16_draws_from_nearly_the_same_distribution(generator):
    labels, numbers = torch.arange(10).repeat(6), torch.from_numpy(np.random.default_rng(3).random((60, POSITIONS)))
    drawn = [
        RasterSampler(LlamaSteps(copy.deepcopy(generator.transformer), dtype)).draw(labels, numbers, UNCUT)
        for dtype in (torch.float32, torch.bfloat16)
    ]
    assert (drawn[0][:, 0] == drawn[1][:, 0]).float().mean() > 0.9
    assert not torch.equal(*drawn), "another precision, or the test shows nothing"


# --- the tokenizer -----------------------------------------------------------------------------------------------


def test_images_and_codes_are_those_of_the_slow_formulation(files, generator):
    slow = SlowTokenizer(files[0])
    grids = torch.randint(CODES, (3, SIDE, SIDE), generator=torch.Generator().manual_seed(2))
    pixels = slow.decode(grids)
    torch.testing.assert_close(generator.tokenizer.decode(grids).double(), pixels, atol=1e-4, rtol=1e-4)
    expected = ((pixels.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1)
    assert (generator.decode(grids) - expected).abs().max() <= 1
    images = torch.randint(256, (6, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    codes = slow.encode(images.permute(0, 3, 1, 2).double() / 127.5 - 1)
    assert torch.equal(generator.encode(images), codes) and len(codes.unique()) > 5
    assert generator.spec.pixels == (-1, 1) and generator.spec.image == (16, 16)


def test_the_codebook_is_kept_as_it_is_looked_up(files, generator, converted):
    stored, _ = read_weights(converted / "weights.safetensors", only="first_stage_model.quantize")
    raw = files[0]["quantize.embedding.weight"]
    assert list(stored) == ["first_stage_model.quantize.embedding.weight"], "the buffer of counts is left out"
    torch.testing.assert_close(generator.codebook, raw / raw.norm(dim=1, keepdim=True))
    assert not torch.allclose(raw.norm(dim=1), torch.ones(CODES), atol=0.1)


# --- files -------------------------------------------------------------------------------------------------------

PUBLISHED = [  # width, layers, heads, units of an MLP, tensors, parameters, guidance
    ("c2i_B_256.pt", 768, 12, 12, 2048, 88, 110_888_448, 2.0),
    ("c2i_L_256.pt", 1024, 24, 16, 2816, 172, 342_910_976, 2.0),
    ("c2i_XL_384.pt", 1280, 36, 20, 3584, 256, 774_699_520, 1.75),
    ("c2i_XXL_384.pt", 1536, 48, 24, 4096, 340, 1_410_972_672, 1.75),
    ("c2i_3B_384.pt", 3200, 24, 32, 8704, 172, 3_096_659_200, 1.65),
]
TOKENIZERS = [("vq_ds16_c2i.pt", [1, 1, 2, 2, 4], 71_883_403, 344), ("vq_ds8_c2i.pt", [1, 2, 2, 4], 70_109_835, 300)]


@pytest.mark.parametrize(("name", "width", "layers", "heads", "hidden", "tensors", "count", "guidance"), PUBLISHED)
def test_every_published_size_has_its_names_and_parameters(
    tmp_path, name, width, layers, heads, hidden, tensors, count, guidance
):
    shapes = prior_shapes(layers, width, hidden)
    assert len(shapes) == tensors and sum(np.prod(shape, dtype=int) for shape in shapes.values()) == count
    torch.save(stand_in(shapes), tmp_path / name)  # XXL and 3B are plain state dicts
    torch.save({"model": tokenizer_file([1, 1, 2, 2, 4])}, tmp_path / "vq_ds16_c2i.pt")
    source = FAMILY.source(tmp_path, None, None)
    expected = shapes_by_name(FAMILY, source.architecture)
    ours = {key: shape for key, shape in expected.items() if key.startswith("transformer.")}
    assert ours == {f"transformer.{key}": shape for key, shape in shapes.items()}
    spec = FAMILY.spec(Origin(folder=tmp_path))
    side = 16 if "256" in name else 24
    assert (spec.grid, spec.image) == ((side, side), (16 * side, 16 * side))
    assert (spec.codes, spec.channels, len(spec.class_names)) == (16384, 8, 1000)
    assert spec.guidance and spec.prior and spec.encodes and spec.decodes
    assert spec.published == Sampling(top_k=None, top_p=None, guidance=guidance)
    assert source.architecture["prior"]["heads"] == heads and source.architecture["null_class"] == 1000


@pytest.mark.parametrize(("name", "multipliers", "count", "tensors"), TOKENIZERS)
@pytest.mark.parametrize("side", [16, 24, 32])
def test_the_tokenizers_have_their_names_and_parameters(tmp_path, name, multipliers, count, tensors, side):
    state = tokenizer_file(multipliers)
    assert len(state) == tensors, "with the buffer of counts"
    torch.save({"model": state}, tmp_path / name)
    source = FAMILY.source(tmp_path, None, (side, side))
    shapes = shapes_by_name(FAMILY, source.architecture)
    assert sum(np.prod(shape, dtype=int) for shape in shapes.values()) == count
    part = source.parts[0]
    assert shapes == {part.rename(key): tuple(w.shape) for key, w in state.items() if not part.drops(key)}
    spec = FAMILY.spec(Origin(folder=tmp_path, grid=(side, side)))
    assert spec.grid == (side, side) and spec.image[0] == side << (len(multipliers) - 1) and not spec.samples


def test_the_arithmetic_and_the_memory_of_sampling_are_the_samplers(generator):
    size = FAMILY.prior_size({"layers": LAYERS, "width": WIDTH, "codes": CODES})
    sampler = RasterSampler(LlamaSteps(copy.deepcopy(generator.transformer)), null_class=CLASSES)
    labels, numbers = torch.zeros(5, dtype=torch.int64), torch.rand(5, POSITIONS, dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH):  # its products are counted
        counted = count_flops(lambda: sampler.draw(labels, numbers, UNCUT.model_copy(update={"guidance": 2.0})))
    assert counted == 10 * size.token_flops(POSITIONS)
    assert sampler._buffers.cache.nbytes == 10 * size.kept_bytes(POSITIONS, 4)


def folder_of(path, files, prior_name="c2i_T.pt", **changes):
    tokenizer, prior = files
    torch.save(tokenizer, path / "vq_ds4_c2i.pt")
    torch.save({"module": prior | changes}, path / prior_name)
    return path


def test_what_a_folder_leaves_open_is_asked_for(files, tmp_path):
    folder = folder_of(tmp_path, files)
    for grid in (None, (4, 5)):
        with pytest.raises(InputError, match=r"grid (None|\[4, 5\]), .*: set a square generator\.grid"):
            FAMILY.spec(Origin(folder=folder, grid=grid))
    (folder / "c2i_T.pt").rename(folder / "c2i_T_256.pt")  # of three levels: a token covers 4 × 4 pixels
    with pytest.raises(InputError, match=r"c2i_T_256\.pt: its name states a grid of 64 × 64; grid \[4, 4\] is another"):
        FAMILY.spec(Origin(folder=folder, grid=(4, 4)))
    (folder / "c2i_T_256.pt").rename(folder / "c2i_T.pt")
    with pytest.raises(
        InputError, match=r"c2i_T\.pt: a prior of width 32 and 3 layers: no published size; allowed: B \(768 × 12\), L "
    ):
        FAMILY.spec(Origin(folder=folder, grid=(4, 4)))
    (folder / "vq_ds4_c2i.pt").unlink()
    with pytest.raises(InputError, match=r"none of vq\*\.pt, .* is there"):
        FAMILY.spec(Origin(folder=folder, grid=(4, 4)))
    with pytest.raises(InputError, match="no llamagen generator comes with CORTEX"):
        generator_spec(None, "llamagen")


def test_tensors_that_are_not_known_are_refused_by_name(files, tmp_path, monkeypatch):
    monkeypatch.setitem(sizes.SIZES, *TINY_SIZE)
    folder = folder_of(tmp_path, files, **{"layers.0.attention.k_norm.weight": torch.ones(16)})
    with pytest.raises(InputError, match=r"1 unexpected weights: layers\.0\.attention\.k_norm\.weight$"):
        convert_generator(tmp_path / "weights.safetensors", family="llamagen", folder=folder, grid=(SIDE, SIDE))
    text = {"cls_embedding.uncond_embedding": torch.ones(120, 2048)}  # of LlamaGen's text-to-image priors
    prior = {name: weight for name, weight in files[1].items() if not name.startswith("cls_")}
    torch.save({"model": prior | text}, folder / "c2i_T.pt")
    with pytest.raises(InputError, match=r"c2i_T\.pt: not a class-conditional prior of LlamaGen: 'cls_embedding"):
        convert_generator(tmp_path / "weights.safetensors", family="llamagen", folder=folder, grid=(SIDE, SIDE))
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_tokenizer_of_safetensors_alone_decodes(files, generator, tmp_path):
    save_file(files[0], tmp_path / "model.safetensors")
    convert_generator(tmp_path / "weights.safetensors", folder=tmp_path, grid=(SIDE, SIDE))
    alone = load_generator(tmp_path / "weights.safetensors", family="llamagen")
    grids = torch.arange(POSITIONS).view(1, SIDE, SIDE)
    assert torch.equal(alone.decode(grids), generator.decode(grids)) and alone.prior() is None
    assert read_metadata(tmp_path / "weights.safetensors")["architecture"].count("llamagen") == 1
