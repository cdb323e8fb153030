"""The generator's images against taming-transformers called directly, and shards that depend on nothing but their
samples."""

import copy
import io
import json
import tarfile
from collections import Counter
from contextlib import contextmanager
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cortex.core.errors import InputError
from cortex.core.weights import read_weights, write_weights
from cortex.core.weights_metadata import read_metadata
from cortex.data.draw import Stretch, canonical_batches, generate_shard
from cortex.data.settings import ImageFiles
from cortex.data.shard_reader import read_shard
from cortex.generators.load import generator_spec, load_generator, read_codebook
from cortex.generators.nearest import nearest_codes
from cortex.generators.network.generator import NetworkGenerator, resolve
from cortex.generators.network.load import save_generator
from cortex.generators.network.vqgan import VQGAN
from cortex.generators.sampling import Sampling
from cortex.generators.spec import GeneratorSpec


@pytest.fixture(scope="module")
def model(generator_weights):
    return load_generator(generator_weights)


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def stated(weights):
    """The architecture in a weights file's metadata."""
    return json.loads(read_metadata(weights)["architecture"])


# --- VQGAN -------------------------------------------------------------------------------------------------------


def test_decoding_is_tamings_codebook_lookup_convolution_and_decoder(model):
    grids = torch.randint(24, (5, 4, 4), generator=torch.Generator().manual_seed(0))
    vqgan = model.tokenizer
    embeddings = vqgan.quantize.get_codebook_entry(grids.flatten(), (5, 4, 4, 6))
    pixels = vqgan.decoder(vqgan.post_quant_conv(embeddings))
    assert torch.allclose(vqgan.decode(grids), pixels, atol=1e-5)
    images = np.rint((np.clip(pixels.numpy(), -1, 1).transpose(0, 2, 3, 1) + 1) / 2 * 255)
    decoded = model.decode(grids)
    assert decoded.dtype == torch.uint8 and decoded.shape == (5, 8, 8, 3)
    assert np.abs(decoded.numpy().astype(int) - images).max() <= 1  # a value next to x.5 may be rounded either way
    assert (decoded.numpy() == images).mean() > 0.99
    assert decoded.float().std() > 5, "images with something in them, or the test shows nothing"


def test_encoding_gives_the_codes_of_tamings_quantizer(model):
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    vqgan = model.tokenizer
    _, _, (_, _, chosen) = vqgan.quantize(vqgan.quant_conv(vqgan.encoder(images)))
    assert vqgan.encode(images).flatten().tolist() == chosen.flatten().tolist()


def test_the_nearest_code_is_that_of_least_distance():
    random = torch.Generator().manual_seed(0)
    vectors, codebook = torch.randn(3, 5, 4, generator=random), torch.randn(9, 4, generator=random)
    expected = [[min(range(9), key=lambda k: (v - codebook[k]).norm().item()) for v in row] for row in vectors]
    assert nearest_codes(vectors, codebook).tolist() == expected


# --- weights -----------------------------------------------------------------------------------------------------


def test_a_saved_generator_is_loaded_with_the_same_weights(model, generator_weights, tmp_path):
    saved = tmp_path / "again.safetensors"
    save_generator(saved, model.tokenizer, model.transformer, stated(generator_weights))
    again = load_generator(saved)
    for before, after in ((model.tokenizer, again.tokenizer), (model.transformer, again.transformer)):
        assert before.state_dict().keys() == after.state_dict().keys()
        assert all(torch.equal(tensor, after.state_dict()[name]) for name, tensor in before.state_dict().items())
    assert saved.read_bytes() == generator_weights.read_bytes()
    assert not any(module.training for module in (again.tokenizer, again.transformer))


def test_weights_of_half_the_size_are_loaded_as_float32(model, generator_weights, tmp_path):
    """float16 keeps 11 significant bits: the nearest of its numbers is within 2^-11 of a weight, relatively."""
    half = tmp_path / "half.safetensors"
    save_generator(half, model.tokenizer, model.transformer, stated(generator_weights), half=True)
    assert {tensor.dtype for tensor in load_file(half).values()} == {torch.float16}
    again = load_generator(half)
    assert again.codebook.dtype == torch.float32
    assert torch.equal(read_codebook(half), again.codebook)
    for before, after in ((model.tokenizer, again.tokenizer), (model.transformer, again.transformer)):
        for name, weight in before.state_dict().items():
            stored = after.state_dict()[name]
            assert stored.dtype == torch.float32
            torch.testing.assert_close(stored, weight, rtol=2**-11, atol=2**-25)
    assert not torch.equal(again.codebook, model.codebook)
    grids = torch.randint(24, (5, 4, 4), generator=torch.Generator().manual_seed(0))
    change = (again.decode(grids).int() - model.decode(grids).int()).abs()
    assert change.max() <= 2 and again.sample([0, 3], np.array([1, 2], np.uint64), Sampling()).shape == (2, 4, 4)


def test_bfloat16_weights_are_loaded_as_float32(generator_weights, tmp_path):
    tensors, metadata = read_weights(generator_weights)
    stored = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    write_weights(tmp_path / "b.safetensors", stored, metadata)
    again = load_generator(tmp_path / "b.safetensors")
    for name, weight in again.transformer.state_dict().items():
        if not name.endswith("mask"):
            assert torch.equal(weight, stored[f"transformer.{name}"].float())
    assert {weight.dtype for weight in again.tokenizer.state_dict().values()} == {torch.float32}


def test_a_weight_too_large_for_float16_is_told_and_nothing_written(model, generator_weights, tmp_path):
    large = copy.deepcopy(model.tokenizer)
    large.quantize.embedding.weight[3, 2] = 65520  # rounds to 65536
    with pytest.raises(InputError, match=r"a.safetensors: weights that float16 .*: first_stage_model.quantize.embedd"):
        save_generator(tmp_path / "a.safetensors", large, model.transformer, stated(generator_weights), half=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_holds_tamings_names_and_no_constants(generator_weights):
    names = load_file(generator_weights).keys()
    assert {name.split(".")[0] for name in names} == {"first_stage_model", "transformer"}
    assert "first_stage_model.quantize.embedding.weight" in names
    assert "transformer.blocks.0.attn.query.weight" in names
    assert not any("mask" in name for name in names)


def test_the_facts_of_a_generator_are_read_without_its_weights(generator_weights):
    names = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")
    assert generator_spec(generator_weights) == GeneratorSpec(
        names,
        grid=(4, 4),
        codes=24,
        channels=6,
        image=(8, 8),
        pixels=(-1, 1),
        samples=True,
        decodes=True,
        encodes=True,
        prior=True,
        guidance=True,
    )


def test_who_only_decodes_leaves_the_transformer_in_the_file(model, generator_weights):
    decoder = load_generator(generator_weights, decode_only=True)
    grids = torch.randint(24, (5, 4, 4), generator=torch.Generator().manual_seed(0))
    assert torch.equal(decoder.decode(grids), model.decode(grids))
    assert torch.equal(decoder.codebook, model.codebook)
    assert decoder.spec == model.spec
    assert decoder.transformer is None
    with pytest.raises(InputError, match="without a transformer"):
        decoder.sample(np.array([0]), np.array([0], np.uint64), Sampling())


def test_a_gpu_draws_in_bfloat16_and_captured_steps_unless_told_otherwise():
    cpu, gpu = torch.device("cpu"), torch.device("cuda:1")
    assert resolve("auto", "auto", cpu) == (torch.float32, "plain")
    assert resolve("auto", "auto", gpu) == (torch.bfloat16, "captured")
    assert resolve("float32", "plain", gpu) == (torch.float32, "plain")
    assert resolve("bfloat16", "compiled", cpu) == (torch.bfloat16, "compiled")


def test_nothing_is_left_without_weights_by_loading(model):
    for network in (model.tokenizer, model.transformer):
        assert not any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))
    assert torch.equal(model.transformer.blocks[1].attn.mask, torch.ones(16, 16).tril()[None, None])


@pytest.mark.parametrize("load", [load_generator, generator_spec])
def test_missing_weights_are_named(load, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.safetensors: no such weights file"):
        load(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("load", [load_generator, generator_spec])
@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.999])
def test_truncated_weights_are_named(load, share, generator_weights, tmp_path):
    whole = generator_weights.read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"cut\.safetensors: not a whole safetensors file"):
        load(cut)


def rewritten(source, target, change_tensors=lambda tensors: None, change_architecture=lambda architecture: None):
    """A copy of a weights file after changes to its tensors and its architecture, both made in place."""
    tensors = load_file(source)
    with safe_open(source, framework="pt") as file:
        architecture = json.loads(file.metadata()["architecture"])
    change_tensors(tensors)
    changed = change_architecture(architecture)
    save_file(tensors, target, {"architecture": json.dumps(architecture if changed is None else changed)})
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("transformer.ln_f.bias"), r"1 missing weights: transformer.ln_f.bias$"),
        (lambda tensors: tensors.update(extra=torch.ones(1)), r"1 unexpected weights: extra$"),
        (
            lambda tensors: tensors.update({"transformer.ln_f.bias": torch.ones(3)}),
            r"weight transformer.ln_f.bias has shape \(3,\), expected \(16,\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message, generator_weights, tmp_path):
    wrong = rewritten(generator_weights, tmp_path / "wrong.safetensors", change_tensors=change)
    with pytest.raises(InputError, match=r"wrong\.safetensors: .*" + message):
        load_generator(wrong)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: [],
        lambda a: {},
        lambda a: a.pop("classes") and None,
        lambda a: a.update(classes=[]),
        lambda a: a.update(classes=[1, 2]),
        lambda a: a.update(classes=[str(i) for i in range(25)]),  # more classes than words
        lambda a: a["tokenizer"].update(n_embed="24"),
        lambda a: a["tokenizer"].update(n_embed=23),  # fewer codes than words
        lambda a: a["tokenizer"].update(unknown=1),
        lambda a: a["tokenizer"]["ddconfig"].update(ch=33),  # not a multiple of GroupNorm's groups
        lambda a: a["tokenizer"]["ddconfig"].update(ch_mult=[]),
        lambda a: a["tokenizer"]["ddconfig"].update(resolution=16),  # a grid longer than the context
        lambda a: a["prior"].update(n_head=5),
        lambda a: a["prior"].pop("block_size") and None,
        lambda a: a.update(null_class=6),  # a class
        lambda a: a.update(null_class=24),  # not a word
        lambda a: a.update(null_class=7.0),
        lambda a: a.update(null_class="7"),
    ],
)
def test_an_architecture_that_cannot_be_is_an_error_that_names_the_file(change, generator_weights, tmp_path):
    wrong = rewritten(generator_weights, tmp_path / "wrong.safetensors", change_architecture=change)
    with pytest.raises(InputError, match=r"wrong\.safetensors: .*architecture"):
        load_generator(wrong)


def test_weights_of_something_else_are_refused(tmp_path):
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.ones(2)}, other)
    with pytest.raises(InputError, match=r"other\.safetensors: not a generator's weights"):
        load_generator(other)


# --- shards ------------------------------------------------------------------------------------------------------

CLASSES = [0, 1, 2, 4, 5]
SETTINGS = {"batch_classes": 3, "batch_indices": 4, "device": "cpu"}
SAMPLING = Sampling(top_k=None, top_p=0.92)


@pytest.fixture(scope="module")
def make(generator_weights, tmp_path_factory):
    """Write samples ``first`` to ``last`` as a shard with :data:`SETTINGS`, but for those given; the tar's path."""
    folder = tmp_path_factory.mktemp("shards")

    def make(name, first, last, split="train", seed=4, classes=CLASSES, **settings):
        path = folder / f"{name}.tar"
        stretch = Stretch(split, first, last, seed, classes)
        options = {"sampling": SAMPLING, "keep": ImageFiles(), "generator": generator_weights} | SETTINGS | settings
        generate_shard(path, stretch, **options)
        return path

    return make


def members(*paths):
    """Content of every member of tars by name, read by the standard library."""
    contents = {}
    for path in paths:
        with tarfile.open(path) as tar:
            contents |= {member.name: tar.extractfile(member).read() for member in tar}
    return contents


@pytest.fixture(scope="module")
def whole(make):
    return make("whole", 0, 40)


def test_a_shard_is_the_same_byte_for_byte_however_many_threads_there_are(make, whole, monkeypatch):
    used, original = [], NetworkGenerator.sample

    def sample(*arguments, **settings):
        used.append(torch.get_num_threads())
        return original(*arguments, **settings)

    monkeypatch.setattr(NetworkGenerator, "sample", sample)
    for count in (1, 2, 3):
        with threads(count):
            assert make(f"threads-{count}", 0, 40).read_bytes() == whole.read_bytes()
            assert torch.get_num_threads() == count
    assert set(used) == {1}, "sums over threads depend on how many there are"


def test_large_images_are_decoded_a_few_at_once(make, whole, monkeypatch):
    decoded, original = [], VQGAN.decode

    def decode(self, grids):
        decoded.append(len(grids))
        return original(self, grids)

    monkeypatch.setattr("cortex.generators.decoding.PIXELS", 5 * 8 * 8)
    monkeypatch.setattr(VQGAN, "decode", decode)
    for few, many in zip(read_shard(make("few", 0, 40), images=True), read_shard(whole, images=True), strict=True):
        assert (few.grid == many.grid).all()
        assert np.abs(few.image.astype(int) - many.image).max() <= 1  # another batch shape: other last bits
    assert set(decoded) == {5, 2}, "canonical batches of 3 × 4 samples"


def test_no_more_pixels_than_the_bound_pass_through_the_networks_at_once(model, monkeypatch):
    """Whatever batch a caller asks for: to decode grids, to decode vectors, and to encode."""
    grids = torch.randint(24, (13, 4, 4), generator=torch.Generator().manual_seed(0))
    images, sizes = model.decode(grids), []
    for module in (model.tokenizer.decoder, model.tokenizer.encoder):
        original = module.forward
        monkeypatch.setattr(module, "forward", lambda x, f=original: (sizes.append(len(x)), f(x))[1])
    monkeypatch.setattr("cortex.generators.decoding.PIXELS", 5 * 8 * 8)
    vectors = model.codebook[grids.flatten(1)]
    for found in (model.decode(grids), model.decode_vectors(vectors)):
        assert (found.int() - images.int()).abs().max() <= 1  # another batch shape: other last bits
    assert model.encode(images).shape == grids.shape
    assert sizes == [5, 5, 3] * 3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("step", ["plain", "captured"])
def test_a_shard_is_drawn_in_the_precision_and_the_steps_asked_for(precision, step, make, whole):
    drawn = make(f"{precision}-{step}", 0, 40, precision=precision, step=step)
    assert make("again", 0, 40, precision=precision, step=step).read_bytes() == drawn.read_bytes()
    same = [(a.grid == b.grid).all() for a, b in zip(read_shard(drawn), read_shard(whole), strict=True)]
    assert all(same) if precision == "float32" else not all(same)


@pytest.fixture(scope="module", params=[1.0, 2.5], ids=["unguided", "guided"])
def sampled(request, make):
    """A function like ``make`` for draws with some guidance, and 40 samples that it made."""
    sampling = SAMPLING.model_copy(update={"guidance": request.param})

    def made(name, first, last, **settings):
        return make(f"{name}-{request.param}", first, last, sampling=sampling, **settings)

    return made, members(made("whole", 0, 40))


@pytest.mark.parametrize("size", [7, 20, 39])
def test_a_sample_does_not_depend_on_the_size_of_shards(size, sampled):
    make, expected = sampled
    parts = [make(f"of-{size}-from-{first}", first, min(first + size, 40)) for first in range(0, 40, size)]
    assert members(*parts) == expected


@pytest.mark.parametrize("classes", [[2], [0, 4], [0, 1, 2, 3, 4, 5, 6]])
def test_a_sample_does_not_depend_on_which_other_classes_are_configured(classes, sampled):
    make, expected = sampled
    others = members(make(f"classes-{len(classes)}", 0, 8 * len(classes), classes=classes))
    shared = {name for name in expected if int(name.split("-")[1]) in classes}
    assert len(shared) == 8 * 4 * len(set(classes) & set(CLASSES))
    assert {name: others[name] for name in shared} == {name: expected[name] for name in shared}


def test_guidance_of_1_is_none_byte_for_byte(make, whole, generator_weights, tmp_path):
    """The same weights without a null class draw the same."""
    bare = tmp_path / "bare.safetensors"
    rewritten(generator_weights, bare, change_architecture=lambda a: a.update(null_class=None))
    assert not generator_spec(bare).guidance
    unguided = SAMPLING.model_copy(update={"guidance": 1.0})
    assert make("bare", 0, 40, generator=bare).read_bytes() == whole.read_bytes()
    assert make("one", 0, 40, sampling=unguided).read_bytes() == whole.read_bytes()
    guided = make("guided", 0, 40, sampling=SAMPLING.model_copy(update={"guidance": 2.5}))
    same = [(a.grid == b.grid).all() for a, b in zip(read_shard(guided), read_shard(whole), strict=True)]
    assert sum(same) < 10


@given(
    wanted=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 30)), min_size=1, max_size=20),
    batch=st.tuples(st.integers(1, 8), st.integers(1, 6)),
)
def test_batches_are_whole_blocks_of_classes_and_indices_whatever_is_wanted(wanted, batch):
    """Arithmetic differs in its last bits between batches of different sizes, so a batch never depends on the rest."""
    labels, indices = np.array(sorted(wanted, key=lambda sample: sample[1])).T
    found = np.zeros(len(wanted), int)
    for of_labels, of_indices, rows, columns in canonical_batches(labels, indices, batch, class_count=7):
        members = list(zip(of_labels.tolist(), of_indices.tolist(), strict=True))
        first_class, first_index = min(members)
        assert first_class % batch[0] == 0 and first_index % batch[1] == 0
        last_class = min(first_class + batch[0], 7)
        block = product(range(first_class, last_class), range(first_index, first_index + batch[1]))
        assert members == list(block)
        assert (of_labels[columns] == labels[rows]).all() and (of_indices[columns] == indices[rows]).all()
        found[rows] += 1
    assert (found == 1).all()


@pytest.mark.parametrize(("first", "last"), [(0, 40), (0, 5), (15, 25), (3, 11), (7, 8)])
def test_every_stretch_of_samples_is_balanced(first, last, make):
    labels = Counter(sample.label for sample in read_shard(make(f"stretch-{first}-{last}", first, last)))
    counts = [labels[label] for label in CLASSES]
    assert sum(counts) == last - first
    assert max(counts) - min(counts) <= (1 if (last - first) % len(CLASSES) else 0)


def test_splits_seeds_classes_and_indices_give_different_images(make, whole):
    tars = [whole, make("val", 0, 40, "validation"), make("test", 0, 40, "test"), make("seed", 0, 40, seed=5)]
    samples = [sample for tar in tars for sample in read_shard(tar)]
    assert len({sample.grid.tobytes() for sample in samples}) == 4 * 40
    assert len({sample.key for sample in samples[:120]}) == 3 * 40, "keys are unique among the splits of a data set"


def test_members_are_named_and_filled_as_documented(model, whole):
    contents = members(whole)
    assert list(contents)[:4] == [f"train-0000-000000.{kind}" for kind in ("cls", "json", "png", "tokens.npy")]
    for number in range(40):
        label, index = CLASSES[number % 5], number // 5
        key = f"train-{label:04d}-{index:06d}"
        assert contents[f"{key}.cls"] == str(label).encode()
        info = json.loads(contents[f"{key}.json"])
        assert set(info.pop("crc32")) == {"cls", "json", "png", "tokens.npy"}
        assert info == {"seed": 4, "class_name": model.spec.class_names[label]}
        grid = np.load(io.BytesIO(contents[f"{key}.tokens.npy"]))
        assert (grid.dtype, grid.shape) == (np.uint16, (4, 4))
        image = np.asarray(Image.open(io.BytesIO(contents[f"{key}.png"])))
        alone = model.decode(torch.from_numpy(grid[None].astype(np.int64)))[0].numpy()
        assert np.abs(image.astype(int) - alone).max() <= 1  # another batch shape: other last bits before rounding


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"first": 3, "last": 3}, "samples 3 to 3: a shard holds at least one sample"),
        ({"first": -1}, "samples -1 to 40: .*numbered from 0"),
        ({"seed": -1}, "seed -1: allowed: 0 to"),
        ({"seed": 2**64}, "seed 18446744073709551616: allowed: 0 to"),
        ({"classes": []}, r"classes \[\]: name at least one"),
        ({"classes": [2, 1]}, r"classes \[2, 1\]: .*ascending"),
        ({"classes": [1, 1]}, r"classes \[1, 1\]: .*every class once"),
        ({"classes": [1, 7]}, "class 7: the generator has classes 0 to 6"),
        ({"classes": [-1, 1]}, "class -1: the generator has classes 0 to 6"),
        ({"device": "abacus"}, "device 'abacus' cannot be used: .*allowed: auto, cpu, cuda, cuda:N"),
    ],
)
def test_impossible_arguments_are_told_and_leave_nothing(wrong, message, generator_weights, tmp_path):
    samples = {"split": "train", "first": 0, "last": 40, "seed": 4, "classes": CLASSES}
    options = {"sampling": SAMPLING, "keep": ImageFiles(), "generator": generator_weights} | SETTINGS
    for name, value in wrong.items():
        (samples if name in samples else options)[name] = value
    with pytest.raises(InputError, match=message):
        generate_shard(tmp_path / "out" / "shard.tar", Stretch(**samples), **options)
    assert list(tmp_path.iterdir()) == []
