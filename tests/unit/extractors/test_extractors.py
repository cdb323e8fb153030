"""The extractors are those of METHOD.md, section 3, and are trained by the published recipe."""

import math
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
import torch

from cortex.core.errors import InputError
from cortex.core.weights import read_weights, write_weights
from cortex.extractors.codebook import export_codebook, load_codebook, look_up
from cortex.extractors.network import build_extractor, load_extractor, save_extractor
from cortex.extractors.state import Training
from cortex.extractors.train import classify, train_epoch, validate, warm_up_then_cosine
from tests.training import SMALL, run_training

PAPER = {"channels": 256, "classes": 1000, "grid": (16, 16)}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("cnn", 72_160_232), ("cnn_deep", 66_439_144), ("resnet", 30_843_048), ("transformer", 39_671_272)],
)
def test_parameters_at_paper_scale(name, parameters):
    with torch.device("meta"):
        network = build_extractor(name, **PAPER)
    assert sum(weight.numel() for weight in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "some_names"),
    [
        (
            "cnn",
            [
                "conv1_1.bias",
                "bn1_4.running_var",
                "conv2_4.weight",
                "fc1.weight",
                "bn_fc1.bias",
                "bn_fc2.bias",
                "fc3.bias",
            ],
        ),
        ("cnn_deep", ["conv3_1.weight", "bn3_2.weight", "fc3.bias"]),
        (
            "resnet",
            ["layer1.0.conv1.weight", "layer1.0.shortcut.0.weight", "layer1.0.shortcut.1.bias", "layer2.2.bn2.weight"]
            + ["layer2.0.se.fc1.weight", "layer1.1.se.fc2.bias", "fc1.weight", "bn_fc1.weight", "fc2.bias"],
        ),
        (
            "transformer",
            ["cls_token", "pos_embed", "proj.0.weight", "proj.1.bias", "encoder.11.norm1.weight"]
            + ["encoder.0.self_attn.in_proj_weight", "encoder.0.self_attn.out_proj.bias", "encoder.0.bn_attn.weight"]
            + [
                "encoder.0.norm2.bias",
                "encoder.0.mlp.0.weight",
                "encoder.0.mlp.3.bias",
                "encoder.0.bn_mlp.running_mean",
            ]
            + ["final_norm.weight", "pre_classifier.0.weight", "pre_classifier.1.bias", "fc.weight"],
        ),
    ],
)
def test_weights_are_named_as_in_the_released_state_dicts(name, some_names):
    with torch.device("meta"):
        names = build_extractor(name, **PAPER).state_dict().keys()
    assert set(some_names) <= names


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("grid", [(8, 8), (16, 16), (4, 8)])
def test_any_grid_fits(name, grid):
    network = build_extractor(name, channels=5, classes=3, grid=grid, **SMALL[name]).eval()
    assert network(torch.randn(2, 5, *grid)).shape == (2, 3)


@pytest.mark.parametrize("name", SMALL)
def test_in_eval_mode_no_image_depends_on_another(name):
    network = build_extractor(name, channels=5, classes=3, grid=(8, 8), **SMALL[name]).eval()
    embeddings = torch.randn(4, 5, 8, 8)
    alone = torch.cat([network(one[None]) for one in embeddings])
    torch.testing.assert_close(network(embeddings), alone, rtol=1e-4, atol=1e-5)


def test_residual_block_squeezes_the_sum():
    """RE's squeeze-and-excite scales the sum of both branches, not the residual branch alone."""
    block = build_extractor("resnet", channels=16, classes=2, grid=(8, 8), **SMALL["resnet"]).eval().layer1[1]
    x = torch.randn(2, 16, 4, 4)
    y = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x))))) + x
    pooled = y.mean(dim=(2, 3))
    scale = torch.sigmoid(block.se.fc2(torch.relu(block.se.fc1(pooled))))
    torch.testing.assert_close(block(x), torch.relu(y * scale[:, :, None, None]))


def test_an_unknown_setting_is_named():
    with pytest.raises(InputError, match=r"resnet.*layers"):
        build_extractor("resnet", **PAPER, layers=3)
    with pytest.raises(InputError, match=r"'cnnn': allowed: cnn, "):
        build_extractor("cnnn", **PAPER)


def test_warm_up_is_linear_then_cosine():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = warm_up_then_cosine(optimizer, steps=100, warm_up=0.1)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:10] == pytest.approx([1e-4 * step for step in range(1, 11)])
    assert rates[10:] == pytest.approx([5e-4 * (1 + math.cos(math.pi * step / 90)) for step in range(90)])


@pytest.mark.parametrize("name", SMALL)
def test_training_keeps_the_epoch_of_lowest_validation_loss(tmp_path, tiny_data, name):
    output, history = run_training(tmp_path, tiny_data, name)
    assert history.column_names == ["epoch", "learning_rate", "train_loss", "val_loss", "val_top1", "seconds"]
    network = load_extractor(output, torch.device("cpu"))
    packed = np.load(tiny_data["validation"])
    embeddings = torch.eye(4, 5)[packed["grid"].astype(np.int64)].permute(0, 3, 1, 2)
    logits = network(embeddings)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(packed["label"].astype(np.int64))).item()
    assert loss == pytest.approx(min(history["val_loss"].to_pylist()), rel=1e-5)
    best = int(np.argmin(history["val_loss"]))
    top1 = (logits.argmax(1).numpy() == packed["label"]).mean()
    assert history["val_top1"][best].as_py() == pytest.approx(top1)


def test_training_twice_gives_the_same_weights(tmp_path, tiny_data):
    first, _ = run_training(tmp_path, tiny_data, "transformer")
    content = first.read_bytes()
    again, _ = run_training(tmp_path, tiny_data, "transformer")
    assert again.read_bytes() == content


def test_step_schedule_is_in_the_history(tmp_path, tiny_data):
    _, history = run_training(tmp_path, tiny_data, "cnn", epochs=5, step_factor=0.1)
    assert history["learning_rate"].to_pylist() == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4])


def test_an_epoch_is_the_plain_loop_over_shuffled_batches(tiny_data):
    """The same weights as a loop written without any of our helpers; the 41st image, alone in a batch, is left out."""
    packed = np.load(tiny_data["train"])
    codebook = torch.eye(4, 5)
    grids, labels = (torch.from_numpy(packed[name].astype(np.int64)) for name in ("grid", "label"))
    torch.manual_seed(0)
    ours = build_extractor("cnn", channels=5, classes=3, grid=(8, 8), width=8, hidden=16, dropout=0.0)
    theirs = build_extractor("cnn", channels=5, classes=3, grid=(8, 8), width=8, hidden=16, dropout=0.0)
    theirs.load_state_dict(ours.state_dict())

    adam = torch.optim.Adam(theirs.parameters(), lr=1e-3, weight_decay=1e-4)
    order = torch.randperm(41, generator=torch.Generator().manual_seed(5)).tolist()
    losses = []
    for start in range(0, 40, 8):
        rows = order[start : start + 8]
        embeddings = torch.stack([torch.stack([codebook[code] for code in grids[row].flatten()]) for row in rows])
        loss = torch.nn.functional.cross_entropy(theirs(embeddings.mT.unflatten(2, (8, 8))), labels[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())

    optimizer = torch.optim.Adam(ours.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1000)
    training = Training(ours, optimizer, schedule, torch.Generator().manual_seed(5))
    mean = train_epoch(training, partial(classify, ours, codebook), grids, labels, batch=8)
    assert mean == pytest.approx(np.mean(losses), rel=1e-5)
    for name, weight in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], weight, rtol=1e-3, atol=1e-4, msg=name)


def test_validation_does_not_depend_on_the_batch():
    torch.manual_seed(0)
    network = build_extractor("resnet", channels=5, classes=3, grid=(8, 8), **SMALL["resnet"])
    grids, labels = torch.randint(0, 4, (7, 8, 8)), torch.randint(0, 3, (7,))
    read = partial(classify, network.eval(), torch.eye(4, 5))
    one, many = (validate(read, grids, labels, batch=batch) for batch in (1, 7))
    assert one == pytest.approx(many, rel=1e-5)


@pytest.mark.parametrize(("what", "field", "value"), [("token", "grid", 4), ("label", "label", 3)])
def test_data_that_do_not_fit_are_named(tmp_path, tiny_data, what, field, value):
    packed = np.load(tiny_data["train"])
    packed[field][17] = value
    np.save(tiny_data["train"], packed)
    with pytest.raises(InputError, match=rf"train.npy: row 17: {what} {value}; allowed: 0 to {value - 1}"):
        run_training(tmp_path, tiny_data, "cnn")


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path, tiny_data):
    write_weights(tiny_data["codebook"], {"codebook": torch.full((4, 5), 3e38)}, {})
    with pytest.raises(InputError, match="epoch 1"):
        run_training(tmp_path, tiny_data, "cnn")
    assert not (tmp_path / "cnn.safetensors").exists()


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("epochs", 0, r"epochs\n +Input should be greater than or equal to 1"),
        ("batch", 1, r"batch\n +Input should be greater than or equal to 2"),
        ("learning_rate", 0.0, r"learning_rate\n +Input should be greater than 0"),
        ("learning_rate", float("nan"), r"learning_rate\n +Input should be a finite number"),
        ("weight_decay", -1.0, r"weight_decay\n +Input should be greater than or equal to 0"),
        ("classes", 0, "--classes = 0: allowed: 1 and more"),
        ("training", -1, "--training = -1: allowed: 0 and more"),
    ],
)
def test_options_that_cannot_be_are_told(tmp_path, tiny_data, option, value, told):
    with pytest.raises(ValueError, match=told):  # an InputError, or of a section
        run_training(tmp_path, tiny_data, "cnn", **{option: value})
    assert not (tmp_path / "cnn.safetensors").exists()


def test_look_up_puts_the_code_of_a_position_at_that_position():
    codebook = torch.randn(6, 5)
    grids = torch.randint(0, 6, (2, 3, 4))
    embeddings = look_up(codebook, grids)
    assert embeddings.shape == (2, 5, 3, 4)
    for image in range(2):
        for row in range(3):
            for column in range(4):
                assert torch.equal(embeddings[image, :, row, column], codebook[grids[image, row, column]])


def test_codebook_is_the_generators(tmp_path, generator_weights):
    tensors, _ = read_weights(generator_weights, only="first_stage_model.quantize")
    export_codebook(tmp_path / "codebook.safetensors", generator=generator_weights)
    (weights,) = tensors.values()
    assert torch.equal(load_codebook(tmp_path / "codebook.safetensors", torch.device("cpu")), weights)
    with pytest.raises(InputError, match=r"codebook.safetensors: not a generator's"):
        export_codebook(tmp_path / "other.safetensors", generator=tmp_path / "codebook.safetensors")


def test_files_that_are_not_extractors_are_named(tmp_path):
    settings = {"channels": 5, "classes": 3, "grid": (16, 16), **SMALL["cnn"]}
    network = build_extractor("cnn", **settings)
    state = network.state_dict()
    path = tmp_path / "model.safetensors"
    save_extractor(path, "cnn", settings, state)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match=r"model.safetensors: not a whole safetensors file"):
        load_extractor(path, torch.device("cpu"))
    removed = dict(state)
    del removed["fc3.bias"]
    save_extractor(path, "cnn", settings, removed)
    with pytest.raises(InputError, match=r"model.safetensors: 1 missing weights: fc3.bias$"):
        load_extractor(path, torch.device("cpu"))
    save_extractor(path, "resnet", {**settings, **SMALL["resnet"], "width": -1}, state)
    with pytest.raises(InputError, match=r"model.safetensors: not an extractor's weights: extractor resnet: .*-1"):
        load_extractor(path, torch.device("cpu"))
    write_weights(path, state, {})
    with pytest.raises(InputError, match=r"model.safetensors: not an extractor's"):
        load_extractor(path, torch.device("cpu"))


def test_history_is_a_plain_table(tmp_path, tiny_data):
    _, history = run_training(tmp_path, tiny_data, "resnet", epochs=1)
    assert history.schema.field("epoch").type == pa.int32()
    assert history["seconds"][0].as_py() > 0


def test_the_transformer_starts_with_the_deviation_asked_for():
    """Deviations of the initial positions; those of the same seed differ by the factor alone."""
    found = {}
    for deviation in (1.0, 0.02):
        torch.manual_seed(0)
        network = build_extractor(
            "transformer", channels=5, classes=3, grid=(8, 8), initial_deviation=deviation, **SMALL["transformer"]
        )
        found[deviation] = torch.cat([network.cls_token, network.pos_embed], 1)
    assert 0.9 < found[1.0].std().item() < 1.1
    torch.testing.assert_close(found[0.02], found[1.0] * 0.02)
