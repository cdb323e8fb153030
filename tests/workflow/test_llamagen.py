"""The whole tiny run with a LlamaGen of random weights, from its authors' files to the page."""

import pandas as pd
import pytest
import torch

from cortex.data.shard_reader import read_shard
from cortex.generators.llamagen import sizes
from cortex.generators.load import convert_generator, load_generator
from tests.pipeline import change_config, copy_checkout, jobs_in, made
from tests.published import TINY_SIZE, tiny_llamagen

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    checkout = copy_checkout(tmp_path_factory.mktemp("llamagen"))
    tokenizer, prior = tiny_llamagen(8)
    (checkout / "files").mkdir()
    torch.save({"model": tokenizer}, checkout / "files/vq_ds4_c2i.pt")
    torch.save({"model": prior}, checkout / "files/c2i_T.pt")
    (checkout / "digits.txt").write_text("\n".join(DIGITS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sizes.SIZES, *TINY_SIZE)
        convert_generator(
            checkout / "llamagen.safetensors",
            folder=checkout / "files",
            class_names=checkout / "digits.txt",
            grid=(8, 8),
        )
    generator = {"family": "llamagen", "weights": "llamagen.safetensors", "guidance": 2.5}
    change_config(checkout / "tests/tiny.yaml", {"run": "llamagen", "generator": generator})
    return checkout, made(checkout, "--configfile", "tests/tiny.yaml")


def test_every_stage_runs_on_the_family(run):
    checkout, done = run
    results = checkout / "results/llamagen"
    assert jobs_in(done)["generate_shard"] > 1 and "convert_generator" not in jobs_in(done)
    assert "guidance" in (results / "settings.json").read_text()
    assert (results / "report.html").stat().st_size > 10_000
    for level in ("image_level", "concept_level", "codebook_level"):
        assert len(pd.read_parquet(results / f"metrics/{level}.parquet"))


def test_images_are_those_of_the_tokens(run):
    checkout, _ = run
    generator = load_generator(checkout / "llamagen.safetensors", family="llamagen")
    samples = list(read_shard(checkout / "results/llamagen/data/test/000000.tar", images=True))
    assert {sample.info["class_name"] for sample in samples} == {"one", "two", "seven"}
    assert max(sample.grid.max() for sample in samples) < 48 and samples[0].grid.shape == (8, 8)
    for sample in samples[:3]:
        image = generator.decode(torch.from_numpy(sample.grid[None].astype("int64")))[0].numpy()
        assert abs(image.astype(int) - sample.image).max() <= 1
