"""What a taming generator costs, against its own sampler and figures worked by hand."""

import pytest
import torch
import yaml
from taming.modules.transformer.mingpt import GPT
from torch.nn.attention import SDPBackend, sdpa_kernel

from cortex.core.flops import count_flops
from cortex.generators.load import load_family
from cortex.generators.network.raster import RasterSampler
from cortex.generators.sampling import Sampling
from cortex.generators.spec import Origin
from cortex.generators.taming import bundled_weights
from cortex.generators.taming.gpt import GptSteps
from tests.pipeline import CHECKOUT

TAMING = load_family("taming")


@pytest.fixture
def imagenet(tmp_path):
    """The folder of the ImageNet generator, its checkpoint empty."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "checkpoints").mkdir()
    project = (CHECKOUT / "tests" / "cin_transformer.yaml").read_text()
    (tmp_path / "configs" / "2021-project.yaml").write_text(project)
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    return Origin(folder=tmp_path), yaml.safe_load(project)["model"]["params"]["transformer_config"]["params"]


@pytest.mark.parametrize(("guidance", "rows"), [(1.0, 5), (2.0, 10)])
def test_the_samplers_arithmetic_is_that_of_the_sampler(guidance, rows):
    sizes = {"vocab_size": 40, "block_size": 12, "n_layer": 3, "n_head": 2, "n_embd": 16}
    sampler = RasterSampler(GptSteps(GPT(**sizes).eval()), null_class=39)
    classes, numbers = torch.zeros(5, dtype=torch.int64), torch.rand(5, 12, dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH):  # its products are counted
        counted = count_flops(lambda: sampler.draw(classes, numbers, Sampling(guidance=guidance)))
    assert counted == rows * TAMING.prior_size(sizes).token_flops(12)


def test_a_token_reads_the_cache_of_all_before_it_and_its_share_of_the_weights(imagenet):
    origin, gpt = imagenet
    assert TAMING.prior_size(gpt).cache_bytes(3, 2) == (1 + 2 + 3) * 48 * 2 * 1536 * 2
    cost = TAMING.cost(origin, batch=500, half=True)
    weights = 2 * 48 * 12 * 1536**2 + 4 * 1536 * 16384
    assert cost.sample_bytes == TAMING.prior_size(gpt).cache_bytes(256, 2) + 256 * weights / 500
    assert TAMING.cost(origin, batch=500, half=False).sample_bytes > 1.9 * cost.sample_bytes
    assert cost.sample_flops == cost.prior_flops[256] == TAMING.prior_size(gpt).token_flops(256)
    assert cost.prior_flops[0] == 0 and len(cost.prior_flops) == 257
    weights = 76_073_859 + 48 * 12 * 1536**2 + 2 * 1536 * 16384  # the published VQGAN; layers; embedding and head
    assert cost.weights_bytes == pytest.approx(4 * weights, rel=0.002)


def test_the_bundled_generator_costs_its_file():
    cost = TAMING.cost(Origin(), batch=100, half=False)
    assert cost.weights_bytes == bundled_weights().stat().st_size
    assert cost.decode_flops > 0
