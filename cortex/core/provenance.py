"""Where a file came from: kept in the schema metadata of every Parquet file.

What a stage cannot know (the run, its seed, the hash of its whole config, the git commit) comes from the
environment variable ``CORTEX_PROVENANCE``, a JSON object, null for what is not known. The Snakefile sets it; it is no
parameter of a rule, so it never makes anything run again.
"""

import json
import os
import platform
import subprocess
from functools import cache
from importlib import metadata

VARIABLE = "CORTEX_PROVENANCE"
PACKAGES = ("torch", "numpy", "pyarrow", "webdataset", "taming-transformers", "snakemake")


@cache
def provenance() -> dict[str, str]:
    """Provenance of what this process writes: cortex and package versions, and what ``CORTEX_PROVENANCE`` says."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    from cortex import __version__

    stated = json.loads(os.environ.get(VARIABLE, "{}"))
    known = {name: str(value) for name, value in stated.items() if value is not None}
    return {"cortex": __version__, "packages": json.dumps(versions), **known}


def git_commit(folder: str) -> str | None:
    """The commit checked out in ``folder``, with ``-dirty`` where files differ from it; None outside git."""
    command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
