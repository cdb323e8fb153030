"""Speed of generators of published sizes with random weights: python -m tests.published_speed [name …].

Every generator draws a few grids with its sampler and its published settings, and decodes them. Beside the measured
rate stands the bound: the counted arithmetic by this machine's rate of matrix products, or the bytes that sampling
reads by its rate of copies, whichever takes longer. Both rates are measured before every generator. On a CPU, one
thread computes, and seconds are those of the processor: other programs change them little. On a GPU, sampling is in
bfloat16, and so is its product; images are decoded in float32.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cortex.app.rates import copy_rate, product_rate
from cortex.core.weights import load_into
from cortex.generators.load import load_family
from cortex.generators.network.build import empty_networks
from cortex.generators.network.cost import cost_of
from cortex.generators.network.generator import NetworkGenerator
from cortex.generators.network.vqgan import VQGAN
from tests import published
from tests.bench import rows
from tests.published import TAMING_F16, stand_in

IMAGES = {"cpu": 2, "cuda": 64}  # drawn at once
LINE = "| {} | {} | {} | {} | {} | {} | {} |"
HEADINGS = ("generator", "parameters", "draws, images/s", "bound", "share", "decodes, images/s", "share of the bound")


def vqgan_shapes(**changes: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of a tokenizer of taming's, by its names."""
    with torch.device("meta"):
        vqgan = VQGAN(TAMING_F16 | changes.pop("ddconfig", {}), embed_dim=256, **changes)
    return {name: tuple(weight.shape) for name, weight in vqgan.state_dict().items()}


def llamagen_b() -> tuple[str, dict[str, Any]]:
    """Family, and the content of every published file."""
    prior = stand_in(published.llamagen_prior(12, 768, 2048))
    return "llamagen", {"vq_ds16_c2i.pt": published.llamagen_tokenizer_file([1, 1, 2, 2, 4]), "c2i_B_256.pt": prior}


def rar_b() -> tuple[str, dict[str, Any]]:
    prior, tokenizer = stand_in(published.rar_prior(24, 768, 3072)), stand_in(published.maskgit_tokenizer())
    return "rar", {"maskgit-vqgan-imagenet-f16-256.bin": tokenizer, "rar_b.bin": prior}


def ibq_b() -> tuple[str, dict[str, Any]]:
    tokenizer = vqgan_shapes(n_embed=16384, ddconfig={"num_res_blocks": 4})
    state = published.ibq_state(tokenizer, published.ibq_prior(16, 1024, 2816))
    return "ibq", {"AR_256_B.ckpt": {"state_dict": stand_in(state)}}


def maskgit() -> tuple[str, dict[str, Any]]:
    prior, tokenizer = stand_in(published.maskgit_prior()), stand_in(vqgan_shapes(n_embed=1024))
    return "maskgit_pytorch", {
        "MaskGIT_ImageNet_256.pth": {"model_state_dict": prior},
        "last.ckpt": {"state_dict": tokenizer},
    }


def halton_base() -> tuple[str, dict[str, Any]]:
    prior = {"model_state_dict": stand_in(published.halton_prior(12, 768, 768, 2048))}
    return "halton", {
        "vq_ds16_c2i.pt": published.llamagen_tokenizer_file([1, 1, 2, 2, 4]),
        "ImageNet_256_base.pth": prior,
    }


def var_d16() -> tuple[str, dict[str, Any]]:
    return "var", {
        "vae_ch160v4096z32.pth": published.var_tokenizer_file(),
        "var_d16.pth": stand_in(published.var_prior(16, 1024, 4096)),
    }


GENERATORS: dict[str, Callable[[], tuple[str, dict[str, Any]]]] = {
    "LlamaGen-B": llamagen_b,
    "RAR-B": rar_b,
    "IBQ-B": ibq_b,
    "MaskGIT-pytorch": maskgit,
    "Halton-base": halton_base,
    "VAR-d16": var_d16,
}


def architecture_of(family: str, files: dict[str, Any]) -> dict[str, Any]:
    """The architecture that published files state."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            torch.save(content, Path(folder) / name)
        found: dict[str, Any] = load_family(family).source(Path(folder), None, None).architecture
    return found


def random_generator(family: str, architecture: dict[str, Any], device: torch.device) -> NetworkGenerator:
    """The generator with random weights, which keep activations of order 1."""
    described: Any = load_family(family)
    networks = empty_networks(described, architecture)
    random, tensors = torch.Generator(device).manual_seed(0), {}
    for name, weight in networks.state_dict().items():
        if weight.ndim < 2:
            tensors[name] = torch.full(weight.shape, float(not name.endswith("bias")), device=device)
        else:
            drawn = torch.randn(weight.shape, generator=random, device=device)
            tensors[name] = drawn * weight[0].numel() ** -0.5
    load_into(networks, tensors, Path(family), assign=True)
    spec = described.spec_of(architecture)
    return NetworkGenerator(spec, networks.to(device), device, null_class=architecture["null_class"])


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call: of the processor, or on a GPU by the clock."""
    if device.type == "cuda":
        return rows.seconds(work)
    began = time.process_time()
    work()
    return time.process_time() - began


def rate(measure: Callable[[torch.device], float], device: torch.device) -> float:
    """A rate of this machine in the same seconds."""
    found: list[float] = []
    by_clock = time.perf_counter()
    spent = seconds(lambda: found.append(measure(device)), device)
    return found[0] if device.type == "cuda" else found[0] * (time.perf_counter() - by_clock) / spent


def measured(name: str, family: str, architecture: dict[str, Any], device: torch.device, images: int) -> str:
    """A generator's line of the table."""
    described: Any = load_family(family)
    generator = random_generator(family, architecture, device)
    sampling, half = generator.spec.published, device.type == "cuda"
    cost = cost_of(described, architecture, batch=images * sampling.rows, half=half)
    parameters = sum(weight.numel() for weight in generator.tokenizer.parameters())
    parameters += sum(weight.numel() for weight in generator.transformer.parameters())  # type: ignore[union-attr]
    classes, seeds = np.arange(images) % len(generator.spec.class_names), np.arange(images, dtype=np.uint64)
    flops, bandwidth = rate(product_rate, device), rate(copy_rate, device)
    if half:
        generator.sample(classes, seeds, sampling)  # captures its steps
    grids: list[Any] = []
    drawing = seconds(lambda: grids.append(generator.sample(classes, seeds, sampling)), device)
    generator.decode(grids[0][:1])
    decoding = seconds(lambda: generator.decode(grids[0]), device)
    passes = sampling.rows * (sampling.steps or 1)
    arithmetic, reading = passes * cost.sample_flops / flops, passes * cost.sample_bytes / bandwidth
    bound = max(arithmetic, reading)
    return LINE.format(
        name,
        f"{parameters / 1e6:.0f} M",
        f"{images / drawing:.3g}",
        f"{1 / bound:.3g} ({'arithmetic' if arithmetic > reading else 'memory'})",
        f"{images * bound / drawing:.2f}",
        f"{images / decoding:.3g}",
        f"{images * cost.decode_flops / flops / decoding:.2f}",
    )


def lines(names: list[str], device: torch.device) -> Iterator[str]:
    """Lines of the table, each as soon as it is measured."""
    yield LINE.format(*HEADINGS)
    yield LINE.format(*["---"] * len(HEADINGS))
    for name in names:
        family, files = GENERATORS[name]()
        yield measured(name, family, architecture_of(family, files), device, IMAGES[device.type])


def main() -> None:
    """Print the table."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m tests.published_speed", description=__doc__, formatter_class=form)
    parser.add_argument("names", nargs="*", help=f"generators; by default all: {', '.join(GENERATORS)}")
    names = parser.parse_args().names or list(GENERATORS)
    if unknown := [name for name in names if name not in GENERATORS]:
        parser.error(f"no generator {unknown[0]!r}; there are {', '.join(GENERATORS)}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "one CPU thread"
    print(f"torch {torch.__version__}, {where}, {IMAGES[device.type]} images at once\n")
    for line in lines(names, device):
        print(line, flush=True)


if __name__ == "__main__":
    main()
