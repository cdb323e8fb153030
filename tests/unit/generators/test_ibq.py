"""IBQ: its published files, against formulations in float64 written from its description, without cache."""

import copy

import numpy as np
import pytest
import torch

from cortex.core.errors import InputError
from cortex.generators.convert import convert_generator
from cortex.generators.ibq import FAMILY, sizes
from cortex.generators.ibq.networks import IbqSteps
from cortex.generators.load import generator_spec, load_generator
from cortex.generators.network.raster import RasterSampler
from cortex.generators.network.vqgan import VQGAN
from cortex.generators.prior import log_likelihoods
from cortex.generators.sampling import Sampling
from cortex.generators.spec import Origin
from tests.checkpoints import lightning
from tests.published import (
    CLASSES,
    CODES,
    HEADS,
    LAYERS,
    TAMING_F16,
    TINY_DDCONFIG,
    TINY_IBQ_SIZE,
    WIDTH,
    ibq_prior,
    ibq_state,
    shapes_by_name,
    stand_in,
    tiny_ibq_prior,
)
from tests.slow_vqgan import SlowTaming
from tests.unit.generators.test_llamagen import turned
from tests.unit.generators.test_sampler import slow_choice, slow_distribution

SIDE, STEPS = 16, 10
DDCONFIG = TINY_DDCONFIG | {"ch_mult": [1, 2], "resolution": 32, "attn_resolutions": [16], "num_res_blocks": 4}
UNCUT = Sampling(top_k=None, top_p=None)


@pytest.fixture(scope="module")
def vqgan():
    """The codes' lengths differ by far, so that the nearest code is not that of the largest product."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = VQGAN(DDCONFIG, n_embed=CODES, embed_dim=16).eval().requires_grad_(False)
        network.codebook.normal_().mul_(torch.linspace(0.2, 2, CODES)[:, None])
    return network


@pytest.fixture(scope="module")
def prior():
    return tiny_ibq_prior()


@pytest.fixture(scope="module")
def converted(vqgan, prior, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ibq")
    state = ibq_state(vqgan.state_dict(), prior) | {"first_stage_model.loss.logvar": torch.ones(1)}
    lightning(state)(folder / "AR_256_T.ckpt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sizes.SIZES, *TINY_IBQ_SIZE)
        convert_generator(folder / "weights.safetensors", folder=folder)
    return folder / "weights.safetensors"


@pytest.fixture(scope="module")
def generator(converted):
    return load_generator(converted, family="ibq")


# --- the prior ---------------------------------------------------------------------------------------------------


def slow_logits(prior, label, tokens):
    """Logits float64 [K] of the token after some, position by position and head by head."""
    w = {name: weight.double().numpy() for name, weight in prior.items()}
    given = w["class_emb.embedding_table.weight"][label]
    smooth = given / (1 + np.exp(-given))

    def norm(x, weight):
        return x / np.sqrt(np.mean(x**2) + 1e-5) * weight

    def modulation(name):
        return (w[f"{name}.ada_lin.1.weight"] @ smooth + w[f"{name}.ada_lin.1.bias"]).reshape(-1, WIDTH)

    xs = [given, *(w["tok_emb.weight"][token] for token in tokens)]
    for layer in range(LAYERS):
        name = f"blocks.{layer}"
        gamma1, gamma2, scale1, scale2, shift1, shift2 = modulation(name)
        normal = [norm(x, w[f"{name}.attention_norm.weight"]) * (1 + scale1) + shift1 for x in xs]
        q, k, v = zip(*(np.split(w[f"{name}.attention.wqkv.weight"] @ x, 3) for x in normal), strict=True)
        mixed = []
        for place in range(len(xs)):
            heads = []
            for of_head in np.split(np.arange(WIDTH), HEADS):
                query = turned(q[place][of_head], place - 1, side=SIDE)
                keys = [turned(k[other][of_head], other - 1, side=SIDE) for other in range(place + 1)]
                scores = np.array([(query * key.conj()).real.sum() for key in keys]) / np.sqrt(WIDTH / HEADS)
                weights = np.exp(scores - scores.max())
                heads.append(sum(a * v[other][of_head] for other, a in enumerate(weights / weights.sum())))
            mixed.append(np.concatenate(heads))
        xs = [x + gamma1 * (w[f"{name}.attention.wo.weight"] @ m) for x, m in zip(xs, mixed, strict=True)]
        for place, x in enumerate(xs):
            normal = norm(x, w[f"{name}.ffn_norm.weight"]) * (1 + scale2) + shift2
            gate = w[f"{name}.feed_forward.w1.weight"] @ normal
            hidden = gate / (1 + np.exp(-gate)) * (w[f"{name}.feed_forward.w3.weight"] @ normal)
            xs[place] = x + gamma2 * (w[f"{name}.feed_forward.w2.weight"] @ hidden)
    scale, shift = modulation("head_nm")
    return w["head.weight"] @ (norm(xs[-1], w["head_nm.rmsnorm.weight"]) * (1 + scale) + shift)


@pytest.mark.parametrize("how", ["plain", "captured"])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_sampled_tokens_are_those_of_the_slow_formulation(prior, generator, how, guidance):
    exact = copy.deepcopy(generator.transformer).double()
    sampler = RasterSampler(IbqSteps(exact, torch.float64), how, CLASSES)
    labels, numbers = [0, 7, 9], np.random.default_rng(1).random((3, STEPS))
    expected = []
    for label, row in zip(labels, numbers, strict=True):
        tokens = []
        for number in row:
            logits, null = (slow_logits(prior, first, tokens) for first in (label, CLASSES))
            guided = null + guidance * (logits - null)
            tokens.append(slow_choice(slow_distribution(guided, temperature=1.1), number))
        expected.append(tokens)
    sampling = UNCUT.model_copy(update={"guidance": guidance, "temperature": 1.1})
    for _ in range(2):  # anew in the same cache
        assert sampler.draw(torch.tensor(labels), torch.from_numpy(numbers), sampling).tolist() == expected
    assert len(set(map(tuple, expected))) == 3


def test_a_grid_is_a_function_of_class_and_seed(generator):
    labels, seeds = np.array([3, 3, 8]), np.array([1, 2, 1], np.uint64)
    grids = generator.sample(labels, seeds, UNCUT.model_copy(update={"guidance": 2.0}))
    assert grids.shape == (3, SIDE, SIDE) and len({tuple(grid.flatten().tolist()) for grid in grids}) == 3
    again = generator.sample(labels[::-1].copy(), seeds[::-1].copy(), UNCUT.model_copy(update={"guidance": 2.0}))
    assert torch.equal(again, grids.flip(0))


def test_likelihoods_are_those_of_the_slow_formulation(prior, generator):
    tokens = torch.randint(CODES, (2, SIDE * SIDE), generator=torch.Generator().manual_seed(1))
    found = log_likelihoods(generator.prior(), torch.tensor([4, CLASSES]), tokens, [0, 6])
    for image, label in enumerate((4, CLASSES)):
        for column, place in enumerate((0, 6)):
            logits = slow_logits(prior, label, tokens[image, :place].tolist())
            expected = logits[tokens[image, place]] - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
            assert found[image, column].item() == pytest.approx(expected, abs=1e-4)


# --- the tokenizer -----------------------------------------------------------------------------------------------


def test_an_image_has_the_codes_of_the_largest_products(vqgan, generator):
    images = torch.randint(256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    vectors = vqgan.embed_images(images.permute(0, 3, 1, 2) / 127.5 - 1)
    products = torch.einsum("bdhw,kd->bhwk", vectors.double(), vqgan.codebook.double())
    assert torch.equal(generator.encode(images), products.argmax(-1))
    assert (vqgan.encode(images.permute(0, 3, 1, 2) / 127.5 - 1) != products.argmax(-1)).any(), "nearest is another"


def test_images_and_codes_are_those_of_the_slow_formulation(vqgan, generator):
    slow = SlowTaming(vqgan.state_dict(), levels=2, blocks=4)
    grids = torch.randint(CODES, (2, SIDE, SIDE), generator=torch.Generator().manual_seed(2))
    pixels = slow.decode(grids)
    torch.testing.assert_close(generator.tokenizer.decode(grids).double(), pixels, atol=1e-4, rtol=1e-4)
    images = torch.randint(256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    vectors = slow.vectors(images.permute(0, 3, 1, 2).double() / 127.5 - 1)
    codes = torch.einsum("bdhw,kd->bhwk", vectors, slow.codes).argmax(-1)
    assert torch.equal(generator.encode(images), codes) and len(codes.unique()) > 3


def test_a_tokenizers_averaged_weights_are_taken(vqgan, tmp_path):
    averages = vqgan.state_dict()
    raw = {name: torch.zeros_like(weight) for name, weight in averages.items()}
    state = raw | {
        "loss.discriminator.main.0.weight": torch.ones(2),
        "model_ema.lossdiscriminatormain0weight": torch.ones(2),
    }
    state |= {f"model_ema.{name.replace('.', '')}": weight for name, weight in averages.items()}
    state |= {"model_ema.decay": torch.tensor(0.999), "model_ema.num_updates": torch.tensor(7, dtype=torch.int32)}
    torch.save({"state_dict": state}, tmp_path / "imagenet256_48.ckpt")
    convert_generator(tmp_path / "weights.safetensors", family="ibq", folder=tmp_path)
    grids = torch.randint(CODES, (2, SIDE, SIDE), generator=torch.Generator().manual_seed(2))
    alone = load_generator(tmp_path / "weights.safetensors", family="ibq")
    assert torch.equal(alone.tokenizer.decode(grids), vqgan.decode(grids)) and not alone.spec.samples
    torch.save({"state_dict": state | {"model_ema.other": torch.ones(2)}}, tmp_path / "imagenet256_48.ckpt")
    with pytest.raises(InputError, match=r"1 unexpected weights: model_ema\.other$"):
        convert_generator(tmp_path / "weights.safetensors", family="ibq", folder=tmp_path)


# --- files -------------------------------------------------------------------------------------------------------

PUBLISHED = [  # width, layers and heads, units of an MLP, tensors, parameters, temperature, guidance
    ("AR_256_B.ckpt", 1024, 16, 2816, 150, 342_994_944, 1.1, 2.25),
    ("AR_256_L.ckpt", 1280, 20, 3584, 186, 649_640_960, 1.0, 2.0),
    ("AR_256_XL.ckpt", 1536, 24, 4096, 222, 1_076_103_168, 1.15, 2.35),
    ("AR_256_XXL.ckpt", 1920, 30, 5120, 276, 2_063_331_840, 1.2, 2.85),
]


def tokenizer_shapes(codes):
    with torch.device("meta"):
        vqgan = VQGAN(TAMING_F16 | {"num_res_blocks": 4}, n_embed=codes, embed_dim=256)
    return {name: tuple(weight.shape) for name, weight in vqgan.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "width", "layers", "hidden", "tensors", "count", "temperature", "guidance"), PUBLISHED
)
def test_every_published_size_has_its_names_and_parameters(
    tmp_path, name, width, layers, hidden, tensors, count, temperature, guidance
):
    prior = ibq_prior(layers, width, hidden)
    assert len(prior) == tensors and sum(np.prod(shape, dtype=int) for shape in prior.values()) == count
    shapes = ibq_state(tokenizer_shapes(16384), prior)
    torch.save({"state_dict": stand_in(shapes)}, tmp_path / name)
    source = FAMILY.source(tmp_path, None, None)
    assert shapes_by_name(FAMILY, source.architecture) == shapes
    spec = FAMILY.spec(Origin(folder=tmp_path))
    assert (spec.grid, spec.image, spec.codes, spec.channels) == ((16, 16), (256, 256), 16384, 256)
    assert spec.published == Sampling(temperature=temperature, top_k=None, top_p=None, guidance=guidance)
    assert source.architecture["prior"]["heads"] == layers and source.architecture["null_class"] == 1000


@pytest.mark.parametrize(("codes", "count"), [(1024, 107_049_859), (8192, 108_884_867), (16384, 110_982_019)])
def test_the_tokenizers_have_their_parameters(tmp_path, codes, count):
    torch.save({"state_dict": stand_in(tokenizer_shapes(codes))}, tmp_path / f"imagenet256_{codes}.ckpt")
    shapes = shapes_by_name(FAMILY, FAMILY.source(tmp_path, None, None).architecture)
    assert sum(np.prod(shape, dtype=int) for shape in shapes.values()) == count


def test_more_codes_than_16_bits_hold_are_refused(tmp_path):
    torch.save({"state_dict": stand_in(tokenizer_shapes(262_144))}, tmp_path / "imagenet256_262144.ckpt")
    with pytest.raises(InputError, match=r"262,144 codes: allowed: 65,536, as grids are stored in 16 bits"):
        FAMILY.spec(Origin(folder=tmp_path))


def test_what_a_folder_lacks_is_told(vqgan, prior, converted, tmp_path):
    torch.save(ibq_state(vqgan.state_dict(), prior), tmp_path / "AR_256_T.ckpt")
    with pytest.raises(
        InputError,
        match=r"AR_256_T\.ckpt: a prior of width 32 and 3 layers: no published size; allowed: B \(1024 × 16\), L ",
    ):
        FAMILY.spec(Origin(folder=tmp_path))
    with pytest.raises(InputError, match=r"grid \[8, 8\]: should not be set: it is 16 × 16"):
        FAMILY.spec(Origin(folder=tmp_path, grid=(8, 8)))
    with pytest.raises(InputError, match="weights of the family 'ibq', not of 'llamagen'"):
        generator_spec(converted, "llamagen")
