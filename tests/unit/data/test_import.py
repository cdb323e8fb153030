"""Grids that others made become shards: the same labels and tokens, or one error that names the row."""

import ast
import csv
import io
import json
import os
import shutil
import struct
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.core.text import MAX_LINE
from cortex.core.weights import read_weights, write_weights
from cortex.data.draw import Stretch, generate_shard
from cortex.data.importing import import_split
from cortex.data.pixels import encode_image
from cortex.data.settings import ImageFiles
from cortex.data.shard_reader import read_shard
from cortex.data.sources import read_rows
from cortex.generators.load import load_generator
from cortex.generators.sampling import Sampling

INT64 = pa.int64()
CODES = 24  # of the tests' generator of 7 classes; its grids are 4×4, its codes have 6 channels
GRID = (4, 4)
LABELS = np.array([5, 0, 2, 0, 5, 2, 0, 5, 2, 2])
GRIDS = np.random.default_rng(4).integers(0, CODES, (10, 4, 4))


def written_csv(path, labels=LABELS, grids=GRIDS, names=None):
    """The layout of the authors' released data; a grid that is None has no indices."""
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filename", "label", "indices"])
        for row, (label, grid) in enumerate(zip(labels, grids, strict=True)):
            indices = "" if grid is None else str(np.asarray(grid).ravel().tolist())
            table.writerow([names[row] if names else f"sample_{row}.npy", label, indices])
    return path


def written_parquet(path, labels=LABELS, grids=GRIDS, column="grid", nested=True, kind=INT64):
    lists = grids.tolist() if nested else grids.reshape(len(grids), -1).tolist()
    array = pa.array(lists, pa.list_(pa.list_(kind)) if nested else pa.list_(kind))
    pq.write_table(pa.table({"label": pa.array(labels), column: array}), path)
    return path


def imported(folder, source, weights, images="none", **options):
    """(label, grid, image) of every sample of the shards, in their order."""
    settings = {"classes": [0, 2, 5], "per_class": 3, "shard_size": 4, "device": "cpu"} | options
    import_split(folder, "train", source, generator=weights, keep=ImageFiles(images=images), **settings)
    shards = sorted(folder.glob("*.tar"))
    assert [shard.name for shard in shards] == [f"{shard:06d}.tar" for shard in range(len(shards))]
    return [sample for shard in shards for sample in read_shard(shard, images="any", codes=CODES)]


def assert_first_three_of_each(samples):
    """Rows 0 to 8: row 9 is the fourth of class 2."""
    assert [sample.label for sample in samples] == LABELS[:9].tolist()
    assert np.array_equal(np.stack([sample.grid for sample in samples]), GRIDS[:9])
    assert [sample.key for sample in samples[:4]] == [
        "train-0005-000000", "train-0000-000000", "train-0002-000000", "train-0000-000001",
    ]  # fmt: skip
    assert samples[0].info == {"class_name": "fox"}


# --- what is imported --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mark", "end"), [(b"\xef\xbb\xbf", b"\r\n"), (b"", b"\r")])
def test_a_csv_as_spreadsheets_write_it(tmp_path, generator_weights, mark, end):
    source = written_csv(tmp_path / "grids.csv")
    header, *rows = source.read_bytes().splitlines()
    header = b" , ".join(header.split(b","))
    source.write_bytes(mark + end.join([header, *rows]) + end)
    assert_first_three_of_each(imported(tmp_path / "train", source, generator_weights))


def test_the_authors_csv(tmp_path, generator_weights):
    samples = imported(tmp_path / "train", written_csv(tmp_path / "train_embeddings.csv"), generator_weights)
    assert_first_three_of_each(samples)
    assert [path.name for path in sorted((tmp_path / "train").iterdir())] == ["000000.tar", "000001.tar", "000002.tar"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nested": False, "column": "tokens", "kind": pa.uint16()},
        {"nested": False, "column": "indices", "kind": pa.int8()},
    ],
    ids=str,
)
def test_parquet(tmp_path, generator_weights, options):
    source = written_parquet(tmp_path / "grids.parquet", **options)
    assert_first_three_of_each(imported(tmp_path / "train", source, generator_weights))


def test_parquet_of_lists_of_other_kinds(tmp_path, generator_weights):
    source = tmp_path / "grids.parquet"
    for kind in (pa.large_list(pa.int32()), pa.list_(pa.uint64(), 16)):
        column = pa.array(GRIDS.reshape(10, 16).tolist(), kind)
        pq.write_table(pa.table({"grid": column, "more": LABELS, "label": LABELS.astype(np.uint8)}), source)
        assert_first_three_of_each(imported(tmp_path / "train", source, generator_weights))


@pytest.mark.parametrize("dtype", ["<i8", ">u2", "<u8", ">u8", "|i1"])
@pytest.mark.parametrize("flat", [False, True])
def test_npy(tmp_path, generator_weights, dtype, flat):
    np.save(tmp_path / "grids.npy", GRIDS.astype(dtype).reshape((10, 16) if flat else (10, 4, 4)))
    np.save(tmp_path / "labels.npy", LABELS.astype(dtype))
    samples = imported(tmp_path / "train", tmp_path / "grids.npy", generator_weights, labels=tmp_path / "labels.npy")
    assert_first_three_of_each(samples)


def test_csv_in_other_words(tmp_path, generator_weights):
    """A byte order mark, other orders and more columns, spaces, lists over two lines, empty lines."""
    lists = [" ,\n".join(map(str, grid.ravel())) for grid in GRIDS]
    rows = [f'{label} ,x, "[ {tokens} ]"' for label, tokens in zip(LABELS, lists, strict=True)]
    (tmp_path / "a.csv").write_text("\ufefflabel,,indices\r\n" + "\r\n\r\n".join(rows))
    assert_first_three_of_each(imported(tmp_path / "train", tmp_path / "a.csv", generator_weights))


def test_missing_indices_are_the_codes_nearest_to_the_embeddings(tmp_path, generator_weights):
    codebook = load_generator(generator_weights).codebook.double().numpy()
    random = np.random.default_rng(1)
    names = [f"folder/{row}.npy" if row % 2 else f"{row}" for row in range(10)]
    (tmp_path / "there" / "folder").mkdir(parents=True)
    expected = GRIDS.copy()
    for row in range(10):
        vectors = random.normal(size=(6, 4, 4)).astype(np.float32)
        np.save(tmp_path / "there" / names[row], vectors)
        if row != 4:
            distances = ((vectors[None] - codebook[:, :, None, None]) ** 2).sum(1)
            expected[row] = distances.argmin(0)
    grids = [GRIDS[row] if row == 4 else None for row in range(10)]
    source = written_csv(tmp_path / "train.csv", grids=grids, names=names)
    for folder in ("there", None):  # the folder of the CSV if none is named
        if folder is None:
            source = Path(shutil.copy(source, tmp_path / "there"))
        samples = imported(
            tmp_path / "train", source, generator_weights, embeddings=tmp_path / folder if folder else None
        )
        assert np.array_equal(np.stack([sample.grid for sample in samples]), expected[:9])
    assert len(set(expected[:9].ravel().tolist())) > 10


def test_a_column_of_indices_is_not_needed(tmp_path, generator_weights):
    codebook = load_generator(generator_weights).codebook
    for row, grid in enumerate(GRIDS):
        np.save(tmp_path / f"{row}.npy", codebook[torch.from_numpy(grid)].permute(2, 0, 1).contiguous().numpy())
    lines = [f"{label},{row}.npy" for row, label in enumerate(LABELS)]
    (tmp_path / "a.csv").write_text("\n".join(["label,filename", *lines]))
    assert_first_three_of_each(imported(tmp_path / "train", tmp_path / "a.csv", generator_weights))


def test_images_are_decoded_where_they_are_asked_for(tmp_path, generator_weights):
    source = written_csv(tmp_path / "a.csv")
    decoded = load_generator(generator_weights).decode(torch.from_numpy(GRIDS[:9])).numpy().astype(int)
    samples = imported(tmp_path / "train", source, generator_weights, images="png")
    assert np.abs(np.stack([sample.image for sample in samples]) - decoded).max() <= 1
    assert all(sample.image is None for sample in imported(tmp_path / "train", source, generator_weights))


PICTURES = np.random.default_rng(5).integers(0, 256, (10, 8, 12, 3)).astype(np.uint8)


@pytest.fixture
def codebook_weights(tmp_path):
    """A codebook alone, of the tests' generator's shapes."""
    architecture = json.dumps({"grid": GRID, "classes": ["ant", "bee", "cat", "dog", "eel", "fox"]})
    write_weights(tmp_path / "codes.safetensors", {"codebook": torch.eye(CODES)}, {"architecture": architecture})
    return tmp_path / "codes.safetensors"


def with_column(path, images, kind=None):
    """The grids in Parquet beside a column ``image``."""
    table = pq.read_table(written_parquet(path))
    pq.write_table(table.append_column("image", pa.array(images, kind)), path)
    return path


def png(image):
    return encode_image(image).content


@pytest.mark.parametrize("form", ["array", "binary", "struct"])
def test_given_pictures_are_kept_as_they_are(tmp_path, codebook_weights, form):
    """Those of the rows that are taken: row 9 is one too many; 3 classes from row 0 on."""
    files = [png(image) for image in PICTURES]
    source, pictures = tmp_path / "grids.parquet", "image"
    if form == "array":
        np.save(tmp_path / "pictures.npy", PICTURES)
        written_csv(source.with_suffix(".csv"))
        source, pictures = source.with_suffix(".csv"), str(tmp_path / "pictures.npy")
    else:
        with_column(source, files if form == "binary" else [{"bytes": file, "path": None} for file in files])
    options = {"family": "codebook", "pictures": pictures}
    samples = imported(tmp_path / "train", source, codebook_weights, images="png", **options)
    assert_first_three_of_each(samples)
    assert np.array_equal(np.stack([sample.image for sample in samples]), PICTURES[:9])
    some = imported(tmp_path / "some", source, codebook_weights, "png", classes=[2], per_class=4, **options)
    assert np.array_equal(np.stack([sample.image for sample in some]), PICTURES[LABELS == 2])
    unkept = imported(tmp_path / "none", source, codebook_weights, **options)
    assert all(sample.image is None for sample in unkept)


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        (PICTURES[:9], r"grids\.csv: line 11: no picture; .*grids\.csv has more rows than there are pictures"),
        (np.concatenate([PICTURES, PICTURES[:1]]), r"pictures\.npy: row 11: a picture without a row in .*grids\.csv"),
        (PICTURES[:, :, :10], r"pictures\.npy: row 1: a picture of 10×8 pixels, no multiple of the grid's 4×4 tokens"),
        (PICTURES[:, :0], r"row 1: a picture of 12×0 pixels, no multiple"),
        (PICTURES.astype(np.float32), r"pictures\.npy: float32 of \(10, 8, 12, 3\); expected uint8 of \(N, H, W, 3\)"),
        (PICTURES[..., 0], r"uint8 of \(10, 8, 12\); expected uint8"),
    ],
)
def test_an_array_of_pictures_that_does_not_fit_is_refused(tmp_path, codebook_weights, pictures, said):
    np.save(tmp_path / "pictures.npy", pictures)
    options = {"family": "codebook", "pictures": str(tmp_path / "pictures.npy"), "images": "png"}
    with pytest.raises(InputError, match=said):
        imported(tmp_path / "train", written_csv(tmp_path / "grids.csv"), codebook_weights, **options)
    assert not list((tmp_path / "train").glob("*"))


@pytest.mark.parametrize(
    ("row", "image", "said"),
    [
        (4, None, r"grids\.parquet: row 5: nothing in image"),
        (4, b"no image", r"grids\.parquet: row 5: not an image"),
        (4, png(PICTURES[0])[:60], r"grids\.parquet: row 5: not a whole image"),
        (4, png(PICTURES[0][:4]), r"row 5: a picture of 12×4 pixels; those before it have 12×8"),
    ],
)
def test_a_picture_of_a_row_that_does_not_fit_is_refused(tmp_path, codebook_weights, row, image, said):
    files = [png(each) for each in PICTURES]
    files[row] = image
    source = with_column(tmp_path / "grids.parquet", files, pa.binary())
    with pytest.raises(InputError, match=said):
        imported(tmp_path / "train", source, codebook_weights, "png", family="codebook", pictures="image")


def test_a_generator_that_decodes_takes_no_pictures(tmp_path, generator_weights):
    with pytest.raises(InputError, match=r"^pictures image: the generator decodes the images$"):
        imported(tmp_path / "train", written_parquet(tmp_path / "a.parquet"), generator_weights, pictures="image")


def test_a_vqgan_alone_takes_grids_of_any_classes(tmp_path, generator_weights):
    tensors, metadata = read_weights(generator_weights)
    architecture = json.loads(metadata["architecture"]) | {"prior": None, "classes": [], "null_class": None}
    vqgan = {name: tensor for name, tensor in tensors.items() if name.startswith("first_stage_model.")}
    write_weights(tmp_path / "vqgan.safetensors", vqgan, {"architecture": json.dumps(architecture)})
    source = written_csv(tmp_path / "a.csv", labels=60_000 + LABELS % 2)
    samples = imported(
        tmp_path / "train", source, tmp_path / "vqgan.safetensors", classes=[60_000, 60_001], images="jpeg"
    )
    assert [(sample.label, sample.info) for sample in samples[:2]] == [(60_001, {}), (60_000, {})]
    assert len(samples) == 6 and samples[0].image.shape == (8, 8, 3)


def test_a_generated_split_comes_back_from_a_csv(tmp_path, generator_weights):
    """Shards to the authors' layout and back: the same keys, grids, labels and images."""
    for shard, first in enumerate((0, 9, 18)):
        path = tmp_path / "test" / f"{shard:06d}.tar"
        generate_shard(
            path,
            Stretch("test", first, first + 9, seed=1, classes=[1, 4, 6]),
            sampling=Sampling(top_k=None, top_p=None),
            keep=ImageFiles(),
            batch_classes=7,
            batch_indices=3,
            generator=generator_weights,
            device="cpu",
        )
    shards = sorted((tmp_path / "test").iterdir())
    before = [sample for shard in shards for sample in read_shard(shard, images=True)]
    source = written_csv(tmp_path / "a.csv", [s.label for s in before], [s.grid for s in before])
    arguments = ["--classes", "1", "4", "6", "--per-class", "9", "--shard-size", "9", "--images", "png"]
    status = main(
        ["import", "--output", str(tmp_path / "again"), "--split", "test", "--source", str(source), *arguments,
         "--generator", str(generator_weights), "--device", "cpu"]
    )  # fmt: skip
    assert status == 0
    after = [sample for shard in sorted((tmp_path / "again").iterdir()) for sample in read_shard(shard, images=True)]
    assert [(s.key, s.label) for s in after] == [(s.key, s.label) for s in before]
    for one, other in zip(after, before, strict=True):
        assert np.array_equal(one.grid, other.grid)
        assert np.abs(one.image.astype(int) - other.image).max() <= 1


def test_an_import_takes_the_place_of_a_longer_one_once_it_is_whole(tmp_path, generator_weights):
    folder, source = tmp_path / "train", written_csv(tmp_path / "a.csv")
    assert len(imported(folder, source, generator_weights)) == 9
    (folder / "notes.txt").write_text("of the user's own")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match="9 are asked for"):
        imported(folder, source, generator_weights, per_class=9)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert len(imported(folder, source, generator_weights, per_class=1)) == 3
    assert sorted(path.name for path in folder.iterdir()) == ["000000.tar", "notes.txt"]


# --- what is refused ---------------------------------------------------------------------------------------------

LIST = str(list(range(16)))
GOOD = f'a,0,"{LIST}"\n'
HEAD = "filename,label,indices\n"
CSV = {
    "empty": ("", "columns none; expected filename, label, indices"),
    "no label": ("filename,indices\n", "columns 'filename', 'indices'"),
    "twice": ("label,indices,label\n", "columns 'label', 'indices', 'label'"),
    "too few values": (HEAD + GOOD + "a,0\n", "line 3: 2 values in 3 columns"),
    "too many values": (HEAD + "a,0," + LIST, "line 2: 18 values in 3 columns"),
    "label no number": (HEAD + GOOD + f'a,cat,"{LIST}"', "line 3: label 'cat' is not a class index"),
    "label negative": (HEAD + f'a,-1,"{LIST}"', "line 2: label '-1' is not"),
    "label a fraction": (HEAD + f'a,1.0,"{LIST}"', "line 2: label '1.0' is not"),
    "label in other digits": (HEAD + f'a,٣,"{LIST}"', "line 2: label '٣' is not"),
    "label of a million digits": (HEAD + f'a,{"1" * 100_000},"{LIST}"', "line 2: label '1111"),
    "label too large": (HEAD + f'a,7,"{LIST}"', "line 2: label 7; the generator has classes 0 to 6"),
    "token too large": (HEAD + 'a,0,"' + LIST.replace("9", "24") + '"', "line 2: token 24; the generator has tok"),
    "token negative": (HEAD + 'a,0,"' + LIST.replace("9", "-9") + '"', "line 2: indices '[0, 1, 2, 3"),
    "token a fraction": (HEAD + 'a,0,"' + LIST.replace("9", "9.0") + '"', "line 2: indices "),
    "list open": (HEAD + 'a,0,"[1, 2"', "line 2: indices '[1, 2' are not a list such as [17, 4, 3]"),
    "code": (HEAD + "a,0,__import__('os').abort()", "line 2: indices "),
    "too short": (HEAD + 'a,0,"[1, 2]"', "line 2: 2 indices; a grid has 4×4"),
    "too long": (HEAD + f'a,0,"{[1] * 17}"', "line 2: 17 indices"),
    "nested": (HEAD + f'a,0,"[{LIST}]"', "line 2: indices '[[0"),
    "quote open": (HEAD + GOOD + 'a,0,"[1', "line 3: unexpected end of data"),
    "quote open in a long file": (HEAD + 'a,0,"[1' + "a,0,b\n" * 40_000, "field larger than field limit (131072)"),
    "quote and more": (HEAD + 'a,0,"[1]"x', "line 2: ',' expected after"),
    "line too long": (HEAD + GOOD + "1" * (MAX_LINE + 9), f"line 3: longer than {MAX_LINE} characters"),
    "other encoding": (HEAD.encode() + b'\xe9,0,"[1]"', "line 2: not UTF-8 text"),
    "binary": (bytes(range(200, 256)), "line 1: not UTF-8 text"),
    "no embedding": (HEAD + "b.npy,0,", "line 2: {folder}/b.npy: no such file"),
    "no name": (HEAD + ",0,[]", "line 2: no indices, and '' is no file in {folder}"),
    "name elsewhere": (HEAD + "../b.npy,0,", "line 2: no indices, and '../b.npy' is no file in"),
    "name of the root": (HEAD + "/etc/passwd,0,", "line 2: no indices, and '/etc/passwd' is no file in"),
    "name of zeros": (HEAD + "a\0b,0,", "line 2: control character U+0000"),
    "name of two lines": (HEAD + '"a\nb",0,', "line 3: no indices, and 'a\\nb' is no file in"),
    "name too long": (HEAD + "b" * 300 + ",0,", "File name too long"),
    "name of a folder": (HEAD + "sub.npy,0,", "line 2: {folder}/sub.npy: no such file"),
    "name of a pipe": (HEAD + "pipe,0,", "line 2: {folder}/pipe.npy: no such file"),
    "too few": (HEAD + GOOD * 2, "2 rows of class 0; 3 are asked for"),
    "wrong after enough": (HEAD + GOOD * 9 + "a,0,1\n", "line 11: indices '1'"),
}  # fmt: skip


def refusal(folder, source, weights, **options):
    """What an import says that is refused; nothing of it stays."""
    before = sorted(path for path in folder.parent.rglob("*") if path != folder)
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            imported(folder, source, weights, **({"classes": [0]} | options))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and len(message) < 1000
    assert peak < 16 << 20
    after = sorted(path for path in folder.parent.rglob("*") if path != folder)
    assert after == before, "no shard, not even a part"
    return message


@pytest.mark.parametrize("case", CSV)
def test_a_malformed_csv_is_refused_by_line(tmp_path, generator_weights, case):
    content, message = CSV[case]
    (tmp_path / "a.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "sub.npy").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    found = refusal(tmp_path / "train", tmp_path / "a.csv", generator_weights)
    assert found.startswith(f"{tmp_path / 'a.csv'}: ") and message.replace("{folder}", str(tmp_path)) in found


def npy(array, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array), **options)
    return buffer.getvalue()


def npy_of(header):
    header = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


F4 = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }"
EMBEDDINGS = {
    "objects": (npy(np.array([print], object)), "not a whole npy file"),
    "another shape": (npy(np.zeros((4, 4, 6), np.float32)), "float32 of (4, 4, 6); expected float32 of (6, 4, 4)"),
    "another type": (npy(np.zeros((6, 4, 4))), "float64 of (6, 4, 4)"),
    "not finite": (npy(np.full((6, 4, 4), np.nan, np.float32)), "numbers that are not finite"),
    "cut": (npy(np.zeros((6, 4, 4), np.float32))[:-1], "not a whole npy file"),
    "empty": (b"", "an empty file; expected: npy file"),
    "zip": (b"PK\x03\x04" + bytes(60), "expected: npy file; found: zip archive"),
    "pickle": (b"\x80\x04K\x01.", "expected: npy file; found: pickle"),
    "huge": (npy_of(F4 % "(6, 999999999, 999999999)"), "not a whole npy file"),
    "code": (npy_of("__import__('os').abort()"), "not a whole npy file: malformed node or string on line 1:"),
}


@pytest.mark.parametrize("case", EMBEDDINGS)
def test_a_malformed_embedding_is_refused_by_file_and_line(tmp_path, generator_weights, case):
    content, message = EMBEDDINGS[case]
    (tmp_path / "b.npy").write_bytes(content)
    (tmp_path / "a.csv").write_text(HEAD + GOOD * 2 + "b.npy,0,\n")
    found = refusal(tmp_path / "train", tmp_path / "a.csv", generator_weights)
    assert found.startswith(f"{tmp_path / 'a.csv'}: line 4: {tmp_path / 'b.npy'}: ") and message in found


LISTS = pa.array([list(range(16))] * 3)
PARQUET = {
    "no label": ({"grid": LISTS}, "columns 'grid'; expected label and one of grid, tokens, indices"),
    "no grid": ({"label": [0, 0, 0]}, "columns 'label'"),
    "label text": ({"label": ["0"] * 3, "grid": LISTS}, "column label: string; expected whole numbers"),
    "label missing": ({"label": [0, None, 0], "grid": LISTS}, "row 2: nothing in column label"),
    "label too large": ({"label": [0, 0, 9], "grid": LISTS}, "row 3: label 9; the generator has classes 0 to 6"),
    "label negative": ({"label": [0, -1, 9], "grid": LISTS}, "row 2: label -1"),
    "label far too large": ({"label": pa.array([2**64 - 1] * 3, pa.uint64()), "grid": LISTS}, "row 1: label 214748"),
    "grid text": ({"label": [0] * 3, "grid": ["[1]"] * 3}, "column grid: string; expected lists of whole numbers"),
    "grid of floats": ({"label": [0] * 3, "grid": [[1.0] * 16] * 3}, "column grid: double; expected lists of whole"),
    "grid missing": ({"label": [0] * 3, "grid": [[1] * 16, [1] * 16, None]}, "row 3: nothing in column grid"),
    "token missing": ({"label": [0] * 3, "grid": [[1] * 16, [1] * 15 + [None], [1] * 16]}, "row 2: nothing in column"),
    "grid too short": ({"label": [0] * 3, "grid": [[1] * 16, [1] * 15, [1] * 17]}, "row 2: a list of 15; a grid has 1"),
    "grid askew": ({"label": [0] * 3, "grid": [[[1] * 8] * 2] * 3}, "row 1: a list of 2; a grid has 4 or 4"),
    "row of a grid": ({"label": [0] * 2, "grid": [[[1] * 4] * 4, [[1] * 4] * 3 + [[1] * 5]]}, "row 2: a list of 5"),
    "row missing": ({"label": [0] * 2, "grid": [[[1] * 4] * 4, [[1] * 4] * 3 + [None]]}, "row 2: nothing in column"),
    "too deep": ({"label": [0], "grid": [[[[1]] * 4] * 4]}, "expected lists of whole numbers"),
    "token too large": ({"label": [0] * 2, "tokens": [[1] * 16, [1] * 15 + [24]]}, "row 2: token 24; the generator"),
    "token negative": ({"label": [0] * 2, "tokens": [[1] * 16, [1] * 15 + [-1]]}, "row 2: token -1; the generator"),
    "too few": ({"label": [0] * 2, "tokens": [[1] * 16] * 2}, "2 rows of class 0; 3 are asked for"),
}  # fmt: skip


@pytest.mark.parametrize("case", PARQUET)
def test_a_malformed_parquet_file_is_refused_by_row(tmp_path, generator_weights, case):
    content, message = PARQUET[case]
    pq.write_table(pa.table(content), tmp_path / "a.parquet", row_group_size=2)
    found = refusal(tmp_path / "train", tmp_path / "a.parquet", generator_weights)
    assert found.startswith(f"{tmp_path / 'a.parquet'}: ") and message in found


ARRAYS = {
    "objects": (GRIDS.astype(object), LABELS, "grids.npy: not a whole npy file"),
    "floats": (GRIDS.astype(float), LABELS, "grids.npy: float64 of (10, 4, 4); expected whole numbers of (N, 4, 4)"),
    "another shape": (GRIDS.reshape(10, 2, 8), LABELS, "grids.npy: int64 of (10, 2, 8)"),
    "a number": (np.array(3), LABELS, "grids.npy: int64 of ()"),
    "truth": (GRIDS > 3, LABELS, "grids.npy: bool of"),
    "labels of floats": (GRIDS, LABELS.astype(float), "labels.npy: float64 of (10,); expected whole numbers of (10,)"),
    "fewer labels": (GRIDS, LABELS[:9], "labels.npy: int64 of (9,)"),
    "label too large": (GRIDS, LABELS + 2, "grids.npy: row 1: label 7; the generator has classes 0 to 6"),
    "token too large": (GRIDS + 24 * (np.arange(10) == 6)[:, None, None], LABELS, "grids.npy: row 7: token "),
    "token negative": (GRIDS - 24, LABELS, "grids.npy: row 1: token -"),
    "token far too large": ((GRIDS - 24).astype(">u8"), LABELS, "grids.npy: row 1: token 2147483648"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_malformed_arrays_are_refused_by_row(tmp_path, generator_weights, case):
    grids, labels, message = ARRAYS[case]
    (tmp_path / "grids.npy").write_bytes(npy(grids))
    (tmp_path / "labels.npy").write_bytes(npy(labels))
    found = refusal(tmp_path / "train", tmp_path / "grids.npy", generator_weights, labels=tmp_path / "labels.npy")
    assert found.startswith(f"{tmp_path}/") and message in found


def test_files_that_do_not_go_together_are_told(tmp_path, generator_weights):
    for name, options, message in (
        ("a.npz", {}, "a.npz: unknown kind of file; allowed: .csv, .parquet, .npy"),
        ("a.npy", {}, "a.npy: a file of labels (--labels) goes with .npy, and with nothing else"),
        ("a.csv", {"labels": tmp_path / "b.npy"}, "a.csv: a file of labels (--labels) goes with .npy"),
        ("a.csv", {}, "a.csv: No such file or directory"),
        ("a.parquet", {}, "a.parquet: no such file"),
        ("a.npy", {"labels": tmp_path / "b.npy"}, "a.npy: no such file"),
        ("a.csv", {"classes": [0, 7]}, "classes [0, 7]: the generator has classes 0 to 6"),
        ("a.csv", {"classes": []}, "classes []: name at least one"),
        ("a.csv", {"per_class": 0}, "per_class 0, shard_size 4: both are at least 1"),
    ):
        assert message in refusal(tmp_path / "train", tmp_path / name, generator_weights, **options)


def test_what_is_there_stays_if_an_import_fails(tmp_path, generator_weights):
    source = written_csv(tmp_path / "a.csv")
    imported(tmp_path / "train", source, generator_weights)
    before = {path: path.read_bytes() for path in (tmp_path / "train").iterdir()}
    source.write_text(source.read_text() + "a,b\n")
    with pytest.raises(InputError, match="line 12: 2 values"):
        imported(tmp_path / "train", source, generator_weights)
    assert {path: path.read_bytes() for path in (tmp_path / "train").iterdir()} == before


@pytest.mark.slow
def test_memory_does_not_grow_with_the_source(tmp_path, generator_weights):
    """Shards of 100: six times the rows take no more memory at once."""
    peaks = []
    for rows in (1000, 6000):
        np.save(tmp_path / "grids.npy", np.random.default_rng(0).integers(0, CODES, (rows, 4, 4)).astype(np.uint16))
        np.save(tmp_path / "labels.npy", np.arange(rows) % 2)
        tracemalloc.start()
        import_split(
            tmp_path / "train", "train", tmp_path / "grids.npy", labels=tmp_path / "labels.npy", classes=[0, 1],
            per_class=rows // 2, keep=ImageFiles(images="none"), shard_size=100, generator=generator_weights,
            device="cpu",
        )  # fmt: skip
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000


# --- any bytes ---------------------------------------------------------------------------------------------------


def rows_of(name, contents):
    """Labels and tokens of a source of any bytes, as read_rows tells them; None where it is refused in one line."""
    with tempfile.TemporaryDirectory() as folder:
        for file, content in contents.items():
            Path(folder, file).write_bytes(content)
        refused = None
        try:
            labels = Path(folder, "labels.npy") if name.endswith(".npy") else None
            parts = list(read_rows(Path(folder, name), labels, None, GRID))
            assert all(part.grids.shape == (len(part.labels), 16) for part in parts)
            return [
                (label, None if path else grid)
                for part in parts
                for label, grid, path in zip(part.labels.tolist(), part.grids.tolist(), part.embeddings, strict=True)
            ]
        except InputError as error:
            refused = str(error)
        assert refused.startswith(f"{folder}/") and len(refused.splitlines()) == 1
        return None


@st.composite
def mutations(draw, content):
    """The content with some stretches cut out, overwritten or repeated."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(content) - 1)))
        end = min(len(content), start + draw(st.integers(0, 12)))
        new = draw(st.binary(max_size=6) | st.sampled_from([b"", b"\n", b'"', b",", b"[", b"]", b"0", b"-", b"\0"]))
        content[start:end] = new if draw(st.booleans()) else content[start:end] + new
    return bytes(content)


def csv_bytes():
    with tempfile.TemporaryDirectory() as folder:
        return written_csv(Path(folder, "a.csv"), grids=[None, *GRIDS[1:]]).read_bytes()


def slow_csv(content):
    """Labels and tokens by Python's own readers of CSV and literals."""
    lines = io.StringIO(content.decode("utf-8-sig"), newline="")
    rows = [row for row in csv.DictReader(lines, strict=True) if row]
    tokens = [(row.get("indices") or "").strip() for row in rows]
    return [
        (int(row["label"]), None if text in ("", "[]") else ast.literal_eval(unpadded(text)))
        for row, text in zip(rows, tokens, strict=True)
    ]


def unpadded(text):
    """A list of numbers without the zeros before them, which Python's literals may not have."""
    return "[" + ",".join(number.strip().lstrip("0") or "0" for number in text.strip("[]").split(",")) + "]"


@settings(max_examples=200)
@given(content=mutations(csv_bytes()) | st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_csv_is_rows_or_an_error(content):
    found = rows_of("a.csv", {"a.csv": content})
    assert found is None or found == slow_csv(content)


def parquet_bytes(**options):
    with tempfile.TemporaryDirectory() as folder:
        return written_parquet(Path(folder, "a.parquet"), **options).read_bytes()


@settings(max_examples=150)
@given(content=mutations(parquet_bytes()) | mutations(parquet_bytes(nested=False, kind=pa.uint16())) | st.binary())
def test_any_parquet_file_is_rows_or_an_error(content):
    found = rows_of("a.parquet", {"a.parquet": content})
    if found is not None:
        table = pq.read_table(io.BytesIO(content))
        column = next(name for name in ("grid", "tokens", "indices") if name in table.column_names)
        flat = [np.ravel(row).tolist() for row in table[column].to_pylist()]
        assert found == list(zip(table["label"].to_pylist(), flat, strict=True))


INTEGERS = st.sampled_from(["<i8", "<u8", ">u8", "<i2", "|u1", ">i4"])


@settings(max_examples=150)
@given(data=st.data(), dtypes=st.tuples(INTEGERS, INTEGERS))
def test_any_arrays_are_rows_or_an_error(data, dtypes):
    contents = {"grids.npy": npy(GRIDS.astype(dtypes[0])), "labels.npy": npy(LABELS.astype(dtypes[1]))}
    odd = data.draw(st.sampled_from(list(contents)))
    contents[odd] = data.draw(mutations(contents[odd]) | st.binary(max_size=200))
    found = rows_of("grids.npy", contents)
    if found is not None:
        grids, labels = (clipped(np.load(io.BytesIO(content), allow_pickle=False)) for content in contents.values())
        assert found == [(label, grid.ravel().tolist()) for label, grid in zip(labels, grids, strict=True)]


def clipped(array):
    """Numbers that no int64 holds are no labels and no tokens, so it does not matter which they are."""
    return np.minimum(array.astype(object), 1 << 31) if array.dtype.str[1:] == "u8" else array.astype(object)


def test_nothing_is_unpickled_or_evaluated(tmp_path, generator_weights):
    events = []
    watching = [True]
    forbidden = {"pickle.find_class", "exec", "os.system", "subprocess.Popen"}
    sys.addaudithook(lambda event, _: events.append(event) if watching[0] and event in forbidden else None)
    try:
        for content in (npy(np.array([[[print]]], object)), npy_of("__import__('os').system('true')")):
            (tmp_path / "grids.npy").write_bytes(content)
            (tmp_path / "labels.npy").write_bytes(npy(LABELS))
            with pytest.raises(InputError):
                list(read_rows(tmp_path / "grids.npy", tmp_path / "labels.npy", None, GRID))
        (tmp_path / "a.csv").write_text(HEAD + "a,0,__import__('os').system('true')")
        with pytest.raises(InputError):
            list(read_rows(tmp_path / "a.csv", None, None, GRID))
        assert events == []
    finally:
        watching[0] = False
