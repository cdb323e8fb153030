"""Text that users give: UTF-8, with or without a byte order mark, in lines as any system ends them."""

import re
from collections.abc import Generator, Hashable
from pathlib import Path
from typing import Any

import yaml

from cortex.core.errors import InputError, cut, shown

MAX_LINE = 1 << 20  # characters
DEEPEST = 32  # levels of sections in YAML
# Control characters but tabs and ends of lines, other characters that some programs take for ends of lines, and a byte
# order mark; and what stands for bytes that are no UTF-8.
_WRONG = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")


def read_lines(path: Path) -> Generator[str, None, None]:
    """The lines of a file, each with ``\\n`` at its end, whatever ends it in the file.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or has a control character or a line of more than
            :data:`MAX_LINE` characters; the line is named.
    """
    try:
        file = open(path, encoding="utf-8-sig", errors="surrogateescape")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    with file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise InputError(f"{path}: line {number}: longer than {MAX_LINE} characters")
            if wrong := _WRONG.search(line):
                character = ord(wrong[0])
                what = "not UTF-8 text" if 0xD800 <= character <= 0xDFFF else f"control character U+{character:04X}"
                raise InputError(f"{path}: line {number}: {what}")
            yield line


def read_yaml(path: Path) -> Any:
    """The content of a YAML or JSON file.

    Raises:
        InputError: it cannot be read, is not YAML, or states a key of a mapping twice; both lines are named.
    """
    return load_yaml("".join(read_lines(path)), path)


def load_yaml(text: str, path: Path, *, aliases: bool = True) -> Any:
    """The content of the text of a YAML or JSON file, as :func:`read_yaml`.

    Args:
        text: of the file.
        path: the file, which is named in errors.
        aliases: whether aliases are allowed, by which a small file can describe a very large content.
    """
    if text.lstrip().startswith("{"):
        text = text.expandtabs()  # JSON may be indented with tabs, YAML may not
    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):  # what can make a small file cost much
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST or (isinstance(event, yaml.AliasEvent) and not aliases):
                raise ValueError(f"it has {f'sections more than {DEEPEST} deep' if depth > DEEPEST else 'aliases (*)'}")
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _check_keys(root, loader, path)
        return loader.construct_document(root)
    except InputError:  # a ValueError, too
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: not YAML: {cut(' '.join(str(error).split()))}") from None


def _check_keys(root: yaml.Node, loader: yaml.SafeLoader, path: Path) -> None:
    """Raise an InputError for a key that stands twice in one mapping, also as 0 and "0", or as yes and true.

    Merge keys are not yet followed.
    """
    nodes, seen = [root], set[int]()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # an alias is the node that it names
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[Hashable, int] = {}
            for key, value in node.value:
                nodes.append(value)
                line, written = key.start_mark.line + 1, str(key.value)
                plain = isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge")
                read = loader.construct_object(key) if plain else written
                first = lines.get(read) or lines.get(str(read))
                if first is not None:
                    raise InputError(f"{path}: key {shown(written)} stands in lines {first} and {line}; allowed: once")
                lines |= {read: line, str(read): line}
