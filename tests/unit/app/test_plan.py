"""What a run costs, against Snakemake's own count of jobs, the sampler's own arithmetic, and figures worked by hand."""

import re
import shutil
import tarfile
from collections import Counter
from contextlib import chdir
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from cortex.app.cli import main
from cortex.app.plan import Line, amount, counts_of, duration, memory_line, stages_of, training_line, with_jobs
from cortex.app.rates import copy_rate, product_rate
from cortex.app.snakemake_internals import Job, planned_jobs
from cortex.config import parse_config
from cortex.core.cost import JudgeCost, Stage
from cortex.data.draw import Stretch, generate_shard
from cortex.data.settings import SPLITS, ImageFiles
from cortex.extractors.network import build_extractor, save_extractor
from cortex.generators.load import generator_spec
from cortex.generators.network.vqgan import VQGAN
from cortex.generators.sampling import Sampling
from cortex.generators.taming import FAMILY
from tests.onnx_models import write_linear
from tests.pipeline import CHECKOUT, copy_checkout, jobs_in, made
from tests.published import (
    TAMING_F16,
    detoker,
    halton_prior,
    ibq_prior,
    ibq_state,
    llamagen_prior,
    llamagen_tokenizer_file,
    maskgit_prior,
    maskgit_tokenizer,
    rar_prior,
    stand_in,
    var_prior,
    var_tokenizer_file,
)

TINY = CHECKOUT / "tests" / "tiny.yaml"
CONFIGS = [
    "tests/tiny.yaml",
    "config.yaml",
    "configs/quick.yaml",
    "configs/digits.yaml",
    "configs/imagenet.yaml",
    "configs/llamagen_b.yaml",
    "configs/rar_b.yaml",
    "configs/ibq_b.yaml",
    "configs/maskgit.yaml",
    "configs/halton.yaml",
    "configs/var_d16.yaml",
    "configs/dalle_mini.yaml",
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout with stand-ins for the files of the generators: descriptions and shapes, no weights."""
    folder = copy_checkout(tmp_path_factory.mktemp("plan"))
    shutil.copytree(CHECKOUT / "configs", folder / "configs")
    generator = folder / "2021-04-03T19-39-50_cin_transformer"
    (generator / "configs").mkdir(parents=True)
    (generator / "checkpoints").mkdir()
    project = generator / "configs" / "2021-04-03T19-39-50-project.yaml"
    shutil.copy(CHECKOUT / "tests" / "cin_transformer.yaml", project)
    (generator / "checkpoints" / "last.ckpt").touch()
    for name in ("llamagen", "rar", "ibq", "pretrained_maskgit", "halton", "var", "min-dalle", "dalle_mini"):
        (folder / name).mkdir()
    with torch.device("meta"):
        vqgan = VQGAN(TAMING_F16, n_embed=16384, embed_dim=256)
    shapes = {name: tuple(weight.shape) for name, weight in vqgan.state_dict().items()}
    torch.save(stand_in(detoker(shapes)), folder / "min-dalle" / "detoker.pt")
    torch.save({"model": llamagen_tokenizer_file([1, 1, 2, 2, 4])}, folder / "llamagen" / "vq_ds16_c2i.pt")
    shutil.copy(folder / "llamagen" / "vq_ds16_c2i.pt", folder / "halton")
    prior = stand_in(halton_prior(12, 768, 768, 2048))
    torch.save({"model_state_dict": prior}, folder / "halton" / "ImageNet_256_base.pth")
    torch.save({"model": stand_in(llamagen_prior(12, 768, 2048))}, folder / "llamagen" / "c2i_B_256.pt")
    torch.save(stand_in(maskgit_tokenizer()), folder / "rar" / "maskgit-vqgan-imagenet-f16-256.bin")
    torch.save(stand_in(rar_prior(24, 768, 3072)), folder / "rar" / "rar_b.bin")
    torch.save({"state_dict": stand_in(ibq_state(shapes, ibq_prior(16, 1024, 2816)))}, folder / "ibq" / "AR_256_B.ckpt")
    with torch.device("meta"):
        vqgan = VQGAN(TAMING_F16, n_embed=1024, embed_dim=256)
    shapes = {name: tuple(weight.shape) for name, weight in vqgan.state_dict().items()}
    torch.save({"state_dict": stand_in(shapes)}, folder / "pretrained_maskgit" / "last.ckpt")
    prior = {"model_state_dict": stand_in(maskgit_prior())}
    torch.save(prior, folder / "pretrained_maskgit" / "MaskGIT_ImageNet_256.pth")
    torch.save(stand_in(var_prior(16, 1024, 4096)), folder / "var" / "var_d16.pth")
    torch.save(var_tokenizer_file(), folder / "var" / "vae_ch160v4096z32.pth")
    for split in SPLITS:
        (folder / f"dalle_mini/{split}.parquet").touch()
    return folder


@pytest.fixture(scope="module")
def counts(checkout):
    """What the costs of a config in the checkout are counted with: it names the generator's folder relative to it."""

    @cache
    def counts(name):
        with chdir(checkout):
            return counts_of(*parse_config(yaml.safe_load(Path(name).read_text())))

    return counts


@pytest.fixture(scope="module")
def jobs(checkout):
    """The jobs of a config."""

    @cache
    def jobs(name):
        with chdir(checkout):
            return planned_jobs(Path(name), "full")

    return jobs


@pytest.fixture(scope="module")
def lines(checkout, counts, jobs):
    """The lines of a config's plan."""

    @cache
    def lines(name):
        with chdir(checkout):
            return list(with_jobs(list(stages_of(counts(name).config, counts(name))), jobs(name)))

    return lines


@pytest.fixture(scope="module")
def jobs_of_snakemake(checkout):
    """The jobs of a config by the table that Snakemake prints."""

    @cache
    def jobs_of_snakemake(name):
        return jobs_in(made(checkout, "full", "--dry-run", "--configfile", name))

    return jobs_of_snakemake


@pytest.mark.workflow
@pytest.mark.parametrize("name", CONFIGS)
def test_the_lines_have_every_job(lines, jobs, name):
    found = Counter()
    for line in lines(name):
        found[line.stage.rule] += line.jobs
    assert found == Counter(job.rule for job in jobs(name))


@pytest.mark.workflow
@pytest.mark.parametrize("name", ["config.yaml", "configs/imagenet.yaml", "configs/var_d16.yaml"])
def test_the_jobs_are_those_of_the_table_that_snakemake_prints(jobs, jobs_of_snakemake, name):
    assert Counter(job.rule for job in jobs(name)) == jobs_of_snakemake(name)


# Rules that ask for a GPU only where shards have no images, and otherwise read them.
DECODE_WHAT_LACKS = {"measure_property", "draw_bias_property"}


def rules_on_a_device():
    """Rules that ask for a GPU on a device that is one: those that compute."""
    files = [*CHECKOUT.glob("rules/*.smk"), *CHECKOUT.glob("cortex/studies/*/rules.smk")]
    text = "\n".join(path.read_text() for path in files)
    rules = re.split(r"^ *(?:use )?rule ", text, flags=re.MULTILINE)[1:]
    return {re.match(r"\w+", rule).group() for rule in rules if "gpu=" in rule}


@pytest.mark.workflow
@pytest.mark.parametrize("name", ["config.yaml", "configs/imagenet.yaml"])
def test_every_rule_that_computes_states_its_cost(lines, name):
    computing = rules_on_a_device()
    assert {"generate_shard", "train_extractor", "importance", "study"} <= computing
    stated = {line.stage.rule for line in lines(name) if line.stated}
    assert computing & {line.stage.rule for line in lines(name)} <= stated
    without = {"pretrained_judge", *DECODE_WHAT_LACKS}
    assert {line.stage.rule for line in lines(name) if line.stage.flops} >= computing & stated - without


@pytest.mark.workflow
def test_the_papers_run_is_planned_without_its_weights_in_hundreds_of_jobs(jobs_of_snakemake):
    planned = jobs_of_snakemake("configs/imagenet.yaml")
    assert planned["convert_generator"] == 1
    assert planned["generate_shard"] == 100 + 30 + 5
    assert planned["importance"] == 3 * (100 + 5)
    assert planned["decode_images"] == 5
    assert planned["image_level"] == planned["concept_level"] == 3 * 4 * 5
    assert sum(planned.values()) < 1000


def test_stages_without_jobs_are_dropped_and_jobs_without_a_stage_are_listed():
    stages = [Stage("a", flops=1), Stage("b", flops=2), Stage("b", part="more", flops=3)]
    jobs = [Job("b", {"shard": "0"}), Job("c", {}), Job("b", {"shard": "1"}), Job("c", {})]
    lines = list(with_jobs(stages, jobs))
    assert lines == [Line(stages[1], 2), Line(stages[2], 0), Line(Stage("c"), 2, stated=False)]


def test_a_stage_has_the_jobs_of_its_wildcards_and_of_all_trainings():
    stages = [Stage("a", {"extractor": "cnn"}), Stage("a", {"extractor": "cnn2"}), Stage("a", {"judge": "cnn"})]
    jobs = [Job("a", {"extractor": name, "judge": "vit"}) for name in ("cnn/0", "cnn/1", "cnn2/0")]
    assert list(with_jobs(stages, jobs)) == [Line(stages[0], 2), Line(stages[1], 1)]
    assert list(with_jobs(stages, [Job("a", {"extractor": "vit/0", "judge": "cnn"})])) == [Line(stages[2], 1)]


@pytest.mark.workflow
def test_every_training_of_an_extractor_costs(monkeypatch, tmp_path):
    """Three trainings of one extractor, one of the others: three times its cost, and an average more to judge."""
    once = yaml.safe_load(TINY.read_text())
    thrice = yaml.safe_load(TINY.read_text())
    thrice["extractors"]["cnn"]["seeds"] = 3
    (tmp_path / "thrice.yaml").write_text(yaml.safe_dump(thrice))
    jobs = planned_jobs(tmp_path / "thrice.yaml", "full")
    (config, spec), (before, _) = parse_config(thrice), parse_config(once)
    lines = {key(line.stage): line for line in with_jobs(list(stages_of(config, counts_of(config, spec))), jobs)}
    costs = {key(stage): stage for stage in stages_of(before, counts_of(before, spec))}
    for rule in ("train_extractor", "importance", "codebook_search", "extractor_accuracy"):
        assert lines[rule, "cnn"].stage.flops == 3 * costs[rule, "cnn"].flops
        assert lines[rule, "resnet"].stage.flops == costs[rule, "resnet"].flops
    assert lines["train_extractor", "cnn"].jobs == 3
    assert lines["train_extractor", "resnet"].jobs == 1
    assert lines["image_level", "vit"].jobs == 6
    assert lines["image_level", "vit"].stage.flops == pytest.approx(6 / 3 * costs["image_level", "vit"].flops)
    assert lines["codebook_level", "vit"].jobs == 5
    assert lines["codebook_level", "vit"].stage.flops == pytest.approx(5 / 3 * costs["codebook_level", "vit"].flops)
    assert lines["concept_tokens", "cnn"].jobs == 4
    average, importance = lines["average_importance", "cnn"], lines["importance", "cnn"]
    assert average.jobs == importance.jobs / 3
    assert average.stage.read == importance.stage.written == 3 * average.stage.written


def key(stage):
    """The rule, and the extractor or judge."""
    return (stage.rule, *list(stage.wildcards.values())[-1:])


@pytest.mark.workflow
def test_every_attribution_costs(tmp_path):
    """Integrated gradients take steps where the published score takes noisy copies; judges see all masks again."""
    settings = yaml.safe_load(TINY.read_text())
    counts = counts_of(*parse_config(settings))
    settings["importance"] |= {"method": ["tis", "integrated_gradients"], "samples": 2, "steps": 7}
    (tmp_path / "both.yaml").write_text(yaml.safe_dump(settings))
    config, spec = parse_config(settings)
    both = {(stage.rule, *stage.wildcards.values()): stage for stage in stages_of(config, counts_of(config, spec))}
    cost, images = counts.extractors["cnn"], 36 + 12
    tis, integrated = (both["importance", method, "cnn"].flops for method in ("tis", "integrated_gradients"))
    assert tis == images * (2 * cost.gradient + cost.forward)
    assert integrated == images * (7 * cost.gradient + cost.forward)
    alone = {(stage.rule, *stage.wildcards.values()): stage for stage in stages_of(counts.config, counts)}
    for level in ("image_level", "concept_level"):
        assert both[level, "vit"].flops == 2 * alone[level, "vit"].flops
    assert both["codebook_level", "vit"].flops == alone["codebook_level", "vit"].flops
    jobs = Counter(job.rule for job in planned_jobs(tmp_path / "both.yaml", "all"))
    assert (jobs["importance"], jobs["concept_tokens"], jobs["image_level"]) == (2 * 3 * 3, 2 * 3, 2 * 3 * 2)


@pytest.fixture(scope="module")
def imagenet(counts):
    return counts("configs/imagenet.yaml")


@pytest.mark.parametrize(
    ("extractor", "step", "importance"), [("cnn", 16.6, 220), ("resnet", 6.3, 86), ("transformer", 64, 860)]
)
def test_the_extractors_arithmetic_is_that_counted_by_hand(imagenet, extractor, step, importance):
    """GFLOP an image: of a training step (three times a forward pass, or a little less) and of 20 noisy gradients."""
    cost = imagenet.extractors[extractor]
    assert cost.step / 1e9 == pytest.approx(step, rel=0.04)
    assert 20 * cost.gradient / 1e9 == pytest.approx(importance, rel=0.04)


def test_the_cnns_forward_pass_is_its_layers_products(imagenet):
    convolutions = 9 * 256 * (256 * 512 + 3 * 512**2) + 9 * 64 * 4 * 512**2
    connected = 512 * 4 * 4 * 4096 + 4096**2 + 4096 * 1000
    assert imagenet.extractors["cnn"].forward == 2 * (convolutions + connected)


def test_the_search_with_a_cnn_computes_what_its_region_reaches(imagenet):
    """Windows of 6, 8, 10 and 12 before the first pool, forth and back; the other networks, whole."""
    windows = 9 * 512 * sum(reached * inputs for reached, inputs in ((36, 256), (64, 512), (100, 512), (144, 512)))
    convolved, connected = windows + 9 * 64 * 4 * 512**2, 512 * 4 * 4 * 4096 + 4096**2 + 4096 * 1000
    assert imagenet.extractors["cnn"].search == pytest.approx(2 * 2 * (convolved + connected), rel=0.15)
    assert imagenet.extractors["resnet"].search == imagenet.extractors["resnet"].gradient


def test_the_cache_that_a_token_reads_is_that_of_all_before_it(imagenet):
    transformer = {"n_layer": 48, "n_embd": 1536, "vocab_size": 16384}
    assert imagenet.generator.sample_flops == FAMILY.prior_size(transformer).token_flops(256)
    size = FAMILY.prior_size(transformer)
    assert size.cache_bytes(1, 2) == 48 * 2 * 1536 * 2
    assert size.cache_bytes(3, 2) == (1 + 2 + 3) * 48 * 2 * 1536 * 2
    assert 2.6e12 / size.cache_bytes(256, 2) == pytest.approx(270, rel=0.01), "images a second on an H100"


def test_the_memory_of_drawing_is_that_of_weights_keys_and_values(counts, checkout):
    """The ImageNet run: 500 sequences of 256 tokens, 48 layers of keys and values of width 1536 in 16 bits."""
    cost = counts("configs/imagenet.yaml").generator
    kept = 500 * 256 * 48 * 2 * 1536 * 2
    weights = cost.weights_bytes - 2 * 48 * 12 * 1536**2  # the layers' matrices in 16 bits
    assert cost.sampling_memory == kept + weights and kept == pytest.approx(37.7e9, rel=0.01)
    with chdir(checkout):
        config, spec = parse_config(yaml.safe_load((CHECKOUT / "configs/imagenet.yaml").read_text()))
    assert memory_line(config, spec, cost) == (
        "Drawing 500 images at once holds 41 GB of the device's memory: weights, keys and values."
    )


def test_a_training_holds_copies_of_the_weights_and_what_its_batch_keeps(counts):
    """Of TE, mostly attention: 8 heads of 257 × 257 in 12 layers, as weights, as a mask of dropout, and after it."""
    extractors = counts("configs/imagenet.yaml").extractors
    attention = 256 * 12 * 8 * 257**2 * (4 + 4 + 1)
    transformer = extractors["transformer"]
    held = transformer.training_memory - 5 * transformer.bytes
    assert attention < held < 5 * attention
    assert training_line(counts("configs/imagenet.yaml")) == (
        "Training an extractor holds, in float32, of the device's memory: cnn 3 GB, resnet 1.37 GB, transformer "
        "62.9 GB. A smaller batch needs less."
    )


@pytest.mark.slow
def test_llamagen_is_guided_as_published_and_counted_so(counts, checkout):
    cost = counts("configs/llamagen_b.yaml").generator
    with chdir(checkout):
        config, spec = parse_config(yaml.safe_load((CHECKOUT / "configs/llamagen_b.yaml").read_text()))
    assert config.generator.sampling() == spec.published == Sampling(top_k=None, top_p=None, guidance=2.0)
    products = 12 * (4 * 768**2 + 3 * 768 * 2048)
    attention = 12 * 2 * 768 * 256 * 257 / 2
    assert cost.sample_flops == 2 * 2 * (256 * (products + 768 * 16384) + attention), "two rows a grid"
    kept, weights = 2 * 500 * 256 * 12 * 2 * 768 * 2, 4 * (110_888_448 + 71_883_403) - 2 * products
    assert cost.sampling_memory == kept + weights and kept == pytest.approx(9.4e9, rel=0.01)
    assert memory_line(config, spec, cost) == (
        "Drawing 500 images at once, two rows each for guidance, holds 10 GB of the device's memory: weights, keys and "
        "values."
    )


def test_rar_is_guided_as_published_and_keeps_a_place_more(counts, checkout):
    cost = counts("configs/rar_b.yaml").generator
    with chdir(checkout):
        config, spec = parse_config(yaml.safe_load((CHECKOUT / "configs/rar_b.yaml").read_text()))
    assert config.generator.sampling() == spec.published and spec.published.guidance == 16.0
    products = 24 * (10 * 768**2 + 2 * 768 * 3072)
    attention = 24 * 2 * 768 * 257 * 258 / 2
    assert cost.sample_flops == 2 * 2 * (257 * products + 256 * 768 * (1024 + 2 * 768) + attention), "two rows a grid"
    kept, weights = 2 * 500 * 257 * 24 * 2 * 768 * 2, 4 * (260_923_648 + 54_515_587) - 2 * products
    assert cost.sampling_memory == kept + weights and kept == pytest.approx(18.9e9, rel=0.01)


def test_maskgits_steps_are_counted(counts, checkout):
    cost = counts("configs/maskgit.yaml").generator
    with chdir(checkout):
        config, spec = parse_config(yaml.safe_load((CHECKOUT / "configs/maskgit.yaml").read_text()))
    assert config.generator.sampling() == spec.published and spec.published.steps == 8
    layers = 24 * (4 * 768**2 + 2 * 768 * 3072)
    products = 257 * (2 * 768**2 + layers) + 256 * (768**2 + 768 * 1025)
    assert cost.sample_flops == 8 * 2 * 2 * (products + 24 * 2 * 768 * 257**2), "two rows a grid"
    logits = 2 * 500 * 256 * 1025 * 8
    assert cost.sampling_memory == logits + 4 * (174_160_874 + 72_141_699) + 2 * layers and not cost.prior_flops
    assert "the device's memory: weights, logits." in memory_line(config, spec, cost)


def test_haltons_steps_are_counted(counts, checkout):
    cost = counts("configs/halton.yaml").generator
    with chdir(checkout):
        config, spec = parse_config(yaml.safe_load((CHECKOUT / "configs/halton.yaml").read_text()))
    assert config.generator.sampling() == spec.published
    assert (spec.published.steps, spec.published.guidance) == (32, 1.7)
    layers, logits = 12 * (4 * 768**2 + 3 * 768 * 2048), 16385
    products = 257 * layers + 256 * 768 * logits + (6 * 12 + 2) * 768**2
    assert cost.sample_flops == 32 * 2 * 2 * (products + 12 * 2 * 768 * 257**2), "two rows a grid, and a register"
    assert cost.sampling_memory > 2 * 50 * 256 * logits * 8 and not cost.prior_flops


def test_vars_scales_are_counted(counts, checkout):
    of_run = counts("configs/var_d16.yaml")
    cost = of_run.generator
    with chdir(checkout):
        config, spec = parse_config(yaml.safe_load((CHECKOUT / "configs/var_d16.yaml").read_text()))
    assert config.generator.sampling() == spec.published and spec.published.guidance == 2.5
    sides = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
    seen = sum(side**2 * sum(other**2 for other in sides if other <= side) for side in sides)
    products = 680 * (16 * 12 * 1024**2 + 1024 * 4096) + 679 * 32 * 1024 + 10 * (6 * 16 + 2) * 1024**2
    assert cost.sample_flops == 2 * 2 * (products + 16 * 2 * 1024 * seen), "two rows a grid"
    kept, layers = 2 * 100 * 680 * 16 * 2 * 1024 * 2, 16 * 12 * 1024**2
    assert kept == pytest.approx(8.9e9, rel=0.01) and not cost.prior_flops
    logits = 2 * 100 * 256 * 4096 * 8
    assert cost.sampling_memory == kept + logits + 4 * (310_283_520 + 108_948_355) + 2 * layers
    searches = {
        stage.wildcards["extractor"]: stage for stage in stages_of(config, of_run) if stage.rule == "codebook_search"
    }
    soft, recorded = 2 * 23 * 32 * 4096, 10  # the region's 23 tokens choose among the codes of their scale
    found = searches["cnn"]
    assert found.flops == found.samples * (5000 * (2 * of_run.extractors["cnn"].search + soft) + recorded * soft)


@pytest.mark.slow
def test_a_guided_grid_is_two_rows_of_a_batch(generator_weights, tmp_path):
    """Twice the arithmetic and the cache; the weights are read once for both. A region is drawn with both, too."""
    config = yaml.safe_load(TINY.read_text())
    config |= {"data": {"per_class": {"train": 3, "validation": 4, "test": 4}}}
    config |= {"studies": {"transfer": {"refresh_every": 3}}}
    config["codebook_search"] |= {"region": {"top": 0, "left": 0, "height": 2, "width": 3}, "pairs": {1: 6, 6: 1}}
    config["generator"] |= {"weights": str(generator_weights)}
    names = [*generator_spec(generator_weights).class_names, "seven", "eight", "nine"]  # of the judges' ten digits
    (tmp_path / "names.txt").write_text("\n".join(names))
    for judge in config["judges"].values():
        judge["class_names"] = str(tmp_path / "names.txt")
    plain, guided = (
        {(stage.rule, stage.part): stage for stage in stages_of(parsed, counts_of(parsed, spec))}
        for parsed, spec in (
            parse_config(config | {"generator": config["generator"] | {"guidance": guidance}}) for guidance in (1, 3)
        )
    )
    size = FAMILY.prior_size({"vocab_size": 24, "n_layer": 2, "n_embd": 16})
    before, after = plain["generate_shard", "tokens"], guided["generate_shard", "tokens"]
    assert before.samples == after.samples == 7 * 12
    assert before.flops == 7 * 12 * size.token_flops(16) and after.flops == 2 * before.flops
    assert after.traffic - before.traffic == pytest.approx(7 * 12 * size.cache_bytes(16, 4))
    more = guided["transfer", ""].flops - plain["transfer", ""].flops
    assert more == pytest.approx(4 * 2 * 6 * size.token_flops(7)), "4 images, 2 records, 6 positions, 7 tokens passed"
    changed = {
        key for key in plain if (plain[key].flops, plain[key].traffic) != (guided[key].flops, guided[key].traffic)
    }
    assert changed == {("generate_shard", "tokens"), ("transfer", "")}


def test_samples_that_a_shard_throws_away_are_counted():
    """Classes 1, 2, 7 of ten, drawn by all ten classes × 2 indices; shards of 18 hold six indices."""
    counts = counts_of(*parse_config(yaml.safe_load(TINY.read_text())))
    assert [counts.splits[split].computed for split in SPLITS] == [2 * 3 * 20, 3 * 20, 2 * 20]


def test_the_papers_batches_throw_nothing_away(imagenet):
    assert imagenet.splits["train"].computed == 1_000_000


@pytest.mark.slow
def test_a_shards_size_is_foreseen(tmp_path):
    config = yaml.safe_load(TINY.read_text()) | {"data": {"per_class": {"train": 3, "validation": 4, "test": 4}}}
    split = counts_of(*parse_config(config)).splits["train"]
    stretch, sampling = Stretch("train", 0, 30, seed=0, classes=list(range(10))), Sampling(top_k=None, top_p=None)
    generate_shard(
        tmp_path / "a.tar",
        stretch,
        sampling=sampling,
        keep=ImageFiles(),
        batch_indices=3,
        generator=Path(config["generator"]["weights"]),
        device="cpu",
    )
    size = (tmp_path / "a.tar").stat().st_size
    assert 0.7 < split.tars / size < 1.4
    images = sum(member.size for member in images_in(tmp_path / "a.tar"))
    assert split.members < size - images < 1.5 * split.members


def images_in(path):
    with tarfile.open(path) as tar:
        return [member for member in tar if member.name.endswith(".png")]


def test_the_slower_of_arithmetic_and_memory_decides():
    assert Stage("a", flops=6e12, traffic=1e12).seconds(flops=2e12, bandwidth=1e12) == 3
    assert Stage("a", flops=6e12, traffic=5e12).seconds(flops=2e12, bandwidth=1e12) == 5


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, ""),
        (7, "7"),
        (999, "999"),
        (1000, "1 k"),
        (999_999, "1 M"),
        (999_499, "999 k"),
        (1.35e6, "1.35 M"),
        (10.7e18, "10.7 E"),
    ],
)
def test_amounts_have_prefixes(number, text):
    assert amount(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.01, ""), (30, "30.0 s"), (90, "1.5 min"), (5400, "1.5 h")])
def test_times_have_units(seconds, text):
    assert duration(seconds) == text


def test_rates_are_measured():
    cpu = torch.device("cpu")
    assert 1e8 < product_rate(cpu, least=0.01) < 1e15
    assert 1e8 < copy_rate(cpu, least=0.01) < 1e14


@pytest.mark.workflow
def test_the_command_prints_a_table(capsys):
    assert main(["plan", "--config", str(TINY), "--flops", "1e12", "--bandwidth", "1e10"]) == 0
    printed = capsys.readouterr().out
    lines = {re.split(r"  +", line)[0]: line for line in printed.splitlines()}
    assert "at 1e+12 FLOP and 1e+10 bytes of memory a second, as given" in printed
    assert {"stage", "generate_shard (tokens)", "importance tis cnn", "train_judge vit", "report", "total"} <= set(
        lines
    )
    assert re.fullmatch(r"importance tis cnn +3 +48 .*", lines["importance tis cnn"])


@pytest.mark.slow
def test_the_command_measures_where_no_rate_is_given(capsys, monkeypatch):
    monkeypatch.setattr("cortex.app.plan.product_rate", lambda device: 2e11)
    monkeypatch.setattr("cortex.app.plan.copy_rate", lambda device: 3e10)
    monkeypatch.setattr("cortex.app.plan.planned_jobs", lambda config, target: [])
    assert main(["plan", "--config", str(TINY)]) == 0
    assert "at 2e+11 FLOP and 3e+10 bytes of memory a second, measured on" in capsys.readouterr().out


@pytest.mark.slow
def test_a_judge_whose_arithmetic_is_not_known_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("cortex.app.plan.planned_jobs", lambda config, target: [])
    model = write_linear(tmp_path / "judge.onnx", np.ones((10, 3), np.float32), 8)
    (tmp_path / "names.txt").write_text("\n".join(generator_spec(Path("digits")).class_names))
    config = yaml.safe_load(TINY.read_text())
    files = {"weights": str(model), "class_names": str(tmp_path / "names.txt")}
    config["judges"]["mine"] = {"network": "onnx", "size": 8, **files}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    rates = ["--flops", "1e12", "--bandwidth", "1e10"]
    assert main(["plan", "--config", str(tmp_path / "config.yaml"), *rates]) == 0
    assert "Judges whose arithmetic is not known and counted as 0: mine.\n" in capsys.readouterr().out
    parsed, spec = parse_config(config)
    assert counts_of(parsed, spec).judges["mine"] == JudgeCost(0, 0, model.stat().st_size)
    assert main(["plan", "--config", str(TINY), *rates]) == 0
    assert "not known" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: [", "not YAML: while parsing"),
        ("run: a\nseed: 1\nrun: b\n", "config.yaml: key 'run' stands in lines 1 and 3; allowed: once"),
        ("seed: 1", "config: run: missing"),
        ("", "the file = None: should be a"),
    ],
)
def test_a_config_that_is_none_is_told(text, message, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(text)
    assert main(["plan", "--config", str(tmp_path / "config.yaml")]) == 1
    assert message in capsys.readouterr().err


def test_an_extractor_with_weights_is_copied_and_not_trained(tmp_path):
    """Its network is that of its file, whatever the config's default."""
    network = {"channels": 32, "classes": 10, "grid": (8, 8), "width": 8, "hidden": 16}
    save_extractor(tmp_path / "cnn", "cnn", network, build_extractor("cnn", **network).state_dict())
    shutil.copy(tmp_path / "cnn", tmp_path / "again")
    trained = yaml.safe_load(TINY.read_text())
    trained["extractors"] = {"cnn": trained["extractors"]["cnn"] | {"seeds": 2}}
    weights = [str(tmp_path / "cnn"), str(tmp_path / "again")]
    given = trained | {"extractors": {"cnn": {"network": "cnn", "weights": weights}}}
    mine, theirs = (
        {key(stage): stage for stage in stages_of(config, counts_of(config, spec))}
        for config, spec in map(parse_config, (given, trained))
    )
    copied = mine.pop(("pretrained_extractor", "cnn"))
    training = theirs.pop(("train_extractor", "cnn"))
    assert mine == theirs, "the same network is explained"
    assert copied.flops == 0 < training.flops and copied.read == copied.written == training.written
