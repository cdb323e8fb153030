"""The wall of codes in a real browser: its order, filters, focus and keys."""

import re
import shutil

import pytest

from cortex.atlas.parts import write_part
from tests.browser import NARROW, boxes
from tests.unit.atlas.run import CJK, CODES, MARKED, SEARCHED
from tests.unit.atlas.tabs import focused, settle, soon, tiles

pytestmark = pytest.mark.slow  # starts Chromium
TOKEN = f"#token/{MARKED[2]}"


def test_a_smaller_window_takes_fewer_columns(tab):
    page = tab()
    columns = len({left for left, *_ in boxes(page, ".tile")})
    page.set_viewport_size(NARROW)
    page.wait_for_function(f"new Set([...document.querySelectorAll('.tile')].map(e => e.offsetLeft)).size < {columns}")
    assert len(boxes(page, ".tile")) == CODES
    assert all(right <= NARROW["width"] for _, _, right, _ in boxes(page, ".tile"))


def test_the_wall_has_every_code_in_the_order_of_likeness(tab, part):
    page = tab()
    assert tiles(page) == part("codes")["order"]
    assert page.locator(".found").inner_text() == f"{CODES} of {CODES} codes"
    page.select_option("select[name=sort]", "frequency")
    counts = part("codes")["count"]
    assert soon(page, lambda: [counts[token] for token in tiles(page)] == sorted(counts, reverse=True))


def test_a_click_opens_a_token_and_back_returns_to_it(tab):
    page = tab()
    page.locator(f'.tile[href="{TOKEN}"]').click()
    settle(page)
    assert page.locator("h1").inner_text() == f"Token {MARKED[2]}" and page.url.endswith(TOKEN)
    assert f"marks the class {CJK}" in page.locator(".lead").inner_text()
    page.go_back()
    settle(page)
    assert focused(page) == TOKEN and len(tiles(page)) == CODES
    page.go_forward()
    settle(page)
    assert page.locator("h1").inner_text() == f"Token {MARKED[2]}"


def test_filters_stand_in_the_address_and_back_undoes_them(tab, part):
    page, codes = tab(), part("codes")
    marking = [token for token in codes["order"] if codes["kind"][token] == 0]
    page.select_option("select[name=kind]", "0")
    assert (
        soon(page, lambda: tiles(page) == marking)
        and page.url.endswith("#wall?kind=0")
        and set(MARKED.values()) <= set(marking)
    )
    page.select_option("select[name=class]", "2")
    settle(page)
    chosen = [token for token in marking if codes["first"][token] == 2]
    assert soon(page, lambda: tiles(page) == chosen) and page.url.endswith("#wall?kind=0&class=2")
    again = tab(page.url[page.url.index("#") :])
    assert tiles(again) == chosen
    page.go_back()
    settle(page)
    assert soon(page, lambda: tiles(page) == marking) and page.locator("select[name=class]").input_value() == ""
    page.get_by_text("Clear filters").click()
    assert soon(page, lambda: len(tiles(page)) == CODES)


def test_a_class_shows_its_typical_codes_and_with_a_label_those_that_mark_it(tab, part):
    codes, page = part("codes"), tab("#wall?class=2")
    rows = part("classes/2")["rows"]
    typical = {token for token, low in zip(rows["token"], rows["log_odds_low"], strict=True) if low and low > 0}
    assert tiles(page) == [token for token in codes["order"] if token in typical]
    shown = []
    for label in part("run")["labels"]:
        page.goto(page.url.partition("#")[0] + f"#wall?class={label}&kind=0")
        expected = [token for token in codes["order"] if codes["kind"][token] == 0 and codes["first"][token] == label]
        page.get_by_text(f"codes that mark the class {part('run')['classes'][str(label)]}.").wait_for()
        assert soon(page, lambda expected=expected: tiles(page) == expected), label
        shown += expected
    assert len(shown) == codes["kind"].count(0)


def test_sliders_filter_by_frequency_and_importance(tab, part):
    page, codes = tab(), part("codes")
    for name, values in (("images", codes["images"]), ("importance", codes["importance"]["tis/cnn"])):
        slider = page.locator(f"input[name={name}]")
        slider.focus()
        for _ in range(12):
            page.keyboard.press("ArrowRight")
        page.wait_for_timeout(300)
        limit = float(re.search(rf"{name}=([-\d.]+)", page.url)[1])
        expected = [token for token in codes["order"] if values[token] is not None and values[token] >= limit]
        assert 0 < len(expected) < CODES and soon(page, lambda expected=expected: tiles(page) == expected)
        slider.press("Home")
        assert soon(page, lambda: len(tiles(page)) == CODES) and name not in page.url


def test_weak_labels_look_and_read_weaker_than_sure_ones(written, part, tmp_path, browser):
    copy = shutil.copytree(written, tmp_path / "atlas")
    sure = [0.9] * CODES
    sure[MARKED[5]] = 0.89
    write_part(copy, "codes", part("codes") | {"sure": sure})
    page = browser.new_page()
    page.goto((copy / "index.html").as_uri())
    settle(page)
    assert [each.get_attribute("href") for each in page.locator(".tile.weak").all()] == [f"#token/{MARKED[5]}"]
    for label, said in ((5, "probably marks the class river"), (2, f"marks the class {CJK}")):
        page.goto(page.url.partition("#")[0] + f"#token/{MARKED[label]}")
        page.get_by_role("heading", name=f"Token {MARKED[label]}", exact=True).wait_for()
        assert page.locator(".lead b").inner_text() == said
    page.goto(page.url.partition("#")[0] + "#classes")
    assert page.locator(".classes li").nth(5).inner_text() == "river 1, 1 weak"
    page.close()


def test_filters_stand_in_one_row_with_their_labels_in_line(tab):
    page = tab("", {"width": 1280, "height": 800})
    assert len({top for _, top, *_ in boxes(page, ".filters label")}) == 1


def test_the_wall_takes_the_focus_but_not_from_its_filters(tab):
    page = tab()
    order = tiles(page)
    assert focused(page) == f"#token/{order[0]}" and "move with the arrow keys" in page.locator(".told").inner_text()
    page.locator("select[name=class]").focus()
    page.select_option("select[name=class]", "2")
    settle(page)
    assert page.evaluate("document.activeElement.name") == "class"
    page.locator("nav a", has_text="About").click()
    settle(page)
    page.locator("nav a", has_text="Codes").click()
    settle(page)
    assert soon(page, lambda: focused(page) == f"#token/{order[0]}")


def test_the_keyboard_is_enough(tab):
    page = tab()
    order = tiles(page)
    for key, place in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", CODES - 1), ("Home", 0)):
        page.keyboard.press(key)
        assert focused(page) == f"#token/{order[place]}"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    settle(page)
    assert page.locator("h1").inner_text() == f"Token {order[1]}"
    page.keyboard.press("Escape")
    settle(page)
    assert focused(page) == f"#token/{order[1]}"
    for text, title in (("7", "Token 7"), ("riv", "river class 5"), (SEARCHED, f"Image {SEARCHED}")):
        page.keyboard.press("/")
        page.keyboard.type(text)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name=title, exact=True).wait_for()
    page.keyboard.press("/")
    page.keyboard.type("unicorn")
    page.keyboard.press("Enter")
    assert page.locator(".search .failed").inner_text() == "Nothing named unicorn"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.tagName") == "BODY"


def test_arrow_keys_move_by_rows_on_a_small_screen(tab):
    page = tab("", NARROW)
    order, columns = tiles(page), len({left for left, *_ in boxes(page, ".tile")})
    assert 2 < columns < CODES / 2
    page.locator(".tile").first.focus()
    page.keyboard.press("ArrowDown")
    assert focused(page) == f"#token/{order[columns]}"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert focused(page) == f"#token/{order[0]}"


def test_escape_from_a_deep_link_leads_to_the_wall(tab):
    page = tab(TOKEN)
    page.keyboard.press("Escape")
    settle(page)
    assert len(tiles(page)) == CODES
