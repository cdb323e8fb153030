"""Settings of the study of bias."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, model_validator

from cortex.core.messages import build_part, kind_of
from cortex.core.registry import Registry
from cortex.core.settings import Class, ClassPairs, Count, Section, Share, WrongValueError, distinct
from cortex.extractors import extractor_settings
from cortex.extractors.settings import ExtractorSettings
from cortex.studies.base import StudySettings

# Properties of pictures: functions of images uint8 [B, H, W, 3] that give a number an image, [B].
PROPERTIES = Registry(
    "property",
    {
        "haze": "cortex.studies.bias.properties:haze",
        "brightness": "cortex.studies.bias.properties:brightness",
        "contrast": "cortex.studies.bias.properties:contrast",
    },
)


# How the extractor of two groups was trained in the paper. Networks without such a setting leave it out.
PUBLISHED: Mapping[str, Any] = {"network": "cnn", "seeds": 1, "epochs": 10, "step_epochs": 5}


def _extractor(part: Any) -> Any:
    """Settings of the network that a part names, with the published ones as defaults."""
    if not isinstance(part, Mapping):
        return part
    cls = kind_of({**PUBLISHED, **part}, "network", extractor_settings, "extractor: {network: cnn, ...}")
    return build_part(cls, {**{name: PUBLISHED[name] for name in PUBLISHED if name in cls.model_fields}, **part})


class GroupTokens(Section):
    """Tokens that stand for a group of images."""

    top_n: Count = Field(5, description="positions of an image that count as important")
    tokens: Count = Field(10, description="tokens to keep for a group")


class NeutralSets(Section):
    """Groups of images, two at a time, and sets of images that may lean to one of two."""

    property: Annotated[str, AfterValidator(PROPERTIES.check_function)] | None = Field(
        None,
        description="property of the pictures that makes two groups, the upper and the lower third of every class: "
        "haze, brightness, contrast, or module:function; null: groups are pairs of classes",
    )
    pairs: ClassPairs | None = Field(
        None, description="class of the first group → class of the second; null: groups by property"
    )
    neutral: Class | None = Field(
        None,
        description="class of the neutral images, beside pairs; null: mixtures alone. With property, the middle third "
        "of every class is neutral",
    )
    mixtures: Annotated[list[Share], Field(min_length=1), AfterValidator(distinct)] = Field(
        [0.5, 0.6, 0.7, 0.8, 0.9], description="shares of the first group in mixtures of two groups' test images"
    )

    @model_validator(mode="after")
    def _one_kind_of_groups(self) -> "NeutralSets":
        if self.property is None and self.pairs is None:
            raise WrongValueError("pairs", None, "should be set, or property")
        if self.property is not None and self.pairs is not None:
            raise WrongValueError("property", self.property, "should not be set beside pairs")
        if self.property is not None and self.neutral is not None:
            raise WrongValueError("neutral", self.neutral, "should not be set beside property")
        for first, second in (self.pairs or {}).items():
            if first == second:
                raise WrongValueError(f"pairs.{first}", second, "should be another class")
        return self

    def names(self) -> list[str]:
        """A name for every two groups: 0-9 of the classes 0 and 9; haze, or the function's name, of a property."""
        if self.property is not None:
            return [self.property.rpartition(":")[2]]
        return [f"{first}-{second}" for first, second in (self.pairs or {}).items()]


class Bias(NeutralSets, GroupTokens, StudySettings):
    """Lean of neutral images, and of mixtures of known shares, to one of two groups."""

    extractor: Annotated[SerializeAsAny[ExtractorSettings], BeforeValidator(_extractor)] = Field(
        _extractor({}),
        description="extractor that separates two groups, with the settings of its network (extractors); without a "
        "network, CE with these settings; seeds and gpus must be 1",
    )

    @model_validator(mode="after")
    def _trained_once(self) -> "Bias":
        for key in ("seeds", "gpus"):
            if (count := getattr(self.extractor, key)) != 1:
                raise WrongValueError(f"extractor.{key}", count, "should be 1")
        return self
