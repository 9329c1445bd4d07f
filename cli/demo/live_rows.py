"""The rows of the live view: an account, a webhook, an action of the app."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from cli.demo import seat_bars
from cli.demo.api_documents import Account, Event
from cli.demo.event_log import Entry
from cli.demo.plain_view import clock
from cli.demo.seat_bars import Glyphs, Part
from cli.demo.view import Action, Tone

QUIET: Final = "dim"  # readable in every colour scheme
_STATUS: Final = {
    "ok": "green",
    "over_limit": "yellow",
    "grace": "magenta",
    "blocked": "red",
    "suspended": "blue",
    "ended": "dim",
}
_STATE: Final = {"pending": "yellow", "done": "green", "ignored": "dim", "dead": "red"}
_TONE: Final = {
    Tone.GRANTED: ("+", "bold green", ""),
    Tone.REFUSED: ("x", "bold red", "red"),
    Tone.RELEASED: ("-", "bold cyan", ""),
    Tone.ASKED: ("?", "dim", "dim"),
    Tone.TROUBLE: ("!", "bold yellow", "bold yellow"),
}
_WIDE_COLUMNS: Final = 100
_COUNTS_WIDTH: Final = 24
_STATUS_WIDTH: Final = 10
_MARGINS: Final = 9
_SHORT_ID_LENGTH: Final = 10
_MAX_NAME_LENGTH: Final = 20


def accounts(found: Sequence[Account], rows: int, width: int, glyphs: Glyphs) -> list[Text]:
    """At most `rows` lines: a bar for each account, all on one scale, and the number of accounts left out."""
    shown = found if len(found) <= rows else found[: rows - 1]
    name_width = min(max((len(each.account_id) for each in shown), default=0), _MAX_NAME_LENGTH)
    policy_width = max((len(each.policy) for each in shown), default=0)
    cells = width - name_width - policy_width - _STATUS_WIDTH - _COUNTS_WIDTH - _MARGINS
    drawn = [each.seats[seat_type] for each in shown if (seat_type := seat_bars.main_type(each))]
    scale = seat_bars.cells_per_seat(drawn, max(cells - 3, 1))
    lines = [
        Text.assemble(
            f" {each.account_id:<{name_width}.{name_width}}  ",
            (f"{each.status.replace('_', ' '):<{_STATUS_WIDTH}}", _STATUS.get(each.status, "")),
            (f"  {each.policy:<{policy_width}}  ", QUIET),
            _bar(each, scale, cells, glyphs),
            _counts(each),
        )
        for each in shown
    ]
    if len(shown) < len(found):
        lines.append(Text(f" and {len(found) - len(shown)} more", QUIET))
    return lines


def webhook(entry: Entry, width: int) -> Text:
    """A webhook: time, type, subscription, account, state, and what it changed."""
    event = entry.event
    is_wide = width >= _WIDE_COLUMNS
    kind = f"{event.type:<26.26}" if is_wide else f"{event.type.rpartition('.')[2]:<12.12}"
    subject = f"{event.subscription_id or '-':<26.26}" if is_wide else f"{_short(event):<10}"
    return Text.assemble(
        (f" {clock(event.received_at)}  ", QUIET),
        kind,
        (f" {subject} ", QUIET),
        f"{entry.account_id or '-':<13.13} ",
        (f"{event.state:<8}", _STATE.get(event.state, "")),
        (entry.effect, "bold" if entry.is_change else QUIET),
    )


def action(done: Action) -> Text:
    """An action: time, sign and text."""
    sign, sign_style, style = _TONE[done.tone]
    return Text.assemble((f" {clock(done.at)}  ", QUIET), (f"{sign} ", sign_style), (done.text, style))


def legend(glyphs: Glyphs) -> Text:
    """The characters of the bars and the colours of the statuses."""
    text = Text(" ")
    for part in Part:
        text.append(glyphs.of(part), _part_style(part, "ok"))
        text.append(f" {part} ", QUIET)
    for status, style in _STATUS.items():
        text.append(f" {status.replace('_', ' ')}", style)
    return text


def _bar(account: Account, scale: float, cells: int, glyphs: Glyphs) -> Text:
    bar = Text()
    seat_type = seat_bars.main_type(account)
    for part, length in seat_bars.parts(account.seats[seat_type], scale) if seat_type else ():
        bar.append(glyphs.of(part) * length, _part_style(part, account.status))
    bar.truncate(max(cells, 0), pad=True)
    return Text.assemble(bar, "  ")


def _counts(account: Account) -> Text:
    """The figures next to the bar. Seat types that are neither bought nor used are left out."""
    text = Text()
    for seat_type, seats in account.seats.items():
        if seats.purchased == 0 and not seats.used:
            continue
        text.append(f"{seat_type} ", QUIET)
        text.append(f"{seats.used}/{seats.purchased_text}", "bold red" if seats.overage else "bold")
        text.append("  ")
    return text


def _part_style(part: Part, status: str) -> str:
    if part is Part.OVER:
        return "red"
    return QUIET if part is Part.AVAILABLE else _STATUS.get(status, "")


def _short(event: Event) -> str:
    """The subscription's id, shortened for a narrow terminal."""
    full = event.subscription_id or "-"
    return full if len(full) <= _SHORT_ID_LENGTH else f"{full[: _SHORT_ID_LENGTH - 1]}~"
