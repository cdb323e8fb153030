"""The whole tiny run with generators of random weights, from their authors' files to the page."""

import pandas as pd
import pytest
import torch
import yaml

from cortex.data.shard_reader import read_shard
from cortex.generators import halton, maskgit
from cortex.generators.convert import convert_generator
from cortex.generators.ibq import sizes as ibq_sizes
from cortex.generators.llamagen import sizes as llamagen_sizes
from cortex.generators.load import load_generator
from cortex.generators.network.vqgan import VQGAN
from cortex.generators.var import files as var_files
from tests.pipeline import change_config, copy_checkout, jobs_in, made
from tests.published import (
    CODES,
    TINY_DDCONFIG,
    TINY_HALTON_SIZE,
    TINY_HEADS,
    TINY_IBQ_SIZE,
    TINY_SIDES,
    TINY_SIZE,
    ibq_state,
    tiny_halton,
    tiny_ibq_prior,
    tiny_llamagen,
    tiny_maskgit,
    tiny_rar,
    tiny_var,
)

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def write_llamagen(folder):
    tokenizer, prior = tiny_llamagen(8)
    torch.save({"model": tokenizer}, folder / "vq_ds4_c2i.pt")
    torch.save({"model": prior}, folder / "c2i_T.pt")


def write_ibq(folder):
    vqgan = VQGAN(TINY_DDCONFIG | {"ch_mult": [1, 1], "resolution": 32}, n_embed=CODES, embed_dim=16)
    torch.save({"state_dict": ibq_state(vqgan.state_dict(), tiny_ibq_prior())}, folder / "AR_256_T.ckpt")


def write_rar(folder):
    tokenizer, prior = tiny_rar(16, [1, 1])
    torch.save(tokenizer, folder / "maskgit-vqgan-imagenet-f16-256.bin")
    torch.save(prior, folder / "rar_t.bin")


def write_maskgit(folder):
    tokenizer, prior = tiny_maskgit(8, [1, 2, 2])
    torch.save({"state_dict": tokenizer}, folder / "last.ckpt")
    torch.save({"model_state_dict": prior}, folder / "MaskGIT_ImageNet_t.pth")


def write_halton(folder):
    tokenizer, prior = tiny_halton(8)
    torch.save({"model": tokenizer}, folder / "vq_ds16_c2i.pt")
    torch.save({"model_state_dict": prior}, folder / "ImageNet_32_tiny.pth")


def write_var(folder):
    tokenizer, prior = tiny_var(8)
    torch.save(tokenizer, folder / "vae_ch32v48z16.pth")
    torch.save(prior, folder / "var_d3.pth")


POSITIONS = sum(side**2 for side in TINY_SIDES[8])
FAMILIES = {  # files, shape of a grid, grid that is told
    "llamagen": (write_llamagen, (8, 8), (8, 8)),
    "rar": (write_rar, (16, 16), None),
    "ibq": (write_ibq, (16, 16), None),
    "maskgit_pytorch": (write_maskgit, (8, 8), None),
    "halton": (write_halton, (8, 8), None),
    "var": (write_var, (1, POSITIONS), None),
}


@pytest.fixture(scope="module", params=FAMILIES)
def run(request, tmp_path_factory):
    """A checkout in which the tiny run has been made with a family's generator; its name, and the shape of a grid."""
    family, (write, shape, grid) = request.param, FAMILIES[request.param]
    checkout = copy_checkout(tmp_path_factory.mktemp(family))
    (checkout / "files").mkdir()
    write(checkout / "files")
    (checkout / "digits.txt").write_text("\n".join(DIGITS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(llamagen_sizes.SIZES, *TINY_SIZE)
        patch.setitem(ibq_sizes.SIZES, *TINY_IBQ_SIZE)
        patch.setitem(maskgit.HEADS, *TINY_HEADS)
        patch.setitem(halton.SIZES, *TINY_HALTON_SIZE)
        patch.setitem(var_files.SIDES, POSITIONS, TINY_SIDES[8])
        names = checkout / "digits.txt"
        convert_generator(
            checkout / "made.safetensors", family=family, folder=checkout / "files", class_names=names, grid=grid
        )
    generator = {"family": family, "weights": "made.safetensors", "guidance": 2.5}
    changes = {"run": "families", "generator": generator}
    if family == "var":
        changes["studies"] = {"scales": {"images_per_class": 2, "n": [5, 20]}, "sanity": {"images_per_class": 1}}
        changes["studies"] |= {"attributions": {"images_per_class": 1, "methods": ["occlusion", "gradient_input"]}}
    else:  # all extractors see a map of codes, as in the tiny run of taming
        settings = yaml.safe_load((checkout / "tests/tiny.yaml").read_text())
        for part, name in (("extractors", "transformer"), ("judges", "resnet")):
            settings[part] = {name: settings[part][name]}
        (checkout / "tests/tiny.yaml").write_text(yaml.safe_dump(settings))
    change_config(checkout / "tests/tiny.yaml", changes)
    return checkout, made(checkout, "full", "--configfile", "tests/tiny.yaml"), family, shape


def test_every_stage_runs_on_the_family(run):
    checkout, done, _, _ = run
    results = checkout / "results/families"
    assert jobs_in(done)["generate_shard"] > 1 and "convert_generator" not in jobs_in(done)
    assert '"guidance": 2.5' in (results / "settings.json").read_text()
    assert (results / "report.html").stat().st_size > 10_000
    for level in ("image_level", "concept_level", "codebook_level"):
        assert len(pd.read_parquet(results / f"metrics/{level}.parquet"))


def test_images_are_those_of_the_tokens(run):
    checkout, _, family, shape = run
    generator = load_generator(checkout / "made.safetensors", family=family)
    samples = list(read_shard(checkout / "results/families/data/test/000000.tar", images=True))
    assert {sample.info["class_name"] for sample in samples} == {"one", "two", "seven"}
    assert max(sample.grid.max() for sample in samples) < generator.spec.codes and samples[0].grid.shape == shape
    for sample in samples[:3]:
        image = generator.decode(torch.from_numpy(sample.grid[None].astype("int64")))[0].numpy()
        assert abs(image.astype(int) - sample.image).max() <= 1


def test_what_scales_carry_is_on_the_page(run):
    checkout, _, family, _ = run
    results = checkout / "results/families"
    assert ("What do coarse and fine scales carry?" in (results / "report.html").read_text()) == (family == "var")
    if family != "var":
        return
    rows = pd.read_parquet(results / "metrics/scales.parquet")
    rows = rows[rows["training"].isna()]
    shares = rows[rows["measure"] == "share"].groupby(["extractor", "n"])["value"].sum()
    assert len(shares) == 6 and abs(shares - 1).max() < 1e-9
    changed = rows[rows["measure"] == "probability_change"].groupby("removed").size()
    assert changed.to_dict() == {"scale": 60, "finer": 54, "importance": 12, "random": 12, "beyond_random": 12}
    masked = pd.read_parquet(results / "metrics/image_level.parquet")
    assert masked["masked_fraction"].between(0.001, 0.999).all(), "no mask hides all of the image"
