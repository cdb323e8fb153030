"""taming-transformers: a VQGAN and a class-conditional GPT over its tokens (Esser et al., CVPR 2021).

Nothing outside of this folder names its GPT. The family imports networks when they are needed: a config is checked
without torch. Its own generators are the bundled ones.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cortex.core.errors import InputError
from cortex.generators.base import Family
from cortex.generators.network.family import NetworkFamily
from cortex.generators.network.prior_sizes import PriorSize
from cortex.generators.network.source import Part, Source, first_match
from cortex.generators.spec import GeneratorSpec, is_name
from cortex.generators.taming.project import read_architecture

if TYPE_CHECKING:
    from cortex.generators.taming.gpt import ClassGPT

DEFAULT = "landuse"  # the bundled generator of a config that names none

# Where the YAML and the checkpoint may lie in a folder; of several that match, the first pattern counts.
CONFIGS = (
    *("configs/*-project.yaml", "configs/model.yaml", "*-project.yaml", "model.yaml", "config.yaml"),
    *("vqgan.yaml", "tokenizer/vqgan.yaml"),  # Chameleon and Anole
)
CHECKPOINTS = (
    *("checkpoints/last.ckpt", "ckpts/last.ckpt", "last.ckpt", "model.ckpt"),
    *("vqgan.ckpt", "tokenizer/vqgan.ckpt"),
)
# The VQGAN's discriminator and perceptual loss, which are for training only; the causal masks, which are constants.
DROPPED = (r"(first_stage_model\.)?loss\..*", r"transformer\.blocks\.\d+\.attn\.mask")
# What only encoding needs: the codes of a GumbelVQ are told by a layer that other tokenizers do not have.
ENCODING = (r"encoder\..*", r"quant_conv\..*", r"quantize\.proj\..*")

TOKENIZER = frozenset({"quantize.embedding.weight", "encoder.down.0.block.0.norm1.weight", "quant_conv.weight"})


class Taming(NetworkFamily):
    """The family. A folder's YAML describes the networks; the checkpoint of PyTorch Lightning holds the weights."""

    name = "taming"
    telltale = (
        frozenset({"first_stage_model.quantize.embedding.weight", "transformer.blocks.0.attn.key.weight"}),
        TOKENIZER,
        frozenset({"quantize.embed.weight", "quantize.proj.weight", "quant_conv.weight"}),
    )

    def source(self, folder: Path, class_names: Path | None, grid: tuple[int, int] | None) -> Source:
        if grid is not None:
            raise InputError(f"grid {list(grid)}: should not be set: the networks state their own")
        config, checkpoint = first_match(folder, CONFIGS), first_match(folder, CHECKPOINTS)
        architecture = read_architecture(config, class_names)
        bare, encodes = architecture["prior"] is None, architecture["tokenizer"].get("encodes", True)

        def rename(name: str) -> str:
            if not encodes:
                name = name.replace("quantize.embed.", "quantize.embedding.")
            return f"first_stage_model.{name}" if bare else name

        part = Part(checkpoint, rename, DROPPED if encodes else DROPPED + ENCODING)
        return Source(architecture, (part,), described=config)

    def build_prior(self, prior: dict[str, Any]) -> ClassGPT:
        from cortex.generators.taming.gpt import ClassGPT

        return ClassGPT(**prior)

    def known(self, prior: dict[str, Any], spec: GeneratorSpec) -> tuple[int, int]:
        words = prior["vocab_size"]  # classes are tokens of the same vocabulary
        if not 0 < words <= spec.codes:
            raise ValueError("vocab_size counts nothing but codes")
        if prior["block_size"] < spec.grid[0] * spec.grid[1]:
            raise ValueError("block_size is less than the positions of the grid")
        return words, words

    def prior_size(self, prior: dict[str, Any]) -> PriorSize:
        width = prior["n_embd"]
        return PriorSize(prior["n_layer"], width, products=12 * width**2, outputs=prior["vocab_size"])

    def weights_file(self, weights: Path | None) -> Path:
        if weights is None:
            return bundled_weights()
        return bundled_weights(str(weights)) if is_name(weights) else weights


def bundled_weights(name: str = DEFAULT) -> Path:
    """Path of the weights of a generator that ships with this package.

    Raises:
        InputError: there is none of this name.
    """
    files = Path(str(resources.files("cortex.generators.taming"))) / "bundled"
    found = {path.stem: path for path in sorted(files.glob("*.safetensors"))}
    if name not in found:
        raise InputError(f"{name}: no such weights file, and no bundled generator: those are {', '.join(found)}")
    return found[name]


FAMILY: Family = Taming()
