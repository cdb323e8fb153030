"""Front-end libraries: React and Vega-Lite, as they ship with Snakemake, which needs them for its own report.

Where Snakemake keeps them is no part of its public interface: this module alone has a notion of it.
"""

from importlib import metadata, resources
from pathlib import Path

from cortex.core.errors import InputError

# File in the atlas: file of Snakemake's assets.
LIBRARIES = {
    "react.js": "react/react.production.min.js",
    "react-dom.js": "react/react-dom.production.min.js",
    "react-license.txt": "react/LICENSE",
    "vega.js": "vega/vega.js",
    "vega-license.txt": "vega/LICENSE",
    "vega-lite.js": "vega-lite/vega-lite.js",
    "vega-lite-license.txt": "vega-lite/LICENSE",
}


def copy_libraries(folder: Path) -> None:
    """Copy the libraries and their licences.

    Args:
        folder: to write to.

    Raises:
        InputError: the installed Snakemake does not ship one of them.
    """
    folder.mkdir(parents=True)
    assets = resources.files("snakemake") / "assets" / "data"
    for name, path in LIBRARIES.items():
        source = assets.joinpath(path)
        if not source.is_file():
            version = metadata.version("snakemake")
            raise InputError(f"Snakemake {version} ships no {path}, which the atlas needs; version 9.27 does")
        (folder / name).write_bytes(source.read_bytes())
