"""Where a file came from: kept in the schema metadata of every Parquet file.

What a stage cannot know (the run, its seed, the hash of its whole config, the git commit) comes from the
environment variable ``CORTEX_PROVENANCE``, a JSON object, null for what is not known. The Snakefile sets it; it is no
parameter of a rule, so it never makes anything run again.
"""

import json
import logging
import os
import platform
import subprocess
from functools import cache
from importlib import metadata

log = logging.getLogger(__name__)

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
    # The folder's owner may be another, as in a container; its code is what runs here.
    command = ["git", "-c", "safe.directory=*", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40"]
    environment = os.environ | {"LC_ALL": "C"}  # its messages are read below
    try:
        answer = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, timeout=10, check=False, env=environment
        )
    except OSError:  # there is no git
        return None
    except subprocess.SubprocessError as error:
        log.warning("the git commit is not recorded: %s", error)
        return None
    if answer.returncode and "not a git repository" not in answer.stderr:
        log.warning("the git commit is not recorded: %s", " ".join(answer.stderr.split()))
    return answer.stdout.strip() or None
