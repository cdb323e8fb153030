"""Hooks of the site: pages from the root of the repository, and a page of the command line's help."""

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from cortex.app.cli import all_commands, main

ROOT = Path(__file__).resolve().parents[1]
FROM_ROOT = {"README.md": "index.md", "METHOD.md": "METHOD.md", "OUTPUTS.md": "OUTPUTS.md"}
COLUMNS = "110"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are no files of docs/."""
    for name, page in FROM_ROOT.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](").replace("](README.md", "](index.md")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "commands.md", content=commands_page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links to pages of the root lead to their pages; links to other files of the repository become their text."""
    markdown = re.sub(r"\]\(\.\./(METHOD|OUTPUTS)\.md", r"](\1.md", markdown)
    return re.sub(
        r"\[([^\]\n]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)",
        lambda link: link[0] if files.get_file_from_path(link[2]) else link[1],
        markdown,
    )


def commands_page() -> str:
    """The help of every command."""
    os.environ |= {"COLUMNS": COLUMNS, "NO_COLOR": "1"}
    lines = ["# Command line", "", "`cortex <command> --help` shows a command's options.", ""]
    for phase, commands in all_commands().items():
        lines += [f"## {phase.capitalize()}", ""]
        for command, (_, summary) in commands.items():
            shown = io.StringIO()
            with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
                main([command, "--help"])
            lines += [f"### {command}", "", f"{summary.capitalize()}.", ""]
            lines += ["```text", shown.getvalue().rstrip(), "```", ""]
    return "\n".join(lines)
