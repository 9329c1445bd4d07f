"""From rounds to ratios, and from ratios to a table on the screen or in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from rich.table import Table

from benchmarks.machine import Others
from benchmarks.pace import Pace

Rate = Callable[[], float]
"""Measures one round and returns how many per second."""

HEADINGS = ("what", "ours", "baseline", "ratio (range)", "bar", "met", "others")

# A round in which other programs took more of the machine than this tells about them.
DISTURBED = 0.15


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `is_met` is None where there is no bar, `others` where nobody looked."""

    what: str
    ours: str
    baseline: str = ""
    ratio: str = ""
    bar: str = ""
    is_met: bool | None = None
    others: float | None = None

    def cells(self) -> tuple[str, ...]:
        met = {True: "yes", False: "NO", None: ""}[self.is_met]
        others = "" if self.others is None else f"{self.others:.0%}"
        return self.what, self.ours, self.baseline, self.ratio, self.bar, met, others


@dataclass(frozen=True, slots=True)
class Pair:
    """One round of ours and one of the baseline, right after each other; `others` is the worse of the two."""

    ours: float
    baseline: float
    others: float

    @property
    def ratio(self) -> float:
        return self.ours / self.baseline


def compare(what: str, ours: Rate, baseline: Rate, *, pace: Pace, bar: float) -> Row:
    """Ours and the baseline in turn; the median of the pairs' ratios stands against the bar.

    Disturbed pairs are measured again while there are tries left; where the machine never comes to rest,
    all pairs count.
    """
    others, pairs, calm = Others(), list[Pair](), list[Pair]()
    while len(calm) < pace.rounds and len(pairs) < pace.tries:
        pair = _pair(ours, baseline, others)
        pairs.append(pair)
        if pair.others <= DISTURBED:
            calm.append(pair)
    counted = calm if len(calm) >= pace.rounds / 2 else pairs
    ratios = [pair.ratio for pair in counted]
    return Row(
        what=what,
        ours=f"{median(pair.ours for pair in counted):,.0f}/s",
        baseline=f"{median(pair.baseline for pair in counted):,.0f}/s",
        ratio=f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}, n={len(counted)})",
        bar=f">= {bar:g}",
        is_met=median(ratios) >= bar,
        others=median(pair.others for pair in counted),
    )


def _pair(ours: Rate, baseline: Rate, others: Others) -> Pair:
    others.share()
    mine, beside_mine = ours(), others.share()
    theirs, beside_theirs = baseline(), others.share()
    return Pair(mine, theirs, max(beside_mine, beside_theirs))


def client_row(busy: Sequence[float]) -> Row:
    """How far the load client was from being what was measured."""
    return Row(what="  its load client was busy", ours=f"{max(busy):.0%} of a core")


def table(rows: Sequence[Row], caption: str) -> Table:
    """For the screen."""
    shown = Table(*HEADINGS, caption=caption)
    for row in rows:
        style = {True: "green", False: "bold red", None: "dim"}[row.is_met]
        shown.add_row(*row.cells(), style=style)
    return shown


def markdown(rows: Sequence[Row], caption: str) -> str:
    """For benchmarks/README.md."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(row.cells() for row in rows)]
    return "\n".join([f"{caption}.", "", *(f"| {' | '.join(cells)} |" for cells in lines)])
