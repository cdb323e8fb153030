"""The photographs that ship with the package."""

import tomllib

import numpy as np
import pyarrow.parquet as pq

from cortex.data.landuse import CLASS_NAMES, FOLDER, PHOTOGRAPHS, photographs
from cortex.data.picture_sources import find_pictures, stated_classes
from tests.pipeline import CHECKOUT


def test_thirty_photographs_of_every_class_ship():
    images, labels = photographs()
    assert (images.shape, images.dtype) == ((300, 64, 64, 3), np.uint8)
    assert labels.tolist() == [label for label in range(10) for _ in range(30)]
    assert len({image.tobytes() for image in images}) == 300
    assert PHOTOGRAPHS.stat().st_size < 700_000
    assert all(content[:3] == b"\xff\xd8\xff" for content in pq.read_table(PHOTOGRAPHS)["image"].to_pylist())


def test_the_classes_are_named_once():
    assert len(set(CLASS_NAMES)) == 10 and CLASS_NAMES[3] == "highway" and CLASS_NAMES[9] == "sea or lake"
    assert find_pictures(str(PHOTOGRAPHS)).class_names == CLASS_NAMES == stated_classes(str(PHOTOGRAPHS))


def test_classes_look_as_their_names_say():
    """Mean colours: forest and water are dark, water is the bluest, and forest is smooth beside houses."""
    images, labels = photographs()
    means = np.array([images[labels == label].mean((0, 1, 2)) for label in range(10)])
    brightness = means.mean(1)
    forest, water, houses = (CLASS_NAMES.index(name) for name in ("forest", "sea or lake", "residential buildings"))
    assert set(np.argsort(brightness)[:2]) == {forest, water}
    contrast = [images[labels == label].std((1, 2)).mean() for label in range(10)]
    assert contrast[houses] > 2 * contrast[forest] and means[water, 2] > means[water, 0]


def test_licence_and_origin_are_part_of_the_package():
    data = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    shipped = {path.name for pattern in data["cortex.data.landuse"] for path in FOLDER.glob(pattern)}
    assert shipped == {path.name for path in FOLDER.iterdir() if path.suffix != ".py" and path.is_file()}
    assert "Permission is hereby granted" in (FOLDER / "LICENSE").read_text()
    assert "Copernicus" in (FOLDER / "README.md").read_text()
