"""Every cell of the table "What was tested" in docs/generators.md names tests that exist."""

import re
import subprocess
import sys

import pytest

from tests.pipeline import CHECKOUT

COLUMNS = ("counts", "samples", "decodes", "encodes", "run")
PUBLISHED = "test_every_published_size_has_its_names_and_parameters"
SLOW = "test_images_and_codes_are_those_of_the_slow_formulation"
GRIDS = "test_grids_are_those_of_the_slow_formulation"
TOKENS = "test_sampled_tokens_are_those_of_the_slow_formulation"
RUN = "tests/workflow/test_network_families.py::test_every_stage_runs_on_the_family"
SCALES = "tests/workflow/test_network_families.py::test_what_scales_carry_is_on_the_page[var]"
IMPORTED = "tests/workflow/test_decode_only.py::test_its_tokens_are_explained"


def sizes(before, names, after):
    return [f"{PUBLISHED}[{before}{name}{after}" for name in names.split()]


# For each family: its test file; the tests of each column, by the start of their names. A column without tests has no
# entry, and "–" in the table.
TESTS = {
    "`llamagen`": (
        "test_llamagen.py",
        {
            "counts": [
                *sizes("c2i_", "B L XL XXL 3B", "_"),
                "test_the_tokenizers_have_their_names_and_parameters[16-vq_ds16",
                "test_the_tokenizers_have_their_names_and_parameters[16-vq_ds8",
            ],
            "samples": [TOKENS],
            "decodes": [SLOW],
            "encodes": [SLOW],
            "run": [f"{RUN}[llamagen]"],
        },
    ),
    "`rar`": (
        "test_rar.py",
        {
            "counts": [
                *sizes("rar_", "b l xl xxl", "."),
                "test_the_tokenizer_alone_has_its_names_and_parameters",
            ],
            "samples": [TOKENS],
            "decodes": ["test_images_are_those_of_the_slow_formulation_in_0_to_1"],
            "encodes": ["test_codes_are_those_of_the_slow_formulation"],
            "run": [f"{RUN}[rar]"],
        },
    ),
    "`ibq`": (
        "test_ibq.py",
        {
            "counts": [
                *sizes("AR_256_", "B L XL XXL", "."),
                *(f"test_the_tokenizers_have_their_parameters[{codes}-" for codes in (1024, 8192, 16384)),
            ],
            "samples": [TOKENS],
            "decodes": [SLOW],
            "encodes": [SLOW, "test_an_image_has_the_codes_of_the_largest_products"],
            "run": [f"{RUN}[ibq]"],
        },
    ),
    "`maskgit_pytorch`": (
        "test_maskgit.py",
        {
            "counts": sizes("", "256 512", "-"),
            "samples": [GRIDS],
            "decodes": [SLOW],
            "encodes": [SLOW],
            "run": [f"{RUN}[maskgit_pytorch]"],
        },
    ),
    "`halton`": (
        "test_halton.py",
        {
            "counts": sizes("ImageNet_", "256_tiny 256_small 256_base 384_large", "."),
            "samples": [GRIDS],
            "decodes": [SLOW],
            "encodes": [SLOW],
            "run": [f"{RUN}[halton]"],
        },
    ),
    "`var`": (
        "test_var.py",
        {
            "counts": sizes("var_d", "12 16 20 24 30 36", "."),  # with the tokenizer
            "samples": ["test_tokens_are_those_of_the_slow_formulation"],
            "decodes": ["test_images_are_decoded_from_the_map"],
            "encodes": ["test_an_image_has_the_nearest_codes_of_what_coarser_scales_leave"],
            "run": [
                f"{RUN}[var]",
                "tests/workflow/test_network_families.py::test_what_scales_carry_is_on_the_page[var]",
            ],
        },
    ),
    "`dalle_mini`": (
        "test_dalle_mini.py",
        {
            "counts": ["test_its_size_is_the_published_one"],
            "decodes": ["test_pixels_are_those_of_a_decoder_of_0_to_1"],
            "run": ["tests/workflow/test_dalle_mini.py::test_nothing_is_drawn_trained_or_judged_but_what_bias_needs"],
        },
    ),
    "`janus`": (
        "test_decode_only.py",
        {
            "counts": ["test_janus_tokenizer_has_llamagens_size"],
            "decodes": ["test_janus_tokenizer_is_llamagens_under_a_prefix"],
            "encodes": ["test_janus_tokenizer_is_llamagens_under_a_prefix"],
            "run": [f"{IMPORTED}[janus]"],
        },
    ),
    "`taming`: Chameleon, Anole": (
        "test_decode_only.py",
        {
            "counts": ["test_chameleons_tokenizer_has_its_published_size"],
            "decodes": ["test_chameleons_tokenizer_attends_in_the_middle_alone"],
            "encodes": ["test_chameleons_tokenizer_attends_in_the_middle_alone"],
            "run": [f"{IMPORTED}[chameleon]"],
        },
    ),
    "`taming`: `vqgan_gumbel_f8`": (
        "test_decode_only.py",
        {
            "counts": ["test_the_gumbel_tokenizer_has_its_published_names"],
            "decodes": ["test_a_gumbel_tokenizer_decodes_and_does_not_encode"],
        },
    ),
}


@pytest.fixture(scope="module")
def table():
    """Cells by family and column."""
    page = (CHECKOUT / "docs/generators.md").read_text().partition("## What was tested")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", page, re.M)]
    assert rows[0] == ["family", *COLUMNS]
    return {row[0]: dict(zip(COLUMNS, row[1:], strict=True)) for row in rows[2:]}


@pytest.fixture(scope="module")
def collected():
    """Names of the tests, as pytest finds them."""
    files = {f"tests/unit/generators/{file}" for file, _ in TESTS.values()}
    files |= {name.partition("::")[0] for _, tests in TESTS.values() for each in tests.values() for name in each}
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:xdist", "--collect-only", "-q"]
        + sorted(file for file in files if file.endswith(".py")),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.splitlines()


def test_every_cell_has_tests_and_no_other_has(table):
    assert table.keys() == TESTS.keys()
    for family, cells in table.items():
        assert {column for column, cell in cells.items() if cell != "–"} == TESTS[family][1].keys(), family


def test_the_tests_of_every_cell_exist(collected):
    for family, (file, columns) in TESTS.items():
        for column, names in columns.items():
            for name in names:
                full = name if "::" in name else f"tests/unit/generators/{file}::{name}"
                assert any(
                    each == full or each.startswith(full if "[" in full else f"{full}[") for each in collected
                ), (family, column, full)


def test_every_size_in_the_table_is_counted_by_a_test_of_its_own(table):
    for family in ("`llamagen`", "`rar`", "`ibq`", "`maskgit_pytorch`", "`halton`", "`var`"):
        stated = re.findall(r"[^,;]+", table[family]["counts"].partition(";")[0].replace(" and ", ", "))
        tests = [name for name in TESTS[family][1]["counts"] if name.startswith(PUBLISHED)]
        assert len(stated) == len(tests), family
        for size, name in zip(stated, tests, strict=True):
            assert size.split()[0].lower() in re.split(r"[\[_.-]", name.lower()), (family, size, name)
