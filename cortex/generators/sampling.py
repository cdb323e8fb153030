"""Options of sampling: how tokens are drawn from a prior's distributions, and how strongly they are guided."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cortex.core.settings import Count, Section, WrongValueError

Schedule = Literal["constant", "linear", "power_cosine"]


class Sampling(Section):
    """Sampling of tokens from the prior's distributions."""

    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="divisor of the logits of the next token")
    top_k: Count | None = Field(600, description="draw from the k most probable tokens; null: from all")
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        0.92, description="draw from the most probable tokens that together exceed this probability; null: from all"
    )
    guidance: Annotated[float, Field(ge=1)] = Field(
        1.0, description="strength of classifier-free guidance, for generators that have a null class; 1: none"
    )
    guidance_schedule: Schedule = Field(
        "constant",
        description="strength at step t of T; linear: 1 + (guidance − 1) t / (T − 1); "
        "power_cosine: 1 + (guidance − 1) (1 − cos(π (t/T)^guidance_power)) / 2",
    )
    guidance_power: Annotated[float, Field(gt=0)] | None = Field(
        None, description="power of the schedule power_cosine; null for others"
    )
    steps: Count | None = Field(
        None, description="steps of generators that draw tokens of many positions at once; null for others"
    )
    choice_temperature: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="Gumbel noise in the choice of positions that such a step keeps; it falls to 0 at the last step",
    )

    @model_validator(mode="after")
    def _power_of_its_schedule(self) -> "Sampling":
        if (self.guidance_power is None) == (self.guidance_schedule == "power_cosine"):
            allowed = "be a number beside" if self.guidance_power is None else "not be set without"
            raise WrongValueError(
                "guidance_power", self.guidance_power, f"should {allowed} guidance_schedule = 'power_cosine'"
            )
        return self

    @property
    def rows(self) -> int:
        """Rows of a batch that a sample takes: one given its class and, with guidance, one given the null class."""
        return 1 if self.guidance == 1 else 2

    @property
    def choice(self) -> dict[str, Any]:
        """What decides how a token is chosen from logits."""
        return {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}

    def strengths(self, steps: int) -> list[float]:
        """Strength of guidance at every step of so many."""
        power = self.guidance_power
        if self.guidance_schedule == "linear":
            return [1 + (self.guidance - 1) * step / max(steps - 1, 1) for step in range(steps)]
        if power is None:
            return [self.guidance] * steps
        shares = [(1 - math.cos(math.pi * (step / steps) ** power)) / 2 for step in range(steps)]
        return [1 + (self.guidance - 1) * share for share in shares]
