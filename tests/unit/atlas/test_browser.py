"""The atlas in a real browser: a person clicks, filters, types, goes back and resizes the window."""

import re
import shutil
from itertools import pairwise
from urllib.parse import quote

import pytest

from cortex.atlas.parts import write_part
from tests.browser import SIZES, boxes, low_contrast
from tests.unit.atlas.run import CJK, CODES, EVIL, EXTRACTORS, JUDGES, MARKED, SEARCHED, TWICE, N
from tests.unit.atlas.tabs import settle, soon

pytestmark = pytest.mark.slow  # starts Chromium
TOKEN = f"#token/{MARKED[2]}"
ADDRESSES = ["", TOKEN, f"#class/{quote(CJK)}", f"#image/{SEARCHED}", "#classes", "#about", "#token/999"]
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


@SIZES
@SCHEMES
def test_every_page_fits_and_is_legible(tab, size, scheme):
    page = tab("", size, scheme)
    for address in ADDRESSES:
        page.goto(page.url.partition("#")[0] + address)
        settle(page)
        assert low_contrast(page) == [], address
        width, seen = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert width <= seen, address
        assert boxes(page, "main h1")[0][0] >= 0


def test_tables_fit_a_screen(tab):
    page = tab()
    for address in ADDRESSES:
        page.goto(page.url.partition("#")[0] + address)
        settle(page)
        wide = page.evaluate("[...document.querySelectorAll('.scroller')].map(e => e.scrollWidth - e.clientWidth)")
        assert [each for each in wide if each > 0] == [], address


def test_a_listed_token_has_its_label(tab, part):
    codes, names, kinds = part("codes"), part("run")["classes"], set()
    for label in part("run")["labels"]:
        page = tab(f"#class/{label}")
        settle(page)
        for token in page.locator(".lists .token").all():
            number = int(token.locator("b").inner_text())
            kind, other = codes["kind"][number], names.get(str(codes["first"][number]))
            said = (f"marks {other}", "shared", "background", "hardly used")[kind]
            probably = "probably " if codes["sure"][number] < 0.9 else ""
            (note,) = token.locator("small").all_inner_texts()
            assert note.partition(" (")[0] == probably + said
            kinds.add(kind)
    assert len(kinds) > 1


def test_a_class_says_how_many_images_the_judges_assign_to_it(tab, part):
    page = tab("#class/river")
    settle(page)
    assert part("classes/5")["judged"] == [{"judge": name, "right": 2, "of": 2} for name in ("resnet", "vit")]
    (said,) = page.locator("p.lead").all_inner_texts()
    assert said == "Test images that the judges assign to the class: resnet 2 of 2, vit 2 of 2."
    assert "no photographs" in page.locator("main").inner_text()


def test_a_class_begins_with_the_codes_that_mark_it(tab, part):
    codes, classes = part("codes"), part("run")["classes"]
    for label in part("run")["labels"]:
        page = tab(f"#class/{label}")
        settle(page)
        first = page.locator("main section").first
        assert first.locator("h2").inner_text() == "Codes that mark the class"
        marking = [t for t, kind in enumerate(codes["kind"]) if kind == 0 and codes["first"][t] == label]
        marking.sort(key=lambda token: -codes["class_share"][token])
        assert [int(each) for each in first.locator(".token b").all_inner_texts()] == marking
        if not marking:
            assert first.locator("p").inner_text().startswith("No code marks the class.")
            continue
        shares = [round(100 * codes["class_share"][token]) for token in marking]
        notes = [note.partition(",")[0] for note in first.locator(".token small").all_inner_texts()]
        assert notes == [f"{share} %" for share in shares]
        first.get_by_text("These codes on the wall").click()
        page.locator(".wall").wait_for()
        assert {*page.locator(".wall a").evaluate_all("all => all.map(e => e.hash)")} == {
            f"#token/{t}" for t in marking
        }
        assert classes[str(label)] in page.locator(".lead").inner_text()


def test_the_probability_of_a_label_is_explained_beside_it(tab, part):
    page = tab(TOKEN)
    settle(page)
    sure = part("codes")["sure"][MARKED[2]]
    said = "above 0.99" if sure > 0.995 else f"{sure:.2f}"
    assert (
        f"(probability {said} that this class has at least 57 % of its occurrences, given the sample of images)"
        in page.locator(".lead").inner_text()
    )


def test_causes_say_what_is_measured_and_what_all_pairs_show(tab, part):
    codes, rows = part("codes"), part("tokens/0")
    other = next(token for token in codes["order"] if "masked" not in rows[token]["rows"] and codes["count"][token])
    page = tab(f"#token/{other}")
    said = page.locator("section", has_text="Causes").last.inner_text()
    assert f"Not measured for this code. The run measures 2 of {part('run')['pairs']} pairs" in said
    assert f"2 of {codes['kind'].count(0)} are measured." in said
    assert "random masks of equal area do for 1 of 1 pairs, and less for 0." in said
    assert "a random code does for 1 of 1 pairs, and less for 0." in said
    page.goto(page.url.partition("#")[0] + "#about")
    assert "for 1 of 1 pairs, and less for 0." in page.locator(".facts").inner_text()


@pytest.mark.parametrize(
    ("address", "title"),
    [
        (f"#class/{quote(EVIL, safe='')}", f"{EVIL} class 1"),
        (f"#class/{quote(CJK)}", f"{CJK} class 2"),
        ("#class/4", f"{TWICE} class 4"),
        ("#class/0", "ant class 0"),  # a number comes before a name, as for cortex show
        ("#class/6", "0 class 6"),
        (f"#image/{SEARCHED}", f"Image {SEARCHED}"),
        ("#image/nobody", "Not in this atlas"),
        ("#class/toString", "Not in this atlas"),
        ("#toString", "Not in this atlas"),
    ],
)
def test_deep_links_open_what_they_name(tab, address, title):
    page = tab(address)
    assert page.locator("h1").inner_text() == title
    assert page.locator("main b[onclick]").count() == 0


def test_an_image_that_is_not_held_says_how_many_are_and_what_shows_more(tab, part):
    facts = part("run")
    said = tab("#image/nobody").locator("main").inner_text()
    assert f"holds {len(facts['sample']['keys'])} of {facts['test_images']} test images: the first 2" in said
    assert "atlas.images_per_class" in said and "cortex show class NAME --run results/zoo" in said


def test_every_class_can_be_reached_from_the_list(tab):
    page = tab("#classes")
    links = page.locator(".classes a")
    for place in range(links.count()):
        links.nth(place).click()
        settle(page)
        assert page.locator("h1").inner_text().endswith(f"class {place}")
        page.go_back()
        settle(page)


def test_back_leads_to_the_place_where_a_page_was_left(tab):
    page = tab(TOKEN, {"width": 1280, "height": 500})
    link = page.locator("table a", has_text=CJK).first
    link.scroll_into_view_if_needed()
    place = page.evaluate("scrollY")
    link.click()
    settle(page)
    assert place > 100 and page.evaluate("scrollY") == 0
    page.go_back()
    settle(page)
    assert soon(page, lambda: page.evaluate("scrollY") == place)
    page.go_forward()
    settle(page)
    assert page.evaluate("scrollY") == 0


def test_a_token_has_its_images_framed_where_it_stands(tab, part):
    page = tab(TOKEN)
    code = part("tokens/0")[MARKED[2]]
    random_token = next(token for token, each in enumerate(part("tokens/0")) if each["contexts"])
    assert page.locator(".tokens a.token").count() == len(code["nearest"]) == 3
    rows = page.locator("main table").first.locator("tbody tr")
    assert rows.count() == len(code["rows"]["label"]) and CJK in rows.first.inner_text()
    assert page.locator("h2", has_text="Causes").count() == 1
    assert "−31.0" in page.locator("main").inner_text() and "+39.0" in page.locator("main").inner_text()
    page.goto(page.url.partition("#")[0] + f"#token/{random_token}")
    page.get_by_role("heading", name=f"Token {random_token}", exact=True).wait_for()
    settle(page)
    contexts = part("tokens/0")[random_token]["contexts"]
    thumbs = page.locator(".contexts .thumb")
    assert thumbs.count() == len(contexts)
    for place, context in enumerate(contexts):
        image = thumbs.nth(place).bounding_box()
        frames = [frame.bounding_box() for frame in thumbs.nth(place).locator("i").all()]
        size = image["width"] / 4
        found = {round((box["y"] - image["y"]) / size) * 4 + round((box["x"] - image["x"]) / size) for box in frames}
        assert found == set(context["positions"])


def test_plots_show_a_point_for_every_estimate(tab, part):
    page = tab(TOKEN)
    estimates = [value for value in part("tokens/0")[MARKED[2]]["rows"]["log_odds"] if value is not None]
    plots = page.locator(".plot")
    assert [plot.locator(".role-mark.mark-symbol path").count() for plot in plots.all()] == [len(estimates), 2, 2]
    assert all(plot.get_attribute("aria-label") for plot in plots.all())
    page = tab("#class/river")
    assert page.locator(".plot .role-mark.mark-symbol path").count() == len(EXTRACTORS) * len(JUDGES) * len(N)


def test_a_cause_of_one_image_has_a_dash_for_its_interval(tab):
    page = tab(f"#token/{MARKED[5]}")
    causes = page.locator("section", has_text="Causes").last
    (cells,) = [row.locator("td").all_inner_texts() for row in causes.locator("table").first.locator("tbody tr").all()]
    assert cells == ["−20.0 (–)", "−30.0 (–)", "−10.0 (–)", "1"]
    assert causes.locator(".plot .role-mark.mark-symbol path").count() == 2 * 2, "this code and the control, twice"
    assert "NaN" not in page.content() and "null" not in page.locator("main").inner_text()
    page.goto(page.url.partition("#")[0] + f"#token/{CODES - 1}")
    page.get_by_text("The code does not occur").wait_for()
    assert page.locator("h2", has_text="Where in the grid").count() == 0 and "NaN" not in page.content()


def test_a_class_switches_methods_and_thresholds(tab, part):
    page, label = tab("#class/river"), 5
    images = page.locator(".images .image")
    scores = part(f"images/{label}")["scores"]

    def framed():
        found = []
        for image in images.all():
            box = image.locator(".sprite").bounding_box()
            frames = [frame.bounding_box() for frame in image.locator("i.frame").all()]
            size = box["width"] / 4
            found.append({round((f["y"] - box["y"]) / size) * 4 + round((f["x"] - box["x"]) / size) for f in frames})
        return found

    def highest(name, n):
        return [set(sorted(range(16), key=lambda at, row=row: -row[at])[:n]) for row in scores[name]]

    assert framed() == highest("tis/cnn", 5)
    page.select_option("select[name=method]", "tis/resnet")
    assert framed() == highest("tis/resnet", 5) != highest("tis/cnn", 5)
    page.locator("input[name=n]").focus()
    page.keyboard.press("ArrowLeft")
    assert framed() == highest("tis/resnet", 4)
    page.select_option("select[name=view]", "plain")
    assert framed() == [set(), set()] and page.locator(".images .heat").count() == 0
    page.select_option("select[name=view]", "frames")
    assert page.locator(".lists dd").first.locator("a.token").first.get_attribute("href") == f"#token/{MARKED[5]}"
    page.select_option("select[name=list]", "count")
    assert page.locator(".lists dd").first.locator("a.token b").all_inner_texts() == [str(label + 1)]
    masks = page.locator("main").inner_text()
    assert "−5.0 (−50.0 to +25.0) worse" in masks, "of concept tokens, at a fifth of the area"


def test_an_image_tells_the_token_of_a_position(tab, part):
    page = tab(f"#image/{SEARCHED}")
    of_class, row = part("images/0"), part("run")["sample"]["keys"].index(SEARCHED)
    tokens = of_class["tokens"][row - of_class["first"]]
    positions = page.locator(".stage .position")
    assert positions.count() == 16
    positions.nth(6).hover()
    assert f"Token {tokens[6]}" in page.locator(".at").first.inner_text()
    positions.first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert f"Token {tokens[5]}" in page.locator(".at").first.inner_text()
    assert "Row 2, column 2" in page.locator(".at").first.inner_text()
    page.keyboard.press("Enter")
    settle(page)
    assert page.locator("h1").inner_text() == f"Token {tokens[5]}"


def test_the_slider_of_an_image_frames_masks_and_tells_what_judges_say(tab, part):
    page = tab(f"#image/{SEARCHED}")
    of_class, row = part("images/0"), part("run")["sample"]["keys"].index(SEARCHED)
    place = row - of_class["first"]
    tokens, scores = of_class["tokens"][place], of_class["scores"]["tis/cnn"][place]
    assert page.locator(".stage i.frame").count() == 4 and "0.50" in page.locator(".side table").inner_text()
    page.locator("input[name=n]").focus()
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
    assert page.locator(".stage i.frame").count() == 2
    assert "0.70" in page.locator(".side table").inner_text() and "0.86" in page.locator(".side table").inner_text()
    page.select_option("select[name=view]", "mask")
    first = sorted(range(16), key=lambda at: -scores[at])[:2]
    codes = {tokens[at] for at in first}
    assert page.locator(".stage i.masked").count() == sum(token in codes for token in tokens)
    page.locator("input[name=n]").press("ArrowRight")
    assert "Masks were judged for n = 1, 2, 4" in page.locator(".side caption").inner_text()


def test_searches_show_before_and_after(tab):
    page = tab(f"#image/{SEARCHED}")
    figures = page.locator(".searches figure")
    assert figures.count() == 1 + 2 * len(EXTRACTORS)
    assert "0.13" in figures.first.inner_text() and all("0.63" in each.inner_text() for each in figures.all()[1:])
    figures.nth(1).locator(".position").nth(5).hover()
    assert "Token 3" in page.locator(".at").nth(1).inner_text()


def test_a_screen_reader_hears_headings_and_names(tab):
    page = tab()
    for address in ADDRESSES:
        page.goto(page.url.partition("#")[0] + address)
        settle(page)
        heard = page.locator("body").aria_snapshot()
        levels = [int(level) for level in re.findall(r"heading .*\[level=(\d)\]", heard)]
        assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
        assert "- link\n" not in heard and 'link ""' not in heard and "- img\n" not in heard


def test_tokens_of_several_scales_are_shown_scale_by_scale(written, part, tmp_path, browser):
    copy = shutil.copytree(written, tmp_path / "atlas")
    write_part(copy, "run", part("run") | {"tilings": [[2, 2], [2, 6]], "maskable": 4})
    write_part(copy, "tokens/0", [code | {"row": None, "column": None} for code in part("tokens/0")])
    page = browser.new_page()
    page.goto((copy / "index.html").as_uri() + f"#image/{SEARCHED}")
    settle(page)
    of_class, row = part("images/0"), part("run")["sample"]["keys"].index(SEARCHED)
    tokens, scores = of_class["tokens"][row - of_class["first"]], of_class["scores"]["tis/cnn"][row - of_class["first"]]
    best = sorted(range(4, 16), key=lambda at: -scores[at])[:4]
    assert page.locator(".side a.token").all_inner_texts() == [str(tokens[at]) for at in best]
    stage = page.locator(".stage .position")
    assert stage.count() == 12
    page.select_option("select[name=scale]", "0")
    assert stage.count() == 4
    quarter, whole = stage.nth(3).bounding_box(), page.locator(".stage .sprite").bounding_box()
    assert (quarter["x"] - whole["x"], quarter["width"]) == pytest.approx((whole["width"] / 2, whole["width"] / 2))
    stage.nth(3).hover()
    told = page.locator(".at").first.inner_text()
    assert f"Token {tokens[3]}" in told and "Row 2, column 2 of the scale 2 × 2" in told
    page.goto(page.url.partition("#")[0] + "#token/3")
    page.get_by_role("heading", name="Token 3", exact=True).wait_for()
    settle(page)
    assert page.locator(".places").count() == 2 and page.locator(".places i").count() == 16
    assert "NaN" not in page.content() and "Mean place" not in page.content()
    page.close()


def test_a_missing_part_is_told(written, tmp_path, browser):
    copy = shutil.copytree(written, tmp_path / "atlas")
    (copy / "data" / "classes" / "5.js").unlink()
    page = browser.new_page()
    page.goto((copy / "index.html").as_uri() + "#wall?class=5")
    page.get_by_text("data/classes/5.js is missing in the folder of the atlas").wait_for()
    page.close()
