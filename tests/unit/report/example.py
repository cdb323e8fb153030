"""A run to report on: seven classes, two extractors of three trainings each, two methods of importance, two judges.

Its images are random, its numbers simple functions of the row's names.
"""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from cortex.core.tables import write_table
from cortex.data.decoded import decode_images
from cortex.data.manifest import write_manifest
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.data.tokens import Tokens, read_shard_tokens, read_tokens, write_tokens

EXTRACTORS, JUDGES = ["cnn", "resnet"], ["vit", "<b>judge"]
EVIL = "<script>alert('cat')</script> $1_{2$"
METHODS = ["tis", "gradient_input"]
TRAININGS, AVERAGE = (0, 1, 2), -1
TRAINED = [f"{extractor}/{training}" for extractor in EXTRACTORS for training in TRAININGS]
NOTHING = "no difference found"
N, TOP_N, AREAS, CLASSES, CODES = (1, 2, 4), 2, (0.2, 0.4), 7, 24
MASKS = {"importance": 0.1, "random": 0.05, "random_area": 0.06, "random_brightness": 0.08}  # points a masked token
SPREAD = {0: -0.02, 1: 0.0, 2: 0.02, None: 0.0, AVERAGE: -0.04}  # of the trainings


def with_intervals(measures):
    """Measures, each with the ends of an interval."""
    ends = {"": 0, "_low": -0.0625, "_high": 0.03125}
    return {name + end: value + off for name, value in measures.items() for end, off in ends.items()}


def measures(change, area):
    """What masking changes."""
    found = {"probability": 0.9 + change, "probability_change": change, "logit": 4 + change, "logit_change": change}
    return with_intervals(found | {"masked_fraction": area, "masked_brightness": area / 2})


def word(training):
    return "average" if training == AVERAGE else training


def image_level():
    """cnn's masks are half as strong as resnet's."""
    return [
        {"attribution": attribution, "extractor": extractor, "training": training, "judge": judge, "method": method}
        | {"n": n, "samples": 14}
        | measures(-cost * n * (0.5 if extractor == "cnn" else 1) + SPREAD[training], 0.1 * n)
        for attribution in METHODS
        for extractor in EXTRACTORS
        for training in (*TRAININGS, AVERAGE, None)
        for judge in JUDGES
        for method, cost in MASKS.items()
        for n in N
    ]


def concept_level():
    """Contrast tokens cost more than frequent ones of the same area, counted tokens as much."""
    return [
        {"attribution": attribution, "extractor": extractor, "training": training, "judge": judge, "method": method}
        | {"list": kind, "top_n": TOP_N if method == "importance" else None, "area": area, "tokens": 3, "samples": 14}
        | measures(-(area or 0.5) - (0.1 if (kind, method) == ("contrast", "importance") else 0), area or 0.5)
        for attribution in METHODS
        for extractor in EXTRACTORS
        for training in (*TRAININGS, AVERAGE, None)
        for judge in JUDGES
        for method in ("importance", "frequency")
        for kind in ("count", "contrast")
        for area in (None, *AREAS)
    ]


def codebook_level():
    """Token selection convinces the first judge."""
    rows = []
    for extractor in EXTRACTORS:
        for training in (*TRAININGS, None):
            for judge in JUDGES:
                for method, reached in (("token_selection", 0.7), ("embedding", 0.4)):
                    after = reached - (0 if judge == JUDGES[0] else 0.3) + SPREAD[training]
                    found = {"source_probability_before": 0.8, "source_probability_after": 0.1}
                    found |= {"target_probability_before": 0.125, "target_probability_after": after}
                    found |= {
                        f"{which}_logit_{when}": 1.0 for which in ("source", "target") for when in ("before", "after")
                    }
                    of = {"attribution": None, "extractor": extractor, "training": training, "judge": judge}
                    rows.append(of | {"method": method, "samples": 4} | with_intervals(found))
    return rows


def verdict(level, row, baseline):
    """What the comparisons say of rows over all trainings: contrast tokens win, cnn's importance at n = 4 alone."""
    if level == "image_level":
        return "better" if row["extractor"] == "resnet" or row["n"] == 4 else NOTHING
    if level == "concept_level":
        return "better" if row["list"] == "contrast" and row["area"] else NOTHING
    return "better"


def comparisons(tables):
    """A comparison with every baseline that the method's rows stand beside, over all images and of class 1."""
    found = []
    for level, rows in tables.items():
        setting = {"image_level": "n", "concept_level": "top_n"}.get(level)
        method = "token_selection" if level == "codebook_level" else "importance"
        baselines = dict.fromkeys(row["method"] for row in rows if row["method"] != method)
        for row in rows:
            for baseline in baselines if row["method"] == method else ():
                of = {"level": level, "attribution": row["attribution"], "extractor": row["extractor"]}
                of |= {"training": row["training"], "judge": row["judge"], "method": method, "baseline": baseline}
                of |= {"list": row.get("list"), "area": row.get("area"), "setting": row[setting] if setting else None}
                said = verdict(level, row, baseline) if row["training"] is None else None
                numbers = {"pairs": 14, "difference": -0.1, "low": -0.15, "high": -0.04, "effect_size": None, "p": 0.01}
                numbers |= {"p_corrected": 0.03125 if said else None, "verdict": said}
                found += [{**of, "label": label, **numbers} for label in (None, 1)]
    return found


def accuracy():
    """Top-1 and top-2 accuracy of extractors and judges: resnet is the best extractor."""
    right = {"cnn": (0.75, 0.9), "resnet": (0.875, 0.95), JUDGES[0]: (0.9, 1.0), JUDGES[1]: (0.8, 1.0)}
    return {
        f"{kind}_accuracy": [
            {kind: name, **({"training": training} if kind == "extractor" else {}), "split": "test", "k": k}
            | with_intervals({"accuracy": right[name][k - 1]})
            | {"samples": 14}
            for name in names
            for training in ((*TRAININGS, None) if kind == "extractor" else (None,))
            for k in (1, 2)
        ]
        for kind, names in (("extractor", EXTRACTORS), ("judge", JUDGES))
    }


def agreement():
    """Trainings of cnn share 2 of 5 concept tokens, those of resnet 3."""
    rows = []
    pairs = [(name, None, name, None) for name in EXTRACTORS] + [("cnn", 0, "resnet", 0)]
    for extractor, training, other, other_training in pairs:
        shared = {"cnn": 0.4, "resnet": 0.6}[other] if extractor == other else 0.2
        for measure, kind, n, value in (
            ("correlation", None, None, 0.5),
            ("own_correlation", None, None, 0.25),
            ("overlap", None, TOP_N, 0.375),
            ("token_overlap", "count", 5, 0.8),
            ("token_overlap", "contrast", 5, shared),
        ):
            of = {"extractor": extractor, "training": training, "other_extractor": other}
            of |= {"other_training": other_training, "measure": measure, "list": kind}
            of |= {"top_n": TOP_N if kind else None, "n": n, "units": 14}
            rows.append(of | {"value": value, "low": value - 0.125, "high": value + 0.125})
    return [{"attribution": attribution, **row} for attribution in METHODS for row in rows]


def validity():
    """All extractors and judges read the classes."""
    found = [
        {"kind": "extractor", "name": name, "training": training} for name in EXTRACTORS for training in TRAININGS
    ] + [{"kind": "judge", "name": name, "training": None} for name in JUDGES]
    return [of | {"accuracy": 0.8, "low": 0.7, "high": 0.9, "chance": 1 / CLASSES, "valid": True} for of in found]


LEVEL_ROWS = {"image_level": image_level(), "concept_level": concept_level(), "codebook_level": codebook_level()}
METRICS = LEVEL_ROWS | {
    "comparisons": comparisons(LEVEL_ROWS),
    **accuracy(),
    "agreement": agreement(),
    "validity": validity(),
}


def save(path, rows):
    """A table of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, pa.Table.from_pylist(rows))
    return path


def random_images():
    """Two images of 8×8 pixels and grids of 4×4 tokens a class."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), 2)
    grids = random.integers(0, CODES, (len(labels), 4, 4)).astype(np.uint16)
    return labels, grids, random.integers(0, 256, (len(labels), 8, 8, 3)).astype(np.uint8)


def write_run(folder, labels, grids, images):
    """All files of the run that the page reads, but for its figures; the paths of its shards.

    Args:
        folder: to write to.
        labels, grids, images: of the test split, in two shards; its images are those of the train split, too.
    """
    for name, rows in METRICS.items():
        save(folder / "metrics" / f"{name}.parquet", rows)
    files = write_shards(folder / "data" / "test", labels, grids, images)
    write_manifest(folder / "data" / "manifest.parquet", files.shards)
    for number, trained in enumerate([*TRAINED, *(f"{name}/average" for name in EXTRACTORS)]):
        for method in METHODS:
            average = trained.endswith("average")
            place = folder / "importance" / method / trained / "test"
            files.scores[method, trained] = [write_scores(place, table, number, average) for table in files.tokens]
            save(folder / "tokens" / method / f"{trained}.parquet", lists(number))
            for judge in JUDGES:
                for table in files.tokens:
                    rows = changes(trained, read_tokens(table))
                    save(folder / "evaluation" / "image_level" / method / trained / judge / table.name, rows)
    save(folder / "codes.parquet", codes())
    for judge in JUDGES:
        save(folder / "evaluation" / "judge_accuracy" / f"{judge}.parquet", readings(labels))
    frequent = [
        {"label": label, "list": kind, "rank": rank, "token": (rank + label) % CODES, "count": 9}
        for label in range(CLASSES)
        for kind in ("count", "contrast")
        for rank in range(6)
    ]
    save(folder / "tokens" / "frequency.parquet", frequent)
    training = [{"epoch": e, "train_loss": 2.0 / e, "val_loss": 2.1 / e, "val_top1": 0.4 * e} for e in (1, 2)]
    for trained in TRAINED:
        save(folder / "extractors" / trained / "history.parquet", training)
    for judge in JUDGES:
        history = [{"epoch": 1, "held_out_top1": 0.5}, {"epoch": 2, "held_out_top1": 0.97}]
        save(folder / "judges" / judge / "history.parquet", history)
    return files


def codes():
    """Codes whose label is that of the class before them: code 1 marks class 0, code 2 probably class 1."""
    return [
        {
            "token": token,
            "kind": "marks a class" if 0 < token <= 2 else "background",
            "classes": [token - 1] * (0 < token <= 2),
            "class_share": 0.75,
            "sure": 0.85 if token == 2 else 0.95,
        }
        for token in range(CODES)
    ]


def readings(labels):
    """The judges take the first image of class 1 for class 2, and read all others."""
    first = labels.tolist().index(1)
    return [{"label": int(label), "predicted": int(label) + (row == first)} for row, label in enumerate(labels)]


def write_shards(folder, labels, grids, images):
    """Two shards: tars, token tables and decoded images."""
    (folder / "images").mkdir(parents=True)
    files = SimpleNamespace(shards=[], tokens=[], images=[], scores={})
    order = np.random.default_rng(1).permutation(len(labels))
    for name, rows in (("000000", order[: len(order) // 2]), ("000001", order[len(order) // 2 :])):
        files.shards.append(folder / f"{name}.tar")
        files.tokens.append(folder / f"{name}.parquet")
        files.images.append(folder / "images" / f"{name}.npy")
        samples = [
            Sample(f"test-{row:06d}", int(labels[row]), grids[row], images[row], {"class_name": EVIL}) for row in rows
        ]
        write_shard(files.shards[-1], samples)
        read_shard_tokens(files.tokens[-1], files.shards[-1], codes=int(grids.max()) + 1)
        decode_images(files.images[-1], files.shards[-1])
    return files


def write_scores(folder, table, seed, average):
    """Importance of the images of a token table, of random values; the extractor reads all images as class 1."""
    images = read_tokens(table)
    values = np.random.default_rng(seed).normal(size=images.tokens.shape).astype(np.float32)
    scored = Tokens(images.keys, images.labels, images.tokens, images.shape, {"importance": values})
    folder.mkdir(parents=True, exist_ok=True)
    read = {} if average else {"predicted": pa.array([1] * len(images), pa.int32())}
    write_tokens(folder / table.name, scored, read)
    return folder / table.name


def lists(number):
    """Concept tokens: by contrast, the tokens 1, 2, 3, 4 plus the label, and one that depends on the training."""
    return [
        {
            "label": label,
            "top_n": top_n,
            "list": kind,
            "rank": rank,
            "token": token % CODES,
            "count": 9 - rank,
            "share": 0.1,
        }
        for label in range(CLASSES)
        for top_n in (1, TOP_N)
        for kind, offset in (("count", 0), ("contrast", 1))
        for rank, token in enumerate([*(offset + label + step for step in range(4)), 10 + label + number % 3])
    ]


def changes(trained, images):
    """Rows of the image level: class 0 loses 40 points by averaged scores and 30 by others, random masks 12."""
    mine = -0.4 if trained.endswith("average") else -0.3
    return [
        {"key": key, "label": label, "method": method, "n": n}
        | {"probability_change": (change if label == 0 else change / 4) * (n / 2), "masked_fraction": 0.1 * n}
        for key, label in zip(images.keys, images.labels.tolist(), strict=True)
        for method, change in (("importance", mine), ("random_area", -0.12))
        for n in N
    ]


def write_search(folder, keys):
    """A codebook search of some images at two steps, and every judge's rows of the last; by extractor and judge."""
    found = [
        {"key": key, "method": method, "step": step, "source": place % 2, "target": 1 - place % 2}
        | {"positions": [5, 6, 9, 10], "tokens": [step] * 4}
        for place, key in enumerate(keys)
        for method in ("token_selection", "embedding")
        for step in (3, 6)
    ]
    judged = [
        {name: row[name] for name in ("key", "method", "source", "target", "step")}
        | {"target_probability_before": 0.1, "target_probability_after": 0.6}
        for row in found
        if row["step"] == 6
    ]
    first = [f"{extractor}/0" for extractor in EXTRACTORS]
    search = [save(folder / "codebook" / f"{trained}.parquet", found) for trained in first]
    level = folder / "evaluation" / "codebook_level"
    return search, {
        judge: [save(level / trained / f"{judge}.parquet", judged) for trained in first] for judge in JUDGES
    }


def single(name, rows):
    """Rows of a table of metrics in a run with one training of each extractor, which gives no verdict."""
    if name == "validity":
        return [row for row in rows if row["training"] in (0, None)]
    if "training" not in rows[0]:
        return rows
    silent = {"p_corrected": None, "verdict": None} if name == "comparisons" else {}
    return [row | silent | {"training": place} for row in rows if row["training"] == 0 for place in (0, None)]


ONE_TRAINING = {name: single(name, rows) for name, rows in METRICS.items() if name != "agreement"}


def one_training(run: Path, folder: Path) -> Path:
    """A copy of the run with one training of each extractor."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("average", "average.parquet", "agreement.parquet"))
    for name, rows in ONE_TRAINING.items():
        save(folder / "metrics" / f"{name}.parquet", rows)
    return folder
