"""Tabs of a browser that show the atlas."""


def settle(page):
    """Wait for the page, its parts and its plots."""
    page.locator("main h1").wait_for()
    page.wait_for_function("!document.querySelector('main .waiting')")
    page.wait_for_function("[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('svg'))")


def tiles(page):
    """Tokens on the wall, in their order."""
    return [int(link.get_attribute("href").removeprefix("#token/")) for link in page.locator(".tile").all()]


def soon(page, check):
    """Wait until the page has followed, two seconds at most."""
    for _ in range(40):
        if check():
            return True
        page.wait_for_timeout(50)
    return False


def focused(page):
    return page.evaluate("document.activeElement.getAttribute('href')")
