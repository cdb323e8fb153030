"""Words of the pages, by hand."""

from cortex.generators.spec import GeneratorSpec
from cortex.report import words


def spec(**layout):
    return GeneratorSpec(class_names=("a", "b"), codes=30, channels=4, **layout)


def test_a_grid_of_one_scale_has_rows_and_columns_and_one_of_several_its_maps():
    assert words.grid(spec(grid=(2, 3))) == "2 × 3"
    assert (
        words.grid(spec(grid=(1, 1005), scales=(1, 2, 10, 30))) == "1,005, in maps of 1 × 1, 2 × 2, 10 × 10 and 30 × 30"
    )
