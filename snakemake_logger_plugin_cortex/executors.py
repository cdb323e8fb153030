"""The executor of a profile that is not installed, told in one line.

Snakemake itself prints its whole usage then. It imports this package before it reads its command line.
"""

import importlib.util
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

BUILT_IN = {"local", "dryrun", "touch"}


def missing_executor(arguments: Sequence[str]) -> str | None:
    """What to install for the profile that Snakemake's command line names; None: nothing.

    Args:
        arguments: of the process, the program first.
    """
    program = Path(arguments[0] if arguments else "")
    if program.name != "snakemake" and program.parts[-2:] != ("snakemake", "__main__.py"):
        return None
    words = [word for argument in arguments[1:] for word in argument.split("=", 1)]
    for option, profile in pairwise(words):
        file = Path(profile) / "config.yaml"
        if option != "--profile" or not file.is_file():
            continue
        found = re.search(r"^executor:\s*[\"']?([a-z0-9-]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        if found is None or found[1] in BUILT_IN:
            continue
        package = f"snakemake-executor-plugin-{found[1]}"
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            return f"snakemake: profile {profile}: its executor {found[1]!r} is not installed; install {package} (pip)"
    return None


def check_executor() -> None:
    """End the process with one line where the executor of its profile is not installed."""
    told = missing_executor(sys.argv)
    if told is not None:
        sys.exit(told)
