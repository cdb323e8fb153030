"""Write shards, byte for byte the same whenever the samples are the same."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from webdataset.writer import TarWriter

from cortex.files import whole_file
from cortex.shards.read import Sample


def write_shard(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples as WebDataset members ``<key>.cls``, ``.json``, ``.png`` (of those with image), ``.tokens.npy``.

    Member times, owners and modes are constants. The tar appears under ``path`` whole or not at all.
    """
    with (
        whole_file(path) as temporary,
        open(temporary, "wb") as file,
        TarWriter(file, encoder=False, user="cortex", group="cortex", mtime=0) as tar,
    ):
        for sample in samples:
            members: dict[str, Any] = {
                "__key__": sample.key,
                "cls": str(sample.label).encode(),
                "json": json.dumps(sample.info, sort_keys=True).encode(),
                "tokens.npy": npy_bytes(sample.grid.astype(np.uint16)),
            }
            if sample.image is not None:
                members["png"] = png_bytes(sample.image)
            tar.write(members)


def npy_bytes(array: NDArray[Any]) -> bytes:
    """The array as a ``.npy`` file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """An image uint8 ``[H, W, 3]`` as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return buffer.getvalue()
