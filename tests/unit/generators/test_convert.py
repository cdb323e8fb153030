"""A folder of taming-transformers becomes a generator: the same tokens and images, and nothing in it is executed."""

import contextlib
import io
import json
import pickle
import struct
import subprocess
import sys
import tracemalloc
import types
import zipfile

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from taming.modules.diffusionmodules.model import Decoder, Encoder
from taming.modules.discriminator.model import NLayerDiscriminator
from taming.modules.transformer.mingpt import GPT
from taming.modules.vqvae.quantize import VectorQuantizer
from torch import nn

from cortex.app.cli import main
from cortex.core import checkpoint
from cortex.core.checkpoint import PickleMachine, open_checkpoint, read_state
from cortex.core.errors import InputError
from cortex.core.randomness import uniforms
from cortex.core.weights import read_weights
from cortex.extractors.codebook import export_codebook, load_codebook
from cortex.generators.spec import generator_spec
from cortex.generators.taming.convert import convert_generator, read_architecture
from cortex.generators.taming.generator import load_generator

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
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


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


class Hostile:
    """Unpickled, it would run a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def lightning(state, command="exit 1"):
    """What PyTorch Lightning 1.0 saves around a state_dict: objects of modules that are gone when this returns.

    Returns:
        A function that writes it with torch.save.
    """
    parts = ("", ".callbacks", ".callbacks.model_checkpoint", ".utilities", ".utilities.parsing")
    modules = {name: types.ModuleType(name) for name in ("gone", *(f"pytorch_lightning{part}" for part in parts))}

    def foreign(module, name, base=object):
        made = type(name, (base,), {"__module__": module})
        setattr(modules[module], name, made)
        return made

    model_checkpoint = foreign("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    attributes = foreign("pytorch_lightning.utilities.parsing", "AttributeDict", dict)
    config = foreign("gone", "DictConfig")()
    config.__dict__ = {"_content": {"lr": 4.5e-6, "self": config}, "ids": {1, 2}, "frozen": frozenset("ab")}
    content = {
        "epoch": 5,
        "global_step": 1_400_000,
        "pytorch-lightning_version": "1.0.8",
        "hostile": Hostile(command),
        "callbacks": {
            model_checkpoint: {"best_model_score": torch.tensor(4.5), "best": np.float64(4.5), "current": np.int64(7)}
        },
        "optimizer_states": [{"state": {0: {"step": 3, "exp_avg": torch.ones(7, 2).double()}}, "param_groups": []}],
        "state_dict": state,
        "hyper_parameters": attributes(lr=1e-4, config=config, callback=model_checkpoint()),
    }

    def write(file, zipped=True, **options):
        sys.modules.update(modules)
        try:
            torch.save(content, file, _use_new_zipfile_serialization=zipped, **options)
        finally:
            for name in modules:
                del sys.modules[name]

    return write


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
    grids = generator.sample(labels, seeds, **options)
    expected = [
        uncached_sample(official.transformer, label, numbers, **options)
        for label, numbers in zip(labels, uniforms(seeds, 16), strict=True)
    ]
    assert grids.flatten(1).tolist() == expected
    assert len({tuple(row) for row in expected}) == 4, "four different grids, or the test shows nothing"

    images = official.first_stage_model.decode_code(grids)
    assert images.shape == (4, 3, 64, 64) and images.std() > 0.01
    torch.testing.assert_close(generator.vqgan.decode(grids), images, atol=1e-5, rtol=0)


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
    transformer = load_generator(tmp_path / "weights.safetensors").architecture["transformer"]
    assert transformer.items() >= PROJECT["model"]["params"]["transformer_config"]["params"].items()


@FORMATS
def test_a_vqgan_alone_decodes_and_has_a_codebook_but_cannot_sample(tmp_path, official, zipped):
    vqgan = official.first_stage_model
    places = ("configs/model.yaml", "ckpts/last.ckpt")  # as vqgan_imagenet_f16_16384 is laid out
    folder = folder_of(tmp_path / "vqgan", vqgan.state_dict(), VQGAN_PROJECT, zipped, places)
    weights = tmp_path / "weights.safetensors"
    convert_generator(weights, folder)

    generator = load_generator(weights)
    grids = torch.arange(48).view(3, 4, 4)
    torch.testing.assert_close(generator.vqgan.decode(grids), vqgan.decode_code(grids), atol=1e-5, rtol=0)
    assert generator.decode(grids).shape == (3, 64, 64, 3)
    assert generator_spec(weights).class_names == ()
    export_codebook(tmp_path / "codebook.safetensors", generator=weights)
    assert torch.equal(load_codebook(tmp_path / "codebook.safetensors", "cpu"), vqgan.quantize.embedding.weight)
    with pytest.raises(InputError, match="without a transformer"):
        generator.sample(np.array([0]), np.array([0], np.uint64))


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
    with pytest.raises(InputError, match=r"names\.txt: not UTF-8"):
        read_architecture(config, names)


def test_a_vqgan_alone_has_the_classes_that_are_named(tmp_path, official):
    folder = folder_of(tmp_path / "vqgan", official.first_stage_model.state_dict(), VQGAN_PROJECT)
    (tmp_path / "names.txt").write_text("a doctor\na nurse\n")
    convert_generator(tmp_path / "weights.safetensors", folder, class_names=tmp_path / "names.txt")
    assert generator_spec(tmp_path / "weights.safetensors").class_names == ("a doctor", "a nurse")
    with pytest.raises(InputError, match="without a transformer"):
        load_generator(tmp_path / "weights.safetensors").sample(np.array([0]), np.array([0], np.uint64))


def test_the_command_line_converts(tmp_path, cin_transformer, capsys):
    weights = tmp_path / "weights.safetensors"
    assert main(["convert-generator", "--output", str(weights), "--folder", str(cin_transformer[True])]) == 0
    assert generator_spec(weights).codes == 48
    assert main(["convert-generator", "--output", str(weights), "--folder", str(tmp_path / "nowhere")]) == 1
    assert f"{tmp_path / 'nowhere'}: none of configs/*-project.yaml" in capsys.readouterr().err


# What does not fit


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
    assert f"and {len(removed) + 1 - 5} more; 1 unexpected weights: permuter.forward_shuffle_idx" in message
    assert str(tmp_path / "checkpoints/last.ckpt") in message and "\n" not in message
    assert not (tmp_path / "weights.safetensors").exists()


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
        ("target", "taming.models.vqgan.GumbelVQ", "model.target = 'taming.models.vqgan.GumbelVQ': only VQModel"),
        (f"{FIRST}.target", "taming.models.vqgan.GumbelVQ", "first_stage_config.target = .*GumbelVQ': only VQModel"),
        (f"{FIRST}.params.remap", "used.npy", "remap = 'used.npy'"),
        (f"{FIRST}.params.ddconfig.double_z", True, "ddconfig.double_z = 'True': Input should be False"),
        (f"{FIRST}.params.ddconfig.attn_type", "vanilla", "ddconfig.attn_type = 'vanilla': this setting is not suppor"),
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


def test_what_does_not_change_the_generator_is_accepted(tmp_path):
    project = json.loads(json.dumps(PROJECT))
    params = project["model"]["params"]
    params |= {"pkeep": 0.9, "sos_token": 0, "unconditional": False, "downsample_cond_size": -1, "ckpt_path": None}
    params["permuter_config"] = {"target": "taming.modules.transformer.permuter.Identity"}
    params["transformer_config"]["params"] |= {"embd_pdrop": 0.1, "attn_pdrop": 0, "n_unmasked": 0}
    (tmp_path / "project.yaml").write_text(yaml.safe_dump(project))
    architecture = read_architecture(tmp_path / "project.yaml")
    assert architecture["transformer"]["embd_pdrop"] == 0.1
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


# Nothing is executed, and whatever the bytes are, it ends soon, in tensors or in an InputError


@pytest.fixture(scope="module")
def executed():
    """Names of what Python executes on behalf of a pickle, as its audit events tell; cleared by each test."""
    events = []
    watched = {"pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect"}
    watching = [True]
    sys.addaudithook(lambda event, _: events.append(event) if watching[0] and event in watched else None)
    yield events
    watching[0] = False


@FORMATS
def test_a_hostile_pickle_is_not_executed(tmp_path, executed, zipped):
    marker = tmp_path / "executed"
    lightning({"a": torch.arange(3.0)}, f"touch {marker}")(tmp_path / "last.ckpt", zipped)
    executed.clear()
    with open_checkpoint(tmp_path / "last.ckpt") as opened:
        assert b"".join(opened.chunks(opened.tensors["a"])) == np.arange(3, dtype=np.float32).tobytes()
    assert not marker.exists() and not executed
    pickle.loads(pickle.dumps(Hostile(f"touch {marker}")))
    assert marker.exists() and executed, "the trap was armed"


def read_all(path):
    """Every tensor's bytes by name."""
    with open_checkpoint(path) as opened:
        return {name: b"".join(opened.chunks(tensor)) for name, tensor in opened.tensors.items()}


SMALL_STATE = {"weight": torch.arange(12.0).view(3, 4), "bias": torch.ones(3), "seen": torch.tensor(7)}


def small_checkpoint(zipped):
    file = io.BytesIO()
    lightning(SMALL_STATE)(file, zipped)
    return file.getvalue()


SMALL = {zipped: small_checkpoint(zipped) for zipped in (True, False)}
EXPECTED = {name: tensor.numpy().tobytes() for name, tensor in SMALL_STATE.items()}


@FORMATS
@settings(max_examples=150)
@given(data=st.data())
def test_a_truncated_checkpoint_is_refused(tmp_path_factory, zipped, data):
    whole = SMALL[zipped]
    path = tmp_path_factory.getbasetemp() / "truncated.ckpt"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(InputError, match=r"truncated\.ckpt: not a whole checkpoint: ") as raised:
        read_all(path)
    assert "\n" not in str(raised.value)


@FORMATS
@settings(max_examples=600)
@given(data=st.data())
def test_a_damaged_checkpoint_gives_tensors_or_an_input_error(tmp_path_factory, executed, zipped, data):
    damaged = bytearray(SMALL[zipped])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.ckpt"
    path.write_bytes(damaged)
    executed.clear()
    found, told = {}, f"{path} "
    try:
        found = read_all(path)
    except InputError as error:
        told = str(error)
    assert told.startswith(str(path)) and "\n" not in told and len(told) < 1000
    if zipped:  # it has checksums: what is found is as it was
        assert found.items() <= EXPECTED.items()
    assert not executed


OPCODES = sorted(checkpoint.OPCODES)
PHRASES = [b"\x8c\x01a", b"K\x03", b"q\x01", b"h\x01", b"cos\nsystem\n", b"ctorch._utils\n_rebuild_tensor_v2\n"]


@settings(max_examples=600)
@given(st.lists(st.sampled_from(OPCODES) | st.sampled_from(PHRASES) | st.binary(max_size=6), max_size=30))
def test_any_opcodes_give_an_object_or_a_value_error(executed, opcodes):
    executed.clear()
    with contextlib.suppress(ValueError):
        PickleMachine().load(io.BytesIO(b"\x80\x02" + b"".join(opcodes) + b"."))
    assert not executed


def zipped_pickle(pickled, members=()):
    """A checkpoint of one pickle and uncompressed members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in members:
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def text(string):
    return b"X" + struct.pack("<I", len(string)) + string.encode()


def number(value):
    content = value.to_bytes(9, "little", signed=True)
    return b"\x8a\x09" + content


def one_tensor(elements=6, offset=0, shape=(2, 3), stride=(3, 1), storage="FloatStorage", module="torch"):
    """The pickle of {"state_dict": {"w": tensor}}, written opcode by opcode."""
    return (
        b"\x80\x02}" + text("state_dict") + b"}" + text("w")
        + b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + text("storage") + b"c" + module.encode() + b"\n" + storage.encode() + b"\n" + text("0") + text("cpu")
        + number(elements) + b"tQ"
        + number(offset) + b"(" + b"".join(map(number, shape)) + b"t(" + b"".join(map(number, stride)) + b"t\x89N"
        + b"tRss."
    )  # fmt: skip


SIX = np.arange(6, dtype=np.float32)


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ({}, SIX.reshape(2, 3)),
        ({"shape": (3, 2), "stride": (1, 3)}, SIX.reshape(2, 3).T),
        ({"shape": (2, 2), "stride": (2, 1), "offset": 2}, SIX[2:].reshape(2, 2)),
        ({"shape": (), "stride": (), "offset": 5}, SIX[5]),
        ({"shape": (0, 7), "stride": (9, 9)}, np.empty((0, 7), np.float32)),
        ({"shape": (1, 6), "stride": (77, 1)}, SIX[None]),
        ({"module": "torch.cuda"}, SIX.reshape(2, 3)),
    ],
    ids=str,
)
def test_views_of_a_storage_come_in_row_major_order(tmp_path, described, expected):
    path = tmp_path / "last.ckpt"
    path.write_bytes(zipped_pickle(one_tensor(**described), [("data/0", SIX.tobytes())]))
    with open_checkpoint(path) as opened:
        assert opened.tensors["w"].shape == expected.shape
    assert read_all(path) == {"w": expected.tobytes()}


@pytest.mark.parametrize(
    "described",
    [
        {"offset": 1},
        {"offset": -1},
        {"shape": (2, 4)},
        {"shape": (3, 3)},
        {"stride": (4, 1)},
        {"stride": (-3, 1)},
        {"shape": (2, 3), "stride": (0, 0), "elements": 1},
        {"shape": (1 << 62, 1 << 62), "stride": (0, 0)},
        {"shape": (2,), "stride": (3, 1)},
        {"shape": (1,) * 65, "stride": (1,) * 65},
        {"shape": (2, 2), "stride": (3, 1)},
        {"elements": -6},
        {"elements": 7},
        {"elements": 1 << 62},
        {"storage": "DoubleStorage"},
        {"storage": "QInt8Storage"},
        {"storage": "system", "module": "os"},
    ],
    ids=str,
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, described):
    path = tmp_path / "last.ckpt"
    path.write_bytes(zipped_pickle(one_tensor(**described), [("data/0", SIX.tobytes())]))
    with pytest.raises(InputError, match=r"last\.ckpt: not a whole checkpoint: "):
        read_all(path)


DEEP_TUPLES = b"\x80\x02}" + b")q\x00" + b"h\x00h\x00\x86q\x00" * 200 + b"Ns."  # hashing it takes 2^200 steps


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x04}" + b"r\xff\xff\xff\x7f" + b".",  # memo slot 2^31
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b".",  # a bytearray of 2^60 bytes
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".",  # bytes
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",  # a frame
        b"\x80\x02" + b"]" * 20_000 + b".",
        b"\x80\x02" + b"(" * 20_000 + b".",
        b"\x80\x04" + b"}" + b"\x94" * 20_000 + b".",
        b"\x80\x02" + b"]\x85" * 20_000 + b".",
        b"\x80\x02" + b")" + b"\x85" * 20_000 + b".",  # a tuple in a tuple in ...
        b"\x80\x04X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"q\x00" + b"h\x00h\x00\x93" * 5_000 + b".",
        DEEP_TUPLES,
    ],
    ids=["memo", "bytearray", "bytes", "frame", "lists", "marks", "memos", "tuples", "nested tuples", "names", "hash"],
)
def test_a_bomb_costs_some_hundred_bytes_an_instruction(tmp_path, monkeypatch, pickled):
    monkeypatch.setattr(checkpoint, "MAX_STEPS", 10_000)
    path = tmp_path / "last.ckpt"
    path.write_bytes(zipped_pickle(pickled))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"last\.ckpt: not a whole checkpoint: "):
            read_all(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000 * 300


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<!DOCTYPE html>", "neither a zip nor a pickle"),
        (b"", "bytes 0 to 4 are missing"),
        (pickle.dumps({"state_dict": {}}, protocol=2), "does not begin like a file of torch.save"),
        (zipped_pickle(b"\x80\x02}."), "no 'state_dict'"),
        (zipped_pickle(b"\x80\x02N."), "no 'state_dict'"),
        (zipped_pickle(one_tensor()), "storage '0' is missing"),
        (zipped_pickle(one_tensor(), [("data/0", SIX.tobytes()), ("byteorder", "big")]), "big-endian"),
    ],
    ids=str,
)
def test_what_is_no_checkpoint_says_so(tmp_path, content, told):
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_all(tmp_path / "last.ckpt")


@FORMATS
def test_a_plain_state_dict_is_read_into_memory(tmp_path, zipped):
    state = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.tensor(7), "none": torch.empty(0, 4)}
    torch.save(state, tmp_path / "state.pth", _use_new_zipfile_serialization=zipped)
    found = read_state(tmp_path / "state.pth")
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def test_a_thousand_names_of_one_storage_are_refused(tmp_path):
    weight = torch.zeros(100_000)
    torch.save({f"w{index}": weight for index in range(1000)}, tmp_path / "bomb.pth")
    with pytest.raises(InputError, match=r"bomb\.pth: .* more than twice the file"):
        read_state(tmp_path / "bomb.pth")


def test_missing_files_and_folders_are_told(tmp_path):
    with pytest.raises(InputError, match=r"last\.ckpt: No such file"):
        read_all(tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="Is a directory"):
        read_all(tmp_path)


def test_a_compressed_checkpoint_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "last.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    with pytest.raises(InputError, match="compressed"):
        read_all(tmp_path / "last.ckpt")


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
        from cortex.generators.taming.convert import _expected_shapes, convert_generator, read_architecture
        folder = Path({str(tmp_path)!r})
        config = folder / "configs/2021-project.yaml"
        _expected_shapes(read_architecture(config), config)  # what torch and taming need without any weights
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        convert_generator(folder / "weights.safetensors", folder)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert (tmp_path / "weights.safetensors").stat().st_size > 192e6
    assert int(done.stdout) < 48 << 10  # KiB
