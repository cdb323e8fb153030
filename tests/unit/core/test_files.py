"""Files appear whole or not at all; weights are named when they are missing, cut or misfit."""

import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from cortex.core.errors import InputError
from cortex.core.files import whole_file, whole_folder
from cortex.core.tables import write_table
from cortex.core.weights import load_into, read_weights, write_weights

# --- whole files -------------------------------------------------------------------------------------------------


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "data.bin"
    with whole_file(path) as temporary:
        assert temporary.parent == path.parent, "on the same file system, so that renaming is atomic"
        temporary.write_bytes(b"first half, ")
        assert not path.exists()
        with open(temporary, "ab") as file:
            file.write(b"second half")
    assert path.read_bytes() == b"first half, second half"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_no_temporary(error, tmp_path):
    def write_half(path):
        with whole_file(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    path = tmp_path / "data.bin"
    for before in ([], [path]):
        for each in (path, tmp_path / "new" / "folder" / "data.bin"):
            with pytest.raises(error):
                write_half(each)
        assert list(tmp_path.iterdir()) == before
        path.write_bytes(b"old")
    assert path.read_bytes() == b"old"


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "data.bin"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "atlas"
    for number in (1, 2):
        with whole_folder(path) as temporary:
            (temporary / f"{number}.js").write_text("new")
            assert [each.name for each in path.glob("*")] == ([] if number == 1 else ["1.js"])
    assert [each.name for each in path.iterdir()] == ["2.js"] and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("there", [True, False])
def test_the_target_of_a_link_to_a_folder_is_replaced_and_the_link_stays(there, tmp_path):
    target, link = tmp_path / "disk" / "atlas", tmp_path / "atlas"
    if there:
        target.mkdir(parents=True)
        (target / "old").touch()
    link.symlink_to(target)
    with whole_folder(link) as temporary:
        (temporary / "new").touch()
    assert link.is_symlink() and [path.name for path in target.iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["atlas", "disk"]
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["atlas"]


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo])
def test_a_folder_takes_no_place_of_a_file(make, tmp_path):
    make(tmp_path / "atlas")
    with pytest.raises(InputError, match="atlas: not a folder"), whole_folder(tmp_path / "atlas"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["atlas"] and not (tmp_path / "atlas").is_dir()


def test_an_error_leaves_the_old_folder_and_what_a_killed_writer_left_goes(tmp_path):
    path = tmp_path / "atlas"
    path.mkdir()
    (path / "old.js").touch()
    (tmp_path / ".atlas.1.new.part").mkdir()

    def write_half():
        with whole_folder(path) as temporary:
            (temporary / "half.js").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [each.name for each in path.iterdir()] == ["old.js"] and list(tmp_path.iterdir()) == [path]


def test_an_interruption_while_a_folder_takes_its_name_leaves_the_old_one(tmp_path, monkeypatch):
    path, replace = tmp_path / "atlas", os.replace
    path.mkdir()
    (path / "old.js").touch()

    def interrupted(source, target):
        if str(source).endswith(".new.part"):
            raise KeyboardInterrupt
        replace(source, target)

    def write():
        with whole_folder(path) as temporary:
            (temporary / "new.js").touch()

    with monkeypatch.context() as patch:
        patch.setattr("cortex.core.files.os.replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write()
    assert [each.name for each in path.iterdir()] == ["old.js"] and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_a_killed_writer_had_moved_away_comes_back(tmp_path):
    path = tmp_path / "atlas"
    (tmp_path / ".atlas.1.old.part").mkdir()
    (tmp_path / ".atlas.1.old.part" / "old.js").touch()

    def write_half():
        with whole_folder(path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [each.name for each in path.iterdir()] == ["old.js"] and list(tmp_path.iterdir()) == [path]


def test_processes_do_not_share_a_temporary(tmp_path):
    with whole_file(tmp_path / "data.bin") as temporary:
        temporary.write_bytes(b"")
        assert str(os.getpid()) in temporary.name


KILLED = """
import os, signal, sys
from cortex.core.files import whole_file, whole_folder
with whole_file(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_goes_when_the_file_is_written_again(tmp_path):
    path = tmp_path / "data[1].bin"
    assert subprocess.run([sys.executable, "-c", KILLED, path], check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.read_bytes() == b"half"
    with whole_file(path) as temporary:
        assert not left.exists()
        temporary.write_bytes(b"whole")
    assert list(tmp_path.iterdir()) == [path]


def make_device(path):
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))  # a copy of /dev/null, to which nothing here writes
    except PermissionError:
        pytest.skip("nodes of devices need root")


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


NODES = {"device": make_device, "fifo": os.mkfifo, "socket": make_socket, "folder": os.mkdir}


@pytest.mark.parametrize("make", NODES.values(), ids=NODES)
@pytest.mark.parametrize("linked", [False, True])
def test_an_output_that_is_no_regular_file_is_refused_and_stays(make, linked, tmp_path):
    node = path = tmp_path / "node"
    make(node)
    if linked:
        path = tmp_path / "link"
        path.symlink_to("node")
    before = os.lstat(node)
    with pytest.raises(InputError, match=rf"{path}: a (folder|device, FIFO or socket); allowed: a regular file"):
        write_numbers(path)
    after = os.lstat(node)
    assert (after.st_ino, after.st_mode, after.st_rdev) == (before.st_ino, before.st_mode, before.st_rdev)
    assert path.is_symlink() == linked
    assert set(tmp_path.iterdir()) == {node, path}


@pytest.mark.parametrize("exists", [False, True])
def test_the_target_of_a_link_is_written_and_the_link_stays(exists, tmp_path):
    folder, link = tmp_path / "elsewhere", tmp_path / "run" / "data.bin"
    folder.mkdir()
    link.parent.mkdir()
    link.symlink_to("../elsewhere/target.bin")
    if exists:
        (folder / "target.bin").write_bytes(b"old")
    with whole_file(link) as temporary:
        assert temporary.parent == folder, "on the target's file system"
        temporary.write_bytes(b"new")
        assert link.exists() == exists
    assert os.readlink(link) == "../elsewhere/target.bin"
    assert (folder / "target.bin").read_bytes() == b"new"
    assert [path.name for path in (*folder.iterdir(), *link.parent.iterdir())] == ["target.bin", "data.bin"]


def test_a_link_to_itself_is_named(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(OSError, match=r"Too many levels of symbolic links: '.*/link'"):
        write_numbers(tmp_path / "link")


def write_numbers(path):
    with whole_file(path) as temporary:
        temporary.write_bytes(bytes(80_000))


@pytest.mark.parametrize(
    "write",
    [
        write_numbers,
        lambda path: write_table(path, pa.table({"numbers": np.random.default_rng(0).random(10_000)})),
        lambda path: write_weights(path, {"numbers": torch.zeros(20_000)}, {}),
    ],
)
def test_a_disk_without_room_is_told_with_the_file(write, tmp_path):
    """A limit to the size of files stands for the full disk: both are an error of a write, which names no file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(OSError, match=r"File too large.*data\.bin|data\.bin.*File too large"):
            write(tmp_path / "data.bin")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import os, sys
os.umask(int(sys.argv[2], 8))
from cortex.core.files import whole_file, whole_folder
with whole_file(sys.argv[1]) as temporary:
    os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
"""


@pytest.mark.parametrize(("umask", "mode"), [("022", 0o644), ("002", 0o664), ("077", 0o600)])
def test_the_mode_of_a_file_follows_the_umask(umask, mode, tmp_path):
    path = tmp_path / "data.bin"
    subprocess.run([sys.executable, "-c", SCRIPT, path, umask], check=True)
    assert path.stat().st_mode & 0o777 == mode


# --- weights -----------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.safetensors"
    write_weights(path, {"weight": torch.arange(6.0).view(2, 3).T, "bias": torch.ones(3)}, {"network": "cnn"})
    return path


def test_weights_are_read_as_written(weights):
    tensors, metadata = read_weights(weights)
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "weight": [[0, 3], [1, 4], [2, 5]],
        "bias": [1, 1, 1],
    }
    assert metadata == {"network": "cnn"}
    assert torch.equal(load_file(weights)["weight"], tensors["weight"]), "safetensors itself reads the file"


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("wrong", [[float("nan")], [float("inf")], [-float("inf")], [float("inf"), -float("inf")]])
def test_a_number_that_is_not_finite_is_refused_by_file_and_tensor(kind, wrong, tmp_path):
    path = tmp_path / "model.safetensors"
    tensor = torch.ones(300, dtype=kind)
    tensor[7 : 7 + len(wrong)] = torch.tensor(wrong, dtype=kind)
    write_weights(path, {"a.weight": torch.ones(3), "b.weight": tensor, "counter": torch.tensor(3)}, {})
    with pytest.raises(InputError, match=rf"^{path}: weight b\.weight: not all of its numbers are finite$"):
        read_weights(path)
    assert read_weights(path, only="a.")[0].keys() == {"a.weight"}, "another tensor is not read"


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_numbers_whose_sum_is_too_large_are_finite(kind, tmp_path):
    path = tmp_path / "model.safetensors"
    write_weights(path, {"weight": torch.full((300,), torch.finfo(kind).max, dtype=kind)}, {})
    assert read_weights(path)[0]["weight"].isfinite().all()


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.safetensors: no such weights file"):
        read_weights(tmp_path / "none.safetensors")


def test_weights_cut_anywhere_are_named(weights):
    whole = weights.read_bytes()
    for length in range(1, len(whole)):
        weights.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"model\.safetensors: not a whole safetensors file"):
            read_weights(weights)


@given(content=st.binary(max_size=60) | st.binary(max_size=40).map(b"\x20\0\0\0\0\0\0\0{".__add__))
def test_any_bytes_in_place_of_weights_are_an_error(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"any\.safetensors: (not a|not a whole|an empty file; expected:|expected:) safetensors file"
    ):
        read_weights(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.ones(3, 2)}, r"1 missing weights: bias$"),
        (
            {"weight": torch.ones(3, 2), "bais": torch.ones(3)},
            r"1 missing weights: bias; 1 unexpected weights: bais$",
        ),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(3)}, r"weight weight has shape \(2, 3\), expected \(3, 2\)"),
    ],
)
def test_weights_that_do_not_fit_are_named_and_change_nothing(tensors, message, tmp_path):
    network = nn.Linear(2, 3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError, match=r"model\.safetensors: " + message):
        load_into(network, tensors, tmp_path / "model.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
