"""A whole file of another kind is told as what it is; only what is cut or damaged is called so."""

import bz2
import gzip
import lzma
import pickle
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cortex.core.checkpoint import read_state
from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.core.weights import read_weights
from cortex.core.weights_metadata import read_metadata
from cortex.data.packed import map_array
from cortex.data.tar_reader import read_members

ARRAY = np.arange(3000.0)
READERS = {
    "safetensors file": [read_weights, read_metadata],
    "checkpoint": [read_state],
    "npy file": [lambda path: map_array(path, "an array")],
    "Parquet file": [read_table],
    "tar": [lambda path: list(read_members(path))],
}


def write_npy(path):
    with open(path, "wb") as file:
        np.save(file, ARRAY)


def write_npz(path):
    with open(path, "wb") as file:
        np.savez(file, ARRAY)


def write_tar(path):
    write_npy(path.with_suffix(".member"))
    with tarfile.open(path, "w") as tar:
        tar.add(path.with_suffix(".member"), "a.npy")


WRITERS = {
    "safetensors file": lambda path: save_file({"a": torch.from_numpy(ARRAY)}, path),
    "zip archive": write_npz,
    "checkpoint": lambda path: torch.save({"a": torch.from_numpy(ARRAY)}, path),
    "pickle": lambda path: path.write_bytes(pickle.dumps(ARRAY)),
    "npy file": write_npy,
    "Parquet file": lambda path: pq.write_table(pa.table({"a": ARRAY}), path),
    "tar": write_tar,
    "PNG image": lambda path: Image.new("RGB", (9, 9)).save(path, "png"),
    "JPEG image": lambda path: Image.new("RGB", (9, 9)).save(path, "jpeg"),
    "file packed with gzip": lambda path: path.write_bytes(gzip.compress(ARRAY.tobytes())),
    "file packed with bzip2": lambda path: path.write_bytes(bz2.compress(ARRAY.tobytes())),
    "file packed with xz": lambda path: path.write_bytes(lzma.compress(ARRAY.tobytes())),
    "pointer of Git LFS": lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "web page": lambda path: path.write_bytes(b"\n<!DOCTYPE html>\n<html>Not found</html>"),
}
OF_CHECKPOINTS = {"checkpoint", "safetensors file", "zip archive", "pickle"}  # see the tests of checkpoints


@pytest.mark.parametrize("expected", READERS)
def test_a_folder_an_empty_file_and_a_file_of_no_known_kind_are_told(expected, tmp_path):
    path = tmp_path / "a.file"
    path.write_text('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>')
    for read in READERS[expected]:
        with pytest.raises(InputError, match=rf"^{path}: not a {'whole tar' if expected == 'tar' else expected}: "):
            read(path)
    path.write_bytes(b"")
    for read in READERS[expected]:
        with pytest.raises(InputError, match=rf"^{path}: an empty file; expected: {expected}$"):
            read(path)
    path.unlink()
    path.mkdir()
    for read in READERS[expected]:
        with pytest.raises((InputError, IsADirectoryError), match=r"a folder; expected|Is a directory|no such"):
            read(path)


@pytest.mark.parametrize("written", WRITERS)
@pytest.mark.parametrize("expected", READERS)
def test_another_kind_is_told_and_what_is_cut_is_called_cut(written, expected, tmp_path):
    path = tmp_path / "a.file"
    WRITERS[written](path)
    if expected != "checkpoint" or written not in OF_CHECKPOINTS:
        for read in READERS[expected]:
            if written == expected:
                read(path)
                path.write_bytes(path.read_bytes()[:700])
                with pytest.raises(InputError, match=rf"^{path}(: not a whole {expected}|: member .* ends inside it)"):
                    read(path)
                WRITERS[written](path)
            else:
                found = "zip archive" if written == "checkpoint" else written
                with pytest.raises(InputError, match=rf"^{path}: expected: {expected}; found: {found}"):
                    read(path)
