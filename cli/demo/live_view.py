"""Lays out the live view as lines of text that fit the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from rich.console import Group
from rich.text import Text

from cli.demo import live_rows, seat_bars
from cli.demo.live_rows import QUIET
from cli.demo.seat_bars import Glyphs
from cli.demo.view import View

_TALL_ROWS: Final = 30  # from this height on, there are blank lines between the sections
_MIN_ROWS: Final = 3
_USUAL_ACCOUNT_ROWS: Final = 5


@dataclass(frozen=True, slots=True)
class Header:
    """The fixed texts of the view: address, example calls, and where more is."""

    url: str
    curl: str
    short_curl: str
    more: str


class LiveView:
    """The layout for one terminal size."""

    def __init__(self, header: Header, width: int, height: int, glyphs: Glyphs = seat_bars.BLOCKS) -> None:
        self._header = header
        self._width = width
        self._height = height
        self._glyphs = glyphs

    def of(self, view: View) -> Group:
        """Exactly as many lines as the terminal has; each section keeps its place."""
        gap = [Text()] if self._height >= _TALL_ROWS else []
        head = [self._title(view), *gap]
        foot = [*gap, live_rows.legend(self._glyphs), self._rule(""), *self._footer()]
        rows = self._height - len(head) - len(foot) - 3 - 2 * len(gap)
        seats = min(max(len(view.accounts), _USUAL_ACCOUNT_ROWS), max(rows - 2 * _MIN_ROWS, _MIN_ROWS))
        webhooks = (rows - seats) // 2
        actions = rows - seats - webhooks
        lines = [
            *head,
            self._rule("Accounts: seats used of purchased"),
            *_filled(live_rows.accounts(view.accounts, seats, self._width, self._glyphs), seats),
            *gap,
            self._rule("Webhooks: what the billing provider sends"),
            *_filled((live_rows.webhook(each, self._width) for each in view.entries[:webhooks]), webhooks),
            *gap,
            self._rule("App: what its backend does through the API"),
            *_filled(map(live_rows.action, view.actions[:actions]), actions),
            *foot,
        ]
        for line in lines:
            line.no_wrap = True
            line.truncate(self._width, overflow="ellipsis")
        return Group(*lines)

    def _title(self, view: View) -> Text:
        left = Text.assemble((" Seat Sync ", "bold reverse"), "  ", (self._header.url, "bold"))
        minutes, seconds = divmod(int(view.seconds), 60)
        right = Text.assemble(_lag(view.lag), (f"  {minutes}:{seconds:02} ", QUIET))
        return Text.assemble(left, " " * max(self._width - left.cell_len - right.cell_len, 1), right)

    def _rule(self, title: str) -> Text:
        line = "─" if self._glyphs is seat_bars.BLOCKS else "-"
        heading = f"{line * 2} {title} " if title else ""
        return Text.assemble(
            (heading[:2], QUIET), (heading[2:], "bold"), (line * max(self._width - len(heading), 0), QUIET)
        )

    def _footer(self) -> list[Text]:
        header = self._header
        curl = header.curl if len(header.curl) < self._width else header.short_curl
        return [Text(f" {curl}", "bold"), Text(f" Ctrl-C ends it. {header.more}", QUIET)]


def _lag(lag: float | None) -> Text:
    if lag is None:
        return Text("the web process does not respond", "bold red")
    return Text(f"worker lag {lag:.1f} s", "green" if lag < 1 else "yellow")


def _filled(lines: Iterable[Text], count: int) -> list[Text]:
    """Exactly `count` lines: cut off or filled with blank ones, so that the sections below do not move."""
    shown = list(lines)[: max(count, 0)]
    return shown + [Text()] * (count - len(shown))
