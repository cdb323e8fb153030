"""Settings of the study of how codebook searches transfer."""

from typing import Annotated

from pydantic import AfterValidator, Field

from cortex.core.settings import Count, Section, Weight, distinct
from cortex.studies.base import StudySettings


class PriorSearch(Section):
    """Codebook searches that stay likely under the generator's prior."""

    prior_weights: Annotated[list[Weight], AfterValidator(distinct)] = Field(
        [1.0],
        description="weights of the log-likelihood (nats, of the region's tokens together) beside the target's logit; "
        "a search for each; [] where the generator has no prior",
    )
    refresh_every: Count = Field(10, description="steps between two evaluations of the prior")


class Transfer(PriorSearch, StudySettings):
    """Transfer of codebook searches to other extractors, the judges and the generator's prior."""
