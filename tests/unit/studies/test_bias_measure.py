"""Properties of pictures: worked by hand, measured on shards, and shown at both ends of every class."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.data.pixels import encode_image
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.generators.load import load_generator
from cortex.studies.bias.figure import choose_extremes, draw_property
from cortex.studies.bias.measure import decoder, iterate_pictures, measure_property
from cortex.studies.bias.properties import brightness, contrast, haze

CODES = 24  # of generator_weights


# --- properties ------------------------------------------------------------------------------------------------------


def flat(red, green, blue):
    return np.full((1, 8, 8, 3), (red, green, blue), np.uint8)


def test_properties_of_one_colour_are_those_worked_by_hand():
    assert haze(flat(10, 40, 60)) == pytest.approx([60 / 2 + 60 - 40])
    assert haze(flat(90, 40, 60)) == pytest.approx([60 / 2 + 60 - 90])
    assert brightness(flat(100, 0, 50)) == pytest.approx([0.299 * 100 + 0.114 * 50])
    assert contrast(flat(10, 40, 60)) == pytest.approx([0])


def test_haze_reads_the_floor_of_every_channel_and_the_contrast():
    image = np.zeros((1, 101, 1, 3), np.uint8)  # the 5th percentile of 0 to 100 is 5
    image[0, :, 0] = np.arange(101)[:, None] + (0, 20, 100)
    assert contrast(image) == pytest.approx([90])
    assert haze(image) == pytest.approx([105 / 2 + (105 - 25) - 90 / 10])


@given(st.integers(1, 9))
def test_a_veil_of_blue_light_raises_haze(tenths):
    rng = np.random.default_rng(0)
    clear = rng.integers(0, 256, (4, 16, 16, 3)).astype(float)
    veil = np.array([90.0, 110.0, 160.0])
    hazy = clear * (1 - tenths / 20) + veil * tenths / 20
    assert (haze(hazy.astype(np.uint8)) > haze(clear.astype(np.uint8))).all()


def test_bright_ground_is_not_hazy_and_a_property_is_one_image_at_a_time():
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 30, (1, 16, 16, 3)) + (170, 150, 110)  # sand
    forest = rng.integers(0, 30, (1, 16, 16, 3)) + (30, 50, 50)
    veiled = rng.integers(0, 20, (1, 16, 16, 3)) + (70, 80, 110)
    images = np.concatenate([ground, forest, veiled]).astype(np.uint8)
    assert haze(images).argsort().tolist() == [0, 1, 2]
    for measure in (haze, brightness, contrast):
        assert measure(images) == pytest.approx([float(measure(image[None])[0]) for image in images])


# --- measured on shards ----------------------------------------------------------------------------------------------


def write_pictures(path, weights, count, *, kept=lambda number: True):
    """A shard of random grids of the small generator, with the images that it decodes, and these images."""
    rng = np.random.default_rng(1)
    grids = rng.integers(0, CODES, (count, 4, 4)).astype(np.uint16)
    images = load_generator(weights).decode(torch.from_numpy(grids.astype(np.int64))).numpy()
    samples = [Sample(f"train-0000-{number:06d}", number % 2, grid) for number, grid in enumerate(grids)]
    encoded = [encode_image(image) if kept(number) else None for number, image in enumerate(images)]
    write_shard(path, samples, encoded)
    return images


def test_a_shard_is_measured_in_its_order_and_missing_images_are_decoded(tmp_path, generator_weights):
    images = write_pictures(tmp_path / "some.tar", generator_weights, 150, kept=lambda number: number % 3)
    for name in ("haze", "brightness"):
        options = {"property": name, "generator": generator_weights, "device": "cpu"}
        measure_property(tmp_path / "values.parquet", tmp_path / "some.tar", **options)
        rows = pd.read_parquet(tmp_path / "values.parquet")
        assert rows.columns.tolist() == ["key", "label", "value"]
        assert rows["key"].tolist() == [f"train-0000-{number:06d}" for number in range(150)]
        assert rows["label"].tolist() == [number % 2 for number in range(150)]
        expected = [float({"haze": haze, "brightness": brightness}[name](image[None])[0]) for image in images]
        # Decoded in other batches, a grey level may differ.
        assert rows["value"].tolist() == pytest.approx(expected, abs=1.0)


def test_no_generator_is_loaded_where_all_images_are_there(tmp_path, generator_weights):
    images = write_pictures(tmp_path / "all.tar", generator_weights, 70)
    decode = decoder(Path("no such file"), "taming", "cpu")
    parts = list(iterate_pictures(tmp_path / "all.tar", decode))
    assert [len(samples) for samples, _ in parts] == [64, 6], "a batch in memory at a time"
    assert (np.concatenate([part for _, part in parts]) == images).all()


def test_images_of_two_sizes_are_refused(tmp_path):
    samples = [Sample(f"train-0000-{number:06d}", 0, np.zeros((2, 2), np.uint16)) for number in range(2)]
    write_shard(tmp_path / "two.tar", samples, [encode_image(np.zeros((side, 8, 3), np.uint8)) for side in (8, 16)])
    with pytest.raises(InputError, match=r"two\.tar: images of 8×16, 8×8 pixels; allowed: one size"):
        measure_property(tmp_path / "values.parquet", tmp_path / "two.tar", property="haze")


def of_all(images):
    """One number in place of one an image."""
    return images.mean()


def divided(images):
    """No finite number of a black image."""
    with np.errstate(divide="ignore"):
        return 1 / images.mean((1, 2, 3))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fog", "property 'fog': allowed: haze, brightness, contrast, or module:Attribute"),
        (f"{__name__}:of_all", r"of_all: float64 \[\] of 2 images; expected a number each"),
        (f"{__name__}:divided", "divided: inf of an image; expected finite numbers"),
    ],
)
def test_properties_that_give_no_numbers_are_refused(tmp_path, name, message):
    samples = [Sample(f"train-0000-{number:06d}", 0, np.zeros((2, 2), np.uint16)) for number in range(2)]
    write_shard(tmp_path / "black.tar", samples, [encode_image(np.zeros((8, 8, 3), np.uint8))] * 2)
    with pytest.raises(InputError, match=message):
        measure_property(tmp_path / "values.parquet", tmp_path / "black.tar", property=name)
    assert not (tmp_path / "values.parquet").exists()


def test_the_command_measures_a_shard(tmp_path, generator_weights):
    write_pictures(tmp_path / "a.tar", generator_weights, 12)
    words = ["--output", str(tmp_path / "values.parquet"), "--shard", str(tmp_path / "a.tar"), "--property", "contrast"]
    assert main(["measure-property", *words]) == 0
    assert len(pd.read_parquet(tmp_path / "values.parquet")) == 12


# --- the figure -------------------------------------------------------------------------------------------------------


def test_extremes_are_the_ends_of_every_class():
    table = pa.table({"key": list("abcdefghi"), "label": [0] * 6 + [1] * 3, "value": [3.0, 1, 5, 2, 4, 6, 1, 2, 3]})
    assert choose_extremes(table, classes=2, per_class=5) == {0: (["b", "d"], ["f", "c"]), 1: (["g"], ["i"])}
    assert list(choose_extremes(table, classes=1, per_class=1)) == [0]


def test_the_figure_shows_the_images_of_the_ends(tmp_path, generator_weights, monkeypatch):
    images = write_pictures(tmp_path / "a.tar", generator_weights, 40, kept=lambda number: number > 5)
    values = tmp_path / "a.parquet"
    options = {"generator": generator_weights, "device": "cpu"}
    measure_property(values, tmp_path / "a.tar", property="brightness", **options)
    shown = {}
    monkeypatch.setattr("cortex.studies.bias.figure.save_figure", lambda figure, path: None)
    monkeypatch.setattr("cortex.studies.bias.figure.extremes", lambda name, of: shown.update(of))
    draw_property(tmp_path / "a.png", [values], [tmp_path / "a.tar"], name="brightness", per_class=2, **options)
    assert list(shown) == ["ant", "bee"]
    rows = pd.read_parquet(values)
    for label, (low, high) in enumerate(shown.values()):
        ordered = rows[rows["label"] == label].sort_values("value").index.tolist()
        for image, row in zip([*low, *high], [*ordered[:2], *ordered[:-3:-1]], strict=True):
            assert np.abs(image.astype(int) - images[row]).max() <= 1
    monkeypatch.undo()
    draw_property(tmp_path / "a.png", [values], [tmp_path / "a.tar"], name="brightness", per_class=2, **options)
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="1 files of values, 2 shards"):
        draw_property(tmp_path / "a.png", [values], [tmp_path / "a.tar"] * 2, name="brightness", **options)
