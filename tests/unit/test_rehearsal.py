"""The rehearsal's table by hand, and its config by the parser of configs."""

import pytest
import yaml

from cortex.config import parse_config
from tests.rehearsal.__main__ import write_config
from tests.rehearsal.table import as_markdown, exponent, read_scale

ROWS = "command\tseconds\tcpu_seconds\tstart_up_seconds\tmax_rss_mb\n{}\t0.1\t{}\t0.1\t{}\n"


@pytest.fixture
def scales(tmp_path):
    """Two runs: importance grows by the power 1, the report by 1/2; a rule of one run alone has no exponent."""
    runs = {
        1000: [("importance", 2.0, 300), ("importance", 3.0, 400), ("report", 4.0, 900)],
        100_000: [("importance", 250.0, 500), ("importance", 250.0, 450), ("report", 40.0, 1000), ("atlas", 1.5, 200)],
    }
    found = []
    for images, jobs in runs.items():
        folder = tmp_path / str(images)
        for number, job in enumerate(jobs):
            path = folder / job[0] / f"{number}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(ROWS.format(*job))
        found.append(read_scale(folder, images, planning=images / 10_000))
    return found


def test_times_are_sums_memory_is_the_largest_and_exponents_are_of_the_last_two_runs(scales):
    assert exponent(*scales, "importance") == pytest.approx(1)
    assert exponent(*scales, "report") == pytest.approx(0.5)
    assert exponent(*scales, "atlas") is None
    assert as_markdown(scales).splitlines() == [
        "Images: 1,000 / 100,000",
        "",
        "| command | jobs | CPU seconds | exponent | largest memory, MB |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| importance | 2 / 2 | 5 / 500 | 1.00 | 400 / 500 |",
        "| report | 1 / 1 | 4 / 40 | 0.50 | 900 / 1,000 |",
        "| atlas | 0 / 1 | 0 / 1.5 |  | 0 / 200 |",
        "| all | 3 / 4 | 9 / 542 | 0.89 | 900 / 1,000 |",
        "| planning |  | 0.1 / 10 |  |  |",
    ]


def test_the_rehearsal_has_the_papers_images_classes_grids_and_shards(tmp_path):
    assert write_config(tmp_path / "whole", 1) == 1_350_000 and write_config(tmp_path / "part", 100) == 14_000
    config, spec = parse_config(yaml.safe_load((tmp_path / "whole" / "config.yaml").read_text()))
    paper = type(config.data).model_fields["per_class"]
    assert config.data.per_class == paper.get_default() and config.data.shard_size == 10_000
    assert (len(spec.class_names), spec.grid, spec.codes) == (1000, (16, 16), 16_384)
