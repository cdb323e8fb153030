"""Lists of tokens by class, as concept-tokens and frequent-tokens write them."""

from pathlib import Path

from cortex.core.errors import InputError
from cortex.core.tables import read_table


def token_lists(path: Path, top_n: int | None, tokens: int) -> dict[int, list[int]]:
    """By label, the first tokens of the list ``count``; of those counted among the top-n if given.

    Raises:
        InputError: there are none.
    """
    lists: dict[int, list[int]] = {}
    for row in sorted(read_table(path).to_pylist(), key=lambda row: row["rank"]):
        if row["list"] == "count" and row["rank"] < tokens and (top_n is None or row["top_n"] == top_n):
            lists.setdefault(row["label"], []).append(row["token"])
    if not lists:
        raise InputError(f"{path}: no tokens" + (f" for top_n = {top_n}" if top_n is not None else ""))
    return lists
