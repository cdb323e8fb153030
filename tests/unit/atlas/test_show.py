"""One token or class on a page of one file: what it holds, against the run's tables, and what a browser shows of it."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.core.tables import read_table
from tests.browser import NARROW, WIDE
from tests.manifests import leave_strays
from tests.unit.atlas.run import CJK, CODES, EVIL, EXTRACTORS, JUDGES, MARKED, TWICE


class Scripts(HTMLParser):
    """Addresses of a page's scripts, and the content of its table of files."""

    def __init__(self, page):
        super().__init__()
        self.addresses, self.table, self.inside = [], "{}", False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.inside = found.get("id") == "files"
        if tag == "script" and "src" in found:
            self.addresses.append(found["src"])

    def handle_data(self, data):
        if self.inside:
            self.table, self.inside = data, False


def content(address):
    """The content of a file whose address holds it."""
    assert address.startswith("data:")
    return base64.b64decode(address.partition(",")[2])


def parts_of(path):
    """Files that a page loads when it needs them, and the values of all of its parts."""
    page = Scripts(path.read_text())
    files = {name: content(address) for name, address in json.loads(page.table).items()}
    scripts = [content(address) for address in page.addresses] + [
        file for name, file in files.items() if name.startswith("data/")
    ]
    found = (re.fullmatch(r'atlas\.receive\("([^"]+)",(.*)\);\n', script.decode(), re.DOTALL) for script in scripts)
    return files, {match[1]: json.loads(match[2]) for match in found if match}


@pytest.fixture
def shown(looked_up, written, tmp_path, monkeypatch):  # the run has its atlas
    """A function that runs the command in a folder of its own; the page that it wrote, its files and parts."""
    monkeypatch.chdir(tmp_path)

    def command(*words):
        assert main(["show", *words, "--run", str(looked_up)]) == 0
        (page,) = tmp_path.glob("*.html")
        files, parts = parts_of(page)
        return SimpleNamespace(page=page, files=files, parts=parts)

    return command


def test_the_images_of_a_token_are_those_of_the_highest_scores_of_all_test_images(shown, looked_up):
    tables = [pq.read_table(path) for path in sorted((looked_up / "data" / "test").glob("*.parquet"))]
    rows = [row for table in tables for row in table.to_pylist()]
    best = {}
    for extractor in EXTRACTORS:
        folder = looked_up / "importance" / "tis" / extractor / "average" / "test"
        scores = [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
        for row, scored in zip(rows, scores, strict=True):
            values = np.array(scored["importance"]) / np.std(scored["importance"])
            for position, token in enumerate(row["tokens"]):
                best.setdefault((row["key"], token), {}).setdefault(position, []).append(values[position])
    token = 3
    means = {key: max(map(np.mean, at.values())) for (key, of), at in best.items() if of == token}
    expected = sorted(means, key=lambda key: -means[key])
    assert len(expected) > 4
    found = shown("token", str(token), "--images", "4")
    facts = found.parts["run"]
    assert found.page.name == "token-3.html" and facts["alone"]["address"] == "token/3"
    assert facts["tables"] is None, "the page may lie anywhere"
    assert facts["test_images"] == len(rows) and facts["measured"]["pairs"] == len(MARKED), "not those of the token"
    assert facts["sample"]["origin"] == "the 4 test images in which token 3 is most important"
    contexts = found.parts["tokens/0"][token]["contexts"]
    assert [facts["sample"]["keys"][each["image"]] for each in contexts] == expected[:4]
    assert [each["score"] for each in contexts] == pytest.approx([means[key] for key in expected[:4]], rel=1e-3)
    assert facts["sample"]["labels"] == sorted(facts["sample"]["labels"])
    labels = set(facts["sample"]["labels"])
    assert {name for name in found.files if name.startswith("sheets/images/")} == {
        f"sheets/images/{label}.png" for label in labels
    }


def test_files_of_an_earlier_run_change_nothing(looked_up, written, tmp_path):
    run = shutil.copytree(looked_up, tmp_path / "zoo")
    pages = [tmp_path / "before.html", tmp_path / "after.html"]
    for page in pages:
        assert main(["show", "class", "2", "--run", str(run), "--output", str(page)]) == 0
        leave_strays(run)
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_a_token_has_all_of_its_rows_and_the_patches_that_the_page_shows(shown, looked_up):
    found = shown("token", "3", "--images", "1")
    code = found.parts["tokens/0"][3]
    expected = [row for row in read_table(looked_up / "dictionary.parquet").to_pylist() if row["token"] == 3]
    assert sorted(code["rows"]["label"]) == sorted(row["label"] for row in expected) and code["of"] == len(expected)
    (label,) = found.parts["run"]["sample"]["labels"]
    needed = {3, *code["nearest"], *found.parts[f"images/{label}"]["tokens"][0]}
    contexts = read_table(looked_up / "codes.parquet")["contexts"].to_pylist()
    assert len(needed) < CODES
    assert found.parts["codes"]["contexts"] == [times if token in needed else 0 for token, times in enumerate(contexts)]


def test_a_class_has_its_first_images_and_the_part_of_the_atlas(shown, looked_up, part):
    found = shown("class", CJK, "--images", "1")
    assert found.page.name == "class-2.html"
    assert found.parts["classes/2"] == part("classes/2")
    assert found.parts["run"]["sample"]["labels"] == [2]
    (shard, *_) = sorted((looked_up / "data" / "test").glob("*.parquet"))
    first = next(row for row in pq.read_table(shard).to_pylist() if row["label"] == 2)
    assert found.parts["run"]["sample"]["keys"] == [first["key"]]
    assert found.parts["images/2"]["tokens"] == [first["tokens"]]
    (masks,) = [m for m in found.parts["images/2"]["masks"] if (m["explained"], m["judge"]) == ("tis/cnn", JUDGES[0])]
    assert masks["before"] == [pytest.approx(0.9)]


@pytest.mark.parametrize(
    ("text", "address"), [("4", "class/4"), ("0", "class/ant"), ("6", "class/6"), (EVIL, "class/%3C%2Fscript%3E%3C")]
)
def test_a_class_goes_by_index_or_name(shown, text, address):
    assert shown("class", text).parts["run"]["alone"]["address"].startswith(address)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["token", str(CODES)], f"token '{CODES}': not a code of this run; codes: 0 to {CODES - 1}"),
        (["token", "three"], "token 'three': not a code of this run"),
        (["token", "9" * 5000], "not a code of this run"),
        (["class", "unicorn"], "class 'unicorn': no such class; classes: 0 (ant)"),
        (["class", TWICE], f"class '{TWICE}': the name of classes 3, 4; give the index"),
        (["token", "3", "--images", "0"], "--images 0: allowed: 1 or more"),
    ],
)
def test_names_of_nothing_are_refused(looked_up, written, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["show", *words, "--run", str(looked_up)]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_an_atlas_is_refused(looked_up, tmp_path):
    from cortex.atlas.show import show

    with pytest.raises(InputError, match=r"misspelt: not the folder of a run: it has no settings\.json"):
        show("token", "3", run=tmp_path / "misspelt", output=tmp_path / "page.html")
    shutil.copy(looked_up / "settings.json", tmp_path)
    with pytest.raises(InputError, match=r"run\.js: no such file; the run has no atlas, which snakemake atlas writes"):
        show("token", "3", run=tmp_path, output=tmp_path / "page.html")


@pytest.mark.slow
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_a_page_of_one_token_works_alone(shown, browser, size):
    page_file = shown("token", str(MARKED[2])).page
    context = browser.new_context(viewport=size)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    page.wait_for_function("document.querySelectorAll('.plot svg').length >= 2")
    assert page.locator("h1").inner_text() == f"Token {MARKED[2]}" and "Loading" not in page.content()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.locator(".tokens a.token").first.click()
    page.get_by_role("heading", name="Not on this page").wait_for()
    assert re.search(r"cortex show token \d+ --run \S*zoo", page.locator("main").inner_text())
    page.keyboard.press("Escape")
    page.get_by_role("heading", name=f"Token {MARKED[2]}", exact=True).wait_for()
    page.goto(page_file.as_uri() + "#class/" + EVIL)
    page.get_by_role("heading", name="Not on this page").wait_for()
    assert "cortex show class '</script><b onclick=alert(1)>' --run " in page.locator("main").inner_text()
    assert said == [] and page.locator("nav, .search").count() == 0
    assert [url for url in asked if not url.startswith((page_file.as_uri(), "data:", "blob:"))] == []
    context.close()


@pytest.mark.slow
def test_an_image_opens_on_the_page_of_a_class(shown, window):
    page = window(WIDE, shown("class", "river").page.as_uri())
    page.locator(".images .image").first.click()
    page.get_by_role("heading", name="Image test-").wait_for()
    loaded = """url => new Promise(done => {
        const image = new Image();
        image.onload = image.onerror = () => done(image.naturalWidth);
        image.src = url;
    })"""
    picture = page.locator(".stage .sprite").evaluate("e => getComputedStyle(e).backgroundImage")
    assert page.evaluate(loaded, re.fullmatch(r'url\("(.*)"\)', picture)[1]) == 2 * 8, "both images of the class"
    page.locator(".stage .position").nth(6).hover()
    assert re.search(r"Token \d+", page.locator(".at").first.inner_text())
    page.go_back()
    page.get_by_role("heading", name="river class 5").wait_for()
