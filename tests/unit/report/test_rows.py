"""Rows and words: rows over all trainings, templates that say facts."""

import jinja2
import pytest

from cortex.report.prose import Prose
from cortex.report.rows import claims, short_names, tally
from cortex.report.tables import Table, full_table
from cortex.report.topic import Finding


def test_claims_are_the_rows_over_all_trainings():
    rows = [{"extractor": "cnn", "training": training, "value": 1} for training in (0, 1, None, -1)]
    assert claims(rows) == [rows[2]]
    assert claims(rows[:2]) == rows[:2], "a table without such rows"
    assert claims([{"first": 1}]) == [{"first": 1}], "a table of no extractor"


def test_a_training_is_named_where_there_are_several():
    assert short_names(["cnn/0", "resnet/1", "cnn/2", "mlp"]) == ["cnn/0", "resnet", "cnn/2", "mlp"]


def test_verdicts_are_counted_in_their_order():
    given = ["no difference found", None, "better", "no difference found"]
    assert list(tally(given).items()) == [("better", 1), ("no difference found", 2)]


def test_a_full_table_has_every_column_and_its_names_first():
    rows = [{"extractor": "cnn", "training": 0, "judge": None, "n": 1, "verdict": "better"}]
    rows.append(rows[0] | {"judge": "vit"})
    table = full_table(rows)
    assert (table.columns, table.names) == (list(rows[0]), 3)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["cnn", "0", "–", "1", "better"],
        ["cnn", "0", "vit", "1", "better"],
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
    silent = prose.finding("found", share=0.25, **facts | {"verdicts": {}})
    assert silent.headline.endswith(": no verdict from one training.")
    table = Table(["n"], 1)
    assert prose.table("shown", table, n=3) == ("Heading 3", "Note 3", table)


def test_a_template_without_a_fact_is_an_error(prose):
    with pytest.raises(jinja2.UndefinedError, match="share"):
        prose.finding("found", names=["a"], verdicts={"better": 1})
    with pytest.raises(TypeError, match="more"):
        prose.finding("found", names=["a"], share=0.1, verdicts={"better": 1}, more=1)
