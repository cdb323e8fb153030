"""Concept or adversary? Codebook searches, read by those that they were not made with (METHOD.md, section 9).

A search pleases the extractor that it was made with. If it found the concept, its tokens please other extractors and
the judges, too, and the generator's prior finds them about as likely as those of real samples. Beside the searches
stand regions that need no search: random codes, another image's, and what the generator draws there.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from taming.modules.transformer.mingpt import GPT
from torch import Tensor

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.explain.codebook_search import SCHEMA as FOUND
from cortex.extractors.codebook import look_up
from cortex.extractors.network import load_extractor
from cortex.generators.taming.generator import Generator, load_generator
from cortex.generators.taming.likelihood import log_likelihoods, prior_of
from cortex.judges.judge import Judge, load_judge
from cortex.studies.transfer.candidates import Candidates, Searched, candidates, in_batches, read_images
from cortex.studies.transfer.metrics import summarise

log = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("extractor", pa.string()),
        ("method", pa.string()),
        ("step", pa.int32()),
        ("source", pa.int32()),
        ("target", pa.int32()),
        ("kind", pa.string()),
        ("reader", pa.string()),
        ("logit", pa.float32()),
        ("probability", pa.float32()),
        ("log_likelihood", pa.float32()),
    ]
)


def control_search(
    output: Path,
    rows: Path,
    searches: list[Path],
    shards: list[Path],
    *,
    made_with: list[str],
    extractors: list[Path],
    extractor_names: list[str],
    judges: list[Path],
    judge_names: list[str],
    generator: Path | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    batch: int = 100,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Hold codebook searches against other extractors, the judges and the generator's prior, beside references.

    References, without an extractor: `random_codes`, uniform over the codebook; `pasted_region`, the region of another
    test image of the target class; `drawn_region`, what the generator draws for the target, given the tokens before;
    each as many times as a search has recorded steps. `real_target` is such another image as a whole, and `unedited`
    the image itself.

    Args:
        output: Parquet to write, means over images with 95 % bootstrap intervals: extractor, method, baseline (null:
            the value itself, else the difference from it), kind (own, extractors: the others, judges, prior), reader
            (null: mean over the kind's), measure (probability and logit of the target, log_likelihood; gap: own
            probability minus theirs; log_likelihood_ratio: given the target, not the source), selection (last: a
            search's last step, references averaged over their draws; best: each reader's own best of steps or draws),
            samples, value, low, high, effect_size, p, p_corrected, verdict.
        rows: Parquet to write, what that summarises: key, extractor, method, step, source, target, kind, reader, and
            the reader's logit and probability of the target, or the log-likelihood of the region's tokens (nats a
            token) under the prior, conditioned on the class that reader names.
        searches: results of codebook searches, of the same images and region.
        shards: tars of the test split.
        made_with: the extractor of every search, a name of extractor_names.
        extractors: weights of trained extractors.
        extractor_names: their names, in the same order.
        judges: weights of judges.
        judge_names: their names, in the same order.
        generator: weights file of the generator; the embedded digits generator if not given.
        temperature: of what the generator draws.
        top_k: draw from the k most probable tokens; all if not given.
        top_p: of those, from the most probable that together exceed p; all if not given.
        batch: images read at once.
        seed: of the references' random numbers and of the bootstrap.
        device: auto, cpu, cuda or cuda:N.
    """
    if len(searches) != len(made_with) or set(made_with) - set(extractor_names):
        raise InputError(
            f"{len(searches)} searches, made with {made_with}: one of {extractor_names} for each is needed"
        )
    if len(extractors) != len(extractor_names) or len(judges) != len(judge_names):
        raise InputError(
            f"{len(extractors)} extractors and {len(judges)} judges, {len(extractor_names)} and {len(judge_names)} "
            "names: one for each is needed"
        )
    on = choose_device(device)
    model = load_generator(generator, on, precision="float32")
    gpt = prior_of(model)
    if gpt is None:
        log.info("the generator is a VQGAN without a transformer: no likelihoods, and nothing that it would draw")
    tables = [read_table(path, FOUND.names) for path in searches]
    images = read_images(searches, tables, shards, len(model.codebook))
    choice = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    proposed = candidates(tables, made_with, images, gpt, model, choice, batch, seed)
    readings: list[pa.Table] = []
    for kind, name, logits_of in readers(model, extractors, extractor_names, judges, judge_names, on):
        logits = in_batches(logits_of, [proposed.grids], batch, f"{kind} {name}")
        target = torch.from_numpy(images.target[proposed.image])[:, None]
        readings.append(
            _readings(
                proposed,
                images,
                kind,
                name,
                logit=logits.gather(1, target)[:, 0],
                probability=logits.softmax(1).gather(1, target)[:, 0],
            )
        )
    if gpt is not None:
        readings += list(likelihoods(proposed, images, gpt, on, batch))
    table = pa.concat_tables(readings)
    write_table(rows, table)
    write_table(output, summarise(table, seed=seed))


def readers(
    model: Generator,
    extractors: list[Path],
    extractor_names: list[str],
    judges: list[Path],
    judge_names: list[str],
    device: torch.device,
) -> Iterator[tuple[str, str, Callable[[Tensor], Tensor]]]:
    """Kind and name of everyone that reads a class, and its logits ``[B, classes]`` of grids int64 ``[B, h, w]``."""
    for name, path in zip(extractor_names, extractors, strict=True):
        network = load_extractor(path, device)

        def of_extractor(grids: Tensor, network: torch.nn.Module = network) -> Tensor:
            with torch.inference_mode():
                return network(look_up(model.codebook, grids.to(device)))

        yield "extractors", name, of_extractor
    for name, path in zip(judge_names, judges, strict=True):
        judge = load_judge(path, device)

        def of_judge(grids: Tensor, judge: Judge = judge) -> Tensor:
            return judge.logits(model.decode(grids))

        yield "judges", name, of_judge


def likelihoods(
    proposed: Candidates, images: Searched, gpt: GPT, device: torch.device, batch: int
) -> Iterator[pa.Table]:
    """Log-likelihood a token of the last proposals' regions, given the target and given the source."""
    kept = proposed.last()
    for name, label in (("target", images.target), ("source", images.source)):

        def of_grids(grids: Tensor, classes: Tensor) -> Tensor:
            found = log_likelihoods(gpt, classes.to(device), grids.flatten(1).to(device), images.positions)
            return found.mean(1)

        found = in_batches(of_grids, [kept.grids, label[kept.image]], batch, f"likelihood given the {name}")
        yield _readings(kept, images, "prior", name, log_likelihood=found)


def _readings(proposed: Candidates, images: Searched, kind: str, reader: str, **measures: Tensor) -> pa.Table:
    rows = len(proposed.method)
    columns: dict[str, Any] = {
        "key": [images.keys[place] for place in proposed.image],
        "extractor": pa.array(proposed.extractor, pa.string()),
        "method": proposed.method,
        "step": proposed.step,
        "source": images.source[proposed.image],
        "target": images.target[proposed.image],
        "kind": [kind] * rows,
        "reader": [reader] * rows,
    }
    for name in ("logit", "probability", "log_likelihood"):
        columns[name] = measures[name].numpy() if name in measures else pa.nulls(rows, pa.float32())
    return pa.table(columns).cast(SCHEMA)
