"""Every family fulfils the protocols; and a generator of few lines draws, decodes and encodes as taming's does."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cortex.core.errors import InputError
from cortex.core.weights import read_weights, write_weights
from cortex.data.draw import Stretch, generate_shard
from cortex.data.importing import import_split
from cortex.data.settings import ImageFiles
from cortex.data.shard_reader import read_shard
from cortex.extractors.codebook import export_codebook, look_up
from cortex.generators import GENERATORS
from cortex.generators.base import Family, Generator
from cortex.generators.convert import convert_generator
from cortex.generators.load import generator_spec, load_family, load_generator, read_codebook
from cortex.generators.pixels import from_bytes, to_bytes
from cortex.generators.prior import log_likelihoods
from cortex.generators.sampling import Sampling
from cortex.generators.settings import GeneratorSettings
from cortex.generators.spec import Origin
from tests.toy_generator import SPEC

TOY = "tests.toy_generator:FAMILY"
SAMPLING = Sampling(top_k=None, top_p=0.9)


@pytest.fixture
def codebook(tmp_path):
    """A codebook's file that states neither grid nor class names."""
    path = tmp_path / "codebook.safetensors"
    write_weights(path, {"codebook": torch.randn(24, 6, generator=torch.Generator().manual_seed(0))}, {})
    return path


@pytest.fixture
def names(tmp_path):
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    return tmp_path / "names.txt"


@pytest.fixture
def whole(codebook, names, tmp_path):
    """The weights file that is made of both."""
    path = tmp_path / "weights.safetensors"
    convert_generator(path, family="codebook", weights=codebook, class_names=names, grid=(4, 4))
    return path


# --- protocols ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["taming", "codebook", TOY])
def test_a_family_and_its_generator_fulfil_the_protocols(family, whole):
    assert isinstance(load_family(family), Family)
    weights = whole if family == "codebook" else None
    model = load_generator(weights, family=family)
    assert isinstance(model, Generator)
    assert model.spec == generator_spec(weights, family)
    assert torch.equal(model.codebook, read_codebook(weights, family))
    assert model.codebook.dtype == torch.float32
    assert model.codebook.shape == (model.spec.codes, model.spec.channels)
    grids = torch.randint(model.spec.codes, (3, *model.spec.grid), generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.compose(model.codebook[grids].flatten(1, 2)), look_up(model.codebook, grids))
    prior = model.prior()
    assert (prior is None) == (not model.spec.prior)
    assert prior is None or (prior.null_class is None) == (not model.spec.guidance)


def test_the_registry_has_this_packages_families():
    families = ["taming", "llamagen", "rar", "ibq", "maskgit_pytorch", "halton", "var", "dalle_mini", "janus"]
    families += ["codebook", "tokenizer"]
    assert GENERATORS.names() == families
    allowed = f"generator 'vqgan': allowed: {', '.join(families)}, or module:Attribute"
    with pytest.raises(InputError, match=allowed):
        load_generator(family="vqgan")


def test_a_bundled_generator_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "landuse").mkdir()  # a folder of the name is no weights file
    named, default = load_generator("landuse"), load_generator()
    assert torch.equal(named.codebook, default.codebook) and named.spec == default.spec
    assert generator_spec(Path("landuse")).class_names[:2] == ("annual crop", "forest")
    assert generator_spec(Path("digits")).class_names[:2] == ("zero", "one")
    assert torch.equal(read_codebook(Path("landuse")), default.codebook)
    assert [path.name for path in load_family("taming").files(Origin(Path("landuse")))] == ["landuse.safetensors"]


def test_a_file_comes_before_a_name_and_wrong_names_are_told(generator_weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for load in (load_generator, generator_spec, read_codebook):
        with pytest.raises(
            InputError, match=r"^numbers: no such weights file, and no bundled .*: those are digits, landuse"
        ):
            load(Path("numbers"))
    shutil.copy(generator_weights, "digits")
    assert load_generator("digits").spec == generator_spec(generator_weights)


def test_a_spec_is_read_without_torch():
    program = (
        "import sys; from cortex.generators.load import spec_of_settings; "
        "from cortex.generators.settings import GeneratorSettings; "
        "print(spec_of_settings(GeneratorSettings()).grid, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split(") ") == ["(8, 8", "False\n"]


def test_pixels_are_those_of_the_decoders_range():
    values = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.4, 1.0, 2.0]).expand(1, 3, 1, -1)
    assert to_bytes(values, (-1, 1))[0, 0, :, 0].tolist() == [0, 0, 64, 128, 178, 255, 255]
    assert to_bytes(values, (0, 1))[0, 0, :, 0].tolist() == [0, 0, 0, 0, 102, 255, 255]
    every = torch.arange(256, dtype=torch.uint8).expand(1, 2, 3, -1).permute(0, 1, 3, 2)
    for pixels in ((-1, 1), (0, 1)):
        levels = from_bytes(every, pixels)
        assert (levels.shape, levels.min(), levels.max()) == ((1, 3, 2, 256), *pixels)
        assert torch.equal(to_bytes(levels, pixels), every)


# --- the toy generator -------------------------------------------------------------------------------------------


def drawn(path, first, last, split="test", seed=3, classes=(0, 2, 9), images="png"):
    stretch = Stretch(split, first, last, seed, list(classes))
    keep = ImageFiles(images=images)
    generate_shard(path, stretch, sampling=SAMPLING, keep=keep, family=TOY, device="cpu")
    return {sample.key: sample for sample in read_shard(path, images="any", codes=SPEC.codes)}


def test_a_toys_grid_is_a_function_of_seed_class_and_index(tmp_path):
    whole = drawn(tmp_path / "whole.tar", 0, 12)
    part = drawn(tmp_path / "part.tar", 5, 9, classes=(0, 2, 9))
    other = drawn(tmp_path / "other.tar", 0, 8, classes=(2, 5))
    for found in (part, other):
        shared = whole.keys() & found.keys()
        assert len(shared) == 4
        assert all(np.array_equal(found[key].grid, whole[key].grid) for key in shared)
    changed = drawn(tmp_path / "seed.tar", 0, 12, seed=4)
    assert not any(np.array_equal(changed[key].grid, whole[key].grid) for key in whole)
    assert len({sample.grid.tobytes() for sample in whole.values()}) == 12


def test_a_generator_that_cannot_be_guided_is_not_asked_to(tmp_path):
    guided, told = Sampling(guidance=2.0), "guidance 2.0: the generator has no null class, .*; allowed: 1"
    with pytest.raises(InputError, match=told):
        generate_shard(
            tmp_path / "a.tar",
            Stretch("test", 0, 2, 0, [0, 2]),
            sampling=guided,
            keep=ImageFiles(),
            generator=Path("digits"),
        )
    with pytest.raises(InputError, match=told):
        load_generator("digits").sample([0], np.array([0], np.uint64), guided)
    assert list(tmp_path.iterdir()) == []


def test_a_guided_toy_draws_the_codes_that_mark_a_class():
    """The logits of a class, less their mean over classes, count three times; frequencies of 64 × 40 tokens."""
    model = load_generator(family=TOY)
    seeds = np.arange(40, dtype=np.uint64)
    drawn = model.sample([4] * 40, seeds, Sampling(top_k=None, top_p=None, guidance=3.0))
    logits = model.logits[:10].double()
    expected = (logits.mean(0) + 3 * (logits[4] - logits.mean(0))).softmax(0)
    counts = drawn.flatten().bincount(minlength=32).double()
    assert (counts / counts.sum() - expected).abs().max() < 0.03
    assert (logits[4].softmax(0) - expected).abs().max() > 0.2


def test_a_toys_images_are_its_tokens_colours_and_back(tmp_path):
    model = load_generator(family=TOY)
    samples = list(drawn(tmp_path / "a.tar", 0, 6).values())
    grids = torch.from_numpy(np.stack([sample.grid for sample in samples]).astype(np.int64))
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    assert torch.equal(model.decode(grids), images)
    assert torch.equal(model.encode(images), grids)
    assert images.shape == (6, *SPEC.image, 3)
    assert all(sample.image is None for sample in drawn(tmp_path / "none.tar", 0, 6, images="none").values())


def test_a_toys_classes_are_told_by_its_prior(tmp_path):
    model = load_generator(family=TOY)
    samples = list(drawn(tmp_path / "a.tar", 0, 30).values())
    tokens = torch.from_numpy(np.stack([sample.grid.ravel() for sample in samples]).astype(np.int64))
    scores = [log_likelihoods(model.prior(), torch.full((30,), label), tokens, range(64)).sum(1) for label in range(10)]
    assert torch.stack(scores).argmax(0).tolist() == [sample.label for sample in samples]


def test_a_toys_codebook_is_a_generator_of_its_own(tmp_path):
    export_codebook(tmp_path / "codebook.safetensors", family=TOY)
    tensors, _ = read_weights(tmp_path / "codebook.safetensors")
    assert torch.equal(tensors["codebook"], load_generator(family=TOY).codebook)
    spec = generator_spec(tmp_path / "codebook.safetensors", "codebook")
    assert (spec.class_names, spec.grid, spec.codes, spec.channels) == (SPEC.class_names, SPEC.grid, 32, 8)


# --- a codebook alone --------------------------------------------------------------------------------------------


def test_a_codebook_alone_states_shapes_and_can_nothing_else(whole, codebook, names):
    spec = generator_spec(whole, "codebook")
    assert (spec.class_names, spec.grid, spec.codes, spec.channels) == (("ant", "bee", "cat"), (4, 4), 24, 6)
    assert not (spec.samples or spec.decodes or spec.encodes or spec.prior)
    assert spec == load_family("codebook").spec(Origin(codebook, class_names=names, grid=(4, 4)))
    model = load_generator(whole, family="codebook")
    assert torch.equal(model.codebook, read_weights(codebook)[0]["codebook"])
    grids = torch.zeros(1, 4, 4, dtype=torch.int64)
    for work, told in (
        (lambda: model.decode(grids), "cannot decode grids"),
        (lambda: model.encode(torch.zeros(1, 8, 8, 3, dtype=torch.uint8)), "cannot encode images"),
        (lambda: model.sample([0], np.array([0], np.uint64), Sampling()), "cannot sample grids"),
    ):
        with pytest.raises(InputError, match=f"this generator is a codebook alone: it {told}"):
            work()


def test_grids_are_imported_for_a_codebook_alone(whole, tmp_path):
    grids, labels = np.random.default_rng(0).integers(0, 24, (6, 4, 4)), np.array([0, 2] * 3)
    np.save(tmp_path / "grids.npy", grids)
    np.save(tmp_path / "labels.npy", labels)
    options = {"labels": tmp_path / "labels.npy", "classes": [0, 2], "per_class": 3, "device": "cpu"}
    options |= {"family": "codebook", "generator": whole}
    with pytest.raises(InputError, match="images png: the generator does not decode; allowed: none"):
        import_split(tmp_path / "a", "test", tmp_path / "grids.npy", keep=ImageFiles(), **options)
    import_split(tmp_path / "a", "test", tmp_path / "grids.npy", keep=ImageFiles(images="none"), **options)
    samples = list(read_shard(tmp_path / "a" / "000000.tar", images="any"))
    assert np.array_equal(np.stack([sample.grid for sample in samples]), grids)
    assert [sample.info["class_name"] for sample in samples] == ["ant", "cat"] * 3
    with pytest.raises(InputError, match="does not sample grids; import them instead"):
        generate_shard(
            tmp_path / "b.tar",
            Stretch("test", 0, 2, 0, [0, 2]),
            sampling=SAMPLING,
            keep=ImageFiles(images="none"),
            family="codebook",
            generator=whole,
        )


def test_what_is_no_codebook_is_told(codebook, tmp_path, names):
    write_weights(tmp_path / "other.safetensors", {"weight": torch.ones(2, 3)}, {})
    write_weights(tmp_path / "flat.safetensors", {"codebook": torch.ones(6)}, {})
    stated = {"architecture": json.dumps({"grid": [4, -4], "classes": []})}
    write_weights(tmp_path / "wrong.safetensors", {"codebook": torch.ones(2, 3)}, stated)
    (tmp_path / "cut.safetensors").write_bytes(codebook.read_bytes()[:40])
    for name, told in (
        ("codebook", "codebook.safetensors: states no grid: set generator.grid"),
        ("other", r"other.safetensors: not a codebook: expected a tensor 'codebook' \[K, d\]"),
        ("flat", "flat.safetensors: not a codebook"),
        ("wrong", "wrong.safetensors: not a codebook's metadata: .*whole numbers"),
        ("cut", "cut.safetensors: not a whole safetensors file"),
        ("nowhere", "nowhere.safetensors: no such weights file"),
    ):
        with pytest.raises(InputError, match=told):
            generator_spec(tmp_path / f"{name}.safetensors", "codebook")
    with pytest.raises(InputError, match="a codebook alone has no weights of its own"):
        generator_spec(None, "codebook")
    with pytest.raises(InputError, match="only a folder of published files of taming can be converted"):
        convert_generator(tmp_path / "a.safetensors", family="taming", weights=codebook)


# --- settings ----------------------------------------------------------------------------------------------------


def test_a_codebooks_grid_and_classes_stand_in_the_settings():
    settings = GeneratorSettings(family="codebook", weights="a.safetensors", class_names="names.txt", grid=[4, 4])
    origin = settings.origin()
    assert (str(origin.weights), str(origin.class_names), origin.grid) == ("a.safetensors", "names.txt", (4, 4))
    assert settings.converts() and not GeneratorSettings(family="codebook", weights="a.safetensors").converts()
    with pytest.raises(ValueError, match=r"grid = .*should be set beside weights, if a codebook"):
        GeneratorSettings(grid=[4, 4])
    with pytest.raises(InputError, match=r"grid \[4, 4\]: should not be set: the networks state their own"):
        load_family("taming").spec(Origin(grid=(4, 4)))


RAR = Sampling(top_k=None, top_p=None, guidance=16.0, guidance_schedule="power_cosine", guidance_power=2.75)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({}, RAR),
        ({"temperature": 1.1, "top_k": 9}, RAR.model_copy(update={"temperature": 1.1, "top_k": 9})),
        ({"guidance": 4.0}, Sampling(top_k=None, top_p=None, guidance=4.0)),  # a constant strength
        ({"guidance_schedule": "constant"}, Sampling(top_k=None, top_p=None, guidance=16.0)),
        ({"top_p": 0.9, "top_k": None, "guidance": 1.0}, Sampling(top_k=None, top_p=0.9)),
    ],
    ids=str,
)
def test_options_that_are_not_set_are_as_published(stated, expected):
    assert GeneratorSettings(**stated).as_published(RAR).sampling() == expected
