# The config, validated before any job is planned, and what the rules share.

import os
import shlex
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The folder of this workflow: that of the Snakefile, also where another workflow uses it as a module.
HERE = str(Path(str(workflow.current_basedir)).parent)
# The package beside this workflow, and modules of the user's own in the working directory, which a config may name.
sys.path[:0] = [HERE, os.getcwd()]
# Jobs call `python -m cortex` of Snakemake's environment, activated or not. A conda environment's own comes before it.
os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), os.getenv("PATH", os.defpath)]))

from cortex.app import command_words, job_cost, snakemake_internals, workflow as of_package
from cortex.app.job_server import RunServer
from cortex.app.kept_results import RunCode
from cortex.app.run_lock import hold_run
from cortex.config import parse_config
from cortex.core.errors import InputError
from cortex.core.text import read_yaml
from cortex.explain import ATTRIBUTIONS
from cortex.extractors.config import trainings_of
from cortex.extractors.names import join_name


def refusing(function, *arguments, **options):
    """The function's result, its refusals in Snakemake's way."""
    try:
        return function(*arguments, **options)
    except InputError as error:
        raise WorkflowError(str(error))


for each in workflow.configfiles:
    refusing(read_yaml, Path(each))  # Snakemake drops the first of two equal keys

CONFIG, SPEC = refusing(parse_config, config)
STUDIES = CONFIG.chosen_studies()

RUN = f"results/{CONFIG.run}"
os.environ[job_cost.RUN] = RUN
SPLITS = ["train", "validation", "test"]
CLASSES = CONFIG.classes(SPEC)
EXTRACTORS = CONFIG.extractor_trainings()  # "cnn/0", "cnn/1", ...: name and training
TRAINED_EXTRACTORS = trainings_of(
    {name: part for name, part in CONFIG.extractors.items() if of_package.is_trained(part)}
)
EXPLAINERS = EXTRACTORS + CONFIG.averaged_extractors()  # and "cnn/average": those that give positions scores
SHOWN = [join_name(name, 0) for name in CONFIG.extractors]  # the trainings in figures of images
# The concept tokens to show: those of the middle one of the top_n that are evaluated.
SHOWN_TOP_N = CONFIG.evaluation.concept_level.top_n[len(CONFIG.evaluation.concept_level.top_n) // 2]
METHODS = CONFIG.importance.method  # attributions that the run explains by, each with results of its own
JUDGES = sorted(CONFIG.judges)
TRAINED_JUDGES = [judge for judge in JUDGES if of_package.is_trained(CONFIG.judges[judge])]
IMPORTS = CONFIG.data.imports.chosen()
TOKENIZED_SPLITS = CONFIG.data.imports.pictures()
PICTURES = CONFIG.data.images.test != "none"  # whether test images are kept
# Where the test images come from.
SOURCE = "pictures" if "test" in TOKENIZED_SPLITS else "imported" if "test" in IMPORTS else "drawn"

# Files that several rules read.
TAR = f"{RUN}/data/{{split}}/{{shard}}.tar"
TOKENS = f"{RUN}/data/{{split}}/{{shard}}.parquet"
GRIDS = f"{RUN}/data/{{split}}/grids.npy"
IMAGES = f"{RUN}/data/test/images/{{shard}}.npy"
CODEBOOK = f"{RUN}/generator/codebook.safetensors"
MODEL = f"{RUN}/extractors/{{extractor}}/model.safetensors"
SCORES = f"{RUN}/importance/{{attribution}}/{{extractor}}/{{split}}/{{shard}}.parquet"
CONCEPT_TOKENS = f"{RUN}/tokens/{{attribution}}/{{extractor}}.parquet"
JUDGE = f"{RUN}/judges/{{judge}}/model.safetensors"
ENVIRONMENT = f"{HERE}/envs/cortex.yaml".replace("{", "{{").replace("}", "}}")  # its braces are no wildcards

# The generator's weights: the user's, those converted from the user's folder, or bundled ones. Those are no input of a
# rule: their content is a parameter.
WEIGHTS = of_package.weights_of(CONFIG.generator, RUN)
BUNDLED = of_package.is_bundled(CONFIG.generator)
GENERATOR_WEIGHTS = [] if BUNDLED else [WEIGHTS]
# A run on pictures alone is about their classes: the generator's tokenizer with these is the generator of all stages.
OWN_CLASSES = CONFIG.data.imports.pictures_alone()
TOKENIZER = f"{RUN}/generator/tokenizer.safetensors"
TOKENIZED = {"family": CONFIG.generator.family, "generator": WEIGHTS}
GENERATOR = {"family": "tokenizer", "generator": TOKENIZER} if OWN_CLASSES else TOKENIZED
# The tokenizer's file only names the weights: where these change, it stays the same.
GENERATOR_FILES = [TOKENIZER, *GENERATOR_WEIGHTS] if OWN_CLASSES else GENERATOR_WEIGHTS
BUNDLED_WEIGHTS = of_package.bundled_fingerprint(CONFIG.generator) if BUNDLED else ""

refusing(of_package.state_origin, CONFIG, HERE, main=workflow.is_main_process)
of_package.allow_references(CONFIG)
snakemake_internals.keep_records_in_jobs(workflow)


SERVER = RunServer()
STARTED = []


def state(facts):
    """Tell the display of make run (snakemake_logger_plugin_cortex) what it has to know; Snakemake's own shows nothing."""
    logger.info("", extra={"cortex": facts})


# One Snakemake a run, any number a checkout.
onstart:
    STARTED.append(time.time())
    lock = refusing(hold_run, CONFIG.run)
    of_package.write_settings(CONFIG, RUN)
    refusing(CODE.started)
    if snakemake_internals.run_jobs_here(workflow):
        SERVER.start()


onsuccess:
    CODE.finished()
    SERVER.stop()
    state({"cpu": job_cost.spent(Path(RUN), STARTED[0])})


onerror:
    SERVER.stop()


wildcard_constraints:
    split="train|validation|test",
    shard=r"\d{6}",
    extractor=r"[A-Za-z0-9][A-Za-z0-9_-]*/\d+",
    judge="[A-Za-z0-9][A-Za-z0-9_-]*",
    attribution=of_package.one_of(METHODS),


# An extractor's training, or the average of its trainings, as a wildcard of rules that read scores alone.
EXPLAINER = r"[A-Za-z0-9][A-Za-z0-9_-]*/(\d+|average)"


# GPUs of a job that computes on the config's device. `auto` asks for none, and takes one that it finds.
GPUS = int(CONFIG.device.startswith("cuda"))


def log_of(*names):
    """The log of a rule's jobs: the rule's name, and their wildcards."""
    return f"{RUN}/logs/{'/'.join(names)}.log"


def growing(base, per_mb=0, of=sum, times=lambda wildcards: 1, more=lambda wildcards: 0):
    """A resource: base, so much for every MB of the input (of=max: of its largest file), and more; times the attempt."""
    return lambda wildcards, input, attempt: round(
        times(wildcards) * attempt * (base + (per_mb and per_mb * of(input.size_files_mb)) + more(wildcards))
    )


def samples_in(split):
    """Images of a split, all classes together."""
    return getattr(CONFIG.data.per_class, split) * len(CLASSES)


def shards_of(split):
    """The shards of a split, as the file names without ending."""
    return [f"{shard:06d}" for shard in range(-(-samples_in(split) // CONFIG.data.shard_size))]


def of_shards(pattern, split):
    """A file of every shard of a split."""
    return expand(pattern, split=split, shard=shards_of(split), allow_missing=True)


def in_words(paths):
    """Paths as words of a command. Bash expands a range of shards, so that any number of them fits into a command."""
    return " ".join(command_words.ranges(paths))


def names_in_words(lists):
    """Lists of names as options; equal neighbours, such as those of all shards, as one word that bash expands."""
    return " ".join(f"--{option} {' '.join(command_words.repeated(names))}" for option, names in lists.items())


def first_method(pattern):
    """A pattern of files of the first attribution, by which studies and figures explain."""
    return pattern.replace("{attribution}", METHODS[0])


def options(*parts, without=()):
    """Sections of settings, or other options by name, as command-line options. Other options that are None are left out."""
    words = [of_package.words(part, without) for part in parts]
    return " ".join(shlex.quote(word) for part in words for word in part)


SEED = {"seed": CONFIG.seed}
DEVICE = {"device": CONFIG.device}
CODES = {"codes": SPEC.codes}
SCALES = {"scales": list(SPEC.scales) or None}
BATCH = {"batch": CONFIG.evaluation.batch}
# Judges match their classes to the generator's by name; those of the run must be among them.
JUDGED = {"classes": SPEC.class_names or None, "needed": CONFIG.data.classes}


def settings_in(parts, extractor):
    """Settings of a trained extractor, such as cnn/0, among those of extractors by name."""
    return parts[extractor.partition("/")[0]]


def settings_of(extractor):
    """Settings of a trained extractor of the run."""
    return settings_in(CONFIG.extractors, extractor)


def training_mb(settings, classes=len(SPEC.class_names)):
    """MB of a training of an extractor, by its settings and the number of classes, beside its data."""
    shape = {"channels": SPEC.channels, "grid": SPEC.grid, "scales": SPEC.scales}
    return of_package.training_mb(settings, device=CONFIG.device, classes=classes, **shape)


def judge_training_mb(wildcards):
    """MB of the training of a judge of the run, beside its pictures."""
    settings = CONFIG.judges[wildcards.judge]
    return of_package.judge_training_mb(settings, device=CONFIG.device, classes=len(SPEC.class_names))


def gpus_of(wildcards):
    """GPUs that share the batches of an extractor's training."""
    return settings_of(wildcards.extractor).gpus


# The code of a rule's command, and of what its jobs use by name, as a parameter.
CODE = refusing(RunCode, Path(RUN))
FAMILIES = of_package.families_of(CONFIG)


def code_of(command, *references):
    """The code of a command and of some references ``module:name``; a function gives the reference of a job."""
    return lambda wildcards: CODE.of(command, *(each(wildcards) if callable(each) else each for each in references))


def network_of(wildcards):
    """The network of the job's extractor."""
    return of_package.network_of(settings_of(wildcards.extractor))


def attribution_of(wildcards):
    """The function of the job's attribution."""
    return ATTRIBUTIONS.reference(wildcards.attribution)


def judge_of(wildcards):
    """The network of the job's judge."""
    return of_package.network_of(CONFIG.judges[wildcards.judge])


def stretch_of(wildcards):
    """Numbers of a shard's first sample and of the one after its last."""
    first = int(wildcards.shard) * CONFIG.data.shard_size
    return options({"first": first, "last": min(first + CONFIG.data.shard_size, samples_in(wildcards.split))})


def kept_images(split):
    """How a split's shards keep images."""
    name = getattr(CONFIG.data.images, split)
    return {"images": name, "quality": CONFIG.data.image_quality if name in ("jpeg", "webp") else None}


# Levels that the run evaluates, and their rows: a file for every extractor, judge and, where images are masked,
# attribution and shard.
LEVELS = of_package.levels(SPEC, JUDGES)
ROWS = f"{RUN}/evaluation/{{level}}/{{attribution}}/{{extractor}}/{{judge}}/{{shard}}.parquet"
SEARCH_ROWS = f"{RUN}/evaluation/codebook_level/{{extractor}}/{{judge}}.parquet"


def evaluations(level):
    """The evaluation files of a level, each with its attribution, extractor and judge."""
    masked = level != "codebook_level"
    patterns = of_shards(ROWS.replace("{level}", level), "test") if masked else [SEARCH_ROWS]
    return [
        (path, attribution, extractor, judge)
        for attribution in (METHODS if masked else [None])
        for extractor in (EXPLAINERS if masked else EXTRACTORS)
        for judge in JUDGES
        for path in expand(patterns, attribution=attribution, extractor=extractor, judge=judge)
    ]


def extra_inputs(wildcards):
    """Further inputs of a study for an extractor, by name."""
    settings, study = CONFIG.studies[wildcards.study], STUDIES[wildcards.study]
    return {name: f"{RUN}/{path}" for name, path in study.extra(settings, wildcards.extractor).items()}


def name_paths(names, paths):
    """Words name=path of the command line."""
    return [f"{name}={path}" for name, path in zip(names, paths)]


def shown_studies(wildcards):
    """Tables of the studies on the page: with the target `full` all, else those that the run has.

    A study that was computed stays a part of the run: `all` brings it up to date, and never shows an old one beside
    new results.
    """
    everything = snakemake_internals.is_target(workflow, "full")
    return [table for table in STUDY_TABLES if everything or os.path.exists(table)]


def with_page(tables):
    """The sections of studies by name, of those of some tables that have one."""
    return {name: STUDIES[name].page for name in (Path(table).stem for table in tables) if STUDIES[name].page}


def study_figures(wildcards):
    """Figures in the sections of studies on the page, which the studies' own rules draw: study and name."""
    shown = with_page(shown_studies(wildcards))
    return [(name, figure) for name in shown for figure in STUDIES[name].figures(CONFIG.studies[name])]


def study_tables(wildcards):
    """Tables beside the metrics that sections of studies on the page read."""
    return [f"{RUN}/{path}" for name in with_page(shown_studies(wildcards)) for path in STUDIES[name].tables.values()]


# Files of the studies that are asked for. Each study's rules add theirs.
STUDY_FILES = []
