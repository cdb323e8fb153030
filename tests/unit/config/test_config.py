"""The config: what may be set, and one line for what may not."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cortex.config import Config, parse_config
from cortex.core.errors import InputError
from cortex.core.weights import read_weights, write_weights
from cortex.extractors.network import build_extractor, save_extractor
from cortex.extractors.settings import CnnSettings, TransformerSettings
from cortex.generators.load import load_generator
from cortex.judges.settings import ImageNetJudge
from tests.pipeline import CHECKOUT
from tests.training import ANIMAL_JUDGE

# 2021-04-03T19-39-50-project.yaml of the ImageNet transformer, at its full size.
CIN_TRANSFORMER = yaml.safe_load((CHECKOUT / "tests" / "cin_transformer.yaml").read_text())
TINY = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text())
# What a config must say, on a generator of 7 classes, 4×4 grids and 24 codes; all other defaults fit it.
FITTING = {
    "run": "small",
    "extractors": {"cnn": {"network": "cnn"}},
    "judges": {"vit": ANIMAL_JUDGE},
    "concept_tokens": {"top_n": [1, 5], "tokens": 6},
    "codebook_search": {"region": {"top": 0, "left": 0}, "pairs": {0: 6}},
    "evaluation": {"accuracy": {"k": [1, 7]}, "image_level": {"n": [16]}, "concept_level": {"top_n": [5]}},
}
PLANTED = {"positions": 4, "extractors": {"cnn": {"network": "cnn"}}}


@pytest.fixture
def fitting(generator_weights):
    return copy.deepcopy(FITTING) | {"generator": {"weights": str(generator_weights)}}


def refusal(config):
    """The error of a config that is refused: one line."""
    with pytest.raises(InputError) as caught:
        parse_config(config)
    message = str(caught.value)
    assert message.startswith("config: ") and len(message.splitlines()) == 1 and message.isprintable()
    return message


def changed(config, key, value):
    """The config with the value of a dotted key changed; parts that are digits are integer keys."""
    *sections, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    section = config
    for name in sections:
        section = section.setdefault(name, {})
    section[last] = value
    return config


# --- what may be set ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.yaml", "tests/tiny.yaml"])
def test_the_configs_that_come_with_the_code_are_valid(name):
    config, facts = parse_config(yaml.safe_load((CHECKOUT / name).read_text()))
    assert list(config.extractors) == ["cnn", "resnet", "transformer"]
    seeds = range(1 if name == "tests/tiny.yaml" else 3)
    assert config.extractor_trainings() == [f"{extractor}/{seed}" for extractor in config.extractors for seed in seeds]
    averages = [f"{extractor}/average" for extractor in config.extractors if len(seeds) > 1]
    assert config.averaged_extractors() == averages
    assert list(config.judges) == ["vit", "resnet"]
    assert (facts.grid, len(facts.class_names)) == ((8, 8), 10)


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "x" * 5000])
@pytest.mark.parametrize("key", ["weights", "folder"])
def test_a_text_that_names_no_file_is_refused_in_one_line(fitting, key, text):
    fitting["generator"] = {key: text}
    with pytest.raises(InputError, match=rf"^config: generator\.{key} = .*: should have no control characters") as told:
        parse_config(fitting)
    assert str(told.value).isprintable()


def test_json_states_what_yaml_states(fitting):
    """Keys of JSON are text; those of pairs are class indices."""
    assert parse_config(json.loads(json.dumps(fitting)))[0] == parse_config(fitting)[0]


def test_what_is_not_set_has_the_papers_value(fitting):
    """METHOD.md, sections 2 to 6."""
    config, _ = parse_config(fitting)
    assert config.data.per_class.model_dump() == {"train": 1000, "validation": 300, "test": 50}
    assert (config.generator.temperature, config.generator.top_k, config.generator.top_p) == (1.0, 600, 0.92)
    cnn = config.extractors["cnn"]
    assert (cnn.width, cnn.hidden, cnn.dropout) == (512, 4096, 0.5)
    assert (cnn.epochs, cnn.batch, cnn.learning_rate, cnn.weight_decay) == (80, 256, 1e-3, 1e-4)
    assert (cnn.step_epochs, cnn.step_factor) == (20, 0.1)
    assert cnn.seeds == 3, "the paper's is one; of one training, nothing has a verdict"
    assert (config.importance.samples, config.importance.noise, config.importance.reduction) == (20, 0.2, "max")
    # Of what does not fit this generator, the defaults alone:
    defaults = {name: field.default for name, field in Config.model_fields.items()}
    search, evaluation = defaults["codebook_search"], defaults["evaluation"]
    assert search.region.model_dump() == {"top": 7, "left": 7, "height": 4, "width": 4}
    assert search.pairs == {10: 20, 11: 19, 12: 18, 13: 17, 14: 16, 16: 14, 17: 13, 18: 12, 19: 11, 20: 10}
    assert (search.steps, search.record_every, search.learning_rate, search.temperature) == (5000, 500, 0.01, 1.0)
    assert defaults["concept_tokens"].model_dump() == {"top_n": [1, 5, 10, 20], "tokens": 100}
    assert evaluation.accuracy.k == [1, 3, 5, 10]
    assert evaluation.image_level.n == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]


def test_the_run_is_about_the_configured_classes_or_all(fitting):
    config, facts = parse_config(fitting)
    assert config.classes(facts) == [0, 1, 2, 3, 4, 5, 6]
    fitting |= {"data": {"classes": [6, 0, 3]}} | {"evaluation": {**FITTING["evaluation"], "accuracy": {"k": [1, 3]}}}
    config, facts = parse_config(fitting)
    assert config.classes(facts) == [0, 3, 6]
    fitting["data"] = {"classes": ["gnu", 0, "dog"]}
    named, facts = parse_config(fitting)
    assert named.classes(facts) == named.data.classes == [0, 3, 6], "names are replaced by indices"


def test_a_whole_number_is_a_number_and_null_is_a_value(fitting):
    fitting["extractors"] = {"cnn": {"network": "cnn", "learning_rate": 1, "dropout": 0}}
    fitting["generator"] |= {"temperature": 2, "top_k": None, "top_p": None}
    config, _ = parse_config(fitting)
    assert config.extractors["cnn"].learning_rate == 1.0
    assert (config.generator.top_k, config.generator.top_p) == (None, None)


def test_the_hash_tells_settings_apart_and_not_their_order(fitting):
    fitting["judges"]["resnet"] = ANIMAL_JUDGE | {"network": "resnet"}
    config, _ = parse_config(fitting)
    turned, _ = parse_config(dict(reversed(fitting.items())) | {"judges": dict(reversed(fitting["judges"].items()))})
    stated, _ = parse_config(fitting | {"seed": 0})
    other, _ = parse_config(fitting | {"seed": 1})
    assert config.hash() == turned.hash() == stated.hash() != other.hash()


# --- what may not ------------------------------------------------------------------------------------------------

SECTIONS = "run, seed, device, generator, data, extractors, importance, concept_tokens, codebook_search, judges, "


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        # unknown keys
        ("epochs", 3, f"epochs: unknown key; allowed here: {SECTIONS}"),
        ("data.per_class.dev", 1, "data.per_class.dev: unknown key; allowed here: train, validation, test"),
        (
            "extractors.resnet",
            {"epochs": 1},
            "extractors.resnet.network: missing; it must be set, as in extractors: {resnet: {network: resnet, ...}}",
        ),
        ("extractors.a", {"network": "vgg"}, "extractors.a.network = 'vgg': allowed: cnn, cnn_deep, resnet, transfor"),
        ("extractors.a", {"network": "vgg"}, "transformer, or module:Attribute of a module of your own"),
        (
            "extractors.a",
            {"network": "no.such:Net"},
            "extractors.a.network = 'no.such:Net': no.such:Net cannot be impo",
        ),
        ("extractors.cnn.seeds", 0, "extractors.cnn.seeds = 0: should be greater than or equal to 1"),
        (
            "controls",
            {"sanity": {}},
            "controls: unknown key; write studies: {attributions: {...}, transfer: {...} (was",
        ),
        ("planted", {}, "planted: unknown key; write studies: {planted: {...}}; allowed here: run, "),
        ("studies.sanity2", {}, "studies.sanity2: no study of this name; allowed: attributions, sanity, stability, "),
        ("studies.mine", {"study": "no_such:STUDY"}, "no_such:STUDY cannot be imported"),
        ("extractors.cnn.depth", 3, "extractors.cnn.depth: unknown key; allowed here: network, seeds, epochs, batch, "),
        ("judges.vit.depth", 3, "judges.vit.depth: unknown key; allowed here: network, images, held_out, class_names"),
        ("data.7", 1, "data.7 = 7: keys are words; allowed here: classes, per_class, shard_size"),
        ("line\nbreak", 1, "line\\nbreak: unknown key; allowed here: run, "),
        ("data." + "k" * 500, 1, "data." + "k" * 59 + "…: unknown key; allowed here: classes, "),
        # wrong types
        ("seed", "3", "seed = '3': should be a valid integer, not text"),
        ("seed", True, "seed = True: should be a valid integer"),
        ("seed", 1.5, "seed = 1.5: should be a valid integer"),
        ("extractors.cnn.learning_rate", "1e-3", "learning_rate = '1e-3': should be a valid number, not text"),
        ("extractors.cnn.learning_rate", "1e-3", "in a config file and without quotes, as in 0.001 or 1.0e-3"),
        ("extractors.cnn.width", None, "extractors.cnn.width = None: should be a valid integer"),
        ("data", [1], "data = [1]: should be a mapping of keys to values"),
        ("data", None, "data = None: should be a mapping of keys to values"),
        ("judges", "vit", "judges = 'vit': should be a mapping of keys to values"),
        ("judges.vit", None, "judges.vit = None: should be a mapping of keys to values"),
        ("data.classes", 3, "data.classes = 3: should be a valid list"),
        ("data.classes", [0, 1.5], "data.classes.1 = 1.5: should be the index or the name of a class"),
        ("data.classes", [0, ""], "data.classes.1 = '': should be the index or the name of a class"),
        ("data.classes", [0, "emu"], "data.classes = 'emu': no such class; classes: 0 (ant), 1 (bee), 2 (cat), "),
        ("data.classes", [0, "ant"], "data.classes = 'ant': class 0, which stands there, too"),
        ("codebook_search.pairs", {"00": 6}, "codebook_search.pairs.00 = '00': should be a valid integer"),
        ("codebook_search.pairs", {"0": 6, 0: 5}, "codebook_search.pairs = {'0': 6, 0: 5}: should have every number"),
        ("generator.weights", 3, "generator.weights = 3: should be a valid string"),
        # impossible values
        ("run", "", "run = '': allowed: letters, digits, - and _; the first is a letter or digit"),
        ("run", "../elsewhere", "run = '../elsewhere': allowed: letters, digits, - and _; the first is"),
        ("run", "a\n", "run = 'a\\n': allowed: letters, "),
        ("device", "tpu", "device = 'tpu': allowed: auto, cpu, cuda, or cuda:0, cuda:1 and so on"),
        ("seed", -1, "seed = -1: should be greater than or equal to 0"),
        ("seed", 1 << 63, "seed = 9223372036854775808: should be less than 9223372036854775808"),
        ("generator.top_k", 0, "generator.top_k = 0: should be greater than or equal to 1"),
        ("generator.top_p", 1.1, "generator.top_p = 1.1: should be less than or equal to 1"),
        ("generator.temperature", 0, "generator.temperature = 0: should be greater than 0"),
        ("generator.temperature", float("nan"), "generator.temperature = nan: should be a finite number"),
        ("generator.batch.classes", 0, "generator.batch.classes = 0: should be greater than or equal to 1"),
        ("data.per_class.test", 0, "data.per_class.test = 0: should be greater than or equal to 1"),
        ("data.shard_size", 0, "data.shard_size = 0: should be greater than or equal to 1"),
        ("data.images.test", "none", "data.images.test = 'none': should be 'png', 'jpeg' or 'webp', as judges look"),
        ("data.images.train", "gif", "data.images.train = 'gif': should be 'png', 'jpeg', 'webp' or 'none'"),
        ("data.image_quality", 101, "data.image_quality = 101: should be less than or equal to 100"),
        ("data.imports.train", "a.csv", "data.imports.train = 'a.csv': should be a mapping of keys to values"),
        ("data.imports.train", {}, "data.imports.train.source = None: either source or images should be set"),
        ("data.imports.train", {"source": "a.npz"}, "data.imports.train.source = 'a.npz': allowed: a .csv"),
        ("data.imports.test", {"source": "a.csv"}, "data.imports.test.source = 'a.csv': no such file"),
        ("data.imports.test", {"source": "{a}.csv"}, "imports.test.source = '{a}.csv': should have no word in braces"),
        (
            "data.imports.test",
            {"source": "x/{ a, \\d+}/b.csv"},
            ".csv': should have no word in braces, which Snakemake",
        ),
        ("judges.vit.images", "{x}", "judges.vit.images = '{x}': should have no word in braces, which Snakemake"),
        (
            "data.imports",
            {split: {"source": __file__.removesuffix("py") + "csv"} for split in ("train", "test")},
            "csv': the rows of train, too; every split needs rows of its own",
        ),
        ("data.imports.test", {"source": "a.npy"}, "data.imports.test.labels = None: goes with a source that is .npy"),
        ("data.imports.test", {"source": "a.csv", "labels": "b.npy"}, "test.labels = 'b.npy': goes with a source that"),
        ("data.imports.test", {"source": "a.parquet", "embeddings": "b"}, "test.embeddings = 'b': goes with a source"),
        ("data.classes", [3], "data.classes = [3]: should have at least 2 items"),
        ("data.classes", [3, 0, 3], "data.classes = [3, 0, 3]: should have every value once"),
        ("data.classes", [0, -1], "data.classes.1 = -1: should be greater than or equal to 0"),
        ("data.classes", [0, 7], "data.classes = 7: the generator has classes 0 to 6"),
        ("extractors", {}, "extractors = {}: should have at least 1 item"),
        ("extractors.cnn", None, "extractors.cnn = None: should be a mapping of keys to values"),
        ("extractors", None, "extractors = None: should be set beside judges"),
        ("extractors.cnn.dropout", 1, "extractors.cnn.dropout = 1: should be less than 1"),
        ("extractors.cnn.batch", 1, "extractors.cnn.batch = 1: should be greater than or equal to 2"),
        ("extractors.cnn.learning_rate", 0, "extractors.cnn.learning_rate = 0: should be greater than 0"),
        (
            "extractors.transformer",
            {"network": "transformer", "width": 10, "heads": 4},
            "extractors.transformer.width = 10: should be a multiple of heads = 4",
        ),
        ("importance.reduction", "sum", "importance.reduction = 'sum': should be 'max' or 'mean'"),
        ("importance.noise", -0.1, "importance.noise = -0.1: should be greater than or equal to 0"),
        ("concept_tokens.top_n", [], "concept_tokens.top_n = []: should have at least 1 item"),
        ("concept_tokens.top_n", [5, 17], "concept_tokens.top_n = 17: at most 16, the positions of the grid"),
        ("concept_tokens.tokens", 25, "concept_tokens.tokens = 25: at most 24, the codes of the codebook"),
        ("codebook_search.region.top", 1, "codebook_search.region = rows 1 to 4, columns 0 to 3: the grid has rows 0"),
        ("codebook_search.region.width", 5, "columns 0 to 4: the grid has rows 0 to 3, columns 0 to 3"),
        ("codebook_search.region.height", 0, "codebook_search.region.height = 0: should be greater than or equal to 1"),
        ("codebook_search.pairs", {}, "codebook_search.pairs = {}: should have at least 1 item"),
        ("codebook_search.pairs.2", 2, "codebook_search.pairs.2 = 2: should be another class"),
        ("codebook_search.pairs.2", -2, "codebook_search.pairs.2 = -2: should be greater than or equal to 0"),
        ("codebook_search.pairs.2", 7, "codebook_search.pairs.2 = 7: class 7 is not among the run's [0, 1, 2, 3, 4"),
        ("codebook_search.pairs.9", 2, "codebook_search.pairs.9 = 2: class 9 is not among the run's [0, 1, 2, 3, 4"),
        ("data.classes", [0, 5], "codebook_search.pairs.0 = 6: class 6 is not among the run's [0, 5]"),
        ("codebook_search.record_every", 5001, "codebook_search.record_every = 5001: should be at most steps = 5000"),
        ("codebook_search.images_per_class", 51, "images_per_class = 51: at most data.per_class.test = 50"),
        (
            "studies.transfer",
            {"refresh_every": 5001},
            "studies.transfer.refresh_every = 5001: at most codebook_search.steps = 5000",
        ),
        ("studies.sanity", {"top_n": 17}, "sanity.top_n = 17: at most 16, the positions of the grid"),
        (
            "studies.sanity",
            {"shuffled": ["cnn_deep"]},
            "sanity.shuffled = 'cnn_deep': allowed: the run's extractors, cnn",
        ),
        ("studies.sanity", {"images_per_class": 51}, "images_per_class = 51: at most data.per_class.test = 50"),
        ("studies.stability", {"samples": [1, 200]}, "stability.reference = 200: should be more than samples = 200"),
        ("studies.combinations", {"n": [2, 300]}, "combinations.n = 300: at most 16, the positions of the grid"),
        ("studies.combinations", {"pairs": 1}, "combinations.pairs = 1: should be greater than or equal to 2"),
        ("studies.transfer", {"prior_weights": [0.0]}, "prior_weights.0 = 0.0: should be greater than 0"),
        ("studies.transfer", {"prior_weights": [1.0, 1.0]}, "prior_weights = [1.0, 1.0]: should have every value once"),
        ("extractors.cnn.precision", "float64", "precision = 'float64': should be 'float32', 'bfloat16' or 'float16'"),
        ("judges.vit", {"network": "vit_b_16", "weights": "gone"}, "judges.vit.weights = 'gone': no such file"),
        ("extractors.cnn.gpus", 2, "extractors.cnn.gpus = 2: only with device = 'cuda'; it is 'auto'"),
        ("judges.a b", ANIMAL_JUDGE, "judges.a b = 'a b': allowed: letters, "),
        (
            "judges.vgg",
            {"network": "vgg", "epochs": 1},
            "judges.vgg.network = 'vgg': allowed: vit, resnet, vit_b_16, vit_b_32, ",
        ),
        ("judges.vgg", {"network": 3}, "judges.vgg.network = 3: should be a valid string"),
        ("judges.vgg", {"epochs": 1}, "judges.vgg.network: missing; it must be set"),
        (
            "judges.b16",
            {"network": "vit_b_16", "epochs": 1},
            "judges.b16.epochs: unknown key; allowed here: network, w",
        ),
        ("judges.b16", {"network": "vit_b_16", "weights": 1}, "judges.b16.weights = 1: should be a valid string"),
        ("judges.vit.seed", -1, "judges.vit.seed = -1: should be greater than or equal to 0"),
        ("judges.vgg", {"network": "vit"}, "judges.vgg.images: missing; it must be set (and 2 more)"),
        ("judges.vit.size", 20, "judges.vit.size = 20: should be a multiple of 8"),
        ("judges.vit.heads", 3, "judges.vit.width = 64: should be a multiple of heads = 3"),
        ("judges.vit.augmentation", "blur", "augmentation = 'blur': should be 'none', 'flip', 'flips_and_turns' or"),
        ("judges.vit.images", "gone", "judges.vit.images = 'gone': no such file or folder"),
        ("judges.vit.held_out", "gone", "judges.vit.held_out = 'gone': no such file or folder"),
        ("judges.vit.class_names", "gone", "judges.vit.class_names = 'gone': no such file or folder"),
        (
            "judges.vit.class_names",
            None,
            "judges.vit.network = 'vit': classes of the generator that it does not know: 'ant', 'bee', 'cat', 'dog', ",
        ),
        ("judges.mine", {"network": "saved"}, "judges.mine.weights: missing; it must be set"),
        ("judges.mine", {"network": "saved", "weights": "gone"}, "judges.mine.weights = 'gone': no such file"),
        ("evaluation.accuracy.k", [8], "evaluation.accuracy.k = 8: at most 7, the classes"),
        ("evaluation.image_level.n", [1, 17], "evaluation.image_level.n = 17: at most 16, the positions of the grid"),
        ("evaluation.image_level.n", [0], "evaluation.image_level.n.0 = 0: should be greater than or equal to 1"),
        ("evaluation.image_level.n", [2, 2], "evaluation.image_level.n = [2, 2]: should have every value once"),
        ("evaluation.concept_level.top_n", [2], "evaluation.concept_level.top_n = 2: allowed: those of concept_tokens"),
        ("studies.planted", {}, "planted.extractors: missing; it must be set"),
        ("studies.planted", PLANTED | {"classes": 3}, "planted.classes = 3: should be a multiple of 2"),
        (
            "studies.planted",
            PLANTED | {"variants": ["odd"]},
            "planted.variants.0 = 'odd': should be 'plain', 'shortcut', ",
        ),
        (
            "studies.planted",
            PLANTED | {"codes_per_class": 5, "codes": 40},
            "codes_per_class = 5: should be at most 4, so that",
        ),
        (
            "studies.planted",
            PLANTED | {"positions": 3},
            "planted.positions = 3: should be at least codes_per_class = 4",
        ),
        (
            "studies.planted",
            PLANTED | {"positions": 5},
            "planted.positions = 5: with 4 classes, combination takes 20 positions",
        ),
        (
            "studies.planted",
            PLANTED | {"searched_per_class": 61},
            "searched_per_class = 61: should be at most per_class.test",
        ),
        (
            "studies.planted",
            PLANTED | {"attributions": {"images_per_class": 61}},
            "planted.attributions.images_per_class = 61: should be at most per_class.test = 60",
        ),
        (
            "studies.planted",
            {"extractors": {"cnn": {"network": "cnn", "gpus": 2}}},
            "planted.extractors.cnn.gpus = 2: should be 1",
        ),
        # files
        ("generator.weights", "/no/where", "generator.weights = '/no/where': no such weights file"),
        ("generator.weights", "", "generator.weights = '': should have at least 1 character"),
        (
            "generator.weights",
            "numerals",
            "generator.weights = 'numerals': no such weights file, and no bundled generat",
        ),
        ("generator.guidance", 0.9, "generator.guidance = 0.9: should be greater than or equal to 1"),
        ("generator.weights", "a\0b\nc", "generator.weights = 'a\\x00b\\nc': should have no control characters"),
        ("generator.weights", __file__, "test_config.py': not a safetensors file"),
        ("generator.folder", "cin", "generator.folder = 'cin': should not be set beside weights = "),
        ("generator.class_names", "names.txt", "generator.class_names = 'names.txt': should be set beside folder only"),
        (
            "generator.precision",
            "float16",
            "generator.precision = 'float16': should be 'auto', 'float32' or 'bfloat16'",
        ),
        ("generator.step", "fast", "generator.step = 'fast': should be 'auto', 'plain', 'captured' or 'compiled'"),
    ],
    ids=repr,
)
def test_what_is_wrong_is_told_by_key_value_and_what_is_allowed(key, value, message, fitting):
    assert message in refusal(changed(fitting, key, value))


@pytest.mark.parametrize(
    ("name", "value", "should"),
    [
        ("steps", 8, "null, as the generator draws without a number of steps"),
        ("choice_temperature", 4.5, "0, as the generator draws positions in a fixed order"),
    ],
)
def test_a_generator_of_one_order_takes_no_steps(fitting, name, value, should):
    told = refusal(changed(fitting, f"generator.{name}", value))
    assert told == f"config: generator.{name} = {value}: should be {should}"


def test_guidance_needs_a_generator_with_a_null_class(fitting):
    config, spec = parse_config(changed(fitting, "generator.guidance", 3))
    assert spec.guidance and config.generator.sampling().guidance == 3.0
    told = refusal(changed(copy.deepcopy(TINY), "generator.guidance", 3))
    assert told == (
        "config: generator.guidance = 3.0: should be 1, as the generator has no null class, which guidance needs"
    )


def test_a_misspelled_key_is_told_before_the_one_that_is_missing(fitting):
    fitting["extractor"] = fitting.pop("extractors")
    assert "config: extractor: unknown key; allowed here: run, " in refusal(fitting)


def test_a_number_too_long_for_python_to_print_is_told(fitting):
    assert "config: seed = a number of thousands of digits: should be less than" in refusal(
        fitting | {"seed": 16**5000}
    )


def test_a_generator_that_only_decodes_is_told(fitting, tmp_path):
    tensors, metadata = read_weights(Path(fitting["generator"]["weights"]))
    vqgan = {name: tensor for name, tensor in tensors.items() if name.startswith("first_stage_model.")}
    architecture = json.loads(metadata["architecture"]) | {"prior": None, "classes": []}
    write_weights(tmp_path / "vqgan.safetensors", vqgan, {"architecture": json.dumps(architecture)})
    load_generator(tmp_path / "vqgan.safetensors")
    fitting["generator"]["weights"] = str(tmp_path / "vqgan.safetensors")
    assert "vqgan.safetensors': a generator without a transformer draws no images" in refusal(fitting)


def test_a_judge_needs_its_package(fitting, tmp_path, monkeypatch):
    """At the start, not where a job computes with it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("\n".join(["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]))
    mine = {"network": "onnx", "weights": "judge.onnx", "class_names": "names.txt", "size": 8}
    fitting["judges"]["mine"] = mine
    assert refusal(fitting) == "config: judges.mine.weights = 'judge.onnx': no such file"
    (tmp_path / "judge.onnx").touch()
    parse_config(fitting)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    told = "install onnxruntime, this package's extra 'onnx' (pip)"
    assert refusal(fitting) == f"config: judges.mine.network = 'onnx': {told}"


def test_judges_are_trained_or_pretrained_and_know_their_classes(fitting, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vit.safetensors").touch()  # where a config says, it is there
    fitting["judges"]["b16"] = {"network": "vit_b_16", "weights": "vit.safetensors"}
    fitting["judges"]["r50"] = {"network": "resnet50"}
    known = "it knows ImageNet's 1000 classes, and the generator has 7 others"
    assert refusal(fitting) == f"config: judges.b16.network = 'vit_b_16': {known}"
    fitting["generator"] = {"folder": str(folder)}
    del fitting["judges"]["vit"]
    config, _ = parse_config(fitting)
    assert [type(judge) for judge in config.judges.values()] == [ImageNetJudge, ImageNetJudge]
    assert (config.judges["b16"].weights, config.judges["r50"].weights) == ("vit.safetensors", None)


@pytest.fixture
def extractor_file(tmp_path):
    """A CE for the small generator, as an extractor's file."""
    network = {"channels": 6, "classes": 7, "grid": (4, 4), "width": 8, "hidden": 16}
    save_extractor(tmp_path / "cnn.safetensors", "cnn", network, build_extractor("cnn", **network).state_dict())
    return tmp_path / "cnn.safetensors"


def test_an_extractor_may_come_with_weights(fitting, extractor_file, tmp_path):
    shutil.copy(extractor_file, tmp_path / "again.safetensors")
    files = [str(extractor_file), str(tmp_path / "again.safetensors")]
    fitting["extractors"] = {"mine": {"network": "cnn", "weights": files}, "cnn": {"network": "cnn"}}
    config, _ = parse_config(fitting)
    assert config.extractor_trainings() == ["mine/0", "mine/1", "cnn/0", "cnn/1", "cnn/2"]
    assert config.averaged_extractors() == ["mine/average", "cnn/average"]
    assert config.extractors["mine"].network_arguments()["hidden"] == 16
    assert config.model_dump()["extractors"]["mine"] == {"network": "cnn", "weights": files}


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({"network": "resnet"}, "its network is 'resnet', not 'cnn'"),
        ({"classes": 1000}, "made for classes = 1000; the generator has 7"),
        ({"channels": 256}, "made for channels = 256; the generator has 6"),
        ({"grid": [16, 16]}, "made for grid = [16, 16]; the generator has [4, 4]"),
        ({"scales": [1, 4]}, "made for scales = [1, 4]; the generator has []"),
    ],
)
def test_weights_of_an_extractor_fit_the_generator(fitting, tmp_path, stated, told):
    arguments = {"channels": 6, "classes": 7, "grid": [4, 4]} | stated
    entry = {"network": arguments.pop("network", "cnn"), "settings": arguments}
    write_weights(tmp_path / "cnn", {}, {"extractor": json.dumps(entry)})
    fitting["extractors"] = {"cnn": {"network": "cnn", "weights": [str(tmp_path / "cnn")]}}
    assert refusal(fitting).startswith("config: extractors.cnn.weights = ") and refusal(fitting).endswith(told)


def test_the_files_of_an_extractor_have_one_shape(fitting, extractor_file, tmp_path):
    arguments = {"channels": 6, "classes": 7, "grid": [4, 4], "width": 16, "hidden": 16}
    wider = {"extractor": json.dumps({"network": "cnn", "settings": arguments})}
    write_weights(tmp_path / "wider", {}, wider)
    files = [str(extractor_file), str(tmp_path / "wider")]
    fitting["extractors"] = {"cnn": {"network": "cnn", "weights": files}}
    assert "wider': its network has another shape than that of '" in refusal(fitting)


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"weights": ["gone"]}, "extractors.cnn.weights: gone: no such weights file"),
        ({"weights": []}, "extractors.cnn.weights = []: should have at least 1 item"),
        ({"weights": ["gone", "gone"]}, "extractors.cnn.weights = ['gone', 'gone']: should have every value once"),
        ({"weights": ["gone"], "epochs": 3}, "extractors.cnn.epochs: unknown key; allowed here: network, weights"),
    ],
)
def test_what_is_wrong_with_weights_of_an_extractor_is_told(fitting, part, told):
    fitting["extractors"] = {"cnn": {"network": "cnn"} | part}
    assert refusal(fitting).startswith(f"config: {told}")


def test_a_study_trains_its_own_extractors(fitting, extractor_file):
    given = {"network": "cnn", "weights": [str(extractor_file)]}
    fitting["extractors"] = {"cnn": given}
    fitting["studies"] = {"sanity": {"images_per_class": 1, "shuffled": ["cnn"]}}
    assert refusal(fitting) == ("config: studies.sanity.shuffled = 'cnn': should be an extractor that the run trains")
    fitting["studies"] = {"planted": PLANTED | {"extractors": {"cnn": given}}}
    assert "studies.planted.extractors.cnn.weights: unknown key; allowed here: network, seeds" in refusal(fitting)


@pytest.fixture
def folder(tmp_path):
    """The authors' folder as far as a config needs it: the YAML, and a checkpoint that nobody reads."""
    for name in ("configs", "checkpoints"):
        (tmp_path / "cin" / name).mkdir(parents=True)
    (tmp_path / "cin/configs/2021-project.yaml").write_text(yaml.safe_dump(CIN_TRANSFORMER))
    (tmp_path / "cin/checkpoints/last.ckpt").touch()
    return tmp_path / "cin"


def test_a_folder_says_what_its_generator_is_before_it_is_converted(fitting, folder, tmp_path):
    fitting["generator"], fitting["judges"] = {"folder": str(folder)}, {"r50": {"network": "resnet50"}}
    fitting["codebook_search"]["pairs"] = {0: 999}
    _, facts = parse_config(fitting)
    assert (facts.grid, facts.codes, facts.channels) == ((16, 16), 16384, 256)
    assert facts.class_names == tuple(f"class {number}" for number in range(1000))
    (tmp_path / "names.txt").write_text("\n".join(f"name {number}" for number in range(1000)))
    fitting["generator"]["class_names"] = str(tmp_path / "names.txt")
    assert parse_config(fitting)[1].class_names[999] == "name 999"
    fitting["codebook_search"]["pairs"] = {0: 1000}
    assert "codebook_search.pairs.0 = 1000: class 1000 is not among the run's" in refusal(fitting)


def test_what_is_wrong_with_a_folder_is_told(fitting, folder, tmp_path):
    fitting["generator"] = {"folder": str(folder), "class_names": str(tmp_path / "names.txt")}
    assert "names.txt: No such file" in refusal(fitting)
    (tmp_path / "names.txt").write_text("tench\n")
    assert "names.txt: 1 names, but the generator of" in refusal(fitting)
    del fitting["generator"]["class_names"]
    project = folder / "configs/2021-project.yaml"
    project.write_text(project.read_text().replace("n_head: 24", "n_head: 25"))
    assert "n_embd = 1536 should be a multiple of n_head = 25" in refusal(fitting)
    project.write_text(yaml.safe_dump({"model": CIN_TRANSFORMER["model"]["params"]["first_stage_config"]}))
    assert f"generator.folder = '{folder}': a generator without a transformer draws no images" in refusal(fitting)
    (folder / "checkpoints/last.ckpt").unlink()
    assert f"generator.folder = '{folder}': none of checkpoints/last.ckpt" in refusal(fitting)


def test_what_must_be_set_is_named(fitting):
    for key in ("run", "extractors", "judges"):
        assert refusal({name: value for name, value in fitting.items() if name != key}) == (
            f"config: {key}: missing; it must be set"
        )
    assert refusal({}) == "config: run: missing; it must be set (and 2 more)"
    assert refusal(None) == "config: the file = None: should be a mapping of keys to values"


def test_yaml_reads_1e_3_as_text_which_the_error_explains(fitting):
    written = yaml.safe_load("{short: 1e-3, full: 1.0e-3}")
    assert written == {"short": "1e-3", "full": 0.001}, "YAML 1.1"
    assert "not text" in refusal(changed(fitting, "extractors.cnn.learning_rate", written["short"]))
    parse_config(changed(fitting, "extractors.cnn.learning_rate", written["full"]))


# --- anything at all ---------------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates()
KEYS = st.text(max_size=5) | st.integers() | st.none() | st.booleans()
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


def places(config, found=()):
    """The path of every value in a nested mapping."""
    for key, value in config.items():
        yield (*found, key)
        if isinstance(value, dict):
            yield from places(value, (*found, key))


def config_or_one_line(settings_of_a_file):
    refusal = None
    try:
        assert isinstance(parse_config(settings_of_a_file)[0], Config)
    except InputError as error:
        refusal = str(error)
    assert refusal is None or (refusal.startswith("config: ") and refusal.isprintable())


@given(anything=ANYTHING)
@example(anything={"[key]": None})  # as pydantic marks a wrong key
def test_any_file_is_a_config_or_an_error_of_one_line(anything):
    config_or_one_line(anything)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_or_key_anywhere_gives_a_config_or_an_error_of_one_line(data, fitting):
    config = copy.deepcopy(fitting)
    *sections, last = data.draw(st.sampled_from(list(places(FITTING | {"data": {"classes": [1, 2]}}))))
    section = config
    for name in sections:
        section = section.setdefault(name, {})
    section[data.draw(st.just(last) | KEYS)] = data.draw(ANYTHING | st.integers(-1, 30) | st.floats(0, 1))
    config_or_one_line(config)


# --- through Snakemake -------------------------------------------------------------------------------------------


def dry_run(folder, *options):
    """Exit status and output of a dry run of snakemake in a folder of its own."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", "--directory", str(folder), *options]
    done = subprocess.run(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


@pytest.mark.workflow
def test_snakemake_stops_at_a_wrong_value_in_a_file_before_it_plans_anything(tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(TINY | {"data": {"per_class": {"test": 0}}}))
    status, output = dry_run(tmp_path, "--configfile", str(wrong))
    assert status != 0
    assert "config: data.per_class.test = 0: should be greater than or equal to 1" in output.splitlines()
    assert "Traceback" not in output and "Job stats" not in output


@pytest.mark.workflow
def test_snakemake_stops_at_a_wrong_value_on_its_command_line(tmp_path):
    tiny = ["--configfile", str(CHECKOUT / "tests" / "tiny.yaml")]
    status, output = dry_run(tmp_path, *tiny, "--config", "seed=-1")
    assert status != 0
    assert "config: seed = -1: should be greater than or equal to 0" in output.splitlines()
    assert "Traceback" not in output and "Job stats" not in output
    status, output = dry_run(tmp_path, *tiny, "--config", "seed=1", "--until", "generate_shard")
    assert status == 0 and "Job stats" in output, "or the test above shows nothing"


def test_a_run_of_bias_alone_knows_its_classes(fitting):
    fitting |= {"extractors": None, "judges": None, "data": {"classes": [0, 1, 42]}}
    fitting["studies"] = {"bias": {"pairs": {0: 42}, "top_n": 1, "tokens": 2}}
    assert refusal(fitting) == "config: data.classes = 42: the generator has classes 0 to 6"


def test_any_extractor_separates_the_groups_of_bias(fitting):
    fitting["studies"] = {"bias": {"pairs": {0: 6}, "extractor": {"width": 8}}}
    published = parse_config(fitting)[0].studies["bias"].extractor
    assert (type(published), published.width) == (CnnSettings, 8)
    assert (published.epochs, published.step_epochs, published.seeds, published.batch) == (10, 5, 1, 256)
    fitting["studies"]["bias"]["extractor"] = {"network": "transformer", "layers": 2, "epochs": 3}
    config, _ = parse_config(fitting)
    other = config.studies["bias"].extractor
    assert (type(other), other.layers, other.epochs, other.seeds) == (TransformerSettings, 2, 3, 1)
    assert config.model_dump()["studies"]["bias"]["extractor"]["layers"] == 2


@pytest.mark.parametrize(
    ("extractor", "told"),
    [
        ({"network": "rezznet"}, ".network = 'rezznet': allowed: cnn, cnn_deep, resnet, transformer, or module:Attr"),
        ({"network": 3}, ".network = 3: should be a valid string"),
        ({"layers": 2}, ".layers: unknown key; allowed here: network, seeds, epochs"),
        ({"network": "resnet", "width": 8}, ".width = 8: should be greater than or equal to 16"),
        ({"network": "cnn", "weights": ["a"]}, ".weights: unknown key; allowed here: network"),
        ({"seeds": 3}, ".seeds = 3: should be 1"),
        ({"gpus": 2}, ".gpus = 2: should be 1"),
        (3, " = 3: should be a mapping of keys to values"),
    ],
)
def test_what_is_wrong_with_the_extractor_of_bias_is_told(fitting, extractor, told):
    fitting["studies"] = {"bias": {"pairs": {0: 6}, "extractor": extractor}}
    assert refusal(fitting).startswith(f"config: studies.bias.extractor{told}")
