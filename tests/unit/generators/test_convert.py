"""A folder of taming-transformers becomes a generator: the same tokens and images, and nothing in it is executed."""

import io
import json
import logging
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
import yaml
from taming.modules.diffusionmodules.model import Decoder, Encoder
from taming.modules.discriminator.model import NLayerDiscriminator
from taming.modules.transformer.mingpt import GPT
from taming.modules.vqvae.quantize import VectorQuantizer
from torch import nn

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.core.randomness import uniforms
from cortex.core.weights import read_weights
from cortex.core.weights_metadata import read_metadata
from cortex.extractors.codebook import export_codebook, load_codebook
from cortex.generators import convert
from cortex.generators.load import generator_spec, load_generator
from cortex.generators.sampling import Sampling
from cortex.generators.taming.project import read_architecture
from tests.checkpoints import FORMATS, lightning

# The layout of the authors' files: 2021-04-03T19-39-50-project.yaml of cin_transformer, at reduced width.
VQGAN_YAML = """
embed_dim: 16
n_embed: 48
ddconfig:
  double_z: false
  z_channels: 32
  resolution: 64
  in_channels: 3
  out_ch: 3
  ch: 32
  ch_mult: [1, 1, 2, 2, 4]
  num_res_blocks: 2
  attn_resolutions: [4]
  dropout: 0.0
lossconfig:
  target: taming.modules.losses.vqperceptual.VQLPIPSWithDiscriminator
  params: {disc_conditional: false, disc_in_channels: 3, disc_start: 0, disc_weight: 0.75, codebook_weight: 1.0}
"""
PROJECT = {
    "model": {
        "base_learning_rate": 0.0625,
        "target": "taming.models.cond_transformer.Net2NetTransformer",
        "params": {
            "first_stage_key": "image",
            "cond_stage_key": "class_label",
            "transformer_config": {
                "target": "taming.modules.transformer.mingpt.GPT",
                "params": {"vocab_size": 48, "block_size": 16, "n_layer": 4, "n_head": 3, "n_embd": 24},
            },
            "first_stage_config": {
                "target": "taming.models.vqgan.VQModel",
                "params": {"ckpt_path": "/export/vqgan/last.ckpt", **yaml.safe_load(VQGAN_YAML)},
            },
            "cond_stage_config": {"target": "taming.modules.util.Labelator", "params": {"n_classes": 10}},
        },
    },
    "data": {"target": "main.DataModuleFromConfig", "params": {"batch_size": 2, "num_workers": 8}},
}
VQGAN_PROJECT = {
    "model": {
        "base_learning_rate": 4.5e-06,
        "target": "taming.models.vqgan.VQModel",
        "params": {**yaml.safe_load(VQGAN_YAML), "monitor": "val/rec_loss"},
    }
}


def convert_generator(output, folder, class_names=None):
    convert.convert_generator(output, family="taming", folder=folder, class_names=class_names)


class Loss(nn.Module):
    """What taming's VQLPIPSWithDiscriminator adds to the names in a checkpoint."""

    def __init__(self):
        super().__init__()
        self.perceptual_loss = nn.ModuleDict({"lin0": nn.Conv2d(4, 1, 1, bias=False)})
        self.discriminator = NLayerDiscriminator(input_nc=3, ndf=8, n_layers=1)


class VQModel(nn.Module):
    """taming's VQModel, whose own module imports pytorch-lightning: the same members, built of the same classes."""

    def __init__(self, ddconfig, n_embed, embed_dim, **_):
        super().__init__()
        self.encoder = Encoder(**ddconfig)
        self.decoder = Decoder(**ddconfig)
        self.loss = Loss()
        self.quantize = VectorQuantizer(n_embed, embed_dim, beta=0.25)
        self.quant_conv = nn.Conv2d(ddconfig["z_channels"], embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, ddconfig["z_channels"], 1)

    def decode_code(self, grids):
        """taming's way from grids [B, h, w] to images: one-hot rows times the codebook."""
        vectors = self.quantize.get_codebook_entry(grids.flatten(), (*grids.shape, self.quantize.e_dim))
        return self.decoder(self.post_quant_conv(vectors))


class Net2NetTransformer(nn.Module):
    """taming's Net2NetTransformer, likewise; its Labelator and Identity have no weights."""

    def __init__(self, params):
        super().__init__()
        self.first_stage_model = VQModel(**params["first_stage_config"]["params"])
        self.transformer = GPT(**params["transformer_config"]["params"])


@pytest.fixture(scope="module")
def official():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = Net2NetTransformer(PROJECT["model"]["params"]).eval().requires_grad_(False)
        model.first_stage_model.quantize.embedding.weight.normal_()
        for parameter in model.transformer.parameters():  # far from uniform predictions
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def folder_of(path, state, project, zipped=True, places=("configs/2021-project.yaml", "checkpoints/last.ckpt")):
    for place in places:
        (path / place).parent.mkdir(parents=True, exist_ok=True)
    (path / places[0]).write_text(yaml.safe_dump(project))
    lightning(state)(path / places[1], zipped)
    return path


@pytest.fixture(scope="module")
def cin_transformer(tmp_path_factory, official):
    """The authors' folder in both formats, by whether it is the zip."""
    return {
        zipped: folder_of(tmp_path_factory.mktemp("cin"), official.state_dict(), PROJECT, zipped)
        for zipped in (True, False)
    }


def uncached_sample(gpt, label, numbers, temperature=1.0, top_k=None, top_p=None):
    """A token sequence by taming's own forward pass on the whole growing sequence, one inverse CDF a token."""
    sequence = [label]
    for number in numbers:
        logits, _ = gpt(torch.tensor([sequence]))
        weights = np.exp(logits[0, -1].double().numpy() / temperature)
        kept = np.argsort(-weights, kind="stable")[:top_k]
        if top_p is not None:
            mass = np.cumsum(weights[kept]) / weights[kept].sum()
            kept = kept[: 1 + int(np.sum(mass <= top_p))]
        kept = np.sort(kept)
        cumulative = np.cumsum(weights[kept])
        sequence.append(int(kept[np.argmax(number * cumulative[-1] < cumulative)]))
    return sequence[1:]


@FORMATS
@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.8, "top_k": 20, "top_p": 0.92}], ids=["plain", "top-k, top-p"]
)
def test_tokens_and_images_are_those_of_taming(tmp_path, official, cin_transformer, zipped, options):
    convert_generator(tmp_path / "weights.safetensors", cin_transformer[zipped])
    generator = load_generator(tmp_path / "weights.safetensors")

    labels, seeds = np.array([0, 3, 9, 9]), np.arange(4, dtype=np.uint64)
    grids = generator.sample(labels, seeds, Sampling(**{"top_k": None, "top_p": None} | options))
    expected = [
        uncached_sample(official.transformer, label, numbers, **options)
        for label, numbers in zip(labels, uniforms(seeds, 16), strict=True)
    ]
    assert grids.flatten(1).tolist() == expected
    assert len({tuple(row) for row in expected}) == 4, "four different grids, or the test shows nothing"

    images = official.first_stage_model.decode_code(grids)
    assert images.shape == (4, 3, 64, 64) and images.std() > 0.01
    torch.testing.assert_close(generator.tokenizer.decode(grids), images, atol=1e-5, rtol=0)


def test_both_formats_give_the_same_file(tmp_path, cin_transformer):
    files = []
    for zipped, folder in cin_transformer.items():
        convert_generator(tmp_path / f"{zipped}.safetensors", folder)
        files.append((tmp_path / f"{zipped}.safetensors").read_bytes())
    assert files[0] == files[1]


def test_every_weight_is_bit_for_bit_that_of_the_checkpoint(tmp_path, official, cin_transformer):
    convert_generator(tmp_path / "weights.safetensors", cin_transformer[True])
    tensors, _ = read_weights(tmp_path / "weights.safetensors")
    for name, tensor in official.state_dict().items():
        if "attn.mask" not in name and ".loss." not in name:
            assert torch.equal(tensors.pop(name), tensor)
    assert not tensors


def test_the_architecture_is_that_of_the_yaml(tmp_path, cin_transformer):
    convert_generator(tmp_path / "weights.safetensors", cin_transformer[True])
    facts = generator_spec(tmp_path / "weights.safetensors")
    assert facts.class_names == tuple(f"class {index}" for index in range(10))
    assert (facts.grid, facts.codes, facts.channels) == ((4, 4), 48, 16)
    architecture = json.loads(read_metadata(tmp_path / "weights.safetensors")["architecture"])
    assert (architecture["format"], architecture["family"]) == (2, "taming")
    assert architecture["prior"].items() >= PROJECT["model"]["params"]["transformer_config"]["params"].items()


@FORMATS
def test_a_vqgan_alone_decodes_and_has_a_codebook_but_cannot_sample(tmp_path, official, zipped):
    vqgan = official.first_stage_model
    places = ("configs/model.yaml", "ckpts/last.ckpt")  # as vqgan_imagenet_f16_16384 is laid out
    folder = folder_of(tmp_path / "vqgan", vqgan.state_dict(), VQGAN_PROJECT, zipped, places)
    weights = tmp_path / "weights.safetensors"
    convert_generator(weights, folder)

    generator = load_generator(weights)
    grids = torch.arange(48).view(3, 4, 4)
    torch.testing.assert_close(generator.tokenizer.decode(grids), vqgan.decode_code(grids), atol=1e-5, rtol=0)
    assert generator.decode(grids).shape == (3, 64, 64, 3)
    assert generator_spec(weights).class_names == ()
    export_codebook(tmp_path / "codebook.safetensors", generator=weights)
    assert torch.equal(load_codebook(tmp_path / "codebook.safetensors", "cpu"), vqgan.quantize.embedding.weight)
    with pytest.raises(InputError, match="without a transformer"):
        generator.sample(np.array([0]), np.array([0], np.uint64), Sampling())


def test_class_names_are_a_line_each(tmp_path, cin_transformer):
    (config,) = cin_transformer[True].glob("configs/*")
    names = tmp_path / "names.txt"
    names.write_text("tench, Tinca tinca\ngoldfish\n" + "crane\n" * 8)  # two of ImageNet's classes are cranes
    assert read_architecture(config, names)["classes"] == ["tench, Tinca tinca", "goldfish", *["crane"] * 8]
    names.write_text("tench\ngoldfish\n")
    with pytest.raises(InputError, match=r"names\.txt: 2 names, but .* has 10 classes"):
        read_architecture(config, names)
    names.write_text("tench\n\ngoldfish\n")
    with pytest.raises(InputError, match=r"names\.txt: line 2 is empty"):
        read_architecture(config, names)
    names.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"names\.txt: line 1: not UTF-8"):
        read_architecture(config, names)
    for end in ("\n", "\r\n", "\r"):
        names.write_bytes(b"\xef\xbb\xbf" + end.join("abcdefghij").encode())
        assert read_architecture(config, names)["classes"] == list("abcdefghij")
    for character in "\v\x1c\x85\u2028":  # each would end a line for str.splitlines
        names.write_text(f"tench\na{character}b\n")
        with pytest.raises(InputError, match=rf"names\.txt: line 2: control character U\+{ord(character):04X}"):
            read_architecture(config, names)
    names.write_text("tench\na\tb\n")
    with pytest.raises(InputError, match=r"names\.txt: line 2: .* tab"):
        read_architecture(config, names)


def test_a_vqgan_alone_has_the_classes_that_are_named(tmp_path, official):
    folder = folder_of(tmp_path / "vqgan", official.first_stage_model.state_dict(), VQGAN_PROJECT)
    (tmp_path / "names.txt").write_text("a doctor\na nurse\n")
    convert_generator(tmp_path / "weights.safetensors", folder, class_names=tmp_path / "names.txt")
    assert generator_spec(tmp_path / "weights.safetensors").class_names == ("a doctor", "a nurse")
    with pytest.raises(InputError, match="without a transformer"):
        load_generator(tmp_path / "weights.safetensors").sample(np.array([0]), np.array([0], np.uint64), Sampling())


def test_the_command_line_converts(tmp_path, cin_transformer, capsys):
    weights = tmp_path / "weights.safetensors"
    assert main(["convert-generator", "--output", str(weights), "--folder", str(cin_transformer[True])]) == 0
    assert generator_spec(weights).codes == 48
    nowhere = ["convert-generator", "--output", str(weights), "--folder", str(tmp_path / "nowhere")]
    assert main(nowhere) == 1
    assert f"{tmp_path / 'nowhere'}: no files of a known family among 0: name the family" in capsys.readouterr().err
    assert main([*nowhere, "--family", "taming"]) == 1
    assert f"{tmp_path / 'nowhere'}: none of configs/*-project.yaml" in capsys.readouterr().err


# What does not fit


def few_of(message):
    """The missing weights that a message names, and how many more there are."""
    named, more = re.search(r"missing weights: (.+?) and (\d+) more; ", message).groups()
    return named.split(", "), int(more)


def test_missing_and_unexpected_weights_are_listed_and_counted(tmp_path, official):
    state = dict(official.state_dict())
    removed = [name for name in state if name.startswith("transformer.blocks.2.") and "mask" not in name]
    for name in [*removed, "first_stage_model.quant_conv.bias"]:
        del state[name]
    state["permuter.forward_shuffle_idx"] = torch.arange(4)
    with pytest.raises(InputError) as raised:
        convert_generator(tmp_path / "weights.safetensors", folder_of(tmp_path, state, PROJECT))
    message = str(raised.value)
    assert f"{len(removed) + 1} missing weights: first_stage_model.quant_conv.bias, transformer.blocks.2." in message
    named, more = few_of(message)
    assert named == sorted([*removed, "first_stage_model.quant_conv.bias"])[: len(named)]
    assert 0 < len(named) <= 5 and len(named) + more == len(removed) + 1
    assert f" and {more} more; 1 unexpected weights: permuter.forward_shuffle_idx" in message
    assert str(tmp_path / "checkpoints/last.ckpt") in message and "\n" not in message
    assert not (tmp_path / "weights.safetensors").exists()


@pytest.mark.parametrize(("prefix", "bare"), [("first_stage_model.", True), ("net.", False), ("net.", True)])
def test_weights_are_named_as_in_the_file_and_a_few_of_them(tmp_path, official, prefix, bare):
    """A VQGAN whose weights lie in a larger checkpoint; and any checkpoint of another network."""
    whole = official.first_stage_model if bare else official
    state = {f"{prefix}{name}": weight for name, weight in whole.state_dict().items()}
    ours = [name for name in whole.state_dict() if "loss." not in name and not name.endswith("attn.mask")]
    with pytest.raises(InputError) as raised:
        convert_generator(tmp_path / "w", folder_of(tmp_path, state, VQGAN_PROJECT if bare else PROJECT))
    message = str(raised.value).partition(".yaml: ")[2]
    assert message.startswith(f"{len(ours)} missing weights: ")
    named, more = few_of(message)
    assert 0 < len(named) <= 5 and named == sorted(ours)[: len(named)] and len(named) + more == len(ours)
    assert f"unexpected weights: {prefix}{{" in message
    assert message.count(prefix) == 1 or not bare
    assert len(message) < 600


def test_misshapen_and_integer_weights_are_named(tmp_path, official):
    state = dict(official.state_dict())
    state["transformer.pos_emb"] = torch.zeros(1, 17, 24)
    state["transformer.ln_f.bias"] = torch.zeros(24, dtype=torch.int64)
    with pytest.raises(InputError) as raised:
        convert_generator(tmp_path / "weights.safetensors", folder_of(tmp_path, state, PROJECT))
    assert "1 weights of another shape: transformer.pos_emb (1, 17, 24) for (1, 16, 24)" in str(raised.value)
    assert "1 weights that are not floating-point numbers: transformer.ln_f.bias" in str(raised.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_weight_that_is_not_finite_is_named(tmp_path, official, dtype):
    state = dict(official.state_dict())
    state["transformer.ln_f.bias"] = torch.tensor([torch.nan] + 23 * [0.0], dtype=dtype)
    with pytest.raises(InputError, match=r"last.ckpt: weight transformer.ln_f.bias: not all of its numbers are finite"):
        convert_generator(tmp_path / "weights.safetensors", folder_of(tmp_path, state, PROJECT))
    assert not (tmp_path / "weights.safetensors").exists()


PARAMS, FIRST, GPT_PARAMS = "params", "params.first_stage_config", "params.transformer_config.params"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("target", "taming.models.vqgan.VQSegmentationModel", "model.target = .*VQSegmentationModel': only VQModel"),
        (f"{FIRST}.target", "taming.models.vqgan.GumbelVQ", "first_stage_config.target = .*GumbelVQ': only VQModel"),
        (f"{FIRST}.params.remap", "used.npy", "remap = 'used.npy'"),
        (f"{FIRST}.params.ddconfig.double_z", True, "ddconfig.double_z = 'True': Input should be False"),
        (f"{FIRST}.params.ddconfig.give_pre_end", True, "ddconfig.give_pre_end = 'True': Input should be False"),
        (f"{FIRST}.params.use_ema", False, "params.use_ema = 'False': this setting is not supported"),
        (f"{FIRST}.params.ddconfig.resolution", 72, "resolution = 72 should be a multiple of a token's 16 pixels"),
        (f"{FIRST}.params.ddconfig.ch", 33, "no generator can be built from it: .*num_groups"),
        (f"{FIRST}.params.ddconfig.ch", "${ch}", "ddconfig.ch = '\\${ch}': Input should be a valid integer"),
        (
            "params.transformer_config.target",
            "mingpt.CodeGPT",
            "transformer_config.target = 'mingpt.CodeGPT': only GPT",
        ),
        (f"{GPT_PARAMS}.n_unmasked", 4, "n_unmasked = '4': Input should be 0"),
        (f"{GPT_PARAMS}.n_layer", 10**9, "n_layer = '1000000000': Input should be less than or equal to 512"),
        (f"{GPT_PARAMS}.n_head", 5, "n_embd = 24 should be a multiple of n_head = 5"),
        (f"{GPT_PARAMS}.block_size", 15, "block_size = 15 should be at least the grid's 16 positions"),
        (f"{GPT_PARAMS}.vocab_size", 49, "vocab_size = 49 should be .* at most n_embed = 48"),
        (f"{GPT_PARAMS}.vocab_size", 9, "vocab_size = 9 should be at least n_classes = 10"),
        (f"{PARAMS}.cond_stage_key", "depth", "cond_stage_key = 'depth': Input should be 'class_label'"),
        (f"{PARAMS}.cond_stage_config", "__is_unconditional__", "conditional on classes"),
        (f"{PARAMS}.cond_stage_config.target", "taming.models.vqgan.VQModel", "only Labelator can be converted"),
        (f"{PARAMS}.cond_stage_config.params.n_classes", 0, "n_classes = '0'"),
        (f"{PARAMS}.unconditional", True, "unconditional = 'True'"),
        (f"{PARAMS}.pkeep", 0.0, "pkeep = '0.0'"),
        (f"{PARAMS}.permuter_config", {"target": "permuter.ZCurve"}, "permuter.ZCurve': only Identity"),
        (f"{PARAMS}.sampler", "fast", "params.sampler = 'fast': this setting is not supported"),
    ],
)
def test_what_we_cannot_do_is_refused_by_name(tmp_path, key, value, told):
    project = json.loads(json.dumps(PROJECT))
    *path, last = key.split(".")
    section = project["model"]
    for part in path:
        section = section[part]
    section[last] = value
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(project))
    lightning({})(tmp_path / "model.ckpt")
    with pytest.raises(InputError, match=told) as raised:
        convert_generator(tmp_path / "weights.safetensors", tmp_path)
    assert str(raised.value).startswith(str(tmp_path / "model.yaml")) and "\n" not in str(raised.value)


def test_a_number_too_long_to_print_is_refused(tmp_path):
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(PROJECT).replace("ch: 32", f"ch: 0x{'f' * 9000}"))
    with pytest.raises(InputError, match=r"ddconfig\.ch: Input should be less than or equal to"):
        read_architecture(tmp_path / "model.yaml")


@pytest.mark.parametrize("folder", [PROJECT, VQGAN_PROJECT], ids=["transformer", "vqgan"])
def test_what_the_authors_loader_ignores_is_ignored_in_one_line(tmp_path, folder, caplog):
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(folder))
    with caplog.at_level(logging.INFO):
        expected = read_architecture(tmp_path / "model.yaml")
        assert not caplog.records
        project = json.loads(json.dumps(folder))
        project["model"] |= {"project": "x", "name": "y", "ckpt_path": "/z", "learning_rate": 1e-4, "n_embed": 3}
        vqgan = project["model"]["params"]
        if folder is PROJECT:
            vqgan["transformer_config"]["comment"] = {"a": [1]}
            vqgan = vqgan["first_stage_config"]["params"]
        vqgan["ddconfig"] |= {"attn_type": "vanilla", "give_pre_end": False}
        (tmp_path / "model.yaml").write_text(yaml.safe_dump(project))
        assert read_architecture(tmp_path / "model.yaml") == expected
    (record,) = caplog.records
    told = record.getMessage()
    assert told.startswith(f"{tmp_path / 'model.yaml'}: ignored, as taming-transformers does: model.{{")
    assert "\n" not in told and told.endswith(f"and {2 if folder is PROJECT else 1} more")


def test_what_does_not_change_the_generator_is_accepted(tmp_path):
    project = json.loads(json.dumps(PROJECT))
    params = project["model"]["params"]
    params |= {"pkeep": 0.9, "sos_token": 0, "unconditional": False, "downsample_cond_size": -1, "ckpt_path": None}
    params["permuter_config"] = {"target": "taming.modules.transformer.permuter.Identity"}
    params["transformer_config"]["params"] |= {"embd_pdrop": 0.1, "attn_pdrop": 0, "n_unmasked": 0}
    (tmp_path / "project.yaml").write_text(yaml.safe_dump(project))
    architecture = read_architecture(tmp_path / "project.yaml")
    assert architecture["prior"]["embd_pdrop"] == 0.1
    assert len(architecture["classes"]) == 10


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model",
        "model: 3",
        "model: [",
        "[" * 20_000,
        "model: !!python/object/apply:os.system ['exit 1']",
        "a: &a [1]\nmodel: {target: *a}",
        "model: {target: 2021-99-99}",
        "model: {target: " + "9" * 5000 + "}",
        "model: {{}: 1}",
        "#" * 70_000 + "\nmodel: {}",
        "model:\n  params: {}\n  params: {}",
    ],
    ids=lambda text: text[:20],
)
def test_a_yaml_that_describes_no_model_is_refused(tmp_path, text):
    (tmp_path / "model.yaml").write_text(text)
    with pytest.raises(InputError, match=r"model\.yaml: ") as raised:
        read_architecture(tmp_path / "model.yaml")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 1000


def test_a_folder_with_several_projects_is_refused(tmp_path):
    for name in ("a-project.yaml", "b-project.yaml"):
        (tmp_path / name).write_text("")
    with pytest.raises(InputError, match=r"several files \*-project.yaml"):
        convert_generator(tmp_path / "weights.safetensors", tmp_path)


def test_a_flipped_bit_in_a_weight_is_found_by_the_checksum(tmp_path, cin_transformer):
    whole = (cin_transformer[True] / "checkpoints/last.ckpt").read_bytes()
    folder = tmp_path / "folder"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs/model.yaml").write_text(yaml.safe_dump(PROJECT))
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        member = max(archive.infolist(), key=lambda member: member.file_size)
    damaged = bytearray(whole)
    damaged[member.header_offset + member.file_size // 2] ^= 1
    (folder / "last.ckpt").write_bytes(damaged)
    with pytest.raises(InputError, match=r"last\.ckpt: .*the checksum of storage '\d+' is wrong"):
        convert_generator(tmp_path / "weights.safetensors", folder)
    assert list(tmp_path.iterdir()) == [folder], "not even a part of the output is left"


@pytest.mark.slow
@FORMATS
def test_memory_holds_a_small_part_of_the_checkpoint(tmp_path, zipped):
    """192 MB of weights through a process that may not grow by 48 MB."""
    project = json.loads(json.dumps(VQGAN_PROJECT))
    project["model"]["params"] |= {"n_embed": 1 << 16, "embed_dim": 768}
    vqgan = VQModel(**project["model"]["params"])
    folder_of(tmp_path, vqgan.state_dict(), project, zipped)
    del vqgan
    program = f"""if True:
        import resource
        from pathlib import Path
        import torch
        from cortex.generators.convert import convert_generator
        from cortex.generators.network.convert import _expected_shapes
        from cortex.generators.taming import FAMILY
        from cortex.generators.taming.project import read_architecture
        folder = Path({str(tmp_path)!r})
        config = folder / "configs/2021-project.yaml"
        _expected_shapes(FAMILY, read_architecture(config), config)  # what torch and taming need without any weights
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        convert_generator(folder / "weights.safetensors", folder=folder)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert (tmp_path / "weights.safetensors").stat().st_size > 192e6
    assert int(done.stdout) < 48 << 10  # KiB
