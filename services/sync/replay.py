"""Replay: give dead letters another chance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sqlalchemy.orm import Session

from domain.errors import NotReplayable
from models import inbox, sync_queue
from models.inbox import InboxEvent, InboxState
from providers.base import Provider
from runtime.wiring import Runtime

_SLICE: Final = 100


def replay(session: Session, provider: Provider, inbox_id: int) -> InboxEvent:
    """Read a dead letter again and request a sync of its subscription; returns the event as it is then.

    Raises `InboxEventNotFound`, and `NotReplayable` for one that is not dead or still cannot be read.
    """
    letter = inbox.dead_letter(session, inbox_id)
    _revive(provider, letter)
    _request_syncs(session, [letter])
    return letter


def replay_all(runtime: Runtime, *, reason: str = "") -> Iterator[InboxEvent | NotReplayable]:
    """Replay every dead letter whose reason contains this text, oldest first, slice by slice.

    Yields each event as it is then, or why it still cannot be read. Dead letters that come into being
    meanwhile are left alone, so that the end is reached whatever the provider answers.
    """
    with runtime.sessions() as session:
        newest = inbox.newest_id(session)
    after = 0
    while True:
        with runtime.sessions.begin() as session:
            letters = inbox.dead_letters(session, reason=reason, after=after, until=newest, limit=_SLICE)
            results = [_replayed(runtime.provider, letter) for letter in letters]
            _request_syncs(session, letters)
        yield from results
        if len(letters) < _SLICE:
            return
        after = letters[-1].id


def _replayed(provider: Provider, letter: InboxEvent) -> InboxEvent | NotReplayable:
    try:
        _revive(provider, letter)
    except NotReplayable as error:
        return error
    return letter


def _revive(provider: Provider, letter: InboxEvent) -> None:
    event = provider.read(letter.body)
    if event.unreadable is not None:
        raise NotReplayable(f"Inbox event {letter.id} still cannot be read: {event.unreadable}.")
    letter.type, letter.subscription_id = event.type, event.subscription_id
    letter.occurred_at = event.occurred_at
    if not event.concerns_seats or event.subscription_id is None:
        letter.state, letter.reason = InboxState.IGNORED, f"{event.type} does not concern seats"
    else:
        letter.state, letter.reason = InboxState.PENDING, None


def _request_syncs(session: Session, letters: Iterable[InboxEvent]) -> None:
    """All at once, since subscriptions are locked in the order of their ids."""
    session.flush()
    pending = (letter for letter in letters if letter.state == InboxState.PENDING)
    sync_queue.raise_hints(session, {letter.subscription_id for letter in pending if letter.subscription_id})
