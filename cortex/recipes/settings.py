"""Settings of a generator's recipe: its networks and their training."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cortex.core.settings import Count, File, Fraction, Rate, Section, Seed, WrongValueError
from cortex.data.settings import CLASS_NAMES, PICTURES, Augmentation

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Batch = Annotated[int, Field(ge=2)]


class GeneratorRecipe(Section):
    """The recipe of a generator of one's own pictures: a VQGAN, and a GPT over its token grids.

    The defaults are the recipe of the bundled land-use generator.
    """

    images: File | None = Field(
        None,
        description=f"labelled pictures: {PICTURES}",
    )
    held_out: File | None = Field(
        None, description="labelled pictures to measure on; null: every tenth picture of a class, not trained on"
    )
    class_names: File | None = Field(None, description=CLASS_NAMES)
    size: Count = Field(
        64, description="height and width of a picture in pixels; every halving of vqgan_multipliers divides it by 2"
    )
    seed: Seed = Field(0, description="seed of the initial weights, the order and the augmentation of the pictures")
    augmentation: Augmentation = Field(
        "flip", description="random change of every picture: none, flip, flips_and_turns (8 variants) or jitter"
    )
    precision: Literal["float32", "bfloat16"] = Field("float32", description="precision of the large products")
    compiled: bool = Field(
        False, description="compile the networks by torch.compile: it takes minutes at the start, then steps are faster"
    )
    save_every: Positive = Field(600, description="seconds between two saved states of a training")

    codes: Count = Field(512, description="codes of the codebook")
    code_channels: Count = Field(32, description="channels of a code")
    vqgan_width: Count = Field(16, description="channels of the VQGAN at full resolution")
    norm_groups: Count = Field(
        4, description="groups of channels of a normalization in the VQGAN; their number divides the width"
    )
    vqgan_multipliers: Annotated[list[Count], Field(min_length=1)] = Field(
        [1, 2, 4, 8], description="multiples of the width by resolution; each but the last is followed by a halving"
    )
    vqgan_blocks: Count = Field(
        1, description="residual blocks of the encoder at a resolution; the decoder has one more"
    )
    latent_channels: Count = Field(64, description="channels between encoder or decoder and the codes")
    vqgan_epochs: Count = Field(7, description="passes over the pictures for the VQGAN")
    vqgan_batch: Batch = Field(16, description="pictures of a step of the VQGAN")
    vqgan_learning_rate: Rate = Field(6e-4, description="peak learning rate of Adam for the VQGAN")
    quantize_from: Fraction = Field(
        0.1, description="share of the steps before the encoder's outputs are quantized: codes start where these are"
    )
    rate_weight: NotNegative = Field(
        0.0, description="price of a nat of code length, in units of the mean absolute error of pictures in -1..1"
    )
    perceptual_weight: NotNegative = Field(
        0.3, description="weight of the distance of EfficientNet-Lite0's features; 0: none, and no such weights needed"
    )
    perceptual_epochs: Annotated[int, Field(ge=0)] = Field(
        2,
        description="passes over the pictures in which EfficientNet-Lite0 learns their classes, before the VQGAN; "
        "0: it keeps ImageNet's weights",
    )
    adversarial_weight: NotNegative = Field(
        0.25, description="gradient of the discriminator's term relative to all others; 0: no discriminator"
    )
    adversarial_start: Fraction = Field(0.5, description="share of the steps before the discriminator counts")

    gpt_layers: Count = Field(4, description="layers of the GPT")
    gpt_heads: Count = Field(4, description="attention heads of the GPT; their number divides its width")
    gpt_width: Count = Field(192, description="channels of the GPT")
    gpt_epochs: Count = Field(20, description="passes over the pictures for the GPT")
    gpt_batch: Batch = Field(64, description="grids of a step of the GPT")
    gpt_learning_rate: Rate = Field(1e-3, description="peak learning rate of AdamW for the GPT")
    dropout: Fraction = Field(0.1, description="dropout of the GPT")
    label_dropout: Fraction = Field(
        0.1, description="share of grids that the GPT learns without their class, for classifier-free guidance; 0: none"
    )

    @model_validator(mode="after")
    def _sizes_divide(self) -> "GeneratorRecipe":
        if self.vqgan_width % self.norm_groups:
            raise WrongValueError(
                "vqgan_width", self.vqgan_width, f"should be a multiple of norm_groups = {self.norm_groups}"
            )
        halvings = len(self.vqgan_multipliers) - 1
        if self.size % 2**halvings:
            reason = f"should be a multiple of {2**halvings}: vqgan_multipliers halve it {halvings} times"
            raise WrongValueError("size", self.size, reason)
        if self.gpt_width % self.gpt_heads:
            raise WrongValueError("gpt_width", self.gpt_width, f"should be a multiple of gpt_heads = {self.gpt_heads}")
        return self
