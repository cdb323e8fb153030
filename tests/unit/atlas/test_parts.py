"""Numbers, parts and sheets of the atlas, against values by hand."""

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cortex.atlas.codes import contexts, mean_by_code
from cortex.atlas.libraries import LIBRARIES, copy_libraries
from cortex.atlas.parts import columns_at, numbers, plain, write_part
from cortex.atlas.sample import Sample, first_rows
from cortex.atlas.sheets import patch_of, sheet, write_sheet
from cortex.core.errors import InputError
from cortex.data.tokens import Tokens
from tests.unit.atlas.conftest import read_part


def test_numbers_have_four_significant_digits():
    values = np.array([0.123456, -98765.4, 0.0, 1e-9, 2.0, np.nan, np.inf, 0.00054321], np.float32)
    assert plain(values) == [0.1235, -98770, 0, 1e-9, 2, None, None, 0.0005432]
    assert plain(np.array([[1, 20000], [3, 4]])) == [[1, 20000], [3, 4]]


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_a_number_is_off_by_half_of_the_fourth_digit_at_most(value):
    (found,) = plain(np.array([value]))
    assert abs(found - value) <= 0.00051 * abs(value) or abs(value) < 1e-29


def test_nulls_of_integers_and_floats_are_missing():
    assert np.array_equal(numbers(pa.chunked_array([pa.array([1, None], pa.int32())])), [1, np.nan], equal_nan=True)
    whole = numbers(pa.array([1, 2], pa.int64()))
    assert whole.dtype.kind == "i" and whole.tolist() == [1, 2]
    columns = {"rank": np.array([np.nan, 4.0]), "count": np.array([7, 8])}
    assert columns_at(columns, np.array([1, 0])) == {"rank": [4, None], "count": [8, 7]}
    assert columns_at(columns, np.array([0])) == {"count": [7]}, "a column without values takes no room"


@pytest.mark.parametrize("text", ["</script><!--", "川 река", "\u2028\u2029", 'quote " and \\ slash', "😀"])
def test_a_part_carries_any_text_as_ascii(tmp_path, text):
    write_part(tmp_path, "classes/3", {"name": text})
    assert read_part(tmp_path, "classes/3") == {"name": text}


def test_a_part_refuses_numbers_that_json_has_not(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_part(tmp_path, "codes", {"share": float("nan")})


def test_the_mean_of_a_code_counts_occurrences():
    tokens, counts = np.array([0, 0, 2, 2]), np.array([1, 3, 5, 2])
    found = mean_by_code(tokens, counts, np.array([4.0, 8.0, np.nan, 1.0]), 4)
    assert np.array_equal(found, [7, np.nan, 1, np.nan], equal_nan=True)


def test_a_sheet_has_pictures_row_by_row():
    pictures = [np.full((2, 3, 3), value, np.uint8) for value in (1, 2, 3)]
    found = sheet(pictures, 2)
    assert found.shape == (4, 6, 3)
    assert [found[row, column].tolist() for row, column in ((1, 2), (1, 3), (2, 0), (3, 3))] == [
        [1] * 3, [2] * 3, [3] * 3, [0] * 3,
    ]  # fmt: skip


def test_a_written_sheet_gives_patches_back(tmp_path):
    patches = np.random.default_rng(0).integers(0, 256, (3, 2, 4, 3)).astype(np.uint8)
    path = write_sheet(tmp_path, "sheets/patch", list(patches), 8)
    assert path == "sheets/patch.png"
    with Image.open(tmp_path / path) as image:
        assert np.array_equal(np.asarray(image), np.concatenate(list(patches), axis=1))
    buffer = io.BytesIO()
    Image.fromarray(patches[1]).save(buffer, "png")
    assert np.array_equal(patch_of(buffer.getvalue(), (2, 4)), patches[1])
    assert not patch_of(None, (2, 4)).any()


def test_the_sample_has_the_first_images_of_every_class():
    assert first_rows(np.array([2, 0, 2, 2, 0, 7]), 2).tolist() == [1, 4, 0, 2, 5]


def test_contexts_are_the_images_where_a_code_matters_most():
    random = np.random.default_rng(2)
    tokens = random.integers(0, 4, (30, 5)).astype(np.uint16)
    scores = {name: random.normal(size=tokens.shape) for name in ("tis/cnn", "tis/resnet")}
    images = Tokens([str(row) for row in range(30)], np.zeros(30, np.int64), tokens, (1, 5))
    found = contexts(Sample(images, np.zeros((30, 1, 5, 3), np.uint8), scores, []), 6)
    mean = (scores["tis/cnn"] + scores["tis/resnet"]) / 2
    for token in range(6):
        held = [row for row in range(30) if token in tokens[row]]
        best = {row: max((mean[row, at], -at) for at in range(5) if tokens[row, at] == token) for row in held}
        rows = sorted(held, key=lambda row: -best[row][0])[:12]
        assert [each["image"] for each in found[token]] == rows
        for each in found[token]:
            score, position = best[each["image"]]
            assert each["position"] == -position and each["score"] == pytest.approx(score, rel=1e-3)
            assert each["positions"] == [at for at in range(5) if tokens[each["image"], at] == token]


def test_libraries_come_with_their_licences(tmp_path):
    copy_libraries(tmp_path / "lib")
    assert {path.name for path in (tmp_path / "lib").iterdir()} == set(LIBRARIES)
    assert "react.production.min.js" in (tmp_path / "lib" / "react.js").read_text()
    assert "MIT License" in (tmp_path / "lib" / "react-license.txt").read_text()


def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(LIBRARIES, "react.js", "react/other.js")
    with pytest.raises(InputError, match=r"Snakemake [\d.]+ ships no react/other.js"):
        copy_libraries(tmp_path / "lib")
