"""A page in a real browser: sizes of windows, and what a person sees of it."""

import pytest

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SIZES = pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])

# What a visible element is: it takes up room, and no ancestor hides it.
VISIBLE = "const visible = e => e.checkVisibility({contentVisibilityAuto: true}) && e.getClientRects().length > 0;"


def parts_of(page):
    """Ids of the pages, as the contents list them."""
    return [link.get_attribute("href") for link in page.locator("nav a").all()]


def boxes(page, selector):
    """Left, top, right and bottom of the visible elements."""
    return page.evaluate(
        f"""selector => {{{VISIBLE} return [...document.querySelectorAll(selector)].filter(visible).map(e => {{
            const box = e.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom]}})}}""",
        selector,
    )


def wholly_seen(page, selector, size):
    """How many elements are whole on the screen."""
    inside = [box for box in boxes(page, selector) if box[1] >= 0 and box[3] <= size["height"]]
    return len([box for box in inside if box[0] >= 0 and box[2] <= size["width"]])


def pictures_of(page):
    """Visible pictures: what they show by text, their proportions, and where they stand."""
    page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => 0)))")
    return page.evaluate(
        f"""() => {{{VISIBLE} return [...document.images].filter(visible).map(e => {{
            const box = e.getBoundingClientRect(), scrolls = e.closest('.wide') !== null;
            const natural = e.naturalWidth / e.naturalHeight, shown = e.clientWidth / e.clientHeight;
            const fit = getComputedStyle(e).objectFit;
            return {{alt: e.alt, natural, shown, fit, left: box.left, right: box.right, scrolls}}}})}}"""
    )


def low_contrast(page):
    """Visible texts whose contrast with what is behind them is below 4.5, with the contrast."""
    return page.evaluate(
        """() => {
            const channels = text => text.match(/[\\d.]+/g).map(Number);
            const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92
                : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const behind = e => {for (; e; e = e.parentElement) {
                const found = channels(getComputedStyle(e).backgroundColor);
                if (found.length < 4 || found[3] > 0) return found}; return [255, 255, 255]};
            const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), low = [];
            while (walker.nextNode()) {
                const e = walker.currentNode.parentElement;
                if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest('style')) continue;
                const [one, other] = [light(channels(getComputedStyle(e).color)), light(behind(e))];
                const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
                if (ratio < 4.5) low.push([walker.currentNode.data, ratio]);
            }
            return low}"""
    )
