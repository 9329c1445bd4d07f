"""From rounds to ratios, and from ratios to a table on the screen or in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from rich.table import Table

Rate = Callable[[], float]
"""Measures one round and returns how many per second."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `is_met` is None where there is no bar."""

    what: str
    ours: str
    baseline: str = ""
    ratio: str = ""
    bar: str = ""
    is_met: bool | None = None

    def cells(self) -> list[str]:
        met = {True: "yes", False: "NO", None: ""}[self.is_met]
        return [self.what, self.ours, self.baseline, self.ratio, self.bar, met]


HEADINGS = ("what", "ours", "baseline", "ratio: median (min-max)", "bar", "met")


def compare(what: str, ours: Rate, baseline: Rate, *, rounds: int, bar: float) -> Row:
    """Ours and the baseline in turn, so that other load falls on both; each pair is a ratio."""
    pairs = [(ours(), baseline()) for _ in range(rounds)]
    ratios = [mine / theirs for mine, theirs in pairs]
    middle = median(ratios)
    return Row(
        what=what,
        ours=f"{median(mine for mine, _ in pairs):,.0f}/s",
        baseline=f"{median(theirs for _, theirs in pairs):,.0f}/s",
        ratio=f"{middle:.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        bar=f">= {bar:g}",
        is_met=middle >= bar,
    )


def table(rows: Sequence[Row], caption: str) -> Table:
    """For the screen."""
    shown = Table(*HEADINGS, caption=caption, title="Seat Sync beside its baselines")
    for row in rows:
        style = {True: "green", False: "bold red", None: "dim"}[row.is_met]
        shown.add_row(*row.cells()[:-1], f"[{style}]{row.cells()[-1]}[/]")
    return shown


def markdown(rows: Sequence[Row], caption: str) -> str:
    """For the README."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(row.cells() for row in rows)]
    return "\n".join([caption, "", *(f"| {' | '.join(cells)} |" for cells in lines)])


def client_row(busy: Sequence[float]) -> Row:
    """How far the load client was from being what was measured."""
    return Row(what="  its load client was busy", ours=f"{max(busy):.0%} of a core")
