"""One still of the live view, cut to the size of the terminal."""

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

_ROOMY: Final = 30
_FEWEST_ROWS: Final = 3
_USUAL_ACCOUNTS: Final = 5


@dataclass(frozen=True, slots=True)
class About:
    """What the margins of the view say."""

    url: str
    curl: str
    short_curl: str
    more: str


class LiveView:
    """One still of a size, as lines of text that fit it."""

    def __init__(self, about: About, width: int, height: int, glyphs: Glyphs = seat_bars.BLOCKS) -> None:
        self._about = about
        self._width = width
        self._height = height
        self._glyphs = glyphs

    def of(self, picture: View) -> Group:
        gap = [Text()] if self._height >= _ROOMY else []
        head = [self._title(picture), *gap]
        foot = [*gap, live_rows.legend(self._glyphs), self._rule(""), *self._footer()]
        room = self._height - len(head) - len(foot) - 3 - 2 * len(gap)
        seats = min(max(len(picture.accounts), _USUAL_ACCOUNTS), max(room - 2 * _FEWEST_ROWS, _FEWEST_ROWS))
        webhooks = (room - seats) // 2
        lines = [
            *head,
            self._rule("Accounts: seats used of purchased"),
            *_filled(live_rows.accounts(picture.accounts, seats, self._width, self._glyphs), seats),
            *gap,
            self._rule("Webhooks: what the billing provider says"),
            *_filled((live_rows.webhook(each, self._width) for each in picture.entries[:webhooks]), webhooks),
            *gap,
            self._rule("App: what its backend asks the API for"),
            *_filled(map(live_rows.deed, picture.deeds[: room - seats - webhooks]), room - seats - webhooks),
            *foot,
        ]
        for line in lines:
            line.no_wrap = True
            line.truncate(self._width, overflow="ellipsis")
        return Group(*lines)

    def _title(self, picture: View) -> Text:
        left = Text.assemble((" Seat Sync ", "bold reverse"), "  ", (self._about.url, "bold"))
        minutes, seconds = divmod(int(picture.seconds), 60)
        right = Text.assemble(_lag(picture.lag), (f"  {minutes}:{seconds:02} ", QUIET))
        return Text.assemble(left, " " * max(self._width - left.cell_len - right.cell_len, 1), right)

    def _rule(self, title: str) -> Text:
        line = "─" if self._glyphs is seat_bars.BLOCKS else "-"
        heading = f"{line * 2} {title} " if title else ""
        return Text.assemble(
            (heading[:2], QUIET), (heading[2:], "bold"), (line * max(self._width - len(heading), 0), QUIET)
        )

    def _footer(self) -> list[Text]:
        about = self._about
        curl = about.curl if len(about.curl) < self._width else about.short_curl
        return [Text(f" {curl}", "bold"), Text(f" Ctrl-C ends it. {about.more}", QUIET)]


def _lag(lag: float | None) -> Text:
    if lag is None:
        return Text("the web process does not answer", "bold red")
    return Text(f"worker lag {lag:.1f} s", "green" if lag < 1 else "yellow")


def _filled(lines: Iterable[Text], count: int) -> list[Text]:
    """Exactly so many rows, so that nothing below moves."""
    kept = list(lines)[: max(count, 0)]
    return kept + [Text()] * (count - len(kept))
