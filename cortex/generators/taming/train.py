"""Train the embedded digits generator, as a target of the workflow."""

from pathlib import Path

import pyarrow as pa

from cortex.core.tables import write_table
from cortex.data.digits import real_digits
from cortex.generators.taming.generator import save_generator
from cortex.generators.taming.recipe import ARCHITECTURE, train_transformer, train_vqgan


def train_generator(
    output: Path,
    history: Path,
    *,
    vqgan_epochs: int = 20,
    vqgan_learning_rate: float = 1e-3,
    rate_weight: float = 0.01,
    transformer_epochs: int = 40,
    transformer_learning_rate: float = 1e-3,
    dropout: float = 0.1,
    batch: int = 64,
    seed: int = 0,
) -> None:
    """Train the embedded generator, a VQGAN and a GPT, on 4,000 real digits; 1,000 are held out.

    Args:
        output: weights to write (safetensors).
        history: losses to write (Parquet): stage, epoch, learning_rate, train_loss, held_out_loss (VQGAN: mean
            absolute error of images in -1..1; transformer: nats a token), codes_used, seconds.
        vqgan_epochs: passes over the digits for the VQGAN.
        vqgan_learning_rate: peak learning rate of Adam, warmed up, then annealed to 0 along a cosine.
        rate_weight: price of a nat of code length, in units of the mean absolute error of images in -1..1.
        transformer_epochs: passes for the GPT; its epoch of lowest held-out loss is kept.
        transformer_learning_rate: peak learning rate of AdamW, likewise.
        dropout: the GPT's dropout.
        batch: images a step.
        seed: of the initial weights, the order and the jitter of the digits.
    """
    images, labels = real_digits("train")
    held_out = real_digits("held_out")
    vqgan, rows = train_vqgan(
        images,
        held_out[0],
        epochs=vqgan_epochs,
        batch=batch,
        learning_rate=vqgan_learning_rate,
        rate_weight=rate_weight,
        seed=seed,
    )
    transformer, more_rows = train_transformer(
        vqgan,
        images,
        labels,
        held_out,
        epochs=transformer_epochs,
        batch=batch,
        learning_rate=transformer_learning_rate,
        dropout=dropout,
        seed=seed,
    )
    save_generator(output, vqgan, transformer, ARCHITECTURE)
    write_table(history, pa.Table.from_pylist(rows + more_rows))
