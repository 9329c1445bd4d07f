"""Combines each webhook with the change of its account, as shown by the demo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cli.demo import wording
from cli.demo.api_documents import Account, Event

MAX_ENTRIES: Final = 100

# Several events may announce one change. It is shown with the event that has the most specific type.
_UNSPECIFIC: Final = {"renewed": 1, "updated": 2}


@dataclass(frozen=True, slots=True)
class Entry:
    """A webhook, its account if that is known, and what it changed."""

    event: Event
    account_id: str | None = None
    effect: str = ""
    repetitions: tuple[str, ...] = ()
    """The types of further webhooks that announced the same change."""

    @property
    def is_repetition(self) -> bool:
        return self.effect == wording.SAME_CHANGE

    @property
    def is_change(self) -> bool:
        return self.effect not in {"", wording.NO_CHANGE, wording.SAME_CHANGE}


class EventLog:
    """The newest webhooks, and each account as it was when its last change was shown."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._shown: dict[str, Account] = {}

    @property
    def entries(self) -> list[Entry]:
        """Newest first."""
        return [self._entries[inbox_id] for inbox_id in sorted(self._entries, reverse=True)]

    def update(self, events: Iterable[Event], accounts: Sequence[Account]) -> list[Entry]:
        """Add new events; returns the entries of events that were processed since the last call.

        `accounts` must be read after `events`, so that they include the changes of all processed events.
        """
        owners = {each: account for account in accounts for each in account.subscriptions}
        finished: list[Event] = []
        for event in sorted(events, key=lambda each: each.inbox_id):
            stored = self._entries.get(event.inbox_id)
            if stored and not stored.event.is_pending:
                continue
            owner = owners.get(event.subscription_id or "")
            self._entries[event.inbox_id] = Entry(event, owner.account_id if owner else None)
            if not event.is_pending:
                finished.append(event)
        self._set_effects(finished, owners)
        entries = [self._entries[event.inbox_id] for event in finished]
        self._drop_old()
        return entries

    def _set_effects(self, finished: Sequence[Event], owners: Mapping[str, Account]) -> None:
        """Set what each event changed. Of the events of one account, the most specific gets the change."""
        credited: dict[str, int] = {}
        for event in sorted(finished, key=_specificity):
            owner = owners.get(event.subscription_id or "")
            if event.reason is not None:
                self._set_effect(event.inbox_id, f"{event.state}: {event.reason}")
            elif owner is None:
                self._set_effect(event.inbox_id, "")
            elif owner.account_id in credited:
                self._set_effect(event.inbox_id, wording.SAME_CHANGE)
                self._add_repetition(credited[owner.account_id], event)
            else:
                credited[owner.account_id] = event.inbox_id
                effect = wording.effect(self._shown.get(owner.account_id), owner)
                self._set_effect(event.inbox_id, effect or wording.NO_CHANGE)
                self._shown[owner.account_id] = owner

    def _set_effect(self, inbox_id: int, effect: str) -> None:
        self._entries[inbox_id] = replace(self._entries[inbox_id], effect=effect)

    def _add_repetition(self, inbox_id: int, event: Event) -> None:
        entry = self._entries[inbox_id]
        self._entries[inbox_id] = replace(
            entry, repetitions=(*entry.repetitions, event.type.rpartition(".")[2])
        )

    def _drop_old(self) -> None:
        for inbox_id in sorted(self._entries)[:-MAX_ENTRIES]:
            del self._entries[inbox_id]


def _specificity(event: Event) -> tuple[int, int]:
    return _UNSPECIFIC.get(event.type.rpartition(".")[2], 0), event.inbox_id
