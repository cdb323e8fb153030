"""Labelled pictures in every form that is read, of a few colours: what several test files share."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
LABELS = [0, 1, 2, 2, 1, 0, 0, 2, 1, 1, 2, 0]


def picture(colour, number, size=(11, 9)):
    """A picture of a colour, uint8 [H, W, 3], darker the higher its number: no two are alike."""
    return np.full((*size, 3), np.multiply(COLOURS[colour], 1 - number / 100), np.uint8)


def labelled(labels=LABELS):
    """Class names and pictures of some labels."""
    names = list(COLOURS)
    return [(names[label], picture(names[label], number)) for number, label in enumerate(labels)]


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def write_folders(root, pictures):
    """Class folders; the files' names count the pictures."""
    for number, (name, image) in enumerate(pictures):
        folder = Path(root, name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04d}.png").write_bytes(png(image))
    return Path(root)


def write_tar(path, members, **options):
    """A tar of names and contents, by the standard library."""
    with tarfile.open(path, "w", **options) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return Path(path)


def samples(pictures, text=str):
    """Members of a WebDataset tar; ``text`` turns a class into what its member says."""
    for number, (name, image) in enumerate(pictures):
        yield f"{number:04d}.cls", text(name).encode()
        yield f"{number:04d}.png", png(image)


def table_of(images, labels, names=None):
    """A table; ``names`` become the metadata of Hugging Face's datasets."""
    table = pa.table({"image": images, "label": labels})
    if names is not None:
        features = {"label": {"names": list(names), "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    return table


def write_table(path, images, labels, names=None):
    """A Parquet file."""
    pq.write_table(table_of(images, labels, names), path)
    return Path(path)


def write_arrow(path, images, labels, names=None, *, stream=True, rows=5):
    """An Arrow file, a batch every few rows: a stream, as ``save_to_disk`` writes it, or in the file format."""
    table = table_of(images, labels, names)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return Path(path)
