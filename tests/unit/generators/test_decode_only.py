"""Tokenizers without a prior, for imported grids: Janus, Chameleon and Anole, vqgan_gumbel_f8.

Images and codes are compared with LlamaGen's slow formulation in float64: the networks are the same, but for names, the
places of attention, and the length of the codes.
"""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from taming.modules.diffusionmodules.model import Decoder

from cortex.core.errors import InputError
from cortex.core.weights import read_weights
from cortex.generators.convert import convert_generator
from cortex.generators.janus import FAMILY as JANUS
from cortex.generators.load import generator_spec, load_family, load_generator
from cortex.generators.network.vqgan import VQGAN
from cortex.generators.sampling import Sampling
from cortex.generators.spec import Origin
from cortex.generators.taming import FAMILY as TAMING
from tests.published import (
    CODES,
    TAMING_F16,
    TINY_DDCONFIG,
    llamagen_tokenizer_file,
    shapes_by_name,
    stand_in,
    tiny_llamagen,
)
from tests.slow_vqgan import SlowTaming, SlowTokenizer
from tests.tokenizer_folders import chameleon, gumbel, gumbel_state, tiny_vqgan

F8 = TAMING_F16 | {"ch_mult": [1, 1, 2, 4], "attn_resolutions": [32]}
CHAMELEON = TAMING_F16 | {"attn_resolutions": [], "resolution": 512}


def grids_of(spec, count=2):
    return torch.randint(CODES, (count, *spec.grid), generator=torch.Generator().manual_seed(2))


def assert_decodes_as(slow, generator):
    grids = grids_of(generator.spec)
    pixels = slow.decode(grids)
    torch.testing.assert_close(generator.tokenizer.decode(grids).double(), pixels, atol=1e-4, rtol=1e-4)
    expected = ((pixels.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1)
    assert (generator.decode(grids) - expected).abs().max() <= 1


def assert_encodes_as(slow, generator):
    images = torch.randint(
        256, (2, *generator.spec.image, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4)
    )
    codes = slow.encode(images.permute(0, 3, 1, 2).double() / 127.5 - 1)
    assert torch.equal(generator.encode(images), codes) and len(codes.unique()) > 5


def assert_decodes_only(generator):
    assert (generator.spec.decodes, generator.spec.samples, generator.spec.prior) == (True, False, False)
    with pytest.raises(InputError, match="without a transformer"):
        generator.sample([0], np.array([0], np.uint64), Sampling())


# --- Janus -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def janus():
    """The tokenizer's tensors by LlamaGen's names, and all tensors of a model."""
    tokenizer, _ = tiny_llamagen(24)
    others = {
        "language_model.model.embed_tokens.weight": torch.full((3, 4), torch.nan),
        "vision_model.vision_tower.pos_embed": torch.ones(1, 2, 3),
        "gen_embed.weight": torch.ones(CODES, 8),
        "gen_head.vision_head.weight": torch.ones(CODES, 4),
        "position_ids": torch.arange(5),
    }
    return tokenizer, {f"gen_vision_model.{name}": weight for name, weight in tokenizer.items()} | others


def written(folder, state, form):
    """The model as its authors ship it: of one file or of two, of torch.save or safetensors."""
    folder.mkdir()
    names = sorted(state)
    halves = [{name: state[name] for name in names[:100]}, {name: state[name] for name in names[100:]}]
    if form == "safetensors":
        save_file({name: weight.contiguous() for name, weight in state.items()}, folder / "model.safetensors")
    elif form == "bin":
        torch.save(state, folder / "pytorch_model.bin")
    else:
        for number, half in enumerate(halves, 1):
            torch.save(half, folder / f"pytorch_model-0000{number}-of-00002.bin")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize("form", ["safetensors", "bin", "bin in two parts"])
def test_janus_tokenizer_is_llamagens_under_a_prefix(janus, tmp_path, form):
    weights = tmp_path / "weights.safetensors"
    convert_generator(weights, folder=written(tmp_path / "janus", janus[1], form))  # recognised
    generator = load_generator(weights, family="janus")
    slow = SlowTokenizer(janus[0])
    assert (generator.spec.grid, generator.spec.image, generator.spec.pixels) == ((24, 24), (96, 96), (-1, 1))
    assert_decodes_as(slow, generator)
    assert_encodes_as(slow, generator)
    assert_decodes_only(generator)
    assert all(name.startswith("first_stage_model.") for name in read_weights(weights)[0])


def test_the_codes_of_janus_have_length_1(janus, tmp_path):
    convert_generator(tmp_path / "w.safetensors", folder=written(tmp_path / "janus", janus[1], "bin"))
    raw = janus[0]["quantize.embedding.weight"]
    codebook = load_family("janus").codebook(tmp_path / "w.safetensors")
    torch.testing.assert_close(codebook, raw / raw.norm(dim=1, keepdim=True))
    assert not torch.allclose(raw.norm(dim=1), torch.ones(CODES), atol=0.1)


def test_an_unknown_tensor_of_janus_tokenizer_is_refused_by_name(janus, tmp_path):
    more = janus[1] | {"gen_vision_model.decoder.extra.weight": torch.ones(2)}
    with pytest.raises(InputError, match=r"1 unexpected weights: gen_vision_model\.decoder\.extra\.weight"):
        convert_generator(tmp_path / "w.safetensors", folder=written(tmp_path / "more", more, "bin"))
    less = {name: weight for name, weight in janus[1].items() if not name.endswith("post_quant_conv.bias")}
    with pytest.raises(InputError, match=r"1 missing weights: post_quant_conv\.bias"):
        convert_generator(tmp_path / "w.safetensors", folder=written(tmp_path / "less", less, "bin in two parts"))
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"none of model\*\.safetensors, pytorch_model\*\.bin is there"):
        convert_generator(tmp_path / "w.safetensors", family="janus", folder=tmp_path / "none")
    with pytest.raises(InputError, match=r"should not be set: it is 24 × 24"):
        JANUS.spec(Origin(folder=tmp_path / "more", grid=(16, 16)))


def test_janus_tokenizer_has_llamagens_size(tmp_path):
    """71,883,403 numbers in 343 tensors, beside the counts of codes."""
    state = llamagen_tokenizer_file([1, 1, 2, 2, 4])
    torch.save({f"gen_vision_model.{name}": weight for name, weight in state.items()}, tmp_path / "pytorch_model.bin")
    source = JANUS.source(tmp_path, None, None)
    shapes = shapes_by_name(JANUS, source.architecture)
    assert sum(np.prod(shape, dtype=int) for shape in shapes.values()) == 71_883_403 and len(shapes) == 343
    spec = JANUS.spec(Origin(folder=tmp_path))
    assert (spec.grid, spec.image, spec.codes, spec.channels) == ((24, 24), (384, 384), 16384, 8)


# --- taming's, by other names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "tokenizer/"])
def test_chameleons_tokenizer_attends_in_the_middle_alone(tmp_path, place):
    state = tiny_vqgan(attn_resolutions=[])
    assert not any(".attn." in name for name in state), "but in the middle"
    folder = chameleon(tmp_path / "chameleon", state, TINY_DDCONFIG | {"attn_resolutions": []}, place)
    convert_generator(tmp_path / "weights.safetensors", folder=folder)
    generator = load_generator(tmp_path / "weights.safetensors")
    assert_decodes_as(SlowTaming(state), generator)
    assert_encodes_as(SlowTaming(state), generator)
    assert_decodes_only(generator)
    lengths = generator.codebook.norm(dim=1)
    torch.testing.assert_close(generator.codebook, state["quantize.embedding.weight"], rtol=0, atol=0)
    assert lengths.max() > 1.5 * lengths.min(), "codes keep their length"


def test_chameleons_tokenizer_has_its_published_size(tmp_path):
    """68,718,467 numbers; grids of 32 × 32 tokens."""
    with torch.device("meta"):
        state = VQGAN(CHAMELEON, n_embed=8192, embed_dim=256).state_dict()
    shapes = {name: tuple(weight.shape) for name, weight in state.items()}
    folder = chameleon(tmp_path / "chameleon", stand_in(shapes), CHAMELEON, codes=8192, channels=256)
    expected = shapes_by_name(TAMING, TAMING.source(folder, None, None).architecture)
    assert sum(np.prod(shape, dtype=int) for shape in expected.values()) == 68_718_467
    assert expected == {f"first_stage_model.{name}": shape for name, shape in shapes.items()}
    spec = TAMING.spec(Origin(folder=folder))
    assert (spec.grid, spec.image, spec.codes, spec.channels) == ((32, 32), (512, 512), 8192, 256)


def test_a_gumbel_tokenizer_decodes_and_does_not_encode(tmp_path):
    """The code of an image's vector is that of the largest output of ``proj``, and not the nearest: no encoder here."""
    state = tiny_vqgan(attn_resolutions=[4])
    weights = tmp_path / "weights.safetensors"
    convert_generator(weights, folder=gumbel(tmp_path / "gumbel", gumbel_state(state), TINY_DDCONFIG))
    generator = load_generator(weights)
    assert_decodes_as(SlowTaming(state), generator)
    assert_decodes_only(generator)
    assert not generator_spec(weights).encodes
    with pytest.raises(InputError, match="no encoder"):
        generator.encode(torch.zeros(1, 16, 16, 3, dtype=torch.uint8))
    kept = read_weights(weights)[0]
    assert {name.split(".")[1] for name in kept} == {"quantize", "post_quant_conv", "decoder"}
    torch.testing.assert_close(generator.codebook, state["quantize.embedding.weight"], rtol=0, atol=0)


def test_a_gumbel_tokenizers_unknown_tensors_are_refused_by_name(tmp_path):
    state = gumbel_state(tiny_vqgan(attn_resolutions=[4]))
    folder = gumbel(tmp_path / "more", state | {"quantize.used": torch.ones(4)}, TINY_DDCONFIG)
    with pytest.raises(InputError, match=r"1 unexpected weights: quantize\.used"):
        convert_generator(tmp_path / "w.safetensors", folder=folder)
    folder = gumbel(tmp_path / "remap", state, TINY_DDCONFIG, remap="used.npy")
    with pytest.raises(InputError, match=r"remap = 'used\.npy'"):
        TAMING.spec(Origin(folder=folder))


def test_the_gumbel_tokenizer_has_its_published_names(tmp_path):
    """Grids of 32 × 32; its decoder is taming's own."""
    with torch.device("meta"):
        state = gumbel_state(VQGAN(F8, n_embed=8192, embed_dim=256).state_dict())
        decoder = Decoder(**F8)
    shapes = {name: tuple(weight.shape) for name, weight in state.items()}
    folder = gumbel(tmp_path / "gumbel", stand_in(shapes), F8, codes=8192, channels=256)
    source = TAMING.source(folder, None, None)
    expected = shapes_by_name(TAMING, source.architecture)
    kept = {source.parts[0].rename(name): shape for name, shape in shapes.items() if not source.parts[0].drops(name)}
    assert kept == expected
    numbers = sum(parameter.numel() for parameter in decoder.parameters()) + 8192 * 256 + 256 * 256 + 256
    assert sum(np.prod(shape, dtype=int) for shape in expected.values()) == numbers
    spec = TAMING.spec(Origin(folder=folder))
    assert (spec.grid, spec.image, spec.codes, spec.channels) == ((32, 32), (256, 256), 8192, 256)
