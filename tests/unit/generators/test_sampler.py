"""Cached inverse-CDF sampling against taming-transformers' own forward pass and a distribution made token by token."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy import stats
from taming.modules.transformer.mingpt import GPT

from cortex.core.errors import InputError
from cortex.core.randomness import sample_seeds, uniforms
from cortex.data.draw import draw_samples
from cortex.data.settings import ImageFiles
from cortex.generators.choice import choose_tokens, guide
from cortex.generators.load import load_generator
from cortex.generators.network.raster import RasterSampler, stretch
from cortex.generators.sampling import Sampling
from cortex.generators.taming.gpt import GptSteps

LAST = 1 - 2**-53  # the largest number that uniforms() gives


def slow_distribution(logits, temperature=1.0, top_k=None, top_p=None):
    """Next-token probabilities, float64 [K]: one token at a time, from the most probable down."""
    logits = np.asarray(logits, np.float64)
    weights = np.exp((logits - logits.max()) / temperature)
    order = sorted(range(len(weights)), key=lambda token: -weights[token])
    kept = order[:top_k]
    if top_p is not None:
        total, mass, nucleus = sum(weights[token] for token in kept), 0.0, []
        for token in kept:
            nucleus.append(token)
            mass += weights[token] / total
            if mass > top_p:
                break
        kept = nucleus
    tied = [token for token in order if weights[token] == weights[kept[-1]]]
    probabilities = np.zeros(len(weights))
    for token in {*kept, *tied}:
        probabilities[token] = weights[token]
    return probabilities / probabilities.sum()


def slow_choice(probabilities, uniform):
    """The first token, in the codebook's order, at which the summed probability exceeds the uniform number."""
    mass = 0.0
    for token, probability in enumerate(probabilities):
        mass += probability
        if uniform < mass:
            return token
    return int(np.flatnonzero(probabilities)[-1])


def uncached_tokens(gpt, label, numbers, *, guidance=1.0, null_class=None, **settings):
    """A token sequence by taming's GPT.forward on the whole growing sequence; with guidance, on two of them."""
    tokens = []
    for number in numbers:
        with torch.no_grad():
            logits = gpt(torch.tensor([[label, *tokens]]))[0][0, -1].double()
            if null_class is not None:
                without = gpt(torch.tensor([[null_class, *tokens]]))[0][0, -1].double()
                logits = without + guidance * (logits - without)
        tokens.append(slow_choice(slow_distribution(logits.numpy(), **settings), number))
    return tokens


def sampler_of(gpt, precision=torch.float32, how="plain", null_class=None):
    return RasterSampler(GptSteps(copy.deepcopy(gpt), precision), how, null_class)


def options(**settings):
    """Sampling that cuts nothing off, but for these settings."""
    return Sampling(**{"top_k": None, "top_p": None} | settings)


def sample_tokens(gpt, classes, numbers, **settings):
    """One batch in float32 and plain steps."""
    return sampler_of(gpt).draw(classes, numbers, options(**settings))


@pytest.fixture(scope="module")
def gpt():
    torch.manual_seed(3)
    network = GPT(vocab_size=13, block_size=12, n_layer=3, n_head=2, n_embd=16, embd_pdrop=0.1, attn_pdrop=0.1).eval()
    for parameter in network.parameters():  # far from uniform predictions; biases and norms that matter
        parameter.requires_grad_(False).add_(torch.randn_like(parameter) * 0.4)
    return network


@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0.7}, {"top_k": 4}, {"top_p": 0.8}, {"temperature": 1.3, "top_k": 6, "top_p": 0.9}],
    ids=str,
)
def test_cached_sampling_draws_the_tokens_of_the_uncached_network(gpt, settings):
    numbers = np.random.default_rng(1).random((8, 12))
    labels = [0, 1, 2, 3, 4, 5, 12, 0]
    drawn = sample_tokens(gpt, torch.tensor(labels), torch.from_numpy(numbers), **settings)
    expected = [uncached_tokens(gpt, label, row, **settings) for label, row in zip(labels, numbers, strict=True)]
    assert drawn.tolist() == expected
    assert len({tuple(row) for row in expected}) == 8, "eight different sequences, or the test shows nothing"


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's compiler warns of torch
@pytest.mark.parametrize(
    ("step", "steps"), [("captured", 12), ("captured", 5), pytest.param("compiled", 5, marks=pytest.mark.slow)]
)
def test_steps_of_a_constant_shape_draw_the_tokens_of_plain_ones(gpt, step, steps):
    """What is captured or compiled on a GPU, done here as it is captured there: batch after batch in one cache."""
    sampler = sampler_of(gpt, how=step)
    numbers = np.random.default_rng(2).random((3, 8, steps))
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 12, 0])
    for part in numbers:
        drawn = sampler.draw(labels, torch.from_numpy(part), options(top_k=6, top_p=0.9))
        assert drawn.tolist() == sample_tokens(gpt, labels, torch.from_numpy(part), top_k=6, top_p=0.9).tolist()
    fewer = sampler.draw(labels[:3], torch.from_numpy(part[:3]), options())  # other shapes and settings: other buffers
    assert fewer.tolist() == sample_tokens(gpt, labels[:3], torch.from_numpy(part[:3])).tolist()


NULL_CLASS = 12


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize(
    ("step", "guidance", "settings"),
    [
        ("plain", 1.5, {}),
        ("plain", 3.0, {"temperature": 1.3, "top_k": 6, "top_p": 0.9}),
        ("captured", 8.0, {"temperature": 2.0}),
        pytest.param("compiled", 3.0, {"top_p": 0.9}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_guided_sampling_draws_the_tokens_of_two_forward_passes_and_the_formula(gpt, step, guidance, settings):
    """In float64, so that no tie is decided by rounding."""
    exact, labels = copy.deepcopy(gpt).double(), [0, 1, 2, 3, 4, 5, 11, 0]
    numbers = np.random.default_rng(1).random((8, 12))
    expected = [
        uncached_tokens(exact, label, row, guidance=guidance, null_class=NULL_CLASS, **settings)
        for label, row in zip(labels, numbers, strict=True)
    ]
    sampler = sampler_of(exact, torch.float64, step, NULL_CLASS)
    for _ in range(2):  # anew in the same cache
        drawn = sampler.draw(torch.tensor(labels), torch.from_numpy(numbers), options(guidance=guidance, **settings))
        assert drawn.tolist() == expected
    unguided = [uncached_tokens(exact, label, row, **settings) for label, row in zip(labels, numbers, strict=True)]
    assert sum(a != b for a, b in zip(expected, unguided, strict=True)) >= 4, "guidance matters, or this shows nothing"


def test_guidance_of_1_is_none_and_of_another_strength_is_drawn_in_other_buffers(gpt):
    labels, numbers = torch.arange(8), torch.from_numpy(np.random.default_rng(4).random((8, 12)))
    sampler = sampler_of(gpt, null_class=NULL_CLASS)
    strengths = (1.0, 4.0, 1.5, 4.0, 1.0)
    drawn = [sampler.draw(labels, numbers, options(guidance=strength)).tolist() for strength in strengths]
    assert drawn[0] == drawn[4] == sample_tokens(gpt, labels, numbers).tolist()
    assert drawn[1] == drawn[3]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_a_guided_sequence_does_not_depend_on_the_rest_of_its_batch(gpt, precision):
    labels, numbers = torch.arange(8), torch.from_numpy(np.random.default_rng(5).random((8, 12)))
    sampler = sampler_of(gpt, precision, null_class=NULL_CLASS)
    drawn = sampler.draw(labels, numbers, options(guidance=3.0))
    others, more = (labels + 3) % 8, torch.from_numpy(np.random.default_rng(6).random((8, 12)))
    others[[2, 7]], more[[2, 7]] = labels[[2, 7]], numbers[[2, 7]]
    again = sampler.draw(others, more, options(guidance=3.0))
    assert torch.equal(again[[2, 7]], drawn[[2, 7]])
    assert not any(torch.equal(again[row], drawn[row]) for row in (0, 1, 3, 4, 5, 6))


def test_a_network_without_a_null_class_cannot_be_guided(gpt):
    with pytest.raises(InputError, match=r"^guidance 1.5: the generator has no null class, .*; allowed: 1$"):
        sampler_of(gpt).draw(torch.tensor([0]), torch.zeros(1, 12, dtype=torch.float64), options(guidance=1.5))


@given(st.integers(1, 300))
def test_a_captured_step_reads_all_that_is_there_and_has_few_shapes(steps):
    read = [stretch(step, steps) for step in range(steps)]
    assert all(step < seen <= steps for step, seen in enumerate(read))
    assert len(set(read)) <= 8
    assert sum(read) <= (1 + 1 / 8) * sum(range(1, steps + 1)) + steps


@pytest.mark.parametrize("step", ["plain", "captured"])
def test_bfloat16_draws_from_nearly_the_same_distribution(gpt, step):
    """Where the numbers decide alike, the tokens are the same; they seldom part in the first steps."""
    numbers = torch.from_numpy(np.random.default_rng(3).random((64, 12)))
    labels = torch.arange(64) % 13
    exact = sample_tokens(gpt, labels, numbers)
    sampler = sampler_of(gpt, torch.bfloat16, step)
    drawn = sampler.draw(labels, numbers, options())
    assert sampler.draw(labels, numbers, options()).tolist() == drawn.tolist(), "a function of classes and numbers"
    assert (drawn[:, 0] == exact[:, 0]).float().mean() > 0.9
    assert not torch.equal(drawn, exact), "another precision, or the test shows nothing"
    assert (drawn[32:] != drawn[:32]).any() and drawn.max() < 13


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("step", ["plain", "captured"])
def test_no_step_reads_a_value_from_the_device(step, guidance):
    """On torch's meta device there are no values: to read one is an error."""
    with torch.device("meta"):
        gpt = GPT(vocab_size=13, block_size=12, n_layer=3, n_head=2, n_embd=16).eval()
        sampler = RasterSampler(GptSteps(gpt), step, NULL_CLASS)
        labels, numbers = torch.zeros(8, dtype=torch.int64), torch.zeros(8, 12, dtype=torch.float64)
    drawn = sampler.draw(labels, numbers, Sampling(temperature=0.9, top_k=6, top_p=0.9, guidance=guidance))
    assert drawn.shape == (8, 12)
    with pytest.raises(RuntimeError, match="meta"):
        labels[0].item()


def test_a_sampler_holds_the_weights_once_and_leaves_the_network_as_it_was(gpt):
    network = copy.deepcopy(gpt)
    steps = GptSteps(network)
    for block, layer, original in zip(network.blocks, steps.layers, gpt.blocks, strict=True):
        assert block.attn.query.weight.data_ptr() == layer.projections.matrix.data_ptr()
        assert block.mlp[0].weight.data_ptr() == layer.up.matrix.data_ptr()
        assert all(torch.equal(a, b) for a, b in zip(block.parameters(), original.parameters(), strict=True))


@pytest.mark.parametrize("guidance", [{}, {"guidance": 2.5, "null_class": 7}], ids=str)
def test_a_sample_of_the_data_set_is_a_function_of_seed_split_class_and_index(guidance, generator_weights):
    model = load_generator(generator_weights)
    labels, indices = np.array([5, 0, 3]), np.array([0, 11, 4])
    grids, _ = draw_samples(
        model,
        labels,
        indices,
        seed=9,
        stream=2,
        sampling=Sampling(top_k=None, top_p=0.92, guidance=guidance.get("guidance", 1.0)),
        batch=(2, 3),
        keep=ImageFiles(),
    )
    for grid, label, index in zip(grids, labels, indices, strict=True):
        numbers = uniforms(sample_seeds(9, 2, [label], [index]), 16)[0]
        assert grid.ravel().tolist() == uncached_tokens(model.transformer, int(label), numbers, top_p=0.92, **guidance)


# Logits in steps of 1/64: ties happen, and nothing else is nearly a tie.
LOGITS = st.lists(st.integers(-640, 640).map(lambda steps: steps / 64), min_size=1, max_size=12)


@given(
    LOGITS,
    st.floats(0, LAST),
    st.floats(0.05, 20),
    st.none() | st.integers(1, 15),
    st.none() | st.floats(1e-6, 1),
)
@example([0.0, 0.0, 0.0, 0.0], 0.6, 1.0, None, 0.5)
@example([3.0, 3.0, 1.0], 0.4, 1.0, 1, None)
@example([5.0, -40.0, 5.0], 0.49, 1.0, None, 1.0)
def test_a_choice_is_that_of_a_distribution_made_token_by_token(logits, uniform, temperature, top_k, top_p):
    if top_p is not None:  # which side of p a sum lies on must not hang on its last bits
        kept = np.sort(slow_distribution(logits, temperature, top_k))[::-1][:top_k]
        mass = np.cumsum(kept / kept.sum())
        assume(top_p == 1 or np.abs(mass - top_p).min() > 1e-9)
    probabilities = slow_distribution(logits, temperature, top_k, top_p)
    assume(np.abs(np.cumsum(probabilities)[:-1] - uniform).min(initial=1) > 1e-9)
    chosen = choose_tokens(
        torch.tensor([logits]), torch.tensor([uniform]).double(), temperature=temperature, top_k=top_k, top_p=top_p
    )
    assert chosen.tolist() == [slow_choice(probabilities, uniform)]


@given(LOGITS, st.floats(0, LAST), st.none() | st.integers(1, 15), st.none() | st.floats(1e-6, 1))
def test_a_row_of_a_batch_is_chosen_as_if_alone(logits, uniform, top_k, top_p):
    alone, others = torch.tensor([logits]), torch.randn(3, len(logits), generator=torch.Generator().manual_seed(0))
    numbers = torch.tensor([0.1, 0.5, uniform, 0.9], dtype=torch.float64)
    batch = torch.cat([others[:2], alone, others[2:]])
    chosen = choose_tokens(batch, numbers, top_k=top_k, top_p=top_p)
    assert chosen[2] == choose_tokens(alone, numbers[2:3], top_k=top_k, top_p=top_p)[0]


@pytest.mark.parametrize(
    ("settings", "possible"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 1}, [1]),
        ({"top_k": 2}, [1, 3, 4]),  # 3 and 4 are as probable
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.49}, [1]),  # probabilities 0.03, 0.50, 0.07, 0.20, 0.20
        ({"top_p": 0.51}, [1, 3, 4]),
        ({"top_p": 0.95}, [1, 2, 3, 4]),
        ({"top_p": 1.0}, [0, 1, 2, 3, 4]),
        ({"top_k": 3, "top_p": 0.54}, [1]),  # of the three most probable, the first has 0.50 / 0.90
        ({"temperature": 1e-300}, [1]),
        ({"temperature": 1e-300, "top_k": 2, "top_p": 0.5}, [1]),
        ({"temperature": 1e300}, [0, 1, 2, 3, 4]),
    ],
    ids=str,
)
def test_the_smallest_and_the_largest_numbers_choose_the_first_and_last_possible_token(settings, possible):
    logits = torch.tensor([0.03, 0.50, 0.07, 0.20, 0.20]).log().expand(1001, -1)
    numbers = torch.linspace(0, 1, 1001, dtype=torch.float64).clamp(max=LAST)
    chosen = choose_tokens(logits, numbers, **settings)
    assert chosen.unique().tolist() == possible
    assert (chosen.diff() >= 0).all(), "a larger number never chooses an earlier token"


def test_guidance_moves_the_logits_away_from_those_of_no_class():
    """Odds of two tokens 1 : 2 given the class and 1 : 1 without: guided by 3, 1 : 2³; then the temperature's root."""
    logits = torch.tensor([[1.0, 2.0], [1.0, 1.0]]).log()
    for temperature, first in ((1.0, 1 / 9), (3.0, 1 / 3)):
        for uniform, expected in ((first - 1e-6, 0), (first + 1e-6, 1)):
            numbers = torch.tensor([uniform], dtype=torch.float64)
            assert choose_tokens(guide(logits, 3.0), numbers, temperature=temperature).tolist() == [expected]


def test_impossible_tokens_are_never_chosen():
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf]).expand(2, -1)
    assert choose_tokens(logits, torch.tensor([0.0, LAST], dtype=torch.float64)).tolist() == [1, 3]


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.5}, {"top_k": 7}, {"top_k": 9, "top_p": 0.8}], ids=str)
def test_frequencies_follow_the_distribution(settings):
    logits = torch.randn(12, generator=torch.Generator().manual_seed(2))
    numbers = torch.from_numpy(uniforms(np.array([5], np.uint64), 20_000)[0])
    counts = choose_tokens(logits.expand(20_000, -1), numbers, **settings).bincount(minlength=12).numpy()
    probabilities = slow_distribution(logits.numpy(), **settings)
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    # A false alarm once in ten thousand seeds, and the seed is fixed.
    assert stats.chisquare(counts[possible], 20_000 * probabilities[possible]).pvalue > 1e-4


# --- the strength of guidance, step by step ----------------------------------------------------------------------


def power_cosine(guidance, power, step, steps):
    """RAR's schedule, as its authors write it: the scale g that adds ``g · (given − null)`` to the null logits."""
    share = (1 - np.cos(((step / steps) ** power) * np.pi)) * 1 / 2
    return (guidance - 1) * share + 1


@pytest.mark.parametrize(("guidance", "power"), [(16.0, 2.75), (6.9, 1.5), (8.0, 1.2)])
def test_the_power_cosine_grows_from_none_to_the_full_strength(guidance, power):
    sampling = options(guidance=guidance, guidance_schedule="power_cosine", guidance_power=power)
    strengths = sampling.strengths(256)
    assert strengths == pytest.approx([power_cosine(guidance, power, step, 256) for step in range(256)], rel=1e-12)
    assert strengths[0] == 1 and strengths == sorted(strengths) and 0.99 * guidance < strengths[-1] < guidance
    assert options(guidance=guidance).strengths(3) == [guidance] * 3


@pytest.mark.parametrize("step", ["plain", "captured"])
def test_every_token_is_guided_by_the_strength_of_its_step(gpt, step):
    exact, labels = copy.deepcopy(gpt).double(), [0, 1, 2, 3, 4, 5, 11, 0]
    numbers = np.random.default_rng(1).random((8, 12))
    sampling = options(guidance=6.0, guidance_schedule="power_cosine", guidance_power=1.5, temperature=1.2)
    drawn = sampler_of(exact, torch.float64, step, NULL_CLASS).draw(
        torch.tensor(labels), torch.from_numpy(numbers), sampling
    )
    for label, row, found in zip(labels, numbers, drawn.tolist(), strict=True):
        tokens = []
        for position, number in enumerate(row):
            with torch.no_grad():
                given, null = (exact(torch.tensor([[first, *tokens]]))[0][0, -1] for first in (label, NULL_CLASS))
            guided = null + power_cosine(6.0, 1.5, position, 12) * (given - null)
            tokens.append(slow_choice(slow_distribution(guided.numpy(), temperature=1.2), number))
        assert found == tokens
    constant = sampler_of(exact, torch.float64, step, NULL_CLASS).draw(
        torch.tensor(labels), torch.from_numpy(numbers), options(guidance=6.0, temperature=1.2)
    )
    assert (constant != drawn).any(), "the schedule matters, or this shows nothing"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"guidance_power": 2.0}, "guidance_power = 2.0: should not be set without guidance_schedule = 'power_cosine'"),
        ({"guidance_schedule": "power_cosine"}, "guidance_power = None: should be a number beside guidance_schedule"),
    ],
)
def test_a_power_stands_beside_its_schedule(settings, told):
    with pytest.raises(ValueError, match=told):
        Sampling(guidance=2.0, **settings)
