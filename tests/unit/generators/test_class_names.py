"""Classes by their names."""

import pytest

from cortex.core.errors import InputError
from cortex.generators.class_names import find_class

NAMES = ["tench, Tinca tinca", "crane", "hen", "crane", "kite", "7"]


@pytest.mark.parametrize(
    ("text", "label"), [("2", 2), ("hen", 2), ("tench", 0), ("Tinca tinca", 0), (NAMES[0], 0), ("3", 3), ("7", 5)]
)
def test_a_class_goes_by_index_name_or_synonym(text, label):
    assert find_class(text, NAMES, [0, 1, 2, 3, 5], "--to = ") == label


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crane", "'crane': the name of classes 1, 3; give the index"),
        ("kite", r"'kite': no such class; classes: 0 \(tench, Tinca tinca\), 1 \(crane\), 2"),
        ("4", "'4': no such class"),
        ("-1", "'-1': no such class"),
        ("9" * 5000, "'9{80}…': no such class"),
    ],
)
def test_a_class_that_the_run_lacks_is_an_error(text, message):
    with pytest.raises(InputError, match=f"--to = {message}"):
        find_class(text, NAMES, [0, 1, 2, 3, 5], "--to = ")
