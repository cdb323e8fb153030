"""Scales: what do coarse and fine tokens carry?"""

from pathlib import Path
from typing import Any

from cortex.report.prose import Prose
from cortex.report.rows import Rows, distinct, groups, mean, select
from cortex.report.tables import Cell, Table, estimate
from cortex.report.topic import Finding, Topic

PROSE = Prose(Path(__file__).with_name("page.j2"))


def section(rows: Rows) -> Topic:
    """The section of what the tokens of each scale carry."""
    changes, shares = select(rows, measure="probability_change"), select(rows, measure="share")
    by_scale = [row for row in changes if row["n"] is None]
    by_tokens = [row for row in changes if row["n"] is not None]
    n = max(distinct(shares, "n"))
    return PROSE.topic(
        images=rows[0]["images"],
        findings=[carried(by_scale), pointed(select(shares, n=n), n), removed(by_tokens)],
        tables=[
            PROSE.table("changes", change_table(by_scale)),
            PROSE.table("shares", share_table(shares)),
            PROSE.table("tokens", token_table(by_tokens)),
        ],
    )


def carried(rows: Rows) -> Finding:
    """The scale without which the probability falls most, and the changes with a few scales or nearly all."""
    of_scale = _means(select(rows, removed="scale"))
    of_finer = _means(select(rows, removed="finer"))
    most = min(of_scale, key=lambda scale: of_scale[scale])
    return PROSE.finding(
        "carried",
        most=most,
        change=of_scale[most],
        coarse=mean(list(of_scale.values())[: len(of_scale) // 2]),
        fine=mean(list(of_scale.values())[len(of_scale) // 2 :]),
        first=next(iter(of_finer)),
        of_first=next(iter(of_finer.values())),
        last=list(of_finer)[-1],
        of_last=list(of_finer.values())[-1],
    )


def pointed(rows: Rows, n: int) -> Finding:
    """Which scales the most important tokens belong to, beside their shares of all tokens.

    Args:
        rows: shares of the scales.
        n: tokens of highest importance.
    """
    expected = _of_all(rows)
    more: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["low"] > expected[row["scale"]]:
            found = {"side": row["side"], "share": row["value"], "expected": expected[row["scale"]]}
            more.setdefault(row["extractor"], []).append(found)
    return PROSE.finding("pointed", n=n, more=more, extractors=distinct(rows, "extractor"))


def removed(rows: Rows) -> Finding:
    """What removing the most important tokens costs beyond random ones of the same scales."""
    n = max(distinct(rows, "n"))
    beyond = select(rows, n=n, removed="beyond_random")
    return PROSE.finding("removed", n=n, beyond=beyond, lower=[row for row in beyond if row["high"] < 0])


def change_table(rows: Rows) -> Table:
    """A scale a row: the change without its tokens, and without those of all finer scales, by judge."""
    judges = distinct(rows, "judge")
    names = [text for judge in judges for text in (f"{judge}: without it", f"{judge}: up to it")]
    table = Table(["scale", "tokens", *names], 2)
    first = select(rows, extractor=rows[0]["extractor"])  # the images are the same for all extractors
    for (_, side), of_scale in groups(first, "scale", "side").items():
        at = {(row["judge"], row["removed"]): row for row in of_scale}
        cells = [estimate(at.get((judge, kind))) for judge in judges for kind in ("scale", "finer")]
        table.rows.append([Cell(f"{side} × {side}"), Cell(f"{side**2:,}", side**2), *cells])
    return table


def share_table(rows: Rows) -> Table:
    """An extractor and n a row, the shares of the scales in columns; bold: above the scale's share of all tokens."""
    expected, sides = _of_all(rows), {row["scale"]: row["side"] for row in rows}
    table = Table(["extractor", "n", *(f"{side} × {side}" for side in sides.values())], 2)
    table.rows.append([Cell("all tokens"), Cell("–"), *(Cell(f"{share:.3f}", share) for share in expected.values())])
    for (extractor, n), group in groups(rows, "extractor", "n").items():
        at = {row["scale"]: row for row in group}
        cells = [estimate(at[scale], best=at[scale]["low"] > expected[scale]) for scale in sides]
        table.rows.append([Cell(extractor), Cell(f"{n:,}", n), *cells])
    return table


def token_table(rows: Rows) -> Table:
    """An extractor, judge and n a row: changes without important and without random tokens, and their difference."""
    table = Table(["extractor", "judge", "n", "most important", "random, same scales", "difference"], 3)
    for (extractor, judge, n), group in groups(rows, "extractor", "judge", "n").items():
        at = {row["removed"]: row for row in group}
        beyond = at["beyond_random"]
        cells = [estimate(at["importance"]), estimate(at["random"]), estimate(beyond, best=beyond["high"] < 0)]
        table.rows.append([Cell(extractor), Cell(judge), Cell(f"{n:,}", n), *cells])
    return table


def _means(rows: Rows) -> dict[str, float]:
    """Mean change over judges by scale, as "4 × 4", from coarse to fine."""
    return {
        f"{side} × {side} (scale {scale + 1})": mean(row["value"] for row in of)
        for (scale, side), of in groups(rows, "scale", "side").items()
    }


def _of_all(rows: Rows) -> dict[int, float]:
    """Every scale's share of all tokens."""
    sides = {row["scale"]: row["side"] for row in rows}
    return {scale: side**2 / sum(other**2 for other in sides.values()) for scale, side in sides.items()}
