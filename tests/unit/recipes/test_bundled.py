"""The recipes of the generators that ship with the package."""

from pathlib import Path

import pytest
import yaml
from cortex.generators.taming.architecture import architecture_at

from cortex.generators.spec import Origin
from cortex.recipes.gpt import gpt_arguments
from cortex.recipes.settings import GeneratorRecipe
from cortex.recipes.vqgan import vqgan_arguments
from tests.pipeline import CHECKOUT


@pytest.mark.parametrize(("config", "name"), [("config.yaml", "digits")])
def test_the_recipe_of_the_config_makes_the_networks_that_ship(config, name):
    recipe = GeneratorRecipe(**yaml.safe_load((CHECKOUT / config).read_text())["generator_training"])
    architecture = architecture_at(Origin(Path(name)))
    assert vqgan_arguments(recipe) == {"norm_groups": 32} | architecture["vqgan"]
    assert gpt_arguments(recipe, recipe.codes, 64) == architecture["transformer"]
    assert (recipe.label_dropout > 0) == (architecture.get("null_class") is not None)
