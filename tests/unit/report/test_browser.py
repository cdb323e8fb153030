"""The page in a real browser: what a person sees first, reaches by keyboard, prints, and hears from a screen reader."""

import re
import shutil
from itertools import pairwise
from types import SimpleNamespace

import pytest

from cortex.report.html import write_report
from tests.browser import NARROW, SIZES, VISIBLE, WIDE, boxes, low_contrast, parts_of, pictures_of, wholly_seen
from tests.unit.report.example import METRICS, save

pytestmark = pytest.mark.slow  # starts Chromium


@pytest.fixture(scope="session")
def report(run, tmp_path_factory):
    """The page with a study of many rows, and its address."""
    folder = tmp_path_factory.mktemp("studied") / "tiny"
    shutil.copytree(run.folder, folder)
    save(folder / "metrics" / "mine.parquet", [{"extractor": "cnn", "training": None, "value": 0.25}])
    arguments = run.arguments | {"studies": ("mine=tests.unit.report.test_page:FIRST",)}
    write_report(folder / "report.html", folder, **arguments)
    return SimpleNamespace(folder=folder, arguments=arguments, url=(folder / "report.html").as_uri())


@pytest.fixture
def tab(window, report):
    """A function that opens the page in a window of a size."""

    def opened(size, part="", url=report.url, **options):
        return window(size, url + part, **options)

    opened.address = report.url
    return opened


@pytest.mark.parametrize(("size", "cards"), [(WIDE, 6), (NARROW, 2)], ids=["1280", "390"])
def test_the_first_screen_answers_with_pictures(tab, size, cards):
    page = tab(size)
    assert wholly_seen(page, ".card", size) >= cards
    # Of every card: image, importance, five tokens with their numbers, one sentence.
    for selector, count in ((".card img.picture", 1), (".card svg.picture", 1), (".card li img", 5), (".card > p", 1)):
        assert wholly_seen(page, selector, size) >= cards * count, selector
    numbers = [text for text in page.locator(".card li b").all_inner_texts() if text]
    assert len(numbers) == 6 * 5 and all(text.isdigit() for text in numbers)
    assert "Masking important tokens" in page.locator(".card > p").first.inner_text()
    assert wholly_seen(page, "h1", size) == 1
    assert boxes(page, "table, figure") == []  # numbers are on the second level


def test_the_five_answers_follow_before_any_table(tab):
    page = tab(WIDE)
    answers = boxes(page, ".answers > div")
    assert len(answers) == 5
    heading = boxes(page, "#questions")[0]
    assert heading[1] < WIDE["height"]  # a reader sees that more follows
    assert max(box[3] for box in boxes(page, ".card")) < heading[1] < answers[0][1]
    for answer in page.locator(".answers > div").all():
        assert answer.locator("dd strong").inner_text()
        assert answer.locator("dd a").count() >= 1


@SIZES
def test_no_part_of_the_page_scrolls_sideways(tab, size):
    page = tab(size)
    for part in parts_of(page):
        page.goto(page.url.partition("#")[0] + part)
        page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        width, seen = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert width <= seen, part


def test_tables_fit_a_screen_except_for_whole_files(tab):
    page = tab(WIDE)
    tables = 0
    for part in parts_of(page):
        page.goto(page.url.partition("#")[0] + part)
        page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        wide = page.evaluate(
            """() => [...document.querySelectorAll('.wide:has(table)')].filter(e => e.checkVisibility()
                && !e.closest('.every-row')).map(e => [e.ariaLabel, e.scrollWidth - e.clientWidth])"""
        )
        assert [each for each in wide if each[1] > 0] == [], part
        tables += len(wide)
    assert tables >= 8


def test_a_tab_on_a_small_screen_shows_its_page_from_the_top(tab):
    page = tab(NARROW)
    for part in parts_of(page):
        page.locator(f"nav a[href='{part}']").click()
        assert page.evaluate("[scrollY, document.documentElement.scrollLeft]") == [0, 0], part
        left, _, right, _ = boxes(page, f"nav a[href='{part}']")[0]
        assert left >= 0 and right <= NARROW["width"], part


def test_an_address_opens_what_it_names(tab):
    """Also in folded parts, and on other tabs than the first."""
    page = tab(WIDE, reduced_motion="reduce")
    names = page.evaluate("[...document.querySelectorAll('main [id]')].map(e => e.id)")
    assert {"class-6", "tokens-5", "judges-by-class", "masking_by_n"} < set(names)
    for name in names:
        page.goto("about:blank")
        page.goto(tab.address + "#" + name)
        page.wait_for_function(
            """name => {const e = document.getElementById(name), {top} = e.getBoundingClientRect();
                return e.checkVisibility({contentVisibilityAuto: true}) && top > -2 && top < innerHeight}""",
            arg=name,
            timeout=5000,
        )


@SIZES
def test_pictures_are_neither_cropped_nor_distorted(tab, size):
    page = tab(size)
    for part in parts_of(page):
        page.goto(page.url.partition("#")[0] + part)
        pictures = pictures_of(page)
        for picture in pictures:
            assert picture["alt"]
            assert picture["shown"] == pytest.approx(picture["natural"], rel=0.03) and picture["fit"] == "fill", picture
            assert picture["scrolls"] or (picture["left"] >= 0 and picture["right"] <= size["width"]), picture


@SIZES
def test_what_a_card_says_stays_within_it(tab, size):
    page = tab(size)
    outside = page.evaluate(
        """() => [...document.querySelectorAll('.card')].flatMap(card => {
            const frame = card.getBoundingClientRect();
            return [...card.querySelectorAll('h3, p, b, i, img, svg, li')].filter(e => {
                const box = e.getBoundingClientRect();
                return box.width && (box.left < frame.left || box.right > frame.right || box.bottom > frame.bottom)
            }).map(e => e.outerHTML)})"""
    )
    assert outside == []


def test_links_go_where_they_say(tab):
    page = tab(WIDE)
    opened = {}
    for link in page.locator("nav a").all():
        link.click()
        (shown,) = page.evaluate(
            f"(() => {{{VISIBLE} return [...document.querySelectorAll('.page')].filter(visible).map(e => e.id)}})()"
        )
        assert "#" + shown == link.get_attribute("href")
        assert page.evaluate("scrollY") == 0 and link.is_visible()
        assert link.evaluate("e => getComputedStyle(e).fontWeight") == "600"
        current = [
            one for one in page.locator("nav a").all() if one.evaluate("e => getComputedStyle(e).fontWeight") == "600"
        ]
        assert len(current) == 1
        opened[shown] = (link.inner_text(), page.locator(f"#{shown} h2").first.inner_text())
    assert opened["image-level"] == ("Image level", "Image level: mask an image's most important tokens")
    for name, (link, heading) in opened.items():
        assert heading.startswith(link) or name in ("overview", "tokens", "mine-topic", "run"), (name, heading)
    page.go_back()
    assert not page.locator("#mine-topic").is_visible()


def test_answers_lead_to_their_numbers(tab):
    page = tab(WIDE)
    for number in range(4):
        page.goto(page.url.partition("#")[0])
        link = page.locator(".answers > div").nth(number).locator("a").first
        title, target = link.inner_text(), link.get_attribute("href")
        link.click()
        assert page.locator(target).is_visible() and not page.locator("#overview").is_visible()
        assert page.locator(f"nav a[href='{target}']").inner_text() == title
        assert page.locator(f"{target} table").first.is_visible()


def test_the_keyboard_reaches_and_opens_everything(tab):
    page = tab(WIDE)
    wanted = page.evaluate(
        f"""() => {{{VISIBLE} return [...document.querySelectorAll('a, summary, [tabindex="0"]')].filter(visible)
            .map(e => e.outerHTML.slice(0, 200))}}"""
    )
    reached = []
    for _ in wanted:
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {const e = document.activeElement, style = getComputedStyle(e);
                return [e.outerHTML.slice(0, 200), style.outlineStyle, parseFloat(style.outlineWidth)]}"""
        )
        reached.append(focused[0])
        assert focused[1] == "solid" and focused[2] >= 2, focused  # a person sees where the focus is
    assert reached == wanted and any("summary" in one for one in wanted)
    page.locator("#other-classes summary").focus()
    page.keyboard.press("Enter")
    assert page.locator("#class-6").is_visible()
    page.locator("nav a[href='#image-level']").focus()
    page.keyboard.press("Enter")
    assert page.locator("#image-level h2").is_visible()
    page.keyboard.press("Tab")  # the focus is in the page that was opened
    assert page.evaluate("document.activeElement.closest('.page').id") == "image-level"


def test_it_reads_the_same_without_scripts(tab):
    with_scripts, without = tab(WIDE), tab(WIDE, java_script_enabled=False)
    assert with_scripts.screenshot(full_page=True) == without.screenshot(full_page=True)
    without.locator("nav a[href='#reliability']").click()
    assert without.locator("#reliability").is_visible()
    without.locator("#reliability summary").first.click()
    assert without.locator("#reliability details table").first.is_visible()


def test_print_shows_all_pages_and_what_is_folded(tab):
    page = tab(WIDE)
    page.emulate_media(media="print")
    assert all(part.is_visible() for part in page.locator(".page").all())
    assert not page.locator("nav").is_visible()
    folded = page.locator("details:not(.every-row) table").count()
    assert len(boxes(page, "details table")) == folded >= 3  # whole files are no reading
    assert len(boxes(page, ".card")) == 7
    width, seen = page.evaluate("[document.querySelector('#overview').scrollWidth, innerWidth]")
    assert width <= seen
    assert page.pdf().count(b"/Type /Page\n") > 6


def test_a_screen_reader_hears_landmarks_headings_and_pictures(tab):
    page = tab(WIDE)
    for part in parts_of(page):
        page.goto(page.url.partition("#")[0] + part)
        heard = page.locator("body").aria_snapshot()
        for landmark in ("banner", "navigation", "main", "contentinfo"):
            assert f"- {landmark}" in heard, landmark
        levels = [int(level) for level in re.findall(r"heading .*\[level=(\d)\]", heard)]
        assert levels[:2] == [1, 2] and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels)), levels
        assert 'img ""' not in heard and "- img\n" not in heard
    page.goto(page.url.partition("#")[0])
    heard = page.locator(".card").first.aria_snapshot()
    for name in (
        'article "ant',
        'img "First test image of ant"',
        'img "Importance of the tokens',
        'img "Patch of token 1"',
    ):
        assert name in heard, heard
    assert 'img "found by 3 of 3 trainings"' in heard


@SIZES
def test_text_has_contrast(tab, size):
    page = tab(size)
    for part in parts_of(page):
        page.goto(page.url.partition("#")[0] + part)
        assert low_contrast(page) == [], part


def test_invalid_results_are_marked_above_what_depends_on_them(tab, report, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(report.folder, folder)
    rows = [row | {"valid": row["name"] != "vit"} for row in METRICS["validity"]]
    save(folder / "metrics" / "validity.parquet", rows)
    write_report(folder / "report.html", folder, **report.arguments)
    page = tab(WIDE, url=(folder / "report.html").as_uri())
    for part, first in (
        ("", ".card"),
        ("#image-level", ".finding, figure, table"),
        ("#codebook-level", ".finding, table"),
    ):
        page.goto(page.url.partition("#")[0] + part)
        (warning,) = boxes(page, ".warning")
        assert warning[3] <= min(box[1] for box in boxes(page, first))
    page.goto(page.url.partition("#")[0] + "#image-level")
    table = page.locator("#image-level table").first
    for row in table.locator("tbody tr").all():
        assert ("invalid" in row.inner_text()) == ("vit" in row.inner_text())
