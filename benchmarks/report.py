"""Compares rounds of both sides, and shows the ratios as a table on the screen or in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from rich.table import Table

from benchmarks.machine import OtherPrograms
from benchmarks.pace import Pace

Rate = Callable[[], float]
"""Measures one round and returns its rate per second."""

HEADINGS = ("what", "ours", "baseline", "ratio (range)", "bar", "met", "others")

# A round counts as disturbed if other programs used more than this share of the machine.
DISTURBED = 0.15


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `is_met` is None if there is no bar.

    `others` is the share of the machine that other programs used, None if it was not measured.
    """

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
    """The rates of one round of ours and one of the baseline; `others` is the larger of their two shares."""

    ours: float
    baseline: float
    others: float

    @property
    def ratio(self) -> float:
        return self.ours / self.baseline


def compare(what: str, ours: Rate, baseline: Rate, *, pace: Pace, bar: float) -> Row:
    """Measure ours and the baseline in turns; compare the median of the pairs' ratios with the bar.

    Disturbed pairs are measured again while there are tries left. If fewer than half of the wanted pairs are
    undisturbed, all pairs count.
    """
    others, pairs, calm = OtherPrograms(), list[Pair](), list[Pair]()
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


def _pair(ours: Rate, baseline: Rate, others: OtherPrograms) -> Pair:
    others.share()
    our_rate, others_during_ours = ours(), others.share()
    baseline_rate, others_during_baseline = baseline(), others.share()
    return Pair(our_rate, baseline_rate, max(others_during_ours, others_during_baseline))


def client_row(busy: Sequence[float]) -> Row:
    """How busy the load generator was; near 100 % of a core, it was the limit itself."""
    return Row(what="  load generator, CPU", ours=f"{max(busy):.0%} of a core")


def table(rows: Sequence[Row], caption: str) -> Table:
    """The results as a table for the screen."""
    shown = Table(*HEADINGS, caption=caption)
    for row in rows:
        style = {True: "green", False: "bold red", None: "dim"}[row.is_met]
        shown.add_row(*row.cells(), style=style)
    return shown


def markdown(rows: Sequence[Row], caption: str) -> str:
    """The results as a Markdown table for docs/performance.md."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(row.cells() for row in rows)]
    return "\n".join([f"{caption}.", "", *(f"| {' | '.join(cells)} |" for cells in lines)])
