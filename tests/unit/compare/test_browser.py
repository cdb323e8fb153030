"""The page of a comparison in a real browser, at the width of a screen and of a telephone."""

import re
from itertools import pairwise

import pytest

from tests.browser import NARROW, SIZES, VISIBLE, WIDE, boxes, low_contrast, parts_of, pictures_of, wholly_seen

pytestmark = pytest.mark.slow  # starts Chromium
PARTS = ["#overview", "#tokens", "#curves", "#accuracy", "#runs"]


@pytest.fixture
def tab(window, compared):
    """A function that opens the page in a window of a size."""
    return lambda size, part="", **options: window(size, (compared.folder / "compare.html").as_uri() + part, **options)


@pytest.mark.parametrize(("size", "cards"), [(WIDE, 3), (NARROW, 1)], ids=["1280", "390"])
def test_the_first_screen_shows_every_run_in_pictures(tab, size, cards):
    page = tab(size)
    assert wholly_seen(page, "h1", size) == 1
    assert wholly_seen(page, ".card", size) >= cards
    for selector, count in ((".card svg.picture", 3), (".card li", 15), (".card p.run", 3)):  # of three runs
        assert wholly_seen(page, selector, size) >= cards * count, selector
    runs = page.locator(".card").first.locator("p.run").all_inner_texts()
    assert runs == ["one", "two", "three"]
    assert boxes(page, "table, figure") == []  # numbers are on the second level


@SIZES
def test_answers_are_seen_and_lead_to_their_numbers(tab, size):
    page = tab(size)
    assert len(boxes(page, ".answers > div")) == 4
    for number, target in enumerate(("#accuracy", "#curves", "#tokens", "#runs")):
        page.goto(page.url.partition("#")[0])
        page.locator(".answers > div").nth(number).locator("a").first.click()
        shown = f"(() => {{{VISIBLE} return [...document.querySelectorAll('.page')].filter(visible).map(e => e.id)}})()"
        assert page.evaluate(shown) == [target[1:]]
        assert page.locator(f"{target} table").first.is_visible()


@SIZES
def test_every_part_fits_is_legible_and_has_its_pictures_whole(tab, size):
    page = tab(size)
    assert parts_of(page) == PARTS
    for part in PARTS:
        page.goto(page.url.partition("#")[0] + part)
        assert low_contrast(page) == [], part
        for picture in pictures_of(page):
            assert picture["alt"]
            assert picture["shown"] == pytest.approx(picture["natural"], rel=0.03) and picture["fit"] == "fill", picture
            assert picture["scrolls"] or (picture["left"] >= 0 and picture["right"] <= size["width"]), picture
        page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        width, seen = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert width <= seen, part


@SIZES
def test_what_a_card_shows_stays_within_it(tab, size):
    outside = tab(size).evaluate(
        """() => [...document.querySelectorAll('.card')].flatMap(card => {
            const frame = card.getBoundingClientRect();
            return [...card.querySelectorAll('h3, p, b, img, svg, li')].filter(e => {
                const box = e.getBoundingClientRect();
                return box.width && (box.left < frame.left || box.right > frame.right || box.bottom > frame.bottom)
            }).map(e => e.outerHTML)})"""
    )
    assert outside == []


def test_runs_stand_side_by_side_for_every_class(tab):
    page = tab(WIDE, "#tokens")
    for name in ("bee", "gnu"):
        (lists,) = [part for part in page.locator(".class").all() if part.locator("h3").inner_text() == name]
        titles = lists.locator("dt").all_inner_texts()
        assert titles == [f"{run}, {extractor}" for extractor in ("cnn", "resnet") for run in ("one", "two", "three")]
        assert lists.locator("dd img").count() >= 6
    page.goto(page.url.partition("#")[0] + "#runs")
    left_out = page.locator("#runs table").nth(1).inner_text()
    assert "image level" in left_out and "not measured in three" in left_out


def test_it_reads_the_same_without_scripts_and_prints_all_parts(tab):
    with_scripts, without = tab(WIDE), tab(WIDE, java_script_enabled=False)
    assert with_scripts.screenshot(full_page=True) == without.screenshot(full_page=True)
    with_scripts.emulate_media(media="print")
    assert all(part.is_visible() for part in with_scripts.locator(".page").all())


def test_a_screen_reader_hears_headings_and_pictures(tab):
    page = tab(WIDE)
    for part in PARTS:
        page.goto(page.url.partition("#")[0] + part)
        heard = page.locator("body").aria_snapshot()
        levels = [int(level) for level in re.findall(r"heading .*\[level=(\d)\]", heard)]
        assert levels[:2] == [1, 2] and all(after <= before + 1 for before, after in pairwise(levels)), levels
        assert 'img ""' not in heard and "- img\n" not in heard
