"""The table of generators of published sizes: their architectures, and a line of a tiny one."""

import pytest
import torch

from cortex.generators import halton
from cortex.generators.llamagen import sizes
from cortex.generators.load import load_family
from tests import published_speed
from tests.pipeline import CHECKOUT
from tests.published import TINY_HALTON_SIZE, TINY_SIZE, tiny_halton, tiny_llamagen


def test_every_generator_is_one_of_a_published_size():
    """Parameters of the priors are those of the families' tests."""
    guided = {}
    for name, files in published_speed.GENERATORS.items():
        family, content = files()
        architecture = published_speed.architecture_of(family, content)
        spec = load_family(family).spec_of(architecture)
        assert spec.samples and spec.image == (256, 256) and len(spec.class_names) == 1000
        guided[name] = spec.published.rows
    assert set(guided.values()) == {2}, "all are published with guidance"


@pytest.mark.parametrize("family", ["llamagen", "halton"])
def test_a_line_states_rates_and_shares(family, monkeypatch):
    monkeypatch.setattr(published_speed, "product_rate", lambda device: 1e12)
    monkeypatch.setattr(published_speed, "copy_rate", lambda device: 1e10)
    monkeypatch.setattr(published_speed, "rate", lambda measure, device: measure(device))
    monkeypatch.setitem(sizes.SIZES, *TINY_SIZE)
    monkeypatch.setitem(halton.SIZES, *TINY_HALTON_SIZE)
    tokenizer, prior = tiny_llamagen(16) if family == "llamagen" else tiny_halton(4)
    files = {"vq_ds4_c2i.pt": {"model": tokenizer}}
    files |= {"c2i_T_256.pt": {"model": prior}} if family == "llamagen" else {"ImageNet_16_tiny.pth": prior}
    architecture = published_speed.architecture_of(family, files)
    line = published_speed.measured("tiny", family, architecture, torch.device("cpu"), 2)
    name, parameters, draws, bound, share, decodes, decode_share = line.strip("| ").split(" | ")
    assert name == "tiny" and parameters in ("1 M", "2 M")
    assert float(share) == pytest.approx(float(draws) / float(bound.split()[0]), abs=0.006)
    assert bound.endswith(("(arithmetic)", "(memory)")) and float(decodes) > 0 and 0 <= float(decode_share) <= 1


def test_the_page_has_a_line_for_every_generator():
    page = (CHECKOUT / "docs" / "speed.md").read_text()
    assert published_speed.LINE.format(*published_speed.HEADINGS) in page
    assert all(f"\n| {name} | " in page for name in published_speed.GENERATORS)
