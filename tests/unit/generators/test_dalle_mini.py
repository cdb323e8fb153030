"""DALL·E mini's tokenizer: the right file decodes in 0..1 and cannot encode; CompVis's VQGAN of its name is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cortex.core.errors import InputError
from cortex.core.weights import read_weights
from cortex.core.weights_metadata import read_metadata
from cortex.generators.convert import convert_generator
from cortex.generators.dalle_mini import FAMILY
from cortex.generators.load import generator_spec, load_generator
from cortex.generators.network.vqgan import VQGAN
from cortex.generators.sampling import Sampling
from cortex.generators.spec import Origin
from tests.published import TAMING_F16, TINY_DDCONFIG, detoker, shapes_by_name, stand_in
from tests.slow_vqgan import SlowTaming

DDCONFIG = TINY_DDCONFIG | {"ch_mult": [1, 1], "resolution": 32}


@pytest.fixture(scope="module")
def vqgan():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = VQGAN(DDCONFIG, n_embed=48, embed_dim=16).eval().requires_grad_(False)
        network.codebook.normal_()
        network.decoder.conv_out.bias.copy_(torch.tensor([0.5, 0.3, 0.7]))
    return network


def converted(folder, state):
    torch.save(state, folder / "detoker.pt")
    convert_generator(folder / "weights.safetensors", family="dalle_mini", folder=folder)
    return folder / "weights.safetensors"


def test_pixels_are_those_of_a_decoder_of_0_to_1(vqgan, tmp_path):
    generator = load_generator(converted(tmp_path, detoker(vqgan.state_dict())), family="dalle_mini")
    assert (generator.spec.pixels, generator.spec.image, generator.spec.grid) == ((0, 1), (32, 32), (16, 16))
    grids = torch.randint(48, (3, 16, 16), generator=torch.Generator().manual_seed(0))
    pixels = SlowTaming(vqgan.state_dict(), levels=2).decode(grids).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    images = generator.decode(grids).numpy().astype(int)
    assert np.abs(images - pixels * 255).max() <= 1
    assert images.min() < 60, "in the range −1..1, no pixel of a decoder of 0..1 is darker than 127"


def test_it_decodes_only(vqgan, tmp_path):
    weights = converted(tmp_path, detoker(vqgan.state_dict()))
    spec = generator_spec(weights, "dalle_mini")
    assert (spec.decodes, spec.encodes, spec.samples, spec.prior) == (True, False, False, False)
    assert not any(name.startswith(("first_stage_model.encoder", "first_stage_model.quant_conv"))
                   for name in read_weights(weights)[0])  # fmt: skip
    generator = load_generator(weights, family="dalle_mini")
    with pytest.raises(InputError, match="no encoder"):
        generator.encode(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
    with pytest.raises(InputError, match="without a transformer"):
        generator.sample([0], np.array([0], np.uint64), Sampling())


def test_its_size_is_the_published_one(tmp_path):
    """46,709,891 numbers in 197 tensors."""
    with torch.device("meta"):
        vqgan = VQGAN(TAMING_F16, n_embed=16384, embed_dim=256)
    state = detoker({name: tuple(weight.shape) for name, weight in vqgan.state_dict().items()})
    torch.save(stand_in(state), tmp_path / "detoker.pt")
    source = FAMILY.source(tmp_path, None, None)
    shapes = shapes_by_name(FAMILY, source.architecture)
    assert sum(np.prod(shape, dtype=int) for shape in shapes.values()) == 46_709_891 and len(shapes) == 197
    assert shapes == {source.parts[0].rename(name): shape for name, shape in state.items()}
    assert source.architecture["tokenizer"]["ddconfig"] == TAMING_F16


def test_compvis_vqgan_of_the_same_name_is_refused(vqgan, tmp_path):
    compvis = vqgan.state_dict() | {"loss.discriminator.main.0.weight": torch.ones(3)}
    torch.save({"state_dict": compvis}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"detoker\.pt is not there; CompVis's VQGAN .* is another one"):
        convert_generator(tmp_path / "weights.safetensors", family="dalle_mini", folder=tmp_path)
    torch.save({"state_dict": compvis}, tmp_path / "detoker.pt")  # renamed
    with pytest.raises(InputError, match=r"detoker\.pt: it has an encoder"):
        convert_generator(tmp_path / "weights.safetensors", family="dalle_mini", folder=tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()


def test_other_tensors_are_refused_by_name(vqgan, tmp_path):
    state = detoker(vqgan.state_dict())
    with pytest.raises(InputError, match=r"1 unexpected weights: decoder\.extra$"):
        converted(tmp_path, state | {"decoder.extra": torch.ones(2)})
    with pytest.raises(InputError, match=r"1 weights of an unknown kind: sparse$"):
        converted(tmp_path, state | {"sparse": torch.eye(2).to_sparse()})
    with pytest.raises(InputError, match=r"several tensors would be first_stage_model.quantize.embedding.weight"):
        converted(tmp_path, state | {"quantize.embedding.weight": torch.ones(48, 16)})
    del state["decoder.conv_in.weight"]
    with pytest.raises(InputError, match=r"detoker\.pt: not the weights of a VQGAN: 'decoder.conv_in.weight'"):
        converted(tmp_path, state)


def test_a_weights_file_states_its_family_and_format(vqgan, tmp_path):
    weights = converted(tmp_path, detoker(vqgan.state_dict()))
    stated = json.loads(read_metadata(weights)["architecture"])
    assert (stated["format"], stated["family"], stated["tokenizer"]["pixels"]) == (2, "dalle_mini", [0, 1])
    with pytest.raises(InputError, match="weights of the family 'dalle_mini', not of 'taming': name that family"):
        generator_spec(weights)
    tensors, _ = read_weights(weights)
    save_file(tensors, tmp_path / "later.safetensors", {"architecture": json.dumps(stated | {"format": 3})})
    with pytest.raises(InputError, match=r"later\.safetensors: its architecture has format 3; allowed: 1 and 2"):
        generator_spec(tmp_path / "later.safetensors", "dalle_mini")
    wrong = stated | {"tokenizer": stated["tokenizer"] | {"pixels": [1, 0]}}
    save_file(tensors, tmp_path / "wrong.safetensors", {"architecture": json.dumps(wrong)})
    with pytest.raises(InputError, match=r"wrong\.safetensors: .*'architecture' is wrong"):
        generator_spec(tmp_path / "wrong.safetensors", "dalle_mini")


def test_a_folder_is_recognised(vqgan, tmp_path):
    torch.save(detoker(vqgan.state_dict()), tmp_path / "detoker.pt")
    (tmp_path / "vocab.bin").write_bytes(b"no checkpoint")
    convert_generator(tmp_path / "weights.safetensors", folder=tmp_path)
    assert generator_spec(tmp_path / "weights.safetensors", "dalle_mini").codes == 48
    with pytest.raises(InputError, match="should not be set: it is 16 × 16"):
        FAMILY.spec(Origin(folder=tmp_path, grid=(16, 16)))
