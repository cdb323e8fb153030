"""The report: figures of a run, and one self-contained page that shows and explains them."""

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
TEMPLATES = FOLDER / "templates"
CAPTIONS = FOLDER / "captions"


def page_fingerprint(pages: Iterable[str] = ()) -> str:
    """Words and SHA-256 of the page's templates and captions: the code's fingerprint does not cover them.

    Args:
        pages: references ``module:section`` of the studies' pages; the templates beside these modules count, too.
    """
    files = [*sorted(TEMPLATES.iterdir()), *sorted(CAPTIONS.glob("*.rst"))]
    for page in pages:
        spec = importlib.util.find_spec(page.partition(":")[0])
        if spec is not None and spec.origin is not None:
            files += sorted(Path(spec.origin).parent.glob("*.j2"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"templates and captions: {digest.hexdigest()[:16]}"


def settings_in_words(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Nested settings as words like ``generator.top_p=0.92``, as the report's command takes them."""
    words = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            words += settings_in_words(value, f"{prefix}{name}.")
        else:
            words.append(f"{prefix}{name}={json.dumps(value, ensure_ascii=False)}")
    return words
