"""The view without a terminal: one line for everything that happens."""

from __future__ import annotations

from datetime import datetime
from heapq import merge
from typing import Final

from cli.demo.event_log import Entry
from cli.demo.view import Action, Tone, View

_TYPE_WIDTH: Final = 25
_ACCOUNT_WIDTH: Final = 12


class PlainView:
    """A `Display` that only adds lines, after an introduction."""

    def __init__(self, introduction: str) -> None:
        self._introduction = introduction

    def start(self) -> None:
        print(self._introduction, flush=True)

    def draw(self, view: View) -> None:
        webhooks = (
            (entry.event.received_at, webhook_line(entry))
            for entry in view.finished
            if not entry.is_repetition
        )
        actions = ((action.at, action_line(action)) for action in view.done)
        for _, line in merge(webhooks, actions, key=lambda each: each[0]):
            print(line, flush=True)

    def end(self) -> None:
        """Nothing to restore."""


def webhook_line(entry: Entry) -> str:
    """`12:00:03 webhook subscription.plan_changed  acme  full 10 -> 15`."""
    event = entry.event
    account_id = entry.account_id or "-"
    also = f" (and {', '.join(entry.repetitions)})" if entry.repetitions else ""
    line = f"webhook {event.type:<{_TYPE_WIDTH}}  {account_id:<{_ACCOUNT_WIDTH}}  {entry.effect}{also}"
    return f"{clock(event.received_at)} {line}".rstrip()


def action_line(action: Action) -> str:
    """`12:00:04 app     Ada Moreau joins acme (full 11 of 15)`."""
    source = "demo" if action.tone is Tone.TROUBLE else "app"
    return f"{clock(action.at)} {source:<7} {action.text}"


def clock(at: datetime) -> str:
    """The time of day in the local time zone."""
    return f"{at.astimezone():%H:%M:%S}"
