"""What settings are made of: sections, kinds of values, and the error that names one key of several.

A section is the one statement of its settings: type, range, default and description. The config file, the command
line, ``docs/configuration.md`` and ``config.schema.json`` all come from it. Sections import nothing heavy.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_NUMBER = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)


class WrongValueError(ValueError):
    """What a validator of several keys finds wrong with one of them; it names the key within its section."""

    def __init__(self, key: str, value: object, reason: str):
        super().__init__(f"{key} = {value}: {reason}")
        self.key, self.value, self.reason = key, value, reason


def distinct(values: list[Any]) -> list[Any]:
    """The values, each of which must stand there once."""
    if len(set(values)) != len(values):
        raise ValueError("should have every value once")
    return values


def _number_keys(values: Any) -> Any:
    """A mapping whose keys are numbers: JSON has them as text, as in {"3": 8}."""
    if not isinstance(values, Mapping):
        return values
    found = {int(key) if isinstance(key, str) and _NUMBER.fullmatch(key) else key: values[key] for key in values}
    if len(found) < len(values):
        raise ValueError("should have every number once")
    return found


Count = Annotated[int, Field(ge=1)]
Counts = Annotated[list[Count], Field(min_length=1), AfterValidator(distinct)]
Class = Annotated[int, Field(ge=0)]
ClassPairs = Annotated[dict[Class, Class], Field(min_length=1), BeforeValidator(_number_keys)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]
File = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
PATTERNS = {  # of settings, in words, for errors
    r"^[A-Za-z0-9][A-Za-z0-9_-]*$": "letters, digits, - and _; the first is a letter or digit",
    r"^(auto|cpu|cuda(:\d+)?)$": "auto, cpu, cuda, or cuda:0, cuda:1 and so on",
    r"\.(csv|parquet|npy)$": "a .csv, .parquet or .npy file",
    r"\.npy$": "a .npy file",
    r"^image$|\.npy$": "image, or a .npy file",
}


class Section(BaseModel):
    """Settings that belong together. Every field has a description; unknown keys and other types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    moved: ClassVar[dict[str, str]] = {}  # key of an older release → what to write instead
