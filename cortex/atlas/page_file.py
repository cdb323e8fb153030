"""The page of the atlas: a file in its folder, beside the files that it loads; or one file that holds all others."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from cortex.atlas import PAGE
from cortex.core.files import files_below
from cortex.report.html import load_page

PAGE_NAME = "index.html"
STYLE, LIBRARIES, PARTS = "style.css", ("lib/react.js", "lib/react-dom.js"), ("data/run.js", "data/codes.js")
KINDS = {".js": "text/javascript", ".css": "text/css", ".png": "image/png", ".txt": "text/plain"}


def write_page(folder: Path, run: str) -> None:
    """Write the page of a run into the folder of its atlas, and copy style and scripts."""
    for name in (STYLE, *_scripts()):
        shutil.copyfile(PAGE / name, folder / name)
    (folder / PAGE_NAME).write_text(_page(run, str, {}), encoding="utf-8")


def page_of_one_file(folder: Path, run: str) -> str:
    """The page of an atlas's folder, with all files of the folder in it.

    Files that the page loads at its start are addresses of their content. All others are in a table by path.
    """

    def content_of(name: str) -> str:
        content = base64.b64encode((folder / name).read_bytes()).decode()
        return f"data:{KINDS[Path(name).suffix]};base64,{content}"

    started = {PAGE_NAME, STYLE, *LIBRARIES, *_scripts(), *PARTS}
    names = [path.relative_to(folder).as_posix() for path in files_below(folder)]
    return _page(run, content_of, {name: content_of(name) for name in names if name not in started})


def _scripts() -> list[str]:
    return sorted(path.name for path in PAGE.glob("*.js"))


def _page(run: str, address: Callable[[str], str], files: dict[str, str]) -> str:
    scripts = [address(name) for name in (*LIBRARIES, *_scripts(), *PARTS)]
    template = load_page(PAGE, name="index.html.j2")
    return template.render(run=run, style=address(STYLE), scripts=scripts, files=files, table=json.dumps(files))
