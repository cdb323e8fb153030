# The config, validated before any job is planned, and what the rules share.

import fcntl
import hashlib
import json
import os
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import snakemake.persistence
from snakemake.exceptions import WorkflowError

sys.path.insert(0, workflow.basedir)
# Jobs call `python -m cortex`: that of the environment that Snakemake runs in, activated or not. A conda environment's
# own comes before it.
os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), os.getenv("PATH", os.defpath)]))

from cortex.config import TrainedJudge, parse_config
from cortex.core.errors import InputError
from cortex.extractors import NETWORKS
from cortex.core.fingerprint import code_fingerprint, content_fingerprint
from cortex.generators.spec import bundled_weights
from cortex.generators.taming.project import files_of
from cortex.core.provenance import VARIABLE, git_commit

try:
    CONFIG, GENERATOR = parse_config(config)
except InputError as error:
    raise WorkflowError(str(error))

RUN = f"results/{CONFIG.run}"
CLASSES = CONFIG.classes(GENERATOR)
EXTRACTORS = list(CONFIG.extractors.chosen())
JUDGES = sorted(CONFIG.judges)
# Judges trained in this run, which have a history, and judges whose weights come from elsewhere.
TRAINED_JUDGES = [judge for judge in JUDGES if isinstance(CONFIG.judges[judge], TrainedJudge)]
PRETRAINED_JUDGES = [judge for judge in JUDGES if judge not in TRAINED_JUDGES]
JUDGE_MODEL = f"{RUN}/judges/{{judge}}/model.safetensors"
READERS = {"extractor": EXTRACTORS, "judge": JUDGES}
SPLITS = ["train", "validation", "test"]
IMPORTS = CONFIG.data.imports.chosen()

# What every output says of its origin. No parameter of a rule: a new commit makes nothing run again.
if workflow.is_main_process or VARIABLE not in os.environ:
    os.environ[VARIABLE] = json.dumps(
        {
            "run": CONFIG.run,
            "seed": CONFIG.seed,
            "config_sha256": CONFIG.hash(),
            "git_commit": git_commit(workflow.basedir),
        }
    )
# A cluster's jobs read the config file anew, hours later; what they make is on record as made with what it said.
elif json.loads(os.environ[VARIABLE])["config_sha256"] != CONFIG.hash():
    raise WorkflowError(
        "The config was changed while its run was going on: put it back, or let the run end; "
        "for another run at the same time, copy the file, and give the copy a run name of its own"
    )

# A cluster's job puts on record itself what made its outputs: the Snakemake that submitted it may have been killed when
# it ends, or interrupted before it saw the end, and an output whose record is older than it would be taken for what it
# is not. Snakemake keeps this to the main process.
if workflow.remote_exec:
    snakemake.persistence.ExecMode = SimpleNamespace(DEFAULT=workflow.exec_mode)


# One Snakemake a run, any number a checkout. Snakemake's own lock outlives a Snakemake that was killed, and goes for
# all runs when the first of several ends; the kernel's lives as long as the process.
onstart:
    os.makedirs(".snakemake/runs", exist_ok=True)
    lock = os.open(f".snakemake/runs/{CONFIG.run}.lock", os.O_WRONLY | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError(
            f"Another Snakemake is working on run {CONFIG.run!r}: let it end, or give this config a run name of its own"
        )
    except OSError:
        pass  # a file system without locks


wildcard_constraints:
    split="train|validation|test",
    shard=r"\d{6}",
    extractor="cnn|cnn_deep|resnet|transformer",
    judge="[A-Za-z0-9_-]+",


# GPUs of a job that computes on the config's device. `auto` asks for none, and takes one that it finds.
GPUS = int(CONFIG.device.startswith("cuda"))


def growing(base, per_mb=0, of=sum, times=lambda wildcards: 1):
    """A resource: base, and so much for every MB of the input (of=max: of its largest file), times the attempt."""
    return lambda wildcards, input, attempt: round(
        times(wildcards) * attempt * (base + (per_mb and per_mb * of(input.size_files_mb)))
    )


def gpus_of(wildcards):
    """GPUs that share the batches of an extractor's training."""
    return CONFIG.extractors.chosen()[wildcards.extractor].gpus


def samples_in(split):
    """Images of a split, all classes together."""
    return getattr(CONFIG.data.per_class, split) * len(CLASSES)


def shards_of(split):
    """The shards of a split, as the file names without ending."""
    count = -(-samples_in(split) // CONFIG.data.shard_size)
    return [f"{shard:06d}" for shard in range(count)]


def options(settings, without=()):
    """Settings as command-line options; those that are not set are left to the command's default."""
    words = []
    for name, value in dict(settings).items():
        if value is not None and name not in without:
            values = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *(shlex.quote(str(value)) for value in values)]
    return " ".join(words)


def shard_paths(split):
    """The tars of a split."""
    return [f"{RUN}/data/{split}/{shard}.tar" for shard in shards_of(split)]


def stretch_of(split, shard):
    """Numbers of a shard's first sample and of the one after its last."""
    first = shard * CONFIG.data.shard_size
    return {"first": first, "last": min(first + CONFIG.data.shard_size, samples_in(split))}


def image_options(split):
    """How a split's shards keep images, as command-line options."""
    name = getattr(CONFIG.data.images, split)
    return options({"images": name, "quality": CONFIG.data.image_quality if name in ("jpeg", "webp") else None})


def embeddings_state(imported):
    """The .npy files of an import's embeddings, by names, sizes and times: too many to be inputs of a rule."""
    if imported.embeddings is None:
        return ""
    found = sorted(
        (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
        for entry in os.scandir(imported.embeddings)
        if entry.name.endswith(".npy")
    )
    return f"{len(found)} embeddings: {hashlib.sha256(repr(found).encode()).hexdigest()[:16]}"


def one_of(names):
    """A wildcard's constraint to some names, or to none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def network_module(extractor):
    """The module of an extractor's network: its code is part of what a result was computed by."""
    return NETWORKS[extractor][0]


# The generator's weights: the user's, those converted from the user's folder, or None for the package's own, which are
# no input of any rule.
WEIGHTS = f"{RUN}/generator/weights.safetensors" if CONFIG.generator.folder else CONFIG.generator.weights
GENERATOR_WEIGHTS = [WEIGHTS] if WEIGHTS else []
# The package's own are known by their content instead, which is a parameter.
EMBEDDED_WEIGHTS = "" if WEIGHTS else content_fingerprint(bundled_weights())

MASKING_MEASURES = [
    "probability",
    "probability_change",
    "logit",
    "logit_change",
    "masked_fraction",
    "masked_brightness",
]
METRICS = {
    "image_level": {"by": ["method", "n"], "measures": MASKING_MEASURES},
    "concept_level": {"by": ["method", "top_n", "tokens"], "measures": MASKING_MEASURES},
    "codebook_level": {
        "by": ["method"],
        "measures": [
            f"{which}_{what}_{when}"
            for which in ("source", "target")
            for what in ("probability", "logit")
            for when in ("before", "after")
        ],
    },
}

# Tables of what the run tells beyond the three levels, if the config asks for it.
TOPICS = [f"{RUN}/metrics/{topic}.parquet" for topic in CONFIG.topics()]


def evaluations(level):
    """The evaluation files of a level, each with its extractor and judge."""
    if level == "codebook_level":
        pattern, shards = f"{RUN}/evaluation/{level}/{{extractor}}/{{judge}}.parquet", [None]
    else:
        pattern, shards = f"{RUN}/evaluation/{level}/{{extractor}}/{{judge}}/{{shard}}.parquet", shards_of("test")
    return [
        (pattern.format(extractor=extractor, judge=judge, shard=shard), extractor, judge)
        for extractor in EXTRACTORS
        for judge in JUDGES
        for shard in shards
    ]
