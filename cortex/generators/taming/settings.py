"""Settings of the bundled digits generator's training."""

from typing import Annotated

from pydantic import Field

from cortex.core.settings import Count, Fraction, Rate, Section, Seed


class GeneratorTraining(Section):
    """The recipe of the bundled digits generator (``snakemake train_generator``)."""

    seed: Seed = Field(0, description="seed of the initial weights, the order and the jitter of the digits")
    batch: Annotated[int, Field(ge=2)] = Field(64, description="images a step")
    vqgan_epochs: Count = Field(20, description="passes over the digits for the VQGAN")
    vqgan_learning_rate: Rate = Field(1e-3, description="peak learning rate of Adam for the VQGAN")
    rate_weight: Annotated[float, Field(ge=0)] = Field(
        0.01, description="price of a nat of code length, in units of the mean absolute error of images in -1..1"
    )
    transformer_epochs: Count = Field(40, description="passes over the digits for the GPT")
    transformer_learning_rate: Rate = Field(1e-3, description="peak learning rate of AdamW for the GPT")
    dropout: Fraction = Field(0.1, description="dropout of the GPT")
