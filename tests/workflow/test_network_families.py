"""The whole tiny run with generators of random weights, from their authors' files to the page."""

import pandas as pd
import pytest
import torch

from cortex.data.shard_reader import read_shard
from cortex.generators import halton, maskgit
from cortex.generators.convert import convert_generator
from cortex.generators.ibq import sizes as ibq_sizes
from cortex.generators.llamagen import sizes as llamagen_sizes
from cortex.generators.load import load_generator
from cortex.generators.network.vqgan import VQGAN
from tests.pipeline import change_config, copy_checkout, jobs_in, made
from tests.published import (
    CODES,
    TINY_DDCONFIG,
    TINY_HALTON_SIZE,
    TINY_HEADS,
    TINY_IBQ_SIZE,
    TINY_SIZE,
    ibq_state,
    tiny_halton,
    tiny_ibq_prior,
    tiny_llamagen,
    tiny_maskgit,
    tiny_rar,
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


FAMILIES = {  # files, side, grid that is told
    "llamagen": (write_llamagen, 8, (8, 8)),
    "rar": (write_rar, 16, None),
    "ibq": (write_ibq, 16, None),
    "maskgit_pytorch": (write_maskgit, 8, None),
    "halton": (write_halton, 8, None),
}


@pytest.fixture(scope="module", params=FAMILIES)
def run(request, tmp_path_factory):
    """A checkout in which the tiny run has been made with a family's generator; its name, and the side of a grid."""
    family, (write, side, grid) = request.param, FAMILIES[request.param]
    checkout = copy_checkout(tmp_path_factory.mktemp(family))
    (checkout / "files").mkdir()
    write(checkout / "files")
    (checkout / "digits.txt").write_text("\n".join(DIGITS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(llamagen_sizes.SIZES, *TINY_SIZE)
        patch.setitem(ibq_sizes.SIZES, *TINY_IBQ_SIZE)
        patch.setitem(maskgit.HEADS, *TINY_HEADS)
        patch.setitem(halton.SIZES, *TINY_HALTON_SIZE)
        names = checkout / "digits.txt"
        convert_generator(
            checkout / "made.safetensors", family=family, folder=checkout / "files", class_names=names, grid=grid
        )
    generator = {"family": family, "weights": "made.safetensors", "guidance": 2.5}
    change_config(checkout / "tests/tiny.yaml", {"run": "families", "generator": generator})
    return checkout, made(checkout, "--configfile", "tests/tiny.yaml"), family, side


def test_every_stage_runs_on_the_family(run):
    checkout, done, _, _ = run
    results = checkout / "results/families"
    assert jobs_in(done)["generate_shard"] > 1 and "convert_generator" not in jobs_in(done)
    assert '"guidance": 2.5' in (results / "settings.json").read_text()
    assert (results / "report.html").stat().st_size > 10_000
    for level in ("image_level", "concept_level", "codebook_level"):
        assert len(pd.read_parquet(results / f"metrics/{level}.parquet"))


def test_images_are_those_of_the_tokens(run):
    checkout, _, family, side = run
    generator = load_generator(checkout / "made.safetensors", family=family)
    samples = list(read_shard(checkout / "results/families/data/test/000000.tar", images=True))
    assert {sample.info["class_name"] for sample in samples} == {"one", "two", "seven"}
    assert max(sample.grid.max() for sample in samples) < CODES and samples[0].grid.shape == (side, side)
    for sample in samples[:3]:
        image = generator.decode(torch.from_numpy(sample.grid[None].astype("int64")))[0].numpy()
        assert abs(image.astype(int) - sample.image).max() <= 1
