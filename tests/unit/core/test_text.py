"""Text files that users give: lines, byte order marks, control characters; YAML with every key once."""

import itertools
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cortex.core.errors import InputError
from cortex.core.text import load_yaml, read_lines, read_yaml

MARK = b"\xef\xbb\xbf"


def lines_of(folder, content):
    (folder / "a.txt").write_bytes(content)
    return list(read_lines(folder / "a.txt"))


@pytest.mark.parametrize("mark", [b"", MARK])
@pytest.mark.parametrize("ends", list(itertools.product([b"\n", b"\r\n", b"\r"], repeat=2)))
def test_lines_end_as_any_system_ends_them(mark, ends, tmp_path):
    content = mark + "zéro, 零".encode() + ends[0] + b"one\t\xc2\xa0" + ends[1] + b"two"
    assert lines_of(tmp_path, content) == ["zéro, 零\n", "one\t\xa0\n", "two"]


@pytest.mark.parametrize("code", [*range(9), 11, 12, *range(14, 32), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF])
def test_control_characters_are_refused_by_line(code, tmp_path):
    """All that str.splitlines takes for the end of a line is among them, but the three ends of lines."""
    with pytest.raises(InputError, match=rf"a\.txt: line 2: control character U\+{code:04X}$"):
        lines_of(tmp_path, f"zero\na{chr(code)}b\n".encode())


@pytest.mark.parametrize(
    "content", [b"zero\n\xe9\n", b"zero\n\xed\xa0\x80", b"zero\n" + "one".encode("utf-16"), b"zero\r\xff"]
)
def test_other_encodings_are_refused_by_line(content, tmp_path):
    with pytest.raises(InputError, match=r"a\.txt: line 2: not UTF-8 text"):
        lines_of(tmp_path, content)


@given(text=st.text(alphabet="ab \r\n\t\v\x85\u2028é", max_size=30))
def test_lines_are_those_between_the_ends(text, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "lines.txt"
    path.write_bytes(text.encode())
    expected = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    wrong = [number for number, line in enumerate(expected, 1) if set(line) & set("\v\x85\u2028")]
    if wrong:
        with pytest.raises(InputError, match=f"lines.txt: line {wrong[0]}: control"):
            list(read_lines(path))
    else:
        assert "".join(read_lines(path)).split("\n") == expected


# --- YAML --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("a: 1\nb: 2\na: 3\n", "a", (1, 3)),
        ("extractors:\n  cnn: {}\n  # more\n  resnet: {}\nextractors:\n", "extractors", (1, 5)),
        ("a:\n  b:\n  - c: 1\n    d: 2\n    c: 3\n", "c", (3, 5)),
        ("a: {b: 1, b: 1}\n", "b", (1, 1)),
        ('{"a": {\n\t"b": 1,\n\t"b": 2}}', "b", (2, 3)),
        ("'a': 1\na: 2\n", "a", (1, 2)),
        ("1: a\n1: b\n", "1", (1, 2)),
        ("0: a\n0x0: b\n", "0x0", (1, 2)),
        ("0: a\n'0': b\n", "0", (1, 2)),
        ("'0': a\n0: b\n", "0", (1, 2)),
        ("1: a\n1.0: b\n", "1.0", (1, 2)),
        ("yes: a\ntrue: b\n", "true", (1, 2)),
        ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 1\n  d: 2\n", "d", (4, 5)),
        ("? [a, a]\n: {x: 1,\n x: 2}\n", "x", (2, 3)),
    ],
)
def test_a_key_given_twice_is_refused_with_both_lines(text, key, lines):
    with pytest.raises(InputError) as raised:
        load_yaml(text, Path("a.yaml"))
    assert str(raised.value) == f"a.yaml: key '{key}' stands in lines {lines[0]} and {lines[1]}; allowed: once"


@pytest.mark.parametrize(
    "text",
    [
        "a: {b: 1}\nc: {b: 1}\n",
        "- {a: 1}\n- {a: 1}\n",
        "a: {b: &x {<<: &y {c: 1}, c: 2, d: *y}}\ne: {<<: *x, c: 3}\n",  # what is merged gives way
        "",
        "# nothing\n",
    ],
)
def test_yaml_without_such_a_key_is_read_as_it_was(text):
    assert load_yaml(text, Path("a.yaml")) == yaml.safe_load(text)


def test_json_is_read_with_its_tabs(tmp_path):
    (tmp_path / "a.json").write_bytes(MARK + b'{\n\t"run": "a",\r\n\t"seed":\t[1,\t2]\n}')
    assert read_yaml(tmp_path / "a.json") == {"run": "a", "seed": [1, 2]}
