"""The second table of the bench: the stages that take the time on a GPU, each as a share of what is counted."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from taming.modules.transformer.mingpt import GPT
from torch import Tensor, nn

from cortex.app.rates import copy_rate, product_rate
from cortex.core.device import place
from cortex.explain.importance import token_importance
from cortex.extractors.cost import extractor_cost
from cortex.extractors.network import build_extractor
from cortex.extractors.settings import CnnSettings, ExtractorSettings, ResnetSettings, TransformerSettings
from cortex.extractors.state import Training as State
from cortex.extractors.train import classify, train_epoch
from cortex.generators.network.raster import RasterSampler
from cortex.generators.sampling import Sampling
from cortex.generators.spec import GeneratorSpec
from cortex.generators.taming import FAMILY
from cortex.generators.taming.gpt import GptSteps
from tests.bench.baselines import cached
from tests.bench.extractors import CHANNELS, CLASSES, CODES, GRID
from tests.bench.rows import Row, seconds


@dataclass(frozen=True)
class Sizes:
    """What is timed on a GPU.

    Args:
        facts: of the generator.
        extractors: their settings, by name.
        gpt: of the generator's transformer.
        explained: images of a batch of importance.
        steps: of a training.
        drawn: images that are sampled at once.
        drawn_by_cat: of those that taming's loop samples at once: it copies its keys and values several times.
    """

    facts: GeneratorSpec
    extractors: dict[str, ExtractorSettings]
    gpt: dict[str, int]
    explained: int
    steps: int
    drawn: int
    drawn_by_cat: int


PAPER = Sizes(
    facts=GeneratorSpec(tuple(map(str, range(CLASSES))), GRID, CODES, CHANNELS),
    extractors={
        "cnn": CnnSettings(network="cnn"),
        "resnet": ResnetSettings(network="resnet"),
        "transformer": TransformerSettings(network="transformer", precision="float16"),
    },
    gpt={"vocab_size": CODES, "block_size": 256, "n_layer": 48, "n_head": 24, "n_embd": 1536},
    explained=25,
    steps=8,
    drawn=500,
    drawn_by_cat=50,
)


def on_gpu(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """The rows of a GPU, as shares of the rates of a product in bfloat16 and of a copy, which are measured first."""
    flops, bandwidth = product_rate(device), copy_rate(device)
    yield Row("a product", f"{flops:.3g} FLOP")
    yield Row("a copy", f"{bandwidth:.3g} bytes")
    for name, settings in sizes.extractors.items():
        facts = sizes.facts
        cost = extractor_cost(settings, facts.channels, len(facts.class_names), facts.grid)
        yield importance_on(device, name, settings, sizes, cost.gradient / flops)
        yield training_on(device, name, settings, sizes, cost.step / flops)
    yield sampling_on(device, sizes, bandwidth)


def extractor_on(device: torch.device, settings: ExtractorSettings, facts: GeneratorSpec) -> nn.Module:
    """An extractor of a config's settings, with random weights."""
    known = {"channels": facts.channels, "classes": len(facts.class_names), "grid": facts.grid}
    return place(build_extractor(settings.network, **known, **settings.network_arguments()), device)


def importance_on(device: torch.device, name: str, settings: ExtractorSettings, sizes: Sizes, least: float) -> Row:
    """Token importance of a batch; ``least`` seconds are counted for one copy of an image."""
    network = extractor_on(device, settings, sizes.facts).eval().requires_grad_(False)
    embeddings = torch.randn(sizes.explained, sizes.facts.channels, *sizes.facts.grid, device=device)
    labels = torch.arange(sizes.explained, device=device) % len(sizes.facts.class_names)

    def batch() -> Tensor:
        return token_importance(network, embeddings, labels, list(range(sizes.explained)))

    batch()
    rate = sizes.explained / seconds(batch)
    return Row(
        f"importance, {name}, batch {sizes.explained}, 20 copies",
        f"{rate:.3g} images",
        bound=f"arithmetic, if all were bfloat16: {20 * least * rate:.0%}",
    )


def training_on(device: torch.device, name: str, settings: ExtractorSettings, sizes: Sizes, least: float) -> Row:
    """Steps of a training, as ``cortex train-extractor`` does them; ``least`` seconds are counted for an image."""
    network = extractor_on(device, settings, sizes.facts)
    count, (height, width) = sizes.steps * settings.batch, sizes.facts.grid
    grids = torch.randint(sizes.facts.codes, (count, height, width), dtype=torch.int32, device=device)
    labels = torch.randint(len(sizes.facts.class_names), (count,), device=device)
    adam = torch.optim.Adam(network.parameters(), fused=device.type == "cuda")
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda _: 1.0)
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "float16")
    training = State(network, adam, schedule, torch.Generator(), scaler)
    codebook = torch.randn(sizes.facts.codes, sizes.facts.channels, device=device)
    read = partial(classify, network, codebook, precision=settings.precision or "float32")

    def epoch() -> float:
        training.step = 0
        return train_epoch(training, read, grids, labels, batch=settings.batch)

    epoch()
    rate = count / seconds(epoch)
    return Row(
        f"training step, {name}, batch {settings.batch}, {settings.precision or 'float32'}",
        f"{rate:.4g} images",
        bound=f"arithmetic, if all were bfloat16: {least * rate:.0%}",
    )


def sampling_on(device: torch.device, sizes: Sizes, bandwidth: float) -> Row:
    """Tokens of a batch of images, by captured steps in bfloat16, beside taming's cached loop in float32."""
    with device:
        gpt = GPT(**sizes.gpt).eval().requires_grad_(False)
        classes = torch.arange(sizes.drawn) % len(sizes.facts.class_names)
        uniforms = torch.rand(sizes.drawn, sizes.gpt["block_size"], dtype=torch.float64)
    few = slice(sizes.drawn_by_cat)
    with torch.inference_mode():
        theirs = sizes.drawn_by_cat / seconds(lambda: cached(gpt, classes[few], uniforms[few]))
    sampler = RasterSampler(GptSteps(gpt, torch.bfloat16), "captured")
    sampler.draw(classes, uniforms, Sampling())
    rate = sizes.drawn / seconds(lambda: sampler.draw(classes, uniforms, Sampling()))
    share = rate * FAMILY.prior_size(sizes.gpt).cache_bytes(sizes.gpt["block_size"], 2) / bandwidth
    return Row(
        f"sampling, {sizes.gpt['block_size']} tokens, {sizes.drawn} images",
        f"{rate:.3g} images",
        f"a loop that concatenates, float32, {sizes.drawn_by_cat} at once",
        rate / theirs,
        bound=f"reading keys and values: {share:.0%}",
    )
