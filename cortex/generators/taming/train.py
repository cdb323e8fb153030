"""Train the bundled digits generator, as a target of the workflow."""

from pathlib import Path

import pyarrow as pa

from cortex.core.tables import write_table
from cortex.data.digits import real_digits
from cortex.generators.taming.generator import save_generator
from cortex.generators.taming.recipe import ARCHITECTURE, train_transformer, train_vqgan
from cortex.generators.taming.settings import GeneratorTraining


def train_generator(output: Path, history: Path, *, settings: GeneratorTraining) -> None:
    """Train the bundled generator, a VQGAN and a GPT, on 4,000 real digits, and evaluate it on 1,000 others.

    Args:
        output: weights to write (safetensors).
        history: losses to write (Parquet): stage, epoch, learning_rate, train_loss, held_out_loss (VQGAN: mean
            absolute error of images in -1..1; transformer: nats a token), codes_used, seconds.
        settings: recipe of the training. Learning rates warm up, then fall to 0 along a cosine. The GPT keeps the
            weights of the epoch of lowest held-out loss.
    """
    images, labels = real_digits("train")
    held_out = real_digits("held_out")
    vqgan, rows = train_vqgan(
        images,
        held_out[0],
        epochs=settings.vqgan_epochs,
        batch=settings.batch,
        learning_rate=settings.vqgan_learning_rate,
        rate_weight=settings.rate_weight,
        seed=settings.seed,
    )
    transformer, more_rows = train_transformer(
        vqgan,
        images,
        labels,
        held_out,
        epochs=settings.transformer_epochs,
        batch=settings.batch,
        learning_rate=settings.transformer_learning_rate,
        dropout=settings.dropout,
        seed=settings.seed,
    )
    save_generator(output, vqgan, transformer, ARCHITECTURE)
    write_table(history, pa.Table.from_pylist(rows + more_rows))
