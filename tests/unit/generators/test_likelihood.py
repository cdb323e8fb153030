"""Likelihoods under the generator's GPT, against taming-transformers' own forward pass called position by position."""

import json

import numpy as np
import pytest
import torch

from cortex.core.errors import InputError
from cortex.core.weights import read_weights, write_weights
from cortex.generators.load import load_generator
from cortex.generators.network.prior import RasterPrior
from cortex.generators.prior import draw_region, log_likelihoods
from cortex.generators.sampling import Sampling
from cortex.generators.taming.gpt import ClassGPT
from tests.unit.generators.test_sampler import slow_choice, slow_distribution

CODES, LENGTH = 13, 12
POSITIONS = [0, 3, 4, 9]


@pytest.fixture(scope="module")
def gpt():
    torch.manual_seed(3)
    network = ClassGPT(vocab_size=CODES, block_size=LENGTH, n_layer=2, n_head=2, n_embd=16, attn_pdrop=0.1).eval()
    for parameter in network.parameters():  # far from uniform predictions
        parameter.requires_grad_(False).add_(torch.randn_like(parameter) * 0.4)
    return network


@pytest.fixture
def tokens():
    return torch.randint(0, CODES, (5, LENGTH), generator=torch.Generator().manual_seed(1))


def slow_logits(gpt, label, before):
    """The GPT's logits float32 [K] of the token that follows the class and those before."""
    with torch.no_grad():
        logits, _ = gpt(torch.tensor([[label, *before]]))
    return logits[0, -1]


def test_every_position_is_given_what_precedes_it(gpt, tokens):
    classes = torch.tensor([0, 1, 2, 12, 0])
    found = RasterPrior(gpt).log_probabilities(classes, tokens, POSITIONS)
    likelihoods = log_likelihoods(RasterPrior(gpt), classes, tokens, POSITIONS)
    assert found.shape == (5, len(POSITIONS), CODES)
    for image in range(5):
        for place, position in enumerate(POSITIONS):
            logits = slow_logits(gpt, classes[image].item(), tokens[image, :position].tolist()).double()
            expected = logits - logits.exp().sum().log()
            torch.testing.assert_close(found[image, place].double(), expected, rtol=1e-4, atol=1e-4)
            token = tokens[image, position]
            assert likelihoods[image, place].item() == pytest.approx(expected[token].item(), rel=1e-4, abs=1e-4)


def test_likelihoods_of_all_codes_sum_to_one_and_know_nothing_of_what_follows(gpt, tokens):
    classes = torch.zeros(5, dtype=torch.int64)
    found = RasterPrior(gpt).log_probabilities(classes, tokens, POSITIONS)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(5, len(POSITIONS)))
    changed = tokens.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % CODES
    assert torch.equal(RasterPrior(gpt).log_probabilities(classes, changed, POSITIONS), found)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("choice", [{}, {"temperature": 0.7, "top_k": 6, "top_p": 0.8}], ids=str)
def test_a_drawn_region_is_drawn_token_by_token(gpt, tokens, choice, guidance):
    classes, numbers = [0, 1, 2, 11, 0], np.random.default_rng(1).random((5, len(POSITIONS)))
    sampling = Sampling(**{"top_k": None, "top_p": None, "guidance": guidance} | choice)
    prior = RasterPrior(gpt, null_class=12)
    drawn = draw_region(prior, torch.tensor(classes), tokens, POSITIONS, torch.from_numpy(numbers), sampling)
    for image, label in enumerate(classes):
        edited = tokens[image].tolist()
        for number, position in zip(numbers[image], POSITIONS, strict=True):
            logits, without = (slow_logits(gpt, first, edited[:position]).double() for first in (label, 12))
            guided = without + guidance * (logits - without)
            edited[position] = slow_choice(slow_distribution(guided.numpy(), **choice), number)
        assert drawn[image].tolist() == [edited[position] for position in POSITIONS]
    assert not torch.equal(drawn, tokens[:, POSITIONS])


def test_a_region_of_a_generator_without_a_null_class_is_not_guided(gpt, tokens):
    numbers, classes = torch.zeros(5, len(POSITIONS), dtype=torch.float64), torch.zeros(5, dtype=torch.int64)
    with pytest.raises(InputError, match=r"^guidance 2.0: the generator has no null class"):
        draw_region(RasterPrior(gpt), classes, tokens, POSITIONS, numbers, Sampling(guidance=2.0))


def test_a_prior_knows_all_codes_or_is_refused(generator_weights, tmp_path):
    assert load_generator(generator_weights).prior() is not None
    assert load_generator(bare(generator_weights, tmp_path / "bare.safetensors")).prior() is None
    tensors, metadata = read_weights(generator_weights)
    architecture = json.loads(metadata["architecture"])
    architecture["prior"]["vocab_size"] = 20
    for name in ("transformer.tok_emb.weight", "transformer.head.weight"):
        tensors[name] = tensors[name][:20].clone()
    write_weights(tmp_path / "small.safetensors", tensors, {"architecture": json.dumps(architecture)})
    with pytest.raises(InputError, match="transformer does not know all of the codebook's 24 codes"):
        load_generator(tmp_path / "small.safetensors").prior()


def bare(weights, path):
    """The file of a generator without its transformer."""
    tensors, metadata = read_weights(weights)
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith("first_stage_model.")}
    architecture = json.loads(metadata["architecture"]) | {"prior": None, "classes": []}
    write_weights(path, kept, {"architecture": json.dumps(architecture)})
    return path
