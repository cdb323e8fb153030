"""A recipe small enough for a test, and pictures for it: stripes whose direction is their class."""

import numpy as np
import pytest
import torch

from cortex.recipes.settings import GeneratorRecipe

TINY = GeneratorRecipe(
    size=16,
    codes=16,
    code_channels=8,
    quantize_from=0.0,
    vqgan_multipliers=[1, 1],
    latent_channels=32,
    vqgan_epochs=3,
    vqgan_batch=8,
    vqgan_learning_rate=1e-3,
    perceptual_weight=0.0,
    adversarial_start=0.3,
    gpt_layers=1,
    gpt_heads=2,
    gpt_width=16,
    gpt_epochs=3,
    gpt_batch=8,
)


@pytest.fixture(scope="session")
def stripes():
    """Pictures uint8 ``[48, 16, 16, 3]`` and labels: 0 horizontal, 1 vertical stripes, of random phase and colour."""
    random = np.random.default_rng(0)
    labels = np.arange(48) % 2
    waves = (np.arange(16)[None, :] // 2 + random.integers(0, 4, 48)[:, None]) % 4 < 2
    bars = np.where(labels[:, None, None] == 1, waves[:, None, :], waves[:, :, None])
    bars = np.broadcast_to(bars, (48, 16, 16))
    colours = random.integers(100, 256, (48, 1, 1, 3))
    return (bars[..., None] * colours).astype(np.uint8), torch.from_numpy(labels)
