"""The authors' tables of token importance, written as their code writes them, read row by row."""

import csv
import pickle

import numpy as np
import pytest

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.data.tokens import read_tokens
from cortex.explain.authors_scores import import_scores

GRID = {"grid_height": 2, "grid_width": 3}
# By file name, the label, tokens and scores of an image; the last image was not explained.
IMAGES = {
    "a/1.npy": (1, [0, 1, 2, 3, 4, 5], [1e-05, -0.25, 3.0, -2.5e-12, 0.0, 7.0]),
    "a/2.npy": (1, [5, 5, 5, 0, 0, 16383], [0.5, 0.25, 0.125, 2.0, 1.0, 4.0]),
    "b.npy": (0, [9, 8, 7, 6, 5, 4], [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]),
    "c.npy": (0, [1, 1, 1, 1, 1, 1], None),
}
SCORED = ["b.npy", "a/1.npy", "a/2.npy"]  # in the order of the tables: label_0.csv, label_1.csv


def written(path, header, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def source_of(folder, images=IMAGES):
    rows = [[name, label, tokens] for name, (label, tokens, _) in images.items()]
    return written(folder / "train_embeddings.csv", ["filename", "label", "indices"], rows)


def tables_of(folder, images=IMAGES):
    """A table of scores for every label."""
    header, found = ["filename", "label", "contribution"], []
    for label in (0, 1):
        rows = [[name, own, scores] for name, (own, _, scores) in images.items() if scores and own == label]
        found.append(written(folder / f"label_{label}.csv", header, rows))
    return found


def test_scores_are_read_beside_the_tokens(tmp_path):
    (tmp_path / "train_token_indices.pkl").write_bytes(pickle.dumps(IMAGES))
    options = ["--scores", *map(str, tables_of(tmp_path)), "--source", str(source_of(tmp_path))]
    output = tmp_path / "scores.parquet"
    assert main(["import-scores", f"--output={output}", *options, "--grid-height=2", "--grid-width=3"]) == 0
    found = read_tokens(output, ["importance"])
    assert (found.keys, found.labels.tolist(), found.shape) == (SCORED, [0, 1, 1], (2, 3))
    for row, name in enumerate(SCORED):
        _, tokens, scores = IMAGES[name]
        assert found.tokens[row].tolist() == tokens
        assert np.array_equal(found.scores["importance"][row], np.array(scores, np.float32))


def test_concept_tokens_are_found_by_them(tmp_path):
    import_scores(tmp_path / "scores.parquet", tables_of(tmp_path), source_of(tmp_path), **GRID)
    options = ["--codes=16384", "--top-n=2", "--tokens=3"]
    files = [f"--output={tmp_path / 'tokens.parquet'}", f"--scores={tmp_path / 'scores.parquet'}"]
    assert main(["concept-tokens", *files, *options]) == 0
    rows = read_table(tmp_path / "tokens.parquet").to_pylist()
    listed = [(row["label"], row["token"], row["count"]) for row in rows if row["list"] == "count"]
    # The two highest: of a/1.npy, the places of 7 and 3; of a/2.npy, those of 4 and 2; of b.npy, the first two.
    assert listed == [(0, 8, 1), (0, 9, 1), (1, 0, 1), (1, 2, 1), (1, 5, 1)]


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("a/1.npy", (1, [0] * 6, "[1, 2, 3]"), "label_1.csv: line 2: 3 scores; a grid has 2×3"),
        (
            "a/1.npy",
            (1, [0] * 6, "[1, 2, 3, 4, 5, nan]"),
            "label_1.csv: line 2: contribution '[1, 2, 3, 4, 5, nan]'",
        ),
        ("a/1.npy", (1, [0] * 6, "__import__('os')"), "label_1.csv: line 2: contribution"),
        ("a/2.npy", (1, [0] * 6, "[1, 2, 3, 4, 5, 1e99]"), "label_1.csv: line 3: scores that float32 cannot hold"),
        ("b.npy", (0, [0] * 5, "[1, 2, 3, 4, 5, 6]"), "train_embeddings.csv: line 4: 5 indices; a grid has 2×3"),
        ("b.npy", (0, [0] * 5 + [65536], "[1, 2, 3, 4, 5, 6]"), "line 4: token 65536; allowed: 0 to 65535"),
    ],
)
def test_what_is_wrong_with_a_row_is_told_by_line(tmp_path, name, change, told):
    images = IMAGES | {name: change}
    with pytest.raises(InputError) as caught:
        import_scores(tmp_path / "scores.parquet", tables_of(tmp_path, images), source_of(tmp_path, images), **GRID)
    assert told in str(caught.value) and not (tmp_path / "scores.parquet").exists()


def test_tables_that_do_not_belong_together_are_told(tmp_path):
    output, tables, source = tmp_path / "scores.parquet", tables_of(tmp_path), source_of(tmp_path)
    with pytest.raises(InputError, match=r"label_0.csv: line 2: 'b.npy': named a second time"):
        import_scores(output, [tables[0], *tables], source, **GRID)
    source_of(tmp_path, {name: image for name, image in IMAGES.items() if name != "a/2.npy"})
    with pytest.raises(InputError, match=r"embeddings.csv: no image a/2.npy$"):
        import_scores(output, tables, source, **GRID)
    source_of(tmp_path, IMAGES | {"b.npy": (4, *IMAGES["b.npy"][1:])})
    with pytest.raises(InputError, match=r"embeddings.csv: line 4: 'b.npy' has label 4; in the scores, 0"):
        import_scores(output, tables, source, **GRID)
    with pytest.raises(InputError, match=r"'label', 'indices'; expected filename, label, contribution, each once"):
        import_scores(output, [source], source, **GRID)
    written(tables[0], ["filename", "label", "contribution"], [])
    with pytest.raises(InputError, match=r"label_0.csv: no scores"):
        import_scores(output, tables[:1], source, **GRID)
