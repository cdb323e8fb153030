"""What a folder of taming-transformers holds, as its YAML says it: read without torch, before anything is computed.

Two kinds of folder: a class-conditional transformer over a VQGAN (``2021-04-03T19-39-50_cin_transformer``), and a
VQGAN alone (``vqgan_imagenet_f16_16384``, ``vqgan_gumbel_f8``), which decodes grids that come from elsewhere. The YAML
says what the networks look like, in the keyword arguments of taming-transformers' constructors. Keys that their loader
ignores are ignored. What it asks for beyond the settings below would sample or decode otherwise, and is refused.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from cortex.core.errors import InputError, listed, shown
from cortex.core.text import load_yaml, read_lines
from cortex.generators.class_names import name_classes, read_class_names
from cortex.generators.network.architecture import describe

log = logging.getLogger(__name__)

MAX_YAML = 1 << 16  # characters; the authors' files have two thousand


def _only(name: str) -> AfterValidator:
    """Accept a ``target``, a dotted name, if its last part is ``name``: forks move taming's modules elsewhere."""

    def check(target: str) -> str:
        if target.rpartition(".")[2] != name:
            raise ValueError(f"only {name} can be converted")
        return target

    return AfterValidator(check)


def _conditional(value: Any) -> Any:
    if isinstance(value, str):  # __is_unconditional__ or __is_first_stage__
        raise ValueError("only a generator that is conditional on classes can be converted")
    return value


Count = Annotated[int, Field(ge=1, le=1 << 20)]
Layers = Annotated[int, Field(ge=1, le=512)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of the YAML: arguments of a constructor. Others are refused; those of type Any do not matter here."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Loose(Section):
    """A section of which the authors' loader reads the keys that are listed, and ignores all others."""

    model_config = ConfigDict(extra="allow")


class EncoderDecoder(Loose):
    """``ddconfig``: arguments of taming's ``Encoder`` and ``Decoder``."""

    ch: Count
    out_ch: Literal[3]
    ch_mult: Annotated[list[Annotated[int, Field(ge=1, le=64)]], Field(min_length=1, max_length=10)]
    num_res_blocks: Layers
    attn_resolutions: Annotated[list[Count], Field(max_length=10)]
    dropout: Fraction = 0.0
    resamp_with_conv: bool = True
    in_channels: Literal[3]
    resolution: Count
    z_channels: Count
    double_z: Literal[False]
    give_pre_end: Literal[False] = False  # what the decoder returns

    @property
    def pixels(self) -> int:
        """Height and width of the patch of an image that a token covers."""
        return 1 << (len(self.ch_mult) - 1)

    @model_validator(mode="after")
    def _whole_grid(self) -> "EncoderDecoder":
        if self.resolution % self.pixels:
            raise ValueError(f"resolution = {self.resolution} should be a multiple of a token's {self.pixels} pixels")
        return self


class VqganParams(Section):
    """Arguments of taming's ``VQModel``."""

    embed_dim: Count
    n_embed: Annotated[int, Field(ge=1, le=1 << 16)]  # grids are stored as uint16
    ddconfig: EncoderDecoder
    lossconfig: Any = None
    ckpt_path: Any = None
    ignore_keys: Any = None
    image_key: Any = None
    monitor: Any = None
    sane_index_shape: Any = None
    colorize_nlabels: None = None
    remap: None = None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of :class:`~cortex.generators.network.vqgan.VQGAN`."""
        read = set(EncoderDecoder.model_fields) - {"give_pre_end"}
        return {
            "n_embed": self.n_embed,
            "embed_dim": self.embed_dim,
            "ddconfig": self.ddconfig.model_dump(include=read),
        }


class GumbelParams(VqganParams):
    """Arguments of taming's ``GumbelVQ``, of which the decoder is taken."""

    temperature_scheduler_config: Any = None
    kl_weight: Any = None

    def arguments(self) -> dict[str, Any]:
        return super().arguments() | {"encodes": False}


class GptParams(Section):
    """Arguments of taming's ``GPT``, with its defaults."""

    vocab_size: Count
    block_size: Count
    n_layer: Layers = 12
    n_head: Count = 8
    n_embd: Count = 256
    embd_pdrop: Fraction = 0.0
    resid_pdrop: Fraction = 0.0
    attn_pdrop: Fraction = 0.0
    n_unmasked: Literal[0] = 0  # tokens at the start that see each other

    @model_validator(mode="after")
    def _heads_divide(self) -> "GptParams":
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd = {self.n_embd} should be a multiple of n_head = {self.n_head}")
        return self


class LabelParams(Section):
    """Arguments of taming's ``Labelator``, which hands a class index on as the first token."""

    n_classes: Count
    quantize_interface: Literal[True] = True


class Vqgan(Loose):
    target: Annotated[str, _only("VQModel")]
    params: VqganParams
    base_learning_rate: Any = None


class Gumbel(Loose):
    target: Annotated[str, _only("GumbelVQ")]
    params: GumbelParams
    base_learning_rate: Any = None


class Gpt(Loose):
    target: Annotated[str, _only("GPT")]
    params: GptParams


class ClassLabel(Loose):
    target: Annotated[str, _only("Labelator")]
    params: LabelParams


class Permuter(Loose):
    target: Annotated[str, _only("Identity")]
    params: Any = None


class TransformerParams(Section):
    """Arguments of taming's ``Net2NetTransformer``."""

    transformer_config: Gpt
    first_stage_config: Vqgan
    cond_stage_config: Annotated[ClassLabel, BeforeValidator(_conditional)]
    cond_stage_key: Literal["class_label"]
    permuter_config: Permuter | None = None
    unconditional: Literal[False] = False
    pkeep: Annotated[float, Field(gt=0, le=1)] = 1.0  # tokens kept in training; at 0, taming samples otherwise
    sos_token: Any = None  # of unconditional generators only
    first_stage_key: Any = None
    downsample_cond_size: Any = None
    ckpt_path: Any = None
    ignore_keys: Any = None

    @model_validator(mode="after")
    def _consistent(self) -> "TransformerParams":
        gpt, vqgan = self.transformer_config.params, self.first_stage_config.params
        classes = self.cond_stage_config.params.n_classes
        positions = (vqgan.ddconfig.resolution // vqgan.ddconfig.pixels) ** 2
        if not classes <= gpt.vocab_size <= vqgan.n_embed:
            raise ValueError(
                f"vocab_size = {gpt.vocab_size} should be at least n_classes = {classes}, since a class stands before "
                f"the grid as a token of the same vocabulary, and at most n_embed = {vqgan.n_embed}"
            )
        if gpt.block_size < positions:
            raise ValueError(f"block_size = {gpt.block_size} should be at least the grid's {positions} positions")
        return self


class Transformer(Loose):
    target: Annotated[str, _only("Net2NetTransformer")]
    params: TransformerParams
    base_learning_rate: Any = None


def read_architecture(config: Path, class_names: Path | None = None) -> dict[str, Any]:
    """The architecture that a project's YAML describes; see :mod:`cortex.generators.network.architecture`.

    Of a VQGAN alone, the prior is None, and the classes are those that are named, if any.

    Raises:
        InputError: the YAML is missing or wrong, or asks for what we do not do; or the class names do not fit.
    """
    section = _read_model(config)
    kinds: dict[str, type[Transformer | Gumbel]] = {"Net2NetTransformer": Transformer, "GumbelVQ": Gumbel}
    kind = kinds.get(str(section.get("target")).rpartition(".")[2], Vqgan)
    try:
        model = kind.model_validate(section)
    except ValidationError as error:
        raise InputError(f"{config}: {_one_line(error)}") from None
    if ignored := list(_ignored(model, "model")):
        log.info("%s: ignored, as taming-transformers does: %s", config, listed(ignored))
    if not isinstance(model, Transformer):
        names = [] if class_names is None else read_class_names(class_names)
        return describe("taming", model.params.arguments(), None, names)
    vqgan, gpt = model.params.first_stage_config.params, model.params.transformer_config.params
    names = name_classes(class_names, model.params.cond_stage_config.params.n_classes, config)
    return describe("taming", vqgan.arguments(), gpt.model_dump(), names)


def _read_model(path: Path) -> dict[str, Any]:
    """The section ``model`` of a YAML file."""
    large = path.is_file() and path.stat().st_size > 4 * MAX_YAML  # a character has at most 4 bytes
    text = "" if large else "".join(read_lines(path))
    if large or len(text) > MAX_YAML:
        raise InputError(f"{path}: more than {MAX_YAML:,} characters")
    content = load_yaml(text, path, aliases=False)
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        raise InputError(f"{path}: has no section 'model'")
    return model


def _ignored(section: BaseModel, place: str) -> Iterator[str]:
    """Places of the keys that the authors' loader ignores, in a section and in those in it."""
    for name, part in section:
        if name in (section.model_extra or ()):
            yield f"{place}.{name}"
        elif isinstance(part, BaseModel):
            yield from _ignored(part, f"{place}.{name}")


def _one_line(error: ValidationError) -> str:
    """The first thing that is wrong: its key, its value and what is allowed."""
    problems = error.errors(include_url=False)
    first = problems[0]
    key = ".".join(shown(str(part))[1:-1] for part in ("model", *first["loc"]))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        reason = "this setting is not supported"
    value = first["input"]
    if isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 1 << 64):
        return f"{key} = {shown(str(value))}: {reason}{more}"
    return f"{key}: {reason}{more}"  # a section, whose keys the reason names, or a number of many digits
