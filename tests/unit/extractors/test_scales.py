"""Extractors of tokens of several scales: the composition is their first layer, and is not trained."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from cortex.core.errors import InputError
from cortex.core.weights import read_weights, write_weights
from cortex.data.importing import import_split
from cortex.data.settings import ImageFiles
from cortex.data.shard_reader import Sample, read_shard
from cortex.data.shard_writer import write_shard
from cortex.data.tokens import read_shard_tokens, read_tokens
from cortex.explain.attributions import gradient, gradient_input, occlusion
from cortex.explain.codebook_search import prepare, search_part, token_selection
from cortex.explain.context import AttributionContext
from cortex.explain.importance import token_importance
from cortex.explain.settings import Region, SearchOptimisation
from cortex.extractors.codebook import export_codebook, load_codebook, load_composition, look_up
from cortex.extractors.network import (
    Composed,
    build_extractor,
    learned,
    load_extractor,
    save_extractor,
    untrained_extractor,
)
from cortex.generators.convert import convert_generator
from cortex.generators.load import generator_spec, load_generator, read_codebook
from cortex.generators.tokenizer import write_tokenizer
from cortex.generators.var import files
from tests.published import CODES, TINY_SIDES, VAR_CHANNELS, tiny_var

SIDES = TINY_SIDES[4]
POSITIONS = sum(side**2 for side in SIDES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny VAR's weights file and its codebook's."""
    folder = tmp_path_factory.mktemp("scales")
    tokenizer, prior = tiny_var(4)
    torch.save(tokenizer, folder / "vae_t.pth")
    torch.save(prior, folder / "var_d3.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(files.SIDES, POSITIONS, SIDES)
        convert_generator(folder / "weights.safetensors", family="var", folder=folder)
    export_codebook(folder / "codebook.safetensors", family="var", generator=folder / "weights.safetensors")
    return folder


@pytest.fixture(scope="module")
def composition(folder):
    return load_composition(folder / "codebook.safetensors")


@pytest.mark.parametrize(
    "stated", [{"scales": [1, 2]}, {"grid": [1, POSITIONS + 1]}, {"grid": [POSITIONS, 1]}, {"scales": [*SIDES[:9], 5]}]
)
def test_scales_that_are_no_composition_are_refused(folder, tmp_path, stated):
    tensors, metadata = read_weights(folder / "codebook.safetensors")
    architecture = json.loads(metadata["architecture"]) | stated
    write_weights(tmp_path / "codebook.safetensors", tensors, metadata | {"architecture": json.dumps(architecture)})
    with pytest.raises(InputError, match="scales are 10 sides, and the grid is one row of their"):
        generator_spec(tmp_path / "codebook.safetensors", "codebook")


def test_a_tokenizer_decodes_vectors_as_its_generator(folder, tmp_path):
    write_tokenizer(
        tmp_path / "tokenizer.safetensors", classes=("a", "b"), generator=folder / "weights.safetensors", family="var"
    )
    model = load_generator(folder / "weights.safetensors", family="var")
    own: Any = load_generator(tmp_path / "tokenizer.safetensors", family="tokenizer")
    vectors = model.codebook[tokens(2)[:, 0]]
    assert torch.equal(own.decode_vectors(vectors), model.decode_vectors(vectors))
    assert torch.equal(own.decode(tokens(2)), model.decode(tokens(2)))


def test_imported_tokens_are_of_their_scale(folder, tmp_path):
    """A token of another scale is refused by position; one that is missing is the nearest code of its scale."""
    grids, labels = tokens(4).numpy(), np.array([0, 1, 0, 1])
    np.save(tmp_path / "labels.npy", labels)
    options = {"classes": [0, 1], "per_class": 2, "shard_size": 4, "device": "cpu", "family": "var"}
    options |= {"generator": folder / "weights.safetensors", "keep": ImageFiles(images="none")}
    wrong = grids.copy()
    wrong[2, 0, 5] += CODES  # position 5 is the first of the third scale
    np.save(tmp_path / "grids.npy", wrong)
    message = rf"token {wrong[2, 0, 5]}; the generator has tokens {2 * CODES} to {3 * CODES - 1} at position 5"
    with pytest.raises(InputError, match=message):
        import_split(tmp_path / "train", "train", tmp_path / "grids.npy", labels=tmp_path / "labels.npy", **options)
    vectors = read_codebook(folder / "weights.safetensors", "var")[torch.from_numpy(grids)].permute(0, 3, 1, 2).numpy()
    lines = ["filename,label"]
    for row, label in enumerate(labels):
        np.save(tmp_path / f"sample_{row}.npy", vectors[row])
        lines.append(f"sample_{row}.npy,{label}")
    (tmp_path / "train.csv").write_text("\n".join(lines))
    import_split(tmp_path / "train", "train", tmp_path / "train.csv", **options)
    samples = list(read_shard(tmp_path / "train" / "000000.tar", images="any", codes=10 * CODES))
    assert np.array_equal(np.stack([sample.grid for sample in samples]), grids)


ARGUMENTS = {"channels": VAR_CHANNELS, "classes": 3, "grid": (1, POSITIONS), "width": 8, "hidden": 8, "dropout": 0.0}


@pytest.fixture(scope="module")
def network(composition):
    torch.manual_seed(0)
    network = build_extractor("cnn", scales=SIDES, **ARGUMENTS)
    network.composition.load_state_dict(composition.state_dict())
    for _ in range(3):
        network.train()(torch.randn(16, VAR_CHANNELS, 1, POSITIONS))
    return network.eval().requires_grad_(False)


def tokens(images, seed=0):
    """Token sequences ``[N, 1, P]``: every position holds a code of its scale."""
    scales = np.repeat(np.arange(10), np.square(SIDES))
    codes = np.random.default_rng(seed).integers(0, CODES, (images, POSITIONS)) + CODES * scales
    return torch.from_numpy(codes[:, None])


def test_a_codebooks_file_composes_as_its_generator(folder, composition):
    model = load_generator(folder / "weights.safetensors", family="var")
    alone = load_generator(folder / "codebook.safetensors", family="codebook")
    vectors = model.codebook[tokens(2)[:, 0]]
    assert torch.equal(composition(vectors), model.compose(vectors))
    assert torch.equal(alone.compose(vectors), model.compose(vectors)) and torch.equal(alone.codebook, model.codebook)
    spec = generator_spec(folder / "codebook.safetensors", "codebook")
    assert (spec.scales, spec.grid, spec.map, spec.codes) == (SIDES, (1, POSITIONS), (4, 4), 10 * CODES)
    assert load_codebook(folder / "codebook.safetensors", torch.device("cpu")).shape == (10 * CODES, VAR_CHANNELS)


def test_importance_is_the_chain_rule_through_the_composition(network):
    """The gradient of the map by autograd, times the matrix of the composition, column by column."""
    vectors = torch.randn(2, VAR_CHANNELS, 1, POSITIONS, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 2])
    flat = vectors.flatten(2).transpose(1, 2)
    composed = network.composition(flat).detach().requires_grad_()
    network.network(composed).gather(1, labels[:, None]).sum().backward()
    nothing = torch.zeros_like(flat[:1])
    offset = network.composition(nothing)
    expected = torch.empty_like(flat)
    for position in range(POSITIONS):
        for channel in range(VAR_CHANNELS):
            unit = nothing.clone()
            unit[0, position, channel] = 1
            column = (network.composition(unit) - offset)[0]
            expected[:, position, channel] = (composed.grad * column).sum((1, 2, 3))
    found = token_importance(network, vectors, labels, [1, 2], samples=1, noise=0.0)
    assert found.shape == (2, 1, POSITIONS)
    torch.testing.assert_close(found[:, 0], expected.amax(2), atol=1e-6, rtol=1e-4)
    context = AttributionContext(
        torch.zeros(VAR_CHANNELS),
        codebook=torch.zeros(1, VAR_CHANNELS),
        grids=torch.zeros(2, 1, POSITIONS, dtype=torch.int64),
        keys=["a", "b"],
        seed=0,
        samples=8,
        noise=0.0,
        reduction="max",
        steps=3,
    )
    torch.testing.assert_close(gradient(network, vectors, labels, context), found)
    products = gradient_input(network, vectors, labels, context)[:, 0]
    torch.testing.assert_close(products, (expected * flat).sum(2), atol=1e-6, rtol=1e-4)
    falls = occlusion(network, vectors, labels, context)
    without = vectors.clone()
    without[:, :, 0, 7] = 0
    difference = (network(vectors) - network(without)).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(falls[:, 0, 7], difference)


def test_an_extractors_file_holds_the_composition(network, composition, tmp_path):
    path = tmp_path / "model.safetensors"
    state = {
        name: weight.float() if weight.is_floating_point() else weight for name, weight in network.state_dict().items()
    }
    save_extractor(path, "cnn", ARGUMENTS | {"scales": SIDES}, state)
    loaded = load_extractor(path)
    vectors = torch.randn(2, VAR_CHANNELS, 1, POSITIONS)
    torch.testing.assert_close(loaded(vectors), network(vectors))
    new = untrained_extractor(path, torch.device("cpu"), 5)
    assert isinstance(new, Composed) and not torch.equal(learned(new).fc3.weight, learned(loaded).fc3.weight)
    for name, weight in composition.state_dict().items():
        assert torch.equal(new.composition.state_dict()[name], weight)
    assert learned(loaded) is loaded.network and learned(loaded.network) is loaded.network


def test_training_leaves_the_composition_as_it_is(composition):
    torch.manual_seed(1)
    network = build_extractor("transformer", scales=SIDES, **SMALL)
    network.composition.load_state_dict(composition.state_dict())
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        network(torch.randn(4, VAR_CHANNELS, 1, POSITIONS)).square().sum().backward()
        optimizer.step()
    for name, weight in network.state_dict().items():
        changed = not torch.equal(weight, before[name])
        assert changed == (not name.startswith("composition.")) or name.endswith("num_batches_tracked"), name


SMALL = {
    "channels": VAR_CHANNELS, "classes": 3, "grid": (1, POSITIONS),
    "width": 8, "layers": 1, "heads": 2, "mlp": 8, "hidden": 8, "dropout": 0.0,
}  # fmt: skip


def test_a_search_chooses_among_the_codes_of_a_positions_scale(network, folder):
    codebook = load_codebook(folder / "codebook.safetensors", torch.device("cpu"))
    grids, region = tokens(3), Region(top=1, left=1, height=3, width=3)
    part = search_part(prepare(network), codebook, ["a", "b", "c"], grids, torch.tensor([0, 1, 2]), region, SIDES)
    scales = np.repeat(np.arange(10), np.square(SIDES))
    assert set(scales[part.positions]) == {2, 3, 4, 5, 6, 7, 8, 9}
    assert len(part.codebook) == CODES and torch.equal(part.first, torch.from_numpy(scales[part.positions] * CODES))
    assert torch.equal(part.original + part.first, grids[:, 0, part.positions])
    before = network(look_up(codebook, grids)).diagonal()
    torch.testing.assert_close(part.logits_of(part.original), before)
    optimisation = SearchOptimisation(steps=30, record_every=30, learning_rate=0.3)
    _, found = list(token_selection(part, optimisation, 0))[-1]
    assert found.min() >= 0 and found.max() < CODES
    edited = grids.clone()
    edited[:, 0, part.positions] = found + part.first
    after = network(look_up(codebook, edited)).diagonal()
    torch.testing.assert_close(part.logits_of(found), after)
    assert (after > before).all()


def test_token_tables_keep_the_scales(tmp_path, folder):
    samples = [Sample(f"test-0000-{row:06d}", 0, grid.numpy().astype(np.uint16)) for row, grid in enumerate(tokens(2))]
    write_shard(tmp_path / "a.tar", samples)
    read_shard_tokens(tmp_path / "a.parquet", tmp_path / "a.tar", codes=10 * CODES, scales=list(SIDES))
    found = read_tokens([tmp_path / "a.parquet"])
    assert found.scales == SIDES and found.shape == (1, POSITIONS) and found.take([1]).layout.scales == SIDES
    read_shard_tokens(tmp_path / "b.parquet", tmp_path / "a.tar", codes=10 * CODES)
    assert read_tokens(tmp_path / "b.parquet").scales == ()
    assert read_weights(folder / "codebook.safetensors", only="composition.qresi_ls.3.bias")[0]
