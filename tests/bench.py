"""How fast the hot paths are: each beside a straightforward formulation of the same, timed in the same run.

``make bench`` prints one table: what is timed, items a second, the ratio to the straightforward formulation, the ratio
to reach, and the share of a bound where one can be counted. Where there is a GPU, a second table has the stages that
take its time, at the paper's sizes. Nothing here is a test: timings vary with the machine, the ratios less, if it does
nothing else. Every
pair on a CPU is first checked to compute the same.
"""

import collections
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from taming.modules.transformer.mingpt import GPT
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.app import job_client
from cortex.app.job_server import THREAD_VARIABLES, RunServer
from cortex.app.rates import copy_rate, product_rate
from cortex.core.device import choose_device, place
from cortex.data.layout import Layout
from cortex.data.packed import pack_grids
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.data.tokens import read_shard_tokens
from cortex.evaluate.image_level import image_masks
from cortex.evaluate.masking import brightness, judge_masks
from cortex.explain.codebook_search import select_tokens, target_logits_with
from cortex.explain.concept_tokens import TokenCounts
from cortex.explain.importance import token_importance
from cortex.explain.settings import Region, SearchOptimisation
from cortex.extractors.codebook import look_up
from cortex.extractors.cost import extractor_cost
from cortex.extractors.network import build_extractor
from cortex.extractors.settings import CnnSettings, ExtractorSettings, ResnetSettings, TransformerSettings
from cortex.extractors.state import Training as State
from cortex.extractors.train import classify, train_epoch
from cortex.fast.region_forward import RegionForward
from cortex.generators.choice import choose_tokens
from cortex.generators.network.raster import RasterSampler
from cortex.generators.sampling import Sampling
from cortex.generators.spec import GeneratorSpec
from cortex.generators.taming import FAMILY
from cortex.generators.taming.gpt import GptSteps
from cortex.judges.judge import Judge
from cortex.judges.networks import ResNet

CODES, CHANNELS, CLASSES, GRID = 16384, 256, 1000, (16, 16)  # the paper's
LAYOUT = Layout(GRID)


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        path: what is timed.
        rate: items a second, with their unit.
        against: the straightforward formulation.
        ratio: how many times faster (or smaller) ours is; None where nothing is beside it.
        goal: the ratio to reach, if there is one.
        bound: what limits it, and the share of that reached, where that can be counted.
    """

    path: str
    rate: str
    against: str = ""
    ratio: float | None = None
    goal: float | None = None
    bound: str = ""

    def line(self) -> str:
        """Its line of the table."""
        ratio, goal = ("" if number is None else f"{number:.4g}×" for number in (self.ratio, self.goal))
        return LINE.format(self.path, self.rate, self.against, ratio, goal, self.bound).rstrip()


LINE = "{:<44} {:>32}  {:<46} {:>7} {:>6}  {}"


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    torch.cuda.synchronize() if torch.cuda.is_available() else None
    began = time.perf_counter()
    function()
    torch.cuda.synchronize() if torch.cuda.is_available() else None
    return time.perf_counter() - began


def faster(ours: Callable[[], object], theirs: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
    """Seconds of ours, and how many times as long theirs takes: medians of turns, one after the other."""
    ours()  # the first call allocates
    turns = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    return statistics.median(mine for mine, _ in turns), statistics.median(other / mine for mine, other in turns)


def cnn() -> nn.Module:
    """CE at the published widths, in eval mode, with all that it learned still differentiable."""
    torch.manual_seed(0)
    network = build_extractor("cnn", channels=CHANNELS, classes=CLASSES, grid=GRID, width=512)
    return place(network, torch.device("cpu")).eval()


def importance() -> Row:
    """Token importance of a batch, one noisy copy of twenty: every copy costs the same."""
    network, batch = cnn(), 25
    embeddings, labels = torch.randn(batch, CHANNELS, *GRID), torch.arange(batch)
    seeds = list(range(batch))
    spread = 0.2 * (embeddings.flatten(1).amax(1) - embeddings.flatten(1).amin(1))
    noise = torch.stack([torch.randn(CHANNELS, *GRID, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

    def released() -> Tensor:
        """One backward pass for each image, each through the whole batch."""
        noisy = (embeddings + spread[:, None, None, None] * noise).requires_grad_()
        logits = network(noisy)
        gradients = []
        for image in range(batch):
            logits[image, labels[image]].backward(retain_graph=True)
            gradients.append(noisy.grad[image].amax(0))
            noisy.grad = None
        return torch.stack(gradients)

    frozen = cnn().requires_grad_(False)

    def ours() -> Tensor:
        return token_importance(frozen, embeddings, labels, seeds, samples=1)

    network.requires_grad_(False)  # to be told apart from the search's: here, weights get no gradients in either
    torch.testing.assert_close(ours(), released(), rtol=1e-3, atol=1e-7)
    mine, ratio = faster(ours, released, repeats=1)
    return Row(
        "importance, CE, batch 25",
        f"{batch / mine / 20:.3f} images (20 copies each)",
        "a backward pass an image, through the batch",
        ratio,
        12,
    )


def released_search(network: nn.Module, codebook: Tensor, grid: Tensor, region: Region, steps: int) -> None:
    """All 256 rows of the grid, one image at a time, as METHOD.md, section 5, has it of the released code.

    The fixed rows are held at ±300 by gradients of 0. A step is torch's hard Gumbel-softmax of all rows, the one-hot
    matrix times the codebook, CE in eval mode, and ``backward`` as a plain script calls it: the network's weights are
    parameters, so their gradients are computed and added up, though nothing reads them. The codebook's are not
    computed. Then Adam as torch has it by default, over all rows.
    """
    places = region.positions(GRID[1])
    positions = GRID[0] * GRID[1]
    logits = torch.full((positions, CODES), -300.0)
    logits[torch.arange(positions), grid.flatten()] = 300.0
    logits[places] = torch.randn(len(places), CODES)
    logits.requires_grad_()
    fixed = torch.ones(positions, 1)
    fixed[places] = 0
    adam = torch.optim.Adam([logits], lr=0.01)
    for _ in range(steps):
        one_hot = F.gumbel_softmax(logits, tau=1.0, hard=True)
        embedding = (one_hot @ codebook).T.reshape(1, CHANNELS, *GRID)
        loss = -network(embedding)[0, 7]
        adam.zero_grad()
        loss.backward()
        logits.grad *= 1 - fixed
        adam.step()


def search(images: int, goal: float) -> Row:
    """Token selection over the whole codebook, per image and step."""
    network, region, steps = cnn(), Region(top=7, left=7, height=4, width=4), 20
    codebook = torch.randn(CODES, CHANNELS)
    grids = torch.randint(CODES, (images, *GRID))
    # Prepared once for the 10,000 steps of a batch, so left out of what twenty take.
    prepared = RegionForward(cnn().requires_grad_(False))
    logits = target_logits_with(prepared, look_up(codebook, grids), torch.full((images,), 7), region)

    def ours() -> None:
        optimisation = SearchOptimisation(steps=steps, record_every=steps)
        collections.deque(select_tokens(logits, codebook, list(range(images)), 16, optimisation), maxlen=0)

    mine, ratio = faster(ours, lambda: released_search(network, codebook, grids[0], region, steps))
    return Row(
        f"codebook search, CE, K = 16384, {images} at once",
        f"{steps * images / mine:.1f} image steps",
        "all 256 rows, weights' gradients included",
        ratio * images,
        goal,
        f"multiplying and reading: {least_of_search(region) * steps / mine:.0%} of it" if images == 1 else "",
    )


def least_of_search(region: Region) -> float:
    """Seconds of a step for one image that cannot be saved, at the rates of this machine.

    The weights of two connected layers, which no cache holds, are read twice; then there is the arithmetic of what the
    region reaches, by minimal filtering: 16 multiplications for 36.
    """
    cpu, settings = torch.device("cpu"), CnnSettings(network="cnn")
    connected = settings.hidden * (settings.width * 16 + settings.hidden)
    step = extractor_cost(settings, CHANNELS, CLASSES, GRID, region.window).search
    large = torch.zeros(1 << 26)
    reading = 4 * connected * 2 / (4 * large.numel() / min(seconds(large.sum) for _ in range(5)))
    return reading + (step - 2 * 2 * connected) * 16 / 36 / product_rate(cpu)


def masking() -> Row:
    """Image-level evaluation at n = 5…50, with the largest judge that always runs here."""
    count, n = 8, list(range(5, 51, 5))
    random = np.random.default_rng(0)
    grids, scores = random.integers(0, CODES, (count, 256)), random.normal(size=(count, 256))
    images = random.integers(0, 256, (count, 256, 256, 3)).astype(np.uint8)
    labels = np.arange(count) % 10
    judge = Judge(ResNet(width=32), torch.device("cpu"))

    def ours() -> None:
        bright = brightness(images, LAYOUT)
        masks = image_masks(grids, scores, random.random((count, 256)), bright, n, CODES, LAYOUT.scale_of)
        judge_masks(judge, images, labels, masks.reshape(-1, count, 256), LAYOUT, batch=count)

    shown = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)

    def forward_passes() -> None:
        with torch.inference_mode():
            for _ in range(1 + 4 * len(n)):
                judge.network(shown)

    mine, ratio = faster(ours, forward_passes, repeats=3)
    return Row(
        "image level, n = 5…50, all but the judge",
        f"{count * 4 * len(n) / mine:.0f} masked images",
        "the judge's forward passes alone",
        ratio,
        0.91,
        f"the judge: the rest costs {1 / ratio - 1:.1%} of it",
    )


def counting() -> Row:
    """Concept-level counting: 10,000 grids, n = 20 of 256 positions, 1,000 labels."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, 10_000)
    tokens = random.zipf(1.3, (10_000, 20)) % CODES

    def ours() -> TokenCounts:
        counter = TokenCounts(CODES)
        counter.add(labels, tokens)
        return counter

    def by_counter() -> collections.Counter[tuple[int, int]]:
        counter: collections.Counter[tuple[int, int]] = collections.Counter()
        for label, row in zip(labels.tolist(), tokens.tolist(), strict=True):
            counter.update((label, token) for token in row)
        return counter

    expected = by_counter()
    found = ours()
    assert dict(zip(found.pairs.tolist(), found.counts.tolist(), strict=True)) == {
        label * CODES + token: count for (label, token), count in expected.items()
    }
    mine, ratio = faster(ours, by_counter, repeats=5)
    return Row(
        "concept counting, 10,000 grids",
        f"{10_000 / mine:,.0f} grids",
        "collections.Counter",
        ratio,
        5,
        f"memory: {len(found.pairs):,} pairs kept of {CLASSES * CODES:,}",
    )


def uncached(gpt: GPT, classes: Tensor, uniforms: Tensor) -> Tensor:
    """taming's forward pass on the whole sequence so far, at every step."""
    sequence = classes[:, None]
    for step in range(uniforms.shape[1]):
        logits, _ = gpt(sequence)
        sequence = torch.cat([sequence, choose_tokens(logits[:, -1], uniforms[:, step])[:, None]], 1)
    return sequence[:, 1:]


def cached(gpt: GPT, classes: Tensor, uniforms: Tensor) -> Tensor:
    """A key/value cache that grows by concatenation, a projection at a time, as taming's repository samples.

    Its ``sample_with_past`` keeps what every step gave, ``[layers, 2, B, heads, 1, C / heads]``, in a list that
    ``forward_with_past`` concatenates at every step; then every layer appends its new key and value once more.
    """
    heads, steps, current, drawn = gpt.config.n_head, [], classes[:, None], []
    for step in range(uniforms.shape[1]):
        x = gpt.tok_emb(current) + gpt.pos_emb[:, step : step + 1]
        past, new = torch.cat(steps, dim=-2) if steps else None, []
        for layer, block in enumerate(gpt.blocks):
            normed, attention = block.ln1(x), block.attn
            query, key, value = (
                projection(normed).view(len(x), 1, heads, -1).transpose(1, 2)
                for projection in (attention.query, attention.key, attention.value)
            )
            new.append(torch.stack((key, value)))
            if past is not None:
                key = torch.cat([past[layer, 0], key], dim=2)
                value = torch.cat([past[layer, 1], value], dim=2)
            weights = (query @ key.transpose(-2, -1) * key.shape[-1] ** -0.5).softmax(-1)
            x = x + attention.proj((weights @ value).transpose(1, 2).reshape(len(x), 1, -1))
            x = x + block.mlp(block.ln2(x))
        steps.append(torch.stack(new))
        current = choose_tokens(gpt.head(gpt.ln_f(x))[:, 0], uniforms[:, step])[:, None]
        drawn.append(current)
    return torch.cat(drawn, 1)


def sampling() -> Iterator[Row]:
    """256 tokens of 16 images from a GPT of 4 layers and width 256."""
    torch.manual_seed(0)
    gpt = GPT(vocab_size=1024, block_size=256, n_layer=4, n_head=4, n_embd=256).eval().requires_grad_(False)
    classes, uniforms = torch.arange(16), torch.rand(16, 256, dtype=torch.float64)

    def ours() -> Tensor:
        return RasterSampler(GptSteps(gpt)).draw(classes, uniforms, Sampling(top_k=None, top_p=None))

    with torch.inference_mode():
        drawn = ours()
        assert torch.equal(drawn, cached(gpt, classes, uniforms))
        for name, theirs, goal, repeats in (
            ("taming's uncached loop", uncached, 30, 1),
            ("a cached loop that concatenates", cached, 1.5, 3),
        ):
            mine, ratio = faster(ours, lambda theirs=theirs: theirs(gpt, classes, uniforms), repeats)
            yield Row("sampling, 256 tokens, 16 images", f"{16 / mine:.1f} images", name, ratio, goal)


def training() -> Row:
    """A training step of CE on grids, beside the same step on embeddings that are already in memory."""
    network, batch = cnn().train(), 16
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    codebook = torch.randn(CODES, CHANNELS)
    grids = torch.randint(CODES, (4 * batch, *GRID), dtype=torch.int32)
    labels = torch.randint(CLASSES, (4 * batch,))
    ready = look_up(codebook, grids[:batch])

    def step(embeddings: Tensor, truth: Tensor) -> None:
        loss = F.cross_entropy(network(embeddings), truth)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()

    def ours() -> None:
        rows = torch.randperm(len(grids))[:batch]
        step(look_up(codebook, grids[rows]), labels[rows])

    # The two differ by little: many short turns, so that what else the machine does hits both.
    mine, ratio = faster(ours, lambda: step(ready, labels[:batch]), repeats=15)
    return Row(
        "training step, CE",
        f"{batch / mine:.1f} images",
        "the step on embeddings in memory",
        ratio,
        0.97,
    )


def stored() -> Iterator[Row]:
    """Bytes an image: float32 embeddings, as released, beside what training and judging read."""
    random = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        samples = [
            Sample(f"train-{index:06d}", index % CLASSES, random.integers(0, CODES, GRID).astype(np.uint16), None)
            for index in range(500)
        ]
        write_shard(Path(folder) / "000000.tar", samples)
        read_shard_tokens(Path(folder) / "000000.parquet", Path(folder) / "000000.tar", codes=CODES)
        pack_grids(Path(folder) / "grids.npy", [Path(folder) / "000000.parquet"], codes=CODES)
        for name, file, goal in (("packed grids", "grids.npy", 500), ("tokens-only shard", "000000.tar", 60)):
            each = (Path(folder) / file).stat().st_size / len(samples)
            yield Row(f"stored, {name}", f"{each:.0f} bytes an image", "float32 embeddings", 4 * 256 * 256 / each, goal)


def job_start() -> Row:
    """The start of a job: Python and what a stage imports, by the run's job server and by itself."""
    server, environment = RunServer(), os.environ | THREAD_VARIABLES
    server.start()
    command = [sys.executable, "-m", "cortex", "importance", "--help"]

    def helped(address: str) -> str:
        changed = environment | {job_client.VARIABLE: address}
        return subprocess.run(command, env=changed, capture_output=True, text=True, check=True).stdout

    address = os.environ[job_client.VARIABLE]
    assert helped(address) == helped("")
    mine, ratio = faster(lambda: helped(address), lambda: helped(""))
    server.stop()
    return Row("start of a job", f"{1 / mine:.1f} jobs", "python -m cortex, without a server", ratio, 10)


def rows() -> Iterator[Row]:
    """All rows, each as soon as it is measured."""
    yield job_start()
    yield importance()
    yield search(1, 12)
    yield search(8, 18)
    yield masking()
    yield counting()
    yield from sampling()
    yield training()
    yield from stored()


# On a GPU: the three stages that take the paper's time, each as a share of what is counted.


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


def main() -> None:
    """Print the tables."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    headings = LINE.format("path", "a second", "against", "ratio", "goal", "bound").rstrip()
    print(headings)
    for row in rows():
        print(row.line(), flush=True)
    if torch.cuda.is_available():
        device = choose_device("cuda")
        print(f"\n{torch.cuda.get_device_name(device)}\n\n{headings}")
        for row in on_gpu(device, PAPER):
            print(row.line(), flush=True)


if __name__ == "__main__":
    main()
