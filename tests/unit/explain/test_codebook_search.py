"""Codebook search (METHOD.md, section 5) against the released formulation: a one-hot matrix over the whole grid."""

import numpy as np
import pytest
import torch

from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.core.weights import write_weights
from cortex.data.shard_reader import Sample
from cortex.explain.codebook_search import (
    optimise_embeddings,
    prepare,
    search_codebook,
    search_part,
    select_tokens,
    target_logits_with,
    token_selection,
)
from cortex.explain.settings import CodebookSearch, Region, SearchOptimisation
from cortex.extractors.network import build_extractor, save_extractor
from cortex.fast.region_forward import RegionForward
from tests.tables import write_samples

SETTINGS = {"channels": 5, "classes": 3, "grid": (8, 8), "width": 8, "hidden": 16}
REGION = Region(top=2, left=3, height=2, width=3)
CODES = 7


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = build_extractor("cnn", **SETTINGS)
    network.train()
    for _ in range(3):
        network(torch.randn(16, 5, 8, 8))
    return network.eval().requires_grad_(False)


@pytest.fixture
def codebook():
    return torch.randn(CODES, 5, generator=torch.Generator().manual_seed(1))


def released_search(
    network, codebook, grid, target, seed, steps, learning_rate, temperature, prior_bonus=None, every=1
):
    """All 64 rows of logits, the fixed ones held at ±300, a dense one-hot matrix, gradients by autograd.

    Only the random numbers are ours: those of the region's rows, drawn in the same order. And where the codes are worth
    something, given the most probable ones every so many steps, the objective is what the one-hot matrix picks of it.
    """
    random = torch.Generator().manual_seed(seed)
    positions = REGION.positions(8)
    logits = torch.full((64, CODES), -300.0)
    logits[torch.arange(64), grid.flatten()] = 300.0
    logits[positions] = torch.randn((len(positions), CODES), generator=random)
    logits.requires_grad_()
    adam = torch.optim.Adam([logits], lr=learning_rate)
    fixed = torch.ones(64, 1)
    fixed[positions] = 0
    chosen = []
    for step in range(steps):
        if prior_bonus is not None and step % every == 0:
            added = prior_bonus(logits.detach()[positions].argmax(-1))
        gumbel = torch.zeros(64, CODES)
        gumbel[positions] = -(-torch.rand(len(positions), CODES, generator=random).log()).log()
        soft = ((logits + gumbel) / temperature).softmax(-1)
        hard = torch.nn.functional.one_hot(soft.argmax(-1), CODES).float()
        one_hot = hard - soft.detach() + soft
        embedding = (one_hot @ codebook).T.view(1, 5, 8, 8)
        loss = -network(embedding)[0, target]
        if prior_bonus is not None:
            loss = loss - (one_hot[positions] * added).sum()
        adam.zero_grad()
        loss.backward()
        logits.grad *= 1 - fixed
        adam.step()
        chosen.append(logits.detach()[positions].argmax(-1))
    return torch.stack(chosen)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("prepare", [lambda network: network, RegionForward], ids=["whole", "windowed"])
def test_only_the_regions_rows_matter(network, codebook, prepare, temperature):
    grids = torch.randint(0, CODES, (3, 8, 8), generator=torch.Generator().manual_seed(2))
    targets, seeds, steps = [0, 2, 1], [5, 6, 7], 40
    embeddings = codebook[grids].permute(0, 3, 1, 2)
    logits = target_logits_with(prepare(network), embeddings, torch.tensor(targets), REGION)
    optimisation = SearchOptimisation(steps=steps, record_every=1, learning_rate=0.1, temperature=temperature)
    record = dict(select_tokens(logits, codebook, seeds, 6, optimisation))
    assert list(record) == list(range(1, steps + 1))
    for image in range(3):
        expected = released_search(
            network, codebook, grids[image], targets[image], seeds[image], steps, 0.1, temperature
        )
        ours = torch.stack([tokens[image] for tokens in record.values()])
        assert torch.equal(ours, expected)
    assert any(not torch.equal(record[1], tokens) for tokens in record.values()), "the search never moved"


def test_what_codes_are_worth_is_part_of_the_objective(network, codebook):
    """Here, a code's worth hangs on the code that is most probable at the position before."""
    grids = torch.randint(0, CODES, (2, 8, 8), generator=torch.Generator().manual_seed(2))
    table = torch.randn(CODES, CODES, generator=torch.Generator().manual_seed(3)) * 3
    calls = []

    def prior_bonus(tokens):
        calls.append(tokens)
        return table[tokens.roll(1, -1)]

    logits = target_logits_with(network, codebook[grids].permute(0, 3, 1, 2), torch.tensor([0, 2]), REGION)
    optimisation = SearchOptimisation(steps=40, record_every=1, learning_rate=0.1, temperature=1.0)
    found = dict(select_tokens(logits, codebook, [5, 6], 6, optimisation, prior_bonus=prior_bonus, refresh_every=3))
    assert len(calls) == 14
    for image, (target, seed) in enumerate([(0, 5), (2, 6)]):
        expected = released_search(network, codebook, grids[image], target, seed, 40, 0.1, 1.0, prior_bonus, 3)
        assert torch.equal(torch.stack([tokens[image] for tokens in found.values()]), expected)
    alone = dict(select_tokens(logits, codebook, [5, 6], 6, optimisation))
    assert not torch.equal(found[40], alone[40])


def test_the_search_does_not_depend_on_the_batch(network, codebook):
    grids = torch.randint(0, CODES, (2, 8, 8), generator=torch.Generator().manual_seed(2))
    embeddings = codebook[grids].permute(0, 3, 1, 2)
    optimisation = SearchOptimisation(steps=20, record_every=20, learning_rate=0.1, temperature=1.0)

    def search(rows):
        logits = target_logits_with(network, embeddings[rows], torch.tensor([1, 2])[rows], REGION)
        return next(select_tokens(logits, codebook, [[8, 9][row] for row in rows], 6, optimisation))[1]

    assert torch.equal(search([0, 1]), torch.cat([search([0]), search([1])]))


def test_embedding_baseline_is_adam_on_the_regions_vectors(network, codebook):
    grid = torch.randint(0, CODES, (1, 8, 8), generator=torch.Generator().manual_seed(3))
    embedding = codebook[grid].permute(0, 3, 1, 2)
    start = embedding[0, :, 2:4, 3:6].clone().requires_grad_()
    adam = torch.optim.Adam([start], lr=0.1)
    for _ in range(15):
        whole = embedding.clone()
        whole[0, :, 2:4, 3:6] = start
        adam.zero_grad()
        (-network(whole)[0, 1]).backward()
        adam.step()
    distances = [
        [(start[:, row, column].detach() - code).square().sum().item() for code in codebook]
        for row in range(2)
        for column in range(3)
    ]
    logits = target_logits_with(network, embedding, torch.tensor([1]), REGION)
    original = codebook[grid.flatten(1)[:, REGION.positions(8)]]
    optimisation = SearchOptimisation(steps=15, record_every=10, learning_rate=0.1)
    record = dict(optimise_embeddings(logits, codebook, original, optimisation))
    assert list(record) == [10, 15]
    assert record[15].tolist() == [np.argmin(distances, axis=1).tolist()]


def test_region_positions_are_row_major():
    assert Region(top=7, left=7, height=4, width=4).positions(16)[:5] == [119, 120, 121, 122, 135]
    assert REGION.positions(8) == [19, 20, 21, 27, 28, 29]


@pytest.fixture
def files(tmp_path, network, codebook):
    rng = np.random.default_rng(0)
    samples = [
        Sample(f"test-{label:04d}-{index:06d}", label, rng.integers(0, CODES, (8, 8)).astype(np.uint16))
        for index in range(4)
        for label in range(3)
    ]
    tables = [
        write_samples(tmp_path / "000000.parquet", samples[:7]),
        write_samples(tmp_path / "000001.parquet", samples[7:]),
    ]
    save_extractor(tmp_path / "model.safetensors", "cnn", SETTINGS, network.state_dict())
    write_weights(tmp_path / "codebook.safetensors", {"codebook": codebook}, {})
    return tmp_path, tables, {sample.key: sample.grid for sample in samples}


SEARCH = {"pairs": {0: 1, 2: 0}, "images_per_class": 3, "steps": 6, "record_every": 4, "batch": 4, "region": REGION}


def search(folder, tables, **changes):
    inputs = (tables, folder / "model.safetensors", folder / "codebook.safetensors")
    settings = CodebookSearch(**(SEARCH | changes))
    search_codebook(folder / "found.parquet", *inputs, settings=settings, device="cpu")
    return read_table(folder / "found.parquet")


def test_a_search_tells_what_it_found(files, network, codebook):
    folder, tables, grids = files
    table = search(folder, tables)
    assert table.column_names == [
        *("key", "method", "step", "source", "target", "positions", "tokens", "logit_before", "logit_after")
    ]
    rows = table.to_pylist()
    assert len(rows) == 6 * 2 * 2  # images × methods × records
    assert {row["step"] for row in rows} == {4, 6}
    assert {row["key"] for row in rows} == {f"test-{label:04d}-{index:06d}" for label in (0, 2) for index in range(3)}
    for row in rows:
        assert row["target"] == {0: 1, 2: 0}[row["source"]]
        assert row["positions"] == REGION.positions(8)
        grid = torch.from_numpy(grids[row["key"]].astype(np.int64))
        before = network(codebook[grid].permute(2, 0, 1)[None])[0, row["target"]].item()
        edited = grid.flatten().clone()
        edited[row["positions"]] = torch.tensor(row["tokens"])
        after = network(codebook[edited.view(8, 8)].permute(2, 0, 1)[None])[0, row["target"]].item()
        assert row["logit_before"] == pytest.approx(before, rel=1e-3, abs=1e-5)
        assert row["logit_after"] == pytest.approx(after, rel=1e-3, abs=1e-5)


def test_one_image_is_searched_as_it_is_among_others(files, network, codebook):
    """A single image's search, as the edit command runs it, records what the run's search recorded."""
    folder, tables, grids = files
    row = next(row for row in search(folder, tables).to_pylist() if row["key"] == "test-0002-000001")
    grid = torch.from_numpy(grids[row["key"]].astype(np.int64))[None]
    part = search_part(prepare(network), codebook, [row["key"]], grid, torch.tensor([row["target"]]), REGION)
    assert part.positions == row["positions"]
    assert part.logits_of(part.original).item() == pytest.approx(row["logit_before"], rel=1e-5)
    optimisation = CodebookSearch(**SEARCH).optimisation()
    step, tokens = next(token_selection(part, optimisation, seed=0))
    assert (row["method"], row["step"]) == ("token_selection", step)
    assert tokens[0].tolist() == row["tokens"]
    assert part.logits_of(tokens).item() == pytest.approx(row["logit_after"], rel=1e-5)


def test_what_cannot_be_searched_is_refused(files):
    folder, tables, _ = files
    with pytest.raises(InputError, match="5 of each are needed"):
        search(folder, tables, images_per_class=5)
    with pytest.raises(InputError, match="rows 7 to 8 and columns 3 to 5 do not fit in the grid of 8×8"):
        search(folder, tables, region=Region(top=7, left=3, height=2, width=3))
    with pytest.raises(InputError, match="knows the classes 0 to 2; here is class 3"):
        search(folder, tables, pairs={0: 3})
