"""The report: figures of a run, and one self-contained page that shows and explains them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
TEMPLATE = FOLDER / "report.html"
CAPTIONS = FOLDER / "captions"


def page_fingerprint() -> str:
    """Words and SHA-256 of the page's template and captions: what the code's fingerprint does not cover."""
    digest = hashlib.sha256()
    for path in (TEMPLATE, *sorted(CAPTIONS.glob("*.rst"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"template and captions: {digest.hexdigest()[:16]}"


def settings_in_words(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Nested settings as words like ``generator.top_p=0.92``, as the report's command takes them."""
    words = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            words += settings_in_words(value, f"{prefix}{name}.")
        else:
            words.append(f"{prefix}{name}={json.dumps(value, ensure_ascii=False)}")
    return words
