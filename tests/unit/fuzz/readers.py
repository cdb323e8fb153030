"""Small real files of every kind, and the readers that are given changed ones."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import torch
import yaml
from PIL import Image

from cortex.config import parse_config
from cortex.core.checkpoint import in_memory, open_checkpoint
from cortex.core.kept import read_record
from cortex.core.tables import read_table
from cortex.core.text import read_yaml
from cortex.core.weights import read_weights, write_weights
from cortex.data.decoded import read_decoded
from cortex.data.manifest import read_manifest, write_manifest
from cortex.data.packed import packed_records, read_packed, write_packed
from cortex.data.picture_sources import find_pictures
from cortex.data.pixels import decode_picture, read_image
from cortex.data.shard_reader import Sample, read_shard
from cortex.data.shard_writer import write_shard
from cortex.data.sources import read_embedding, read_rows
from cortex.data.tokens import Tokens, read_tokens, write_tokens
from cortex.explain.authors_scores import import_scores
from cortex.extractors.codebook import load_codebook
from cortex.extractors.network import build_extractor, load_extractor, save_extractor
from cortex.generators.class_names import read_class_names
from cortex.generators.codebook_files import codebook_shape, read_codebook_file
from cortex.generators.codebook_only import codebook_metadata
from cortex.generators.load import generator_spec
from cortex.generators.spec import GeneratorSpec
from cortex.generators.taming.project import read_architecture
from cortex.judges.judge import build_judge, load_judge, save_judge
from cortex.judges.onnx import OnnxModel
from cortex.judges.stated import StatedJudge
from cortex.report.results import read_lists
from cortex.run import open_run
from tests.onnx_models import write_linear
from tests.pipeline import CHECKOUT
from tests.unit.fuzz import mutators, tables

GRID, CODES = (2, 3), 24
IMAGE = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)


@dataclass(frozen=True)
class Reader:
    """A reader of a kind of file.

    Args:
        name: of the file that is changed.
        change: gives changed content of a random generator and the content.
        read: reads the file at a path, to its end.
        beside: further files of its folder.
        weight: inputs, in units of the others'.
    """

    name: str
    change: Callable
    read: Callable[[Path], object]
    beside: tuple[str, ...] = ()
    weight: float = 1.0


def write_samples(folder: Path) -> None:
    """Every file of :data:`READERS`."""
    random = np.random.default_rng(1)
    grids = random.integers(0, CODES, (4, *GRID)).astype(np.uint16)
    samples = [Sample(f"test-{row}", row, grids[row], IMAGE, {"class_name": "a"}) for row in range(4)]
    (folder / "test").mkdir()
    write_shard(folder / "test" / "000000.tar", samples)
    (folder / "shard.tar").write_bytes((folder / "test" / "000000.tar").read_bytes())
    write_manifest(folder / "manifest.parquet", [folder / "test" / "000000.tar"])
    tokens = Tokens([f"k{row}" for row in range(4)], np.arange(4), grids.reshape(4, -1), GRID)
    write_tokens(folder / "tokens.parquet", tokens)
    write_packed(folder / "packed.npy", [packed_records(tokens)], 4)
    np.save(folder / "decoded.npy", np.stack([IMAGE] * 2))
    np.save(folder / "grids.npy", grids)
    np.save(folder / "labels.npy", np.arange(4))
    np.save(folder / "embedding.npy", np.ones((4, *GRID), np.float32))
    np.save(folder / "codebook.npy", np.ones((CODES, 5), np.float32))
    for extension in ("png", "jpg", "webp"):
        Image.fromarray(IMAGE).save(folder / f"image.{extension}")
    rows = [f'embedding{row}.npy,{row},"{list(map(int, grids[row].ravel()))}"' for row in range(4)]
    (folder / "grids.csv").write_text("filename,label,indices\n" + "\n".join(rows) + "\n")
    scores = [f'embedding{row}.npy,{row},"[0.5, -1e-05, 1, 2, 3.25, 4]"' for row in range(4)]
    (folder / "scores.csv").write_text("filename,label,contribution\n" + "\n".join(scores) + "\n")
    (folder / "names.txt").write_text("ant\nbee, wasp\ncat\nélan\n")
    picture = (folder / "image.png").read_bytes()
    _write_tables(folder, grids, picture)
    _write_pictures(folder, picture)
    _write_weights(folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "project.yaml").write_text(yaml.safe_dump(PROJECT, sort_keys=False))
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    (folder / "code.json").write_text(json.dumps({"stages": [{"stage": "x", "code": "y"}], "decisions": []}))
    write_linear(folder / "judge.onnx", np.ones((2, 3), np.float32), 8)


def _write_tables(folder, grids, picture):
    lists = pa.array(grids.reshape(4, -1).tolist(), pa.list_(pa.int64()))
    listed = {name: [0, 1] for name in ("label", "rank", "token", "top_n")}
    contents = {
        "grids.parquet": pa.table({"label": pa.array(range(4), pa.int64()), "grid": lists}),
        "pictures.parquet": pa.table({"image": [{"bytes": picture, "path": "x"}] * 4, "label": [0, 1, 0, 1]}),
        "lists.parquet": pa.table(listed | {"list": ["count"] * 2}),
    }
    for name, table in contents.items():
        (folder / name).write_bytes(tables._as_parquet(table))
    (folder / "pictures.arrow").write_bytes(tables._as_arrow(contents["pictures.parquet"]))


def _write_pictures(folder, picture):
    with tarfile.open(folder / "pictures.tar", "w") as tar:
        for row in range(3):
            for name, content in ((f"{row}.png", picture), (f"{row}.cls", b"%d" % row)):
                header = tarfile.TarInfo(name)
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))


def _write_weights(folder):
    torch.manual_seed(0)
    state = {"state_dict": {"quantize.embedding.weight": torch.rand(CODES, 5), "loss": torch.rand(2)}, "epoch": 3}
    torch.save(state, folder / "zipped.ckpt")
    torch.save(state, folder / "legacy.ckpt", _use_new_zipfile_serialization=False)
    torch.save({"codebook": torch.rand(CODES, 5)}, folder / "codebook.pt")
    shape = {"channels": 5, "classes": 3, "grid": GRID, "width": 16, "hidden": 16}
    save_extractor(folder / "extractor.safetensors", "resnet", shape, build_extractor("resnet", **shape).state_dict())
    stated = StatedJudge("resnet", {"classes": 2, "size": 16}, ("ant", "bee"), held_out_top1=0.5)
    judge = build_judge("resnet", stated.arguments)
    save_judge(folder / "judge.safetensors", judge, stated)
    spec = GeneratorSpec(("ant", "bee"), GRID, CODES, 5)
    write_weights(folder / "codebook.safetensors", {"codebook": torch.rand(CODES, 5)}, codebook_metadata(spec))


CONFIG = yaml.safe_load((CHECKOUT / "configs" / "quick.yaml").read_text())
PROJECT = {
    "model": {
        "base_learning_rate": 4.5e-06,
        "target": "taming.models.vqgan.VQModel",
        "params": {
            "embed_dim": 6,
            "n_embed": CODES,
            "ddconfig": {
                **{"double_z": False, "z_channels": 6, "resolution": 8, "in_channels": 3, "out_ch": 3, "ch": 32},
                **{"ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": [4], "dropout": 0.0},
            },
            "lossconfig": {"target": "taming.modules.losses.DummyLoss"},
        },
    },
    "data": {"target": "main.DataModuleFromConfig", "params": {"batch_size": 12}},
}
SETTINGS = {
    "run": "x",
    "generator": {"family": "codebook", "weights": None},
    "importance": {"method": ["tis"]},
    "extractors": {"cnn": {"network": "cnn", "seeds": 2}},
    "judges": {"vit": {"network": "vit"}},
    "data": {"imports": None},
}


def _rows(path):
    labels = path.parent / "labels.npy" if path.suffix == ".npy" else None
    return [part.labels.sum() + part.grids.sum() for part in read_rows(path, labels, None, GRID)]


def _pictures(path):
    found = find_pictures(str(path))
    return [decode_picture(content, where) for where, content in found.contents()]


def _checkpoint(path):
    with open_checkpoint(path) as opened:
        return [in_memory(tensor, opened) for tensor in opened.tensors.values()]


def _run(path):
    run = open_run(path.parent)
    return [run.extractors, run.judges, run.attributions, run.tables, repr(run)]


def _onnx(path):
    stated = {"classes": 2, "size": 8, "mean": [0] * 3, "std": [1] * 3, "outputs": "logits"}
    return OnnxModel.pretrained(path, length=path.stat().st_size, **stated)


def _scores(path):
    files = (path.with_name(name) for name in ("out.parquet", "scores.csv", "grids.csv"))
    output, scores, grids = files
    return import_scores(output, [scores], grids, grid_height=GRID[0], grid_width=GRID[1])


def _codebook(path):
    return codebook_shape(path), read_codebook_file(path)


def _some_onnx(random, content):
    if random.random() < 0.6:
        return mutators.some_bytes(random, content)
    model = onnx.load_from_string(content)
    node = random.choice(model.graph.node)
    node.op_type = random.choice(["Loop", "Gather", "Reshape", "Cast", "x", node.op_type])
    node.input[0] = random.choice(["", "images", "sums", "nothing"])
    model.graph.input[0].type.tensor_type.shape.dim[random.randrange(4)].dim_value = random.choice([0, -1, 3, 2**40])
    return model.SerializeToString()


READERS = [
    Reader("shard.tar", mutators.some_tar, lambda path: list(read_shard(path, images="any", codes=CODES)), weight=3),
    Reader("manifest.parquet", tables.some_parquet, read_manifest),
    Reader("tokens.parquet", tables.some_parquet, lambda path: read_tokens(path, codes=CODES), weight=2),
    Reader("lists.parquet", tables.some_parquet, lambda path: read_lists(path, 5)),
    Reader("lists.parquet", mutators.some_bytes, read_table),
    Reader("packed.npy", mutators.some_npy, lambda path: read_packed(path).copy()),
    Reader("decoded.npy", mutators.some_npy, lambda path: read_decoded(path).copy()),
    Reader("grids.npy", mutators.some_npy, _rows, ("labels.npy",)),
    Reader("embedding.npy", mutators.some_npy, lambda path: read_embedding(path, (4, *GRID), str(path))),
    Reader("codebook.npy", mutators.some_npy, _codebook),
    Reader("grids.csv", mutators.some_lines, _rows),
    Reader("grids.parquet", tables.some_parquet, _rows, weight=2),
    Reader("scores.csv", mutators.some_lines, _scores, ("grids.csv",)),
    Reader("grids.csv", mutators.some_lines, _scores, ("scores.csv",)),
    Reader("image.png", mutators.some_png, read_image, weight=3),
    Reader("image.jpg", mutators.some_bytes, read_image, weight=2),
    Reader("image.webp", mutators.some_bytes, read_image, weight=2),
    Reader("pictures.tar", mutators.some_tar, _pictures),
    Reader("pictures.parquet", tables.some_parquet, _pictures),
    Reader("pictures.arrow", tables.some_arrow, _pictures),
    Reader("names.txt", mutators.some_lines, read_class_names),
    Reader("config.yaml", mutators.some_lines, lambda path: parse_config(read_yaml(path)), weight=0.5),
    Reader("config.json", mutators.some_json, lambda path: parse_config(read_yaml(path)), weight=0.5),
    Reader("project.yaml", mutators.some_lines, read_architecture, weight=0.5),
    Reader("settings.json", mutators.some_json, _run),
    Reader("code.json", mutators.some_json, read_record),
    Reader("extractor.safetensors", mutators.some_safetensors, read_weights, weight=2),
    Reader("extractor.safetensors", mutators.some_safetensors, load_extractor),
    Reader("judge.safetensors", mutators.some_safetensors, load_judge, weight=0.2),
    Reader("codebook.safetensors", mutators.some_safetensors, lambda path: load_codebook(path, torch.device("cpu"))),
    Reader("codebook.safetensors", mutators.some_safetensors, lambda path: generator_spec(path, "codebook")),
    Reader("codebook.safetensors", mutators.some_safetensors, _checkpoint),
    Reader("zipped.ckpt", mutators.some_zip, _checkpoint, weight=2),
    Reader("legacy.ckpt", mutators.some_pickle, _checkpoint, weight=2),
    Reader("codebook.pt", mutators.some_zip, _codebook),
    Reader("judge.onnx", _some_onnx, _onnx, weight=0.5),
]
