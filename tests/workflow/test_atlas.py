"""The atlas of a run: made by default, made again alone, and of use in a browser."""

import pytest

from cortex.core.tables import read_table
from tests.browser import WIDE
from tests.pipeline import change_config, jobs_in, snakemake


@pytest.fixture(scope="module")
def atlas(tiny_run):
    """The folder of the run's atlas."""
    return tiny_run / "results" / "tiny" / "atlas"


def test_a_run_has_an_atlas_with_its_classes_and_images(atlas, window):
    page = window(WIDE, (atlas / "index.html").as_uri() + "#classes")
    assert page.locator(".classes a").all_inner_texts() == ["one", "two", "seven"]
    page.locator(".classes a").last.click()
    page.locator(".images .image").first.click()
    page.locator(".searches figure").first.wait_for()
    assert page.locator(".searches figure").count() == 1 + 2 * 3, (
        "of the image of a searched class, by three extractors"
    )
    assert page.locator(".side tbody tr").count() == 2, "judges"


def test_the_report_links_to_it(tiny_run, tmp_path):
    assert '<a href="atlas/index.html">' in (tiny_run / "results" / "tiny" / "report.html").read_text()
    config = tmp_path / "changed.yaml"
    config.write_bytes((tiny_run / "tests" / "tiny.yaml").read_bytes())
    change_config(config, {"atlas": {"images_per_class": 1}})
    done = snakemake(tiny_run, "results/tiny/report.html", "--dry-run", "--configfile", config)
    assert jobs_in(done) == {"atlas": 1, "report": 1}


def test_the_wall_has_every_code_of_the_dictionary(atlas, window):
    codes = read_table(atlas.parent / "codes.parquet")
    page = window(WIDE, (atlas / "index.html").as_uri())
    page.locator(".tile").first.wait_for()
    assert page.locator(".found b").inner_text() == str(len(codes))
