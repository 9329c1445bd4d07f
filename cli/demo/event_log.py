"""Tells each webhook together with what became of its account."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cli.demo import wording
from cli.demo.api_documents import Account, Event

KEPT: Final = 100

# One change is announced by several events; the one with the plainest name gets the credit.
_VAGUE: Final = {"renewed": 1, "updated": 2}


@dataclass(frozen=True, slots=True)
class Entry:
    """A webhook, the account it is about if we know one, and what it changed."""

    event: Event
    account_id: str | None = None
    effect: str = ""
    echoes: tuple[str, ...] = ()
    """The types of the webhooks that came with it about the same."""

    @property
    def is_echo(self) -> bool:
        return self.effect == wording.SAME_NEWS

    @property
    def is_news(self) -> bool:
        return self.effect not in {"", wording.NOTHING_NEW, wording.SAME_NEWS}


class EventLog:
    """Remembers the newest webhooks, and how each account stood when it was last told of."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._told: dict[str, Account] = {}

    @property
    def entries(self) -> list[Entry]:
        """Newest first."""
        return [self._entries[inbox_id] for inbox_id in sorted(self._entries, reverse=True)]

    def note(self, events: Iterable[Event], accounts: Sequence[Account]) -> list[Entry]:
        """Take in a look at the service; returns the webhooks that have been worked off since the last one.

        The accounts have to be looked at after the events: what a finished event changed is then seen.
        """
        owners = {each: account for account in accounts for each in account.subscriptions}
        finished = []
        for event in sorted(events, key=lambda each: each.inbox_id):
            known = self._entries.get(event.inbox_id)
            if known and not known.event.is_pending:
                continue
            owner = owners.get(event.subscription_id or "")
            self._entries[event.inbox_id] = Entry(event, owner.account_id if owner else None)
            if not event.is_pending:
                finished.append(event)
        self._explain(finished, owners)
        told = [self._entries[event.inbox_id] for event in finished]
        self._forget()
        return told

    def _explain(self, finished: Sequence[Event], owners: Mapping[str, Account]) -> None:
        """Say what each event changed. Of those about one account, the plainest tells it for all."""
        telling: dict[str, int] = {}
        for event in sorted(finished, key=_vagueness):
            owner = owners.get(event.subscription_id or "")
            if event.reason is not None:
                self._say(event.inbox_id, f"{event.state}: {event.reason}")
            elif owner is None:
                self._say(event.inbox_id, "")
            elif owner.account_id in telling:
                self._say(event.inbox_id, wording.SAME_NEWS)
                self._echo(telling[owner.account_id], event)
            else:
                telling[owner.account_id] = event.inbox_id
                effect = wording.effect(self._told.get(owner.account_id), owner)
                self._say(event.inbox_id, effect or wording.NOTHING_NEW)
                self._told[owner.account_id] = owner

    def _say(self, inbox_id: int, effect: str) -> None:
        self._entries[inbox_id] = replace(self._entries[inbox_id], effect=effect)

    def _echo(self, inbox_id: int, event: Event) -> None:
        teller = self._entries[inbox_id]
        self._entries[inbox_id] = replace(teller, echoes=(*teller.echoes, event.type.rpartition(".")[2]))

    def _forget(self) -> None:
        for inbox_id in sorted(self._entries)[:-KEPT]:
            del self._entries[inbox_id]


def _vagueness(event: Event) -> tuple[int, int]:
    return _VAGUE.get(event.type.rpartition(".")[2], 0), event.inbox_id
