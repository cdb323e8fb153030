"""Memory of every rule at published sizes: python -m tests.memory_at_published_size.

A run on a CPU with networks of the published sizes, random weights and few images, in a folder that is kept: after an
interruption, the same command goes on. Then a table: the largest memory that a job of a rule took, and the least
that the rule asks Snakemake for. Numbers of images are those that a stage takes at once. `python -m tests.rehearsal`
has the paper's numbers of images. The prior is left out. It takes about an hour on two cores.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from cortex.core.weights import read_weights, write_weights
from cortex.generators.network.architecture import describe
from cortex.generators.network.vqgan import VQGAN
from cortex.judges.networks import ResNet
from cortex.judges.settings import PretrainedJudge
from tests.cluster_requests import planned_jobs
from tests.pipeline import CHECKOUT
from tests.published import TAMING_F16

CLASSES, CODES, CHANNELS, SHOWN = 1000, 16384, 256, 4  # of these classes, images of the first few
PER_CLASS = {"train": 12, "validation": 6, "test": 5}
BATCH = 24  # images of a training step

CONFIG = {
    "run": "memory",
    "device": "cpu",
    "generator": {"weights": "generator.safetensors"},
    "data": {
        "classes": list(range(SHOWN)),
        "per_class": PER_CLASS,
        "images": {"train": "none", "validation": "none", "test": "png"},
        "imports": {split: {"source": f"{split}.parquet"} for split in PER_CLASS},
    },
    "extractors": {
        name: {"network": name, "seeds": 1, "epochs": 1, "batch": BATCH} for name in ("cnn", "resnet", "transformer")
    },
    "importance": {"samples": 2},
    "codebook_search": {"pairs": {0: 1}, "images_per_class": 5, "steps": 3, "record_every": 3},
    "judges": {"wide": {"network": f"{__package__}.memory_at_published_size:Wide"}},
    "evaluation": {"accuracy": {"k": [1]}, "image_level": {"n": [20]}, "concept_level": {"top_n": [20], "areas": []}},
    "dictionary": {"causes": {"pairs": 4, "images_per_pair": 2}},
}


class OfThousand(PretrainedJudge):
    """A judge of the generator's classes."""

    classes: ClassVar[int | None] = CLASSES


class Wide(ResNet):
    """A judge whose layers hold four times as much of an image as those of ResNet-50: 64 channels at 224 × 224."""

    Settings: ClassVar = OfThousand

    def __init__(self, classes: int):
        super().__init__(classes, size=224, width=64)

    @classmethod
    def pretrained(cls, weights=None):
        judge = cls(CLASSES)
        if weights is not None:
            judge.load_state_dict(read_weights(weights)[0])
        return judge

    def forward(self, images):
        """Logits ``[B, classes]`` of images ``[B, 3, H, W]``."""
        return super().forward(torch.nn.functional.interpolate(images, 224, mode="bilinear"))


def write_inputs(folder: Path) -> None:
    """The generator of random weights, grids to import, and the config."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    if (folder / "test.parquet").is_file():
        return
    torch.manual_seed(0)
    arguments = {"ddconfig": TAMING_F16, "n_embed": CODES, "embed_dim": CHANNELS}
    tokenizer = VQGAN(**arguments)
    torch.nn.init.normal_(tokenizer.codebook)
    named = {f"first_stage_model.{name}": weight for name, weight in tokenizer.state_dict().items()}
    names = [f"class {label}" for label in range(CLASSES)]
    stated = {"architecture": json.dumps(describe("taming", arguments, None, names))}
    write_weights(folder / "generator.safetensors", named, stated)
    random = np.random.default_rng(0)
    for split, count in PER_CLASS.items():
        labels = np.tile(np.arange(SHOWN), count)
        grids = random.integers(0, 64, (len(labels), 256))  # few codes, so that test images hold those of train images
        pq.write_table(pa.table({"label": labels, "grid": list(grids)}), folder / f"{split}.parquet")


def measured(folder: Path) -> dict[str, tuple[float, float]]:
    """By rule, of the job that comes closest to its request: the memory that it took, and that it asks for, in MB."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(CHECKOUT / "Snakefile"), "--cores", "1"]
    command += ["--configfile", "config.yaml", "--quiet", "progress", "rules"]
    command += ["--workflow-profile", str(CHECKOUT / "profiles" / "default")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])}
    subprocess.run(command, cwd=folder, env=environment, check=True)
    os.chdir(folder)
    found: dict[str, tuple[float, float]] = {}
    with planned_jobs(Path("config.yaml"), "all") as jobs:
        for job in jobs:
            written = [Path(output).relative_to("results/memory") for output in job.output]
            own = [Path("results/memory/benchmarks", f"{path}.tsv") for path in written]
            of_folder = [record.parent.with_suffix(".tsv") for record in own]  # an import writes a folder
            for record in [record for record in own if record.is_file()] or set(filter(Path.is_file, of_folder)):
                (row,) = csv.DictReader(record.read_text().splitlines(), delimiter="\t")
                took = float(row["max_rss_mb"]), job.resources.mem_mb
                found[job.rule.name] = max(found.get(job.rule.name, (0.0, 1)), took, key=lambda pair: pair[0] / pair[1])
    return found


def main() -> None:
    """Run, and print the table; the exit status says whether a rule asks for too little."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("results/memory"), help="folder of the run")
    folder = parser.parse_args().folder.absolute()
    write_inputs(folder)
    found = measured(folder)
    print("| rule | memory, MB | asked for, MB |\n| --- | ---: | ---: |")
    for rule, (taken, asked) in sorted(found.items(), key=lambda item: -item[1][0]):
        print(f"| {rule} | {taken:,.0f} | {asked:,.0f} |")
    if low := [rule for rule, (taken, asked) in found.items() if taken > asked]:
        sys.exit(f"asks for less than it takes: {', '.join(low)}")


if __name__ == "__main__":
    main()
