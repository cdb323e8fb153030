"""Nothing in a checkpoint is executed; whatever its bytes are, reading ends soon, in tensors or in an InputError."""

import contextlib
import gzip
import io
import json
import pickle
import pickletools
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from cortex.core.checkpoint import NESTED, open_checkpoint, read_state
from cortex.core.errors import InputError
from cortex.core.pickled import load_pickle
from tests.checkpoints import FORMATS, Hostile, lightning


@FORMATS
def test_a_hostile_pickle_is_not_executed(tmp_path, executed, zipped):
    marker = tmp_path / "executed"
    lightning({"a": torch.arange(3.0)}, f"touch {marker}")(tmp_path / "last.ckpt", zipped)
    executed.clear()
    with open_checkpoint(tmp_path / "last.ckpt") as opened:
        assert b"".join(opened.chunks(opened.tensors["a"])) == np.arange(3, dtype=np.float32).tobytes()
    assert not marker.exists() and not executed
    pickle.loads(pickle.dumps(Hostile(f"touch {marker}")))
    assert marker.exists() and executed, "the trap was armed"


def read_all(path):
    """Every tensor's bytes by name."""
    with open_checkpoint(path) as opened:
        return {name: b"".join(opened.chunks(tensor)) for name, tensor in opened.tensors.items()}


SMALL_STATE = {"weight": torch.arange(12.0).view(3, 4), "bias": torch.ones(3), "seen": torch.tensor(7)}


def small_checkpoint(zipped):
    file = io.BytesIO()
    lightning(SMALL_STATE)(file, zipped)
    return file.getvalue()


SMALL = {zipped: small_checkpoint(zipped) for zipped in (True, False)}
EXPECTED = {name: tensor.numpy().tobytes() for name, tensor in SMALL_STATE.items()}


@FORMATS
@settings(max_examples=150)
@given(data=st.data())
def test_a_truncated_checkpoint_is_refused(tmp_path_factory, zipped, data):
    whole = SMALL[zipped]
    path = tmp_path_factory.getbasetemp() / "truncated.ckpt"
    path.write_bytes(whole[: data.draw(st.integers(1, len(whole) - 1))])
    with pytest.raises(InputError, match=r"truncated\.ckpt: not a whole checkpoint: ") as raised:
        read_all(path)
    assert "\n" not in str(raised.value)


@FORMATS
@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_checkpoint_gives_tensors_or_an_input_error(tmp_path_factory, executed, zipped, data):
    damaged = bytearray(SMALL[zipped])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.ckpt"
    path.write_bytes(damaged)
    executed.clear()
    found, told = {}, f"{path} "
    try:
        found = read_all(path)
    except InputError as error:
        told = str(error)
    assert told.startswith(str(path)) and "\n" not in told and len(told) < 1000
    if zipped:  # it has checksums: what is found is as it was
        assert found.items() <= EXPECTED.items()
    assert not executed


OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
PHRASES = [b"\x8c\x01a", b"K\x03", b"q\x01", b"h\x01", b"cos\nsystem\n", b"ctorch._utils\n_rebuild_tensor_v2\n"]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(OPCODES) | st.sampled_from(PHRASES) | st.binary(max_size=6), max_size=30))
def test_any_opcodes_give_an_object_or_a_value_error(executed, opcodes):
    executed.clear()
    with contextlib.suppress(ValueError):
        load_pickle(io.BytesIO(b"\x80\x02" + b"".join(opcodes) + b"."), {})
    assert not executed


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(array):
    file = io.BytesIO()
    np.savez(file, array)
    return file.getvalue()


def zipped_pickle(pickled, members=()):
    """A checkpoint of one pickle and uncompressed members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in members:
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def text(string):
    return b"X" + struct.pack("<I", len(string)) + string.encode()


def number(value):
    content = value.to_bytes(9, "little", signed=True)
    return b"\x8a\x09" + content


def one_tensor(elements=6, offset=0, shape=(2, 3), stride=(3, 1), storage="FloatStorage", module="torch"):
    """The pickle of {"state_dict": {"w": tensor}}, written opcode by opcode."""
    return (
        b"\x80\x02}" + text("state_dict") + b"}" + text("w")
        + b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + text("storage") + b"c" + module.encode() + b"\n" + storage.encode() + b"\n" + text("0") + text("cpu")
        + number(elements) + b"tQ"
        + number(offset) + b"(" + b"".join(map(number, shape)) + b"t(" + b"".join(map(number, stride)) + b"t\x89N"
        + b"tRss."
    )  # fmt: skip


SIX = np.arange(6, dtype=np.float32)


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ({}, SIX.reshape(2, 3)),
        ({"shape": (3, 2), "stride": (1, 3)}, SIX.reshape(2, 3).T),
        ({"shape": (2, 2), "stride": (2, 1), "offset": 2}, SIX[2:].reshape(2, 2)),
        ({"shape": (), "stride": (), "offset": 5}, SIX[5]),
        ({"shape": (0, 7), "stride": (9, 9)}, np.empty((0, 7), np.float32)),
        ({"shape": (1, 6), "stride": (77, 1)}, SIX[None]),
        ({"module": "torch.cuda"}, SIX.reshape(2, 3)),
    ],
    ids=str,
)
def test_views_of_a_storage_come_in_row_major_order(tmp_path, described, expected):
    path = tmp_path / "last.ckpt"
    path.write_bytes(zipped_pickle(one_tensor(**described), [("data/0", SIX.tobytes())]))
    with open_checkpoint(path) as opened:
        assert opened.tensors["w"].shape == expected.shape
    assert read_all(path) == {"w": expected.tobytes()}


@pytest.mark.parametrize(
    "described",
    [
        {"offset": 1},
        {"offset": -1},
        {"shape": (2, 4)},
        {"shape": (3, 3)},
        {"stride": (4, 1)},
        {"stride": (-3, 1)},
        {"shape": (2, 3), "stride": (0, 0), "elements": 1},
        {"shape": (1 << 62, 1 << 62), "stride": (0, 0)},
        {"shape": (2,), "stride": (3, 1)},
        {"shape": (1,) * 65, "stride": (1,) * 65},
        {"shape": (2, 2), "stride": (3, 1)},
        {"elements": -6},
        {"elements": 7},
        {"elements": 1 << 62},
        {"storage": "DoubleStorage"},
        {"storage": "QInt8Storage"},
        {"storage": "system", "module": "os"},
    ],
    ids=str,
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, described):
    path = tmp_path / "last.ckpt"
    path.write_bytes(zipped_pickle(one_tensor(**described), [("data/0", SIX.tobytes())]))
    whole = "a storage of type 'QInt8Storage' is not supported|a tensor of shape .* is kept as "
    with pytest.raises(InputError, match=rf"last\.ckpt: (not a whole checkpoint: |{whole})"):
        read_all(path)


def test_a_tensor_of_a_type_without_a_storage_of_its_own_is_refused(tmp_path):
    torch.save({"a": torch.zeros(3).to(torch.float8_e4m3fn)}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"last\.ckpt: tensors in float8, .* are not supported: save them in float32"):
        read_all(tmp_path / "last.ckpt")


DEEP_TUPLES = b"\x80\x02}" + b")q\x00" + b"h\x00h\x00\x86q\x00" * 200 + b"Ns."  # hashing it takes 2^200 steps


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x04}" + b"r\xff\xff\xff\x7f" + b".",  # memo slot 2^31
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b".",  # a bytearray of 2^60 bytes
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".",  # bytes
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",  # a frame
        b"\x80\x02" + b"]" * 20_000 + b".",
        b"\x80\x02" + b"(" * 20_000 + b".",
        b"\x80\x04" + b"}" + b"\x94" * 20_000 + b".",
        b"\x80\x02" + b"]\x85" * 20_000 + b".",
        b"\x80\x02" + b")" + b"\x85" * 20_000 + b".",  # a tuple in a tuple in ...
        b"\x80\x04X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"q\x00" + b"h\x00h\x00\x93" * 5_000 + b".",
        DEEP_TUPLES,
    ],
    ids=["memo", "bytearray", "bytes", "frame", "lists", "marks", "memos", "tuples", "nested tuples", "names", "hash"],
)
def test_a_bomb_costs_some_hundred_bytes_an_instruction(tmp_path, monkeypatch, pickled):
    monkeypatch.setattr("cortex.core.pickled.MAX_OPCODES", 10_000)
    path = tmp_path / "last.ckpt"
    path.write_bytes(zipped_pickle(pickled))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"last\.ckpt: (not a whole checkpoint: |no state dict with tensors)"):
            read_all(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000 * 300


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<!DOCTYPE html>", "expected: checkpoint; found: web page, perhaps of a download that failed$"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "found: pointer of Git LFS, for which `git lfs pull`",
        ),
        (gzip.compress(SMALL[True]), "found: file packed with gzip, which has to be unpacked$"),
        (npy(np.zeros(3)), "expected: checkpoint; found: npy file$"),
        (npz(np.zeros(3)), "a zip archive, but not as torch.save writes it"),
        (b"", "an empty file; expected: checkpoint"),
        (bytes(10_000), "not a checkpoint: it begins neither as"),
        (pickle.dumps({"state_dict": {}}, protocol=2), "a pickle, but not as torch.save writes it"),
        (zipped_pickle(b"\x80\x02}."), "no state dict with tensors, but a dictionary of nothing: save the network's"),
        (zipped_pickle(b"\x80\x02N."), "no state dict with tensors, but data: save the network's state_dict"),
        (saved({"step": 3, "net": {"lr": 0.1}}), "but a dictionary of step, net: save the network's state_dict"),
        (saved(nn.Linear(2, 3)), "but an object 'torch.nn.modules.linear.Linear': save the network's state_dict"),
        (saved({"a": SMALL_STATE, "b": SMALL_STATE}), "it has several state dicts, a, b: save the one that is meant"),
        (
            saved({"w": torch.ones(2, dtype=torch.complex64)}),
            "a storage of type 'ComplexFloatStorage' is not supported",
        ),
        (zipped_pickle(one_tensor()), "storage '0' is missing"),
        (zipped_pickle(one_tensor(), [("data/0", SIX.tobytes()), ("byteorder", "big")]), "big-endian"),
    ],
)
def test_what_is_no_checkpoint_says_so(tmp_path, content, told):
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_all(tmp_path / "last.ckpt")


@FORMATS
def test_a_plain_state_dict_is_read_into_memory(tmp_path, zipped):
    state = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.tensor(7), "none": torch.empty(0, 4)}
    torch.save(state, tmp_path / "state.pth", _use_new_zipfile_serialization=zipped)
    found = read_state(tmp_path / "state.pth")
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def test_a_thousand_names_of_one_storage_are_refused(tmp_path):
    weight = torch.zeros(100_000)
    torch.save({f"w{index}": weight for index in range(1000)}, tmp_path / "bomb.pth")
    with pytest.raises(InputError, match=r"bomb\.pth: .* more than twice the file"):
        read_state(tmp_path / "bomb.pth")


def test_missing_files_and_folders_are_told(tmp_path):
    with pytest.raises(InputError, match=r"last\.ckpt: No such file"):
        read_all(tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="Is a directory"):
        read_all(tmp_path)


def test_a_compressed_checkpoint_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "last.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    with pytest.raises(InputError, match="compressed"):
        read_all(tmp_path / "last.ckpt")


# --- where trainers keep tensors, and under which names ----------------------------------------------------------


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("key", NESTED)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_tensors_are_found_where_trainers_keep_them(tmp_path, key, prefix):
    state = {f"{prefix}{name}": tensor for name, tensor in SMALL_STATE.items()}
    others = {"epoch": 3, "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(9)}}}, "args": Hostile("exit 1")}
    torch.save({key: state} | others, tmp_path / "last.pth")
    assert same(read_state(tmp_path / "last.pth"), SMALL_STATE)


def test_a_state_dict_that_is_the_whole_file_may_have_others_beside_it(tmp_path):
    torch.save(SMALL_STATE | {"ema": {"decay": torch.ones(2)}, "epoch": 3}, tmp_path / "last.pth")
    assert same(read_state(tmp_path / "last.pth"), SMALL_STATE)


def test_a_prefix_of_some_names_is_a_part_of_them(tmp_path):
    state = {"module.weight": torch.ones(2), "bias": torch.zeros(3)}
    torch.save(state, tmp_path / "last.pth")
    assert same(read_state(tmp_path / "last.pth"), state)


def test_several_state_dicts_are_refused_by_name(tmp_path):
    torch.save({"model": SMALL_STATE, "module": SMALL_STATE, "state_dict": {}}, tmp_path / "last.pth")
    with pytest.raises(InputError, match=r"last\.pth: it has several state dicts, model, module: save the one"):
        read_state(tmp_path / "last.pth")


class Marked(torch.Tensor):
    """A subclass: torch.save writes it through ``_rebuild_from_type_v2``."""


def test_tensors_of_subclasses_are_tensors(tmp_path):
    state = {"a": torch.arange(6.0).view(2, 3).as_subclass(Marked), "b": torch.nn.Parameter(torch.ones(2))}
    state["b"].mark = "parameters with attributes are written otherwise, too"
    torch.save(state, tmp_path / "last.pth")
    with zipfile.ZipFile(tmp_path / "last.pth") as archive:
        pickled = archive.read("last/data.pkl")
    assert b"_rebuild_from_type_v2" in pickled and b"_rebuild_parameter_with_state" in pickled
    found = read_state(tmp_path / "last.pth")
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["b"].tolist() == [1, 1]


def test_tensors_of_an_unknown_kind_are_named(tmp_path):
    state = {"a": torch.ones(2), "sparse": torch.eye(3).to_sparse(), "step": 3}
    torch.save(state, tmp_path / "last.pth")
    with open_checkpoint(tmp_path / "last.pth") as opened:
        assert (list(opened.tensors), opened.unread) == (["a"], ["sparse"])


# --- safetensors -------------------------------------------------------------------------------------------------

KINDS = {
    "double": torch.arange(4.0).double(),
    "half": torch.ones(2, 3).half(),
    "brain": torch.ones(3).bfloat16(),
    "int": torch.tensor([[1], [2]], dtype=torch.int32),
    "truth": torch.tensor([True, False]),
    "none": torch.empty(0, 4),
}


def test_safetensors_are_read_alike(tmp_path):
    save_file(SMALL_STATE | KINDS, tmp_path / "model.safetensors", {"format": "pt"})
    assert same(read_state(tmp_path / "model.safetensors"), SMALL_STATE | KINDS)
    save_file({f"module.{name}": t for name, t in SMALL_STATE.items()}, tmp_path / "wrapped.safetensors")
    assert same(read_state(tmp_path / "wrapped.safetensors"), SMALL_STATE)


@given(data=st.data())
def test_truncated_and_damaged_safetensors_give_tensors_or_an_input_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    save_file(SMALL_STATE, path)
    whole = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with contextlib.suppress(InputError):
        read_all(path)


def test_a_type_that_is_not_supported_is_no_damage(tmp_path):
    with_header(tmp_path / "w.safetensors", {"dtype": "F8_E4M3", "shape": [24], "data_offsets": [0, 24]})
    with pytest.raises(InputError, match=r"w\.safetensors: tensor 'w' is of type 'F8_E4M3'; allowed: F64, F32, "):
        read_all(tmp_path / "w.safetensors")


@pytest.mark.parametrize("size", [0, 500])  # a header whose length begins as a pickle does, too
@pytest.mark.parametrize("name", ["model.pth", "last.ckpt", "pytorch_model.bin", "model.safetensors"])
def test_a_file_is_read_by_its_content_whatever_its_name(tmp_path, name, size):
    save_file(SMALL_STATE, tmp_path / name, {"more": "x" * size})
    if size:
        header = int.from_bytes((tmp_path / name).read_bytes()[:8], "little")
        save_file(SMALL_STATE, tmp_path / name, {"more": "x" * (size + 0x380 - header)})
        assert (tmp_path / name).read_bytes()[:2] == b"\x80\x03"
    assert same(read_state(tmp_path / name), SMALL_STATE)
    for zipped in (True, False):
        torch.save(SMALL_STATE, tmp_path / name, _use_new_zipfile_serialization=zipped)
        assert same(read_state(tmp_path / name), SMALL_STATE)


@pytest.mark.parametrize("key", [*NESTED, "net", "params_ema"])
def test_a_state_dict_beside_other_tensors_is_found(tmp_path, key):
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    content = {"epoch": 3, key: SMALL_STATE, "optimizer_state_dict": optimizer, "loss": torch.tensor(0.5)}
    torch.save(content, tmp_path / "last.pth")
    assert same(read_state(tmp_path / "last.pth"), SMALL_STATE)


def with_header(path, entry):
    header = json.dumps({"w": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"data_offsets": [0, 20]}, r"tensor 'w' of shape \(2, 3\) has 20 bytes"),
        ({"data_offsets": [-24, 0]}, "tensor 'w' has an impossible shape or place"),
        ({"shape": [2, 3.0]}, "tensor 'w' has an impossible shape or place"),
        ({"shape": 6}, "its header is damaged"),
        ({"dtype": ["F32"]}, "its header is damaged"),
        ({"data_offsets": [8, 32]}, "bytes .* are missing"),
    ],
    ids=str,
)
def test_a_tensor_that_a_safetensors_file_cannot_hold_is_refused(tmp_path, change, told):
    entry = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    with_header(tmp_path / "w.safetensors", entry)
    assert read_all(tmp_path / "w.safetensors") == {"w": bytes(24)}
    with_header(tmp_path / "w.safetensors", entry | change)
    with pytest.raises(InputError, match=rf"w\.safetensors: not a whole checkpoint: .*{told}"):
        read_all(tmp_path / "w.safetensors")
