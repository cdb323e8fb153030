"""Pickles that would run, look up or allocate something give inert data or a ValueError."""

import contextlib
import copyreg
import io
import os
import pickle
import struct
import sys
import threading
import tracemalloc
import zipfile

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cortex.core.checkpoint import open_checkpoint
from cortex.core.errors import InputError
from cortex.core.pickled import Inert, Storage, load_pickle
from tests.checkpoints import Hostile, lightning

OS_SYSTEM = Inert("os", "system")
EXIT = b"cos\nsystem\n(X\x06\x00\x00\x00exit 1tR"  # os.system("exit 1")


def load(pickled):
    return load_pickle(io.BytesIO(pickled), {})


class Armed:
    """Every way by which unpickling could run this class's code springs the trap."""

    sprung: list[str] = []  # noqa: RUF012

    def __new__(cls, *_, **__):
        Armed.sprung.append("__new__")
        return super().__new__(cls)

    def __call__(self, *_):
        Armed.sprung.append("__call__")
        return self

    def __setstate__(self, state):
        Armed.sprung.append("__setstate__")

    def __setitem__(self, key, value):
        Armed.sprung.append("__setitem__")

    def extend(self, values):
        Armed.sprung.append("extend")

    def __hash__(self):
        Armed.sprung.append("__hash__")
        return 0


class ByItems(Armed):
    """Filled by SETITEMS, APPENDS and BUILD, each with more armed objects."""

    def __reduce__(self):
        return ByItems, (Armed(),), {"state": Armed()}, iter([Armed()]), iter([(Armed(), Armed())])


class ByKeywords(Armed):
    def __getnewargs_ex__(self):
        return (Armed(),), {"key": Armed()}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("made", [Armed, ByItems, ByKeywords])
def test_no_method_of_a_pickled_object_runs(protocol, made):
    pickled = pickle.dumps({"one": made(), "two": [made()], "set": {made()}}, protocol)
    Armed.sprung.clear()
    stand_in = load(pickled)["two"][0]
    assert not Armed.sprung
    # Protocol 2 and 3 have no opcode for keyword arguments: functools.partial brings them to the class.
    expected = {Inert(__name__, made.__name__), Inert("functools", "partial")}
    assert stand_in in expected
    pickle.loads(pickled)
    assert Armed.sprung, "the trap was armed"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_command_in_reduce_becomes_its_name(executed, tmp_path, protocol):
    pickled = pickle.dumps([Hostile(f"touch {tmp_path / 'executed'}")], protocol)
    executed.clear()
    assert load(pickled) == [Inert("posix", "system")]
    assert not executed and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("pickled", "expected"),
    [
        (b"\x80\x04\x8c\x08builtins\x8c\x0deval.__call__\x93.", Inert("builtins", "eval.__call__")),
        (b"\x80\x02cbuiltins\neval.__call__\n.", Inert("builtins", "eval.__call__")),
        (b"\x80\x02ccortex.core.pickled\npickle.loads\n.", Inert("cortex.core.pickled", "pickle.loads")),
        (b"\x80\x02cno.such.module\nname\n.", Inert("no.such.module", "name")),
        (b"\x80\x02" + EXIT + b".", OS_SYSTEM),
        (b"\x80\x02" + EXIT + b")R)R.", OS_SYSTEM),  # the result is called again
        (b"\x80\x02cos\nsystem\n)\x81.", OS_SYSTEM),  # NEWOBJ
        (b"\x80\x04cos\nsystem\n)}\x92.", OS_SYSTEM),  # NEWOBJ_EX
        (b"\x80\x02" + EXIT + b"}X\x0c\x00\x00\x00__setstate__" + EXIT + b"sb.", OS_SYSTEM),  # BUILD
        (b"\x80\x02" + EXIT + EXIT + EXIT + b"bb.", OS_SYSTEM),
        (b"\x80\x02" + EXIT + b"(" + EXIT + EXIT + b"u.", OS_SYSTEM),  # SETITEMS
        (b"\x80\x02" + EXIT + b"(" + EXIT + EXIT + b"e.", OS_SYSTEM),  # APPENDS
        (b"\x80\x02}" + EXIT + b"Ns.", {}),  # a key that would be hashed
        (b"\x80\x04\x8f(" + EXIT + b"\x90.", [OS_SYSTEM]),  # a set that would hash it
        (b"\x80\x04(" + EXIT + b"\x91.", (OS_SYSTEM,)),
    ],
    ids=str,
)
def test_a_name_is_neither_looked_up_nor_called(executed, pickled, expected):
    executed.clear()
    before = set(sys.modules)
    assert load(pickled) == expected
    assert not executed and set(sys.modules) == before


def text(string):
    return b"X" + struct.pack("<I", len(string)) + string.encode()


STORAGE = text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")


def test_a_storage_outside_the_pickle_is_described():
    storages = {}
    found = load_pickle(io.BytesIO(b"\x80\x02(" + STORAGE + b"K\x06tQ."), storages)
    assert found == Storage("0", torch.float32, 6) and storages == {"0": found}


@pytest.mark.parametrize(
    "pid",
    [
        b"N",
        b"K\x07",
        b"}",
        b"]",
        b")",
        EXIT,
        text("storage"),
        b"(" + text("storage") + b"t",
        b"(" + STORAGE + b"t",
        b"(" + STORAGE + b"K\x06K\x06t",  # a part of another storage
        b"(" + STORAGE + b"K\x06NNt",
        b"(" + STORAGE + text("6") + b"t",
        b"(" + STORAGE + b"J\xff\xff\xff\xfft",
        b"(" + STORAGE + b"\x8b\x00\x10\x00\x00" + b"\x7f" * 4096 + b"t",  # elements of 9,864 digits
        b"(" + STORAGE.replace(b"ctorch\n", b"cos\n") + b"K\x06t",
        b"(" + STORAGE.replace(b"FloatStorage", b"system") + b"K\x06t",
        b"(" + STORAGE.replace(text("0"), b"K\x00") + b"K\x06t",
        b"(" + STORAGE.replace(b"ctorch\nFloatStorage\n", text("FloatStorage")) + b"K\x06t",
    ],
    ids=lambda pid: str(pid)[:40],
)
def test_a_persistent_id_that_is_no_storage_is_refused(pid):
    with pytest.raises(
        ValueError, match=r"its pickle is damaged: (storage|an object)|a storage of type 'sys"
    ) as raised:
        load(b"\x80\x02" + pid + b"Q.")
    assert len(str(raised.value)) < 400 and "\n" not in str(raised.value)


def test_one_storage_of_two_sizes_is_refused():
    with pytest.raises(ValueError, match="declared twice, differently"):
        load(b"\x80\x02(" + STORAGE + b"K\x06tQ(" + STORAGE + b"K\x07tQ.")


@pytest.fixture(scope="module")
def extension():
    """An extension code of os.system."""
    copyreg.add_extension("os", "system", 77)
    yield
    copyreg.remove_extension("os", "system", 77)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02\x82\x4d(X\x06\x00\x00\x00exit 1tR.",  # EXT1
        b"\x80\x02\x83\x4d\x00(X\x06\x00\x00\x00exit 1tR.",  # EXT2
        b"\x80\x02\x84\x4d\x00\x00\x00(X\x06\x00\x00\x00exit 1tR.",  # EXT4
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"\x80\x05N\x98.",  # READONLY_BUFFER
        b"(X\x06\x00\x00\x00exit 1ios\nsystem\n.",  # INST
        b"(cos\nsystem\nX\x06\x00\x00\x00exit 1o.",  # OBJ
        b"Pexit 1\n.",  # PERSID
        b"(S'exit 1'\nd.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"S" + b"a" * 100_000 + b"\n.",  # a text without quotes: the error is not as long
        b"\x80\x06N.",
        b"\x80\xffN.",
        b"\x80\x02X\x01\x00\x00\x00a)R.",  # a text is called
        b"\x80\x02X\x01\x00\x00\x00aNa.",  # appended to
        b"\x80\x02NNNs.",
        b"\x80\x02]K\x00Ns.",  # an item of an empty list
        b"\x80\x02cos\nsystem\nNR.",  # arguments that are no tuple
        b"\x80\x04NN\x93.",  # a name that is no text
        b"\x80\x02h\x07.",  # a memo index that nothing has
        b"\x80\x02e.",
        b"\x80\x02R.",
        b"\x80\x02.",
        b"\x80\x02N",
        b"",
        b"\xff",
    ],
    ids=lambda pickled: str(pickled)[:40],
)
def test_other_opcodes_and_misused_ones_are_refused(executed, extension, pickled):
    executed.clear()
    with pytest.raises(ValueError, match="its pickle is damaged: ") as raised:
        load(pickled)
    assert len(str(raised.value)) < 400 and "\n" not in str(raised.value)
    assert not executed
    assert copyreg._inverted_registry[77] == ("os", "system"), "the trap was armed"


def peak_of(pickled):
    """Bytes that loading takes beyond the pickle, and whether it is refused."""
    tracemalloc.start()
    refused = False
    try:
        load(pickled)
    except ValueError:
        refused = True
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak, refused


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02Nr\xff\xff\xff\x7f.",  # LONG_BINPUT 2^31 − 1
        b"\x80\x02Nr\xff\xff\xff\xff.",
        b"\x80\x02Nr\x00\x00\x00\x10.",  # 4 GB of pointers
        b"\x80\x02Nq\xff.",
        b"\x80\x02j\xff\xff\xff\x7f.",  # LONG_BINGET
        b"\x80\x02\x8b\xff\xff\xff\x7f.",  # LONG4
        b"\x80\x02\x8b\xff\xff\xff\xff.",
        b"\x80\x02X\xff\xff\xff\xff.",  # BINUNICODE
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b".",  # BINUNICODE8
        b"\x80\x04\x8d" + b"\xff" * 8 + b".",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",  # BINBYTES8
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",  # BYTEARRAY8
        b"\x80\x04\x95" + b"\xff" * 8 + b".",  # FRAME
    ],
    ids=str,
)
def test_a_length_without_its_bytes_costs_nothing(pickled):
    peak, refused = peak_of(pickled)
    assert refused and peak < 200_000


DEPTH = 50_000


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02" + b"]" * DEPTH + b"a" * (DEPTH - 1) + b".",
        b"\x80\x02)" + b"\x85" * DEPTH + b".",
        b"\x80\x02" + (b"}" + text("a")) * DEPTH + b"}" + b"s" * DEPTH + b".",
        b"\x80\x02" + b"(" * DEPTH + b"t" * DEPTH + b".",
        b"\x80\x02" + b"cos\nsystem\n" * DEPTH + b")" + b"R\x85" * DEPTH + b".",
    ],
    ids=["lists", "tuples", "dicts", "marks", "calls"],
)
def test_deep_nesting_needs_no_stack(pickled):
    """Neither to build it nor to free it: a thread of 256 KiB does both."""
    found = []
    before = threading.stack_size(256 << 10)
    try:
        thread = threading.Thread(target=lambda: found.extend(peak_of(pickled)))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    peak, refused = found
    assert not refused and peak < 500 * DEPTH


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02}q\x00" + text("state_dict") + b"h\x00s.",
        b"\x80\x02]q\x00(h\x00h\x00h\x00e\x85q\x01h\x01h\x01\x86.",
        b"\x80\x02cos\nsystem\nq\x00(h\x00h\x00u.",
    ],
    ids=str,
)
def test_a_container_of_itself_is_read(pickled, tmp_path):
    load(pickled)
    with zipfile.ZipFile(tmp_path / "last.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    with pytest.raises(InputError, match="no state dict with tensors"), open_checkpoint(tmp_path / "last.ckpt"):
        pass


STATE = {"weight": torch.arange(12.0).view(3, 4), "bias": torch.ones(3), "seen": torch.tensor(7)}


def members_of_a_checkpoint():
    """The members of a zip as torch.save and PyTorch Lightning write it, by name."""
    file = io.BytesIO()
    lightning(STATE)(file)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


MEMBERS = members_of_a_checkpoint()
(PICKLE,) = (name for name in MEMBERS if name.endswith("/data.pkl"))
STORED = {name: content for name, content in MEMBERS.items() if "/data/" in name}
EDITS = st.lists(
    st.tuples(
        st.integers(0, len(MEMBERS[PICKLE])),
        st.integers(0, 4),
        st.binary(max_size=4)
        | st.sampled_from([b"h\x01", b"q\xff", b"r\xff\xff\xff\x7f", EXIT, b"R", b"b", b"s", b"Q"]),
    ),
    max_size=4,
)


@pytest.mark.slow
@settings(max_examples=200)
@given(EDITS)
@example([])
def test_an_edited_pickle_gives_parts_of_the_storages_or_an_input_error(tmp_path_factory, executed, edits):
    """The zip around it is whole: no checksum gives the edits away."""
    edited = MEMBERS[PICKLE]
    for start, removed, put in edits:
        edited = edited[:start] + put + edited[start + removed :]
    path = tmp_path_factory.getbasetemp() / "edited.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (MEMBERS | {PICKLE: edited}).items():
            archive.writestr(name, content)
    found = {}
    before = set(sys.modules)
    executed.clear()
    tracemalloc.start()
    try:
        with contextlib.suppress(InputError), open_checkpoint(path) as opened:
            for name, tensor in opened.tensors.items():
                found[name] = b"".join(opened.chunks(tensor)), tensor
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not executed and set(sys.modules) == before
    assert peak < 1 << 20
    for content, tensor in found.values():
        assert len(content) == tensor.elements * tensor.storage.dtype.itemsize
        assert not tensor.row_major or any(content in stored for stored in STORED.values())
    if not edits:
        assert {name: content for name, (content, _) in found.items()} == {
            name: tensor.numpy().tobytes() for name, tensor in STATE.items()
        }


def test_functions_that_this_process_has_imported_stay_names():
    assert load(pickle.dumps(os.getcwd)) == Inert("posix", "getcwd")
    assert load(pickle.dumps(load_pickle)) == Inert("cortex.core.pickled", "load_pickle")
