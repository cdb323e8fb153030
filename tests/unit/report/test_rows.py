"""Rows, tables and words: trainings and claims, invalid rows, templates that say facts."""

import jinja2
import pyarrow as pa
import pytest

from cortex.core.errors import InputError
from cortex.core.tables import write_table
from cortex.report.prose import Prose
from cortex.report.results import Reader, averaged, claims, of_first, read_lists, shown_list, trainings
from cortex.report.rows import short_names, tally
from cortex.report.tables import Cell, Table, full_table, mark_invalid
from cortex.report.topic import Finding

CNN = Reader("extractor", "cnn", 1, 0.1, 0.05, 0.15, 0.1, False)
VIT = Reader("judge", "vit", None, 0.1, 0.05, 0.15, 0.1, False)


def rows_of(*named):
    return [{"extractor": extractor, "training": training} for extractor, training in named]


def test_claims_are_rows_over_all_trainings():
    rows = rows_of(("cnn", 0), ("cnn", 1), ("cnn", None), ("cnn", -1), ("mlp", 0), ("mlp", None))
    assert claims(rows) == [rows[2], rows[5]]
    assert claims(rows[:2]) == rows[:2]  # of a table that has none of these
    assert claims([{"first": 1}]) == [{"first": 1}]  # a table of no extractor
    assert claims([]) == []
    assert trainings(rows) == rows[:2]
    assert averaged(rows) == [rows[3]]


def test_the_first_method_of_importance_is_shown():
    rows = [{"attribution": name, "n": n} for name in ("tis", "occlusion") for n in (1, 2)]
    assert of_first(rows) == rows[:2]
    assert of_first([]) == []


def test_contrast_lists_are_shown_where_there_are_any():
    assert shown_list({("count", 5): 0, ("contrast", 5): 0, ("contrast", 1): 0}, 5) == ("contrast", 5)
    assert shown_list({("count", 1): 0, ("count", 5): 0, ("contrast", 1): 0}, 5) == ("count", 5)
    with pytest.raises(InputError, match="top_n = 3: concept tokens of the run: "):
        shown_list({("count", 5): 0}, 3)


@pytest.mark.parametrize("change", [{"rank": ["0"]}, {"token": [None]}, {"top_n": [[1]]}, {"list": [1]}])
def test_another_table_is_no_table_of_tokens(change, tmp_path):
    rows = {"list": ["count"], "label": [0], "rank": [0], "token": [3], "top_n": [1]}
    write_table(tmp_path / "lists.parquet", pa.table(rows))
    assert read_lists(tmp_path / "lists.parquet", 5) == {("count", 1): {0: [3]}}
    write_table(tmp_path / "lists.parquet", pa.table(rows | change))
    with pytest.raises(InputError, match=r"lists\.parquet: not a table of tokens: column "):
        read_lists(tmp_path / "lists.parquet", 5)


def test_names_of_trainings_in_figures():
    assert short_names(["cnn/0", "resnet/1", "cnn/2", "mlp"]) == ["cnn/0", "resnet", "cnn/2", "mlp"]


def test_verdicts_are_counted_in_their_order():
    given = ["no difference found", "better", None, "no difference found"]
    assert list(tally(given).items()) == [("better", 1), ("no difference found", 2)]


@pytest.mark.parametrize(
    ("row", "concerned"),
    [
        ({"extractor": "cnn", "training": 1}, True),
        ({"extractor": "cnn", "training": 0}, False),
        ({"extractor": "cnn", "training": None}, True),  # over all trainings, this one among them
        ({"extractor": "cnn", "training": -1}, True),
        ({"extractor": "cnn"}, True),
        ({"extractor": "vit", "training": 1}, False),
    ],
)
def test_a_row_depends_on_the_trainings_that_it_is_of(row, concerned):
    assert CNN.concerns(row) == concerned
    assert not VIT.concerns(row)


def test_a_mean_over_judges_depends_on_each():
    assert VIT.concerns({"extractor": "cnn", "judge": "vit"}) and VIT.concerns({"extractor": "cnn", "judge": None})
    assert not VIT.concerns({"extractor": "cnn", "judge": "resnet"})
    assert not VIT.concerns({"extractor": "cnn", "judge": None, "measure": "share"}), "no judge reads it"


def test_rows_of_tables_are_marked_as_invalid():
    def table(columns, names, *rows):
        return Table(columns, names, [[Cell(str(value), value) for value in row] for row in rows])

    trained = table(
        ["extractor", "training", "judge", "n"], 3, ("cnn", 0, "b", 1), ("cnn", 1, "b", 1), ("mlp", 0, "vit", 1)
    )
    assert mark_invalid(trained, [CNN]).invalid == {1}
    assert mark_invalid(trained, [CNN, VIT]).invalid == {1, 2}
    over_all = table(["extractor", "judge", "n"], 2, ("cnn", "b", 1), ("mlp", "b", 1))
    assert mark_invalid(over_all, [CNN]).invalid == {0}
    words = table(["extractor", "n"], 1, ("cnn/0", 1), ("cnn/1", 1))
    assert mark_invalid(words, [CNN]).invalid == {1}
    assert mark_invalid(words, [VIT]).invalid == set()


def test_a_full_table_has_every_column_and_its_names_first():
    rows = [{"extractor": "cnn", "training": 0, "judge": None, "n": 1, "verdict": "better", "valid": True}]
    rows.append(rows[0] | {"judge": "vit"})
    table = full_table(rows)
    assert (table.columns, table.names) == (list(rows[0]), 3)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["cnn", "0", "–", "1", "better", "yes"],
        ["cnn", "0", "vit", "1", "better", "yes"],
    ]
    assert full_table([]) == Table([], 0)


@pytest.fixture
def prose(tmp_path):
    """Two macros."""
    text = """
    {% from "phrases.j2" import tally %}
    {% macro found(names, share, verdicts) %}
    {{ names | listed }} have {{ share | percent }}:
      {{ tally(verdicts) }}.
    {% if share > 0.5 %}
    - More than
      half.
    {% endif %}
    - From {{ names[0] }} - to {{ names[-1] }}.
    {% endmacro %}
    {% macro shown(n) %}
    Heading {{ n }}
    - Note {{ n }}
    {% endmacro %}
    """
    (tmp_path / "page.j2").write_text(text)
    return Prose(tmp_path / "page.j2")


def test_a_template_says_headline_and_details(prose):
    facts = {"names": ["a<b", "c & d"], "verdicts": {"better": 2}}
    many = "a<b and c & d have 75.0\N{NO-BREAK SPACE}%: better in all 2."
    rest = "From a<b - to c & d."
    assert prose.finding("found", share=0.75, **facts) == Finding(many, ["More than half.", rest])
    assert prose.finding("found", share=0.25, **facts).details == [rest]
    table = Table(["n"], 1)
    assert prose.table("shown", table, n=3) == ("Heading 3", "Note 3", table)


def test_a_template_without_a_fact_is_an_error(prose):
    with pytest.raises(jinja2.UndefinedError, match="share"):
        prose.finding("found", names=["a"], verdicts={"better": 1})
    with pytest.raises(TypeError, match="more"):
        prose.finding("found", names=["a"], share=0.1, verdicts={"better": 1}, more=1)
