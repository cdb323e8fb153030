"""Names in error messages: a few of them, none too long."""

import pytest

from cortex.core.errors import cut, listed, quoted, reason_of, shown

EVIL = "\U000e0001\x00\n" * 400


def test_a_few_names_are_listed_and_the_rest_counted():
    assert quoted([]) == "none"
    assert quoted(["a, b", "c"]) == "'a, b', 'c'"
    assert quoted([f"n{i}" for i in range(1234)]) == "'n0', 'n1', 'n2', 'n3', 'n4' and 1,229 more"
    assert listed(["model.a.weight", "model.b.weight"]) == "model.{a.weight, b.weight}"
    assert listed([f"n{i}" for i in range(7)]) == "n0, n1, n2, n3, n4 and 2 more"


def test_long_names_leave_room_for_fewer():
    assert quoted(["x" * 70] * 9) == f"'{'x' * 70}', '{'x' * 70}' and 7 more"
    assert quoted([EVIL] * 9).endswith(" and 8 more")


@pytest.mark.parametrize("told", [listed([f"{EVIL}.{EVIL}"] * 99), quoted([EVIL] * 99), shown(EVIL)])
def test_no_name_makes_a_message_long_or_breaks_its_line(told):
    assert len(told) < 350 and told.isprintable()


def test_the_reason_of_another_library_is_one_line_and_not_long():
    assert reason_of(ValueError("x" * 1000 + "\nmore")) == cut("x" * 1000) and len(cut("x" * 1000)) == 200
    assert reason_of(KeyError()) == "KeyError"
    assert reason_of(ValueError("type \x0f")) == r"type \x0f"
    assert cut("struct<\x7fytes>") == r"struct<\x7fytes>"
