"""The report: figures of a run, and one self-contained page that shows and explains them."""

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cortex.core.errors import InputError

FOLDER = Path(__file__).parent
TEMPLATES = FOLDER / "templates"
CAPTIONS = FOLDER / "captions"


def page_fingerprint(pages: Iterable[str] = ()) -> str:
    """Words and SHA-256 of the page's templates and captions: the code's fingerprint does not cover them.

    Args:
        pages: references ``module:section`` of the studies' pages. Templates and captions beside them count, too.
    """
    files = [*sorted(TEMPLATES.iterdir()), *sorted(CAPTIONS.glob("*.rst"))]
    for page in pages:
        folder = folder_of(page)
        files += sorted([*folder.glob("*.j2"), *folder.glob("*.rst")])
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"templates and captions: {digest.hexdigest()[:16]}"


def folder_of(page: str) -> Path:
    """The folder of a study's page, ``module:section``, which has its templates and captions, too.

    Raises:
        InputError: there is no such module.
    """
    module = page.partition(":")[0]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(f"{page}: no module {module}")
    return Path(spec.origin).parent


def settings_in_words(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Nested settings as words like ``generator.top_p=0.92``, as the report's command takes them."""
    words = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            words += settings_in_words(value, f"{prefix}{name}.")
        else:
            words.append(f"{prefix}{name}={json.dumps(value, ensure_ascii=False)}")
    return words
