"""The architecture of a taming generator: from a weights file's metadata or a folder's YAML, without torch.

An architecture is ``{"vqgan": ..., "transformer": ..., "classes": [names], "null_class": ...}``: keyword arguments of
:class:`~cortex.generators.taming.vqgan.VQGAN` and of taming-transformers' ``GPT``. Without a transformer (None), the
generator decodes and encodes, but cannot sample. The null class is the token that stood in a class's place where the
GPT learned without class; absent or None if it never did.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from cortex.core.errors import InputError
from cortex.core.weights_metadata import read_metadata
from cortex.generators.spec import GeneratorSpec, Origin, is_name
from cortex.generators.taming.project import files_of, read_architecture

DEFAULT = "digits"  # the bundled generator of a config that names none


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


def weights_file(weights: Path | None) -> Path:
    """The weights file of a file, of the name of a bundled generator, or of None: of the default one.

    Raises:
        InputError: it is neither a file nor a bundled generator's name.
    """
    if weights is None:
        return bundled_weights()
    return bundled_weights(str(weights)) if is_name(weights) else weights


def architecture_at(origin: Origin) -> dict[str, Any]:
    """The architecture that a folder's YAML, or else the metadata of a weights file, describes.

    Raises:
        InputError: the file is missing, damaged, or not a taming generator's; or a grid is given.
    """
    if origin.grid is not None:
        raise InputError(f"grid {list(origin.grid)}: should not be set: the networks state their own")
    if origin.folder is None:
        return stored_architecture(weights_file(origin.weights))
    return read_architecture(files_of(origin.folder)[0], origin.class_names)


def stored_architecture(path: Path) -> dict[str, Any]:
    """The architecture of the generator at ``path``.

    Raises:
        InputError: the file is missing, damaged, or not a taming generator's.
    """
    return architecture_of(read_metadata(path), path)


def architecture_of(metadata: dict[str, str] | None, path: Path) -> dict[str, Any]:
    """The architecture kept in a weights file's metadata.

    Raises:
        InputError: the file is not a taming generator's.
    """
    if not metadata or "architecture" not in metadata:
        raise InputError(f"{path}: not a generator's weights: its metadata has no 'architecture'")
    try:
        architecture: dict[str, Any] = json.loads(metadata["architecture"])
        spec, transformer = spec_of(architecture), architecture["transformer"]
        if transformer is not None and not spec.class_names:
            raise ValueError("a transformer has classes")
        if transformer is not None and not len(spec.class_names) <= transformer["vocab_size"] <= spec.codes:
            raise ValueError("vocab_size holds all class indices, and nothing but codes")
        if transformer is not None and transformer["block_size"] < spec.grid[0] * spec.grid[1]:
            raise ValueError("block_size is less than the positions of the grid")
        null_class, least = architecture.get("null_class"), len(spec.class_names)
        if spec.guidance and not (type(null_class) is int and least <= null_class < transformer["vocab_size"]):
            raise ValueError("null_class is a token of the transformer that no class has")
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise InputError(f"{path}: not a generator's weights: its 'architecture' is wrong: {error!r}") from None
    return architecture


def spec_of(architecture: dict[str, Any]) -> GeneratorSpec:
    """The spec of an architecture; ValueError, TypeError, LookupError or ArithmeticError if it is none."""
    vqgan, transformer = architecture["vqgan"], architecture["transformer"]
    resolution, codes = vqgan["ddconfig"]["resolution"], vqgan["n_embed"]
    side = resolution // 2 ** (len(vqgan["ddconfig"]["ch_mult"]) - 1)
    if not all(type(number) is int and number > 0 for number in (side, codes, vqgan["embed_dim"])):
        raise ValueError("resolution, n_embed and embed_dim are whole numbers from 1 on")
    if not all(isinstance(name, str) for name in architecture["classes"]):
        raise ValueError("classes are names")
    return GeneratorSpec(
        class_names=tuple(architecture["classes"]),
        grid=(side, side),
        codes=codes,
        channels=vqgan["embed_dim"],
        image=(resolution, resolution),
        pixels=(-1.0, 1.0),
        samples=transformer is not None,
        decodes=True,
        encodes=True,
        prior=transformer is not None and transformer["vocab_size"] == codes,
        guidance=transformer is not None and architecture.get("null_class") is not None,
    )
