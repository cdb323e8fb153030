"""The recipes of the generators that ship with the package."""

from pathlib import Path

import pytest
import yaml

from cortex.generators.spec import Origin
from cortex.generators.taming import Taming
from cortex.recipes.gpt import gpt_arguments
from cortex.recipes.settings import GeneratorRecipe
from cortex.recipes.vqgan import vqgan_arguments
from tests.pipeline import CHECKOUT


@pytest.mark.parametrize(("config", "name"), [("config.yaml", "landuse"), ("configs/digits.yaml", "digits")])
def test_the_recipe_of_the_config_makes_the_networks_that_ship(config, name):
    recipe = GeneratorRecipe(**yaml.safe_load((CHECKOUT / config).read_text())["generator_training"])
    architecture = Taming().architecture(Origin(Path(name)))
    tokenizer = {name: value for name, value in architecture["tokenizer"].items() if name != "pixels"}
    assert vqgan_arguments(recipe) == {"norm_groups": 32} | tokenizer
    assert gpt_arguments(recipe, recipe.codes, 64) == architecture["prior"]
    assert (recipe.label_dropout > 0) == (architecture["null_class"] is not None)
