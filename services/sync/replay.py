"""Replay dead letters: read them again and request syncs of their subscriptions."""

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
    """Replay one dead letter; return the event in its new state.

    Raises `InboxEventNotFound`, and `NotReplayable` if the event is not dead or still cannot be read.
    """
    event = inbox.dead_letter(session, inbox_id)
    _reset_state(provider, event)
    _request_syncs(session, [event])
    return event


def replay_all(runtime: Runtime, *, reason: str = "") -> Iterator[InboxEvent | NotReplayable]:
    """Replay every dead letter whose reason contains `reason`, oldest first.

    Yields each event in its new state, or the error if it still cannot be read. Dead letters that are newer
    than the call are left out, so that it ends even if replayed events fail again.
    """
    with runtime.sessions() as session:
        newest = inbox.newest_id(session)
    after = 0
    while True:
        with runtime.sessions.begin() as session:
            events = inbox.dead_letters(session, reason=reason, after=after, until=newest, limit=_SLICE)
            results = [_try_reset_state(runtime.provider, event) for event in events]
            _request_syncs(session, events)
        yield from results
        if len(events) < _SLICE:
            return
        after = events[-1].id


def _try_reset_state(provider: Provider, event: InboxEvent) -> InboxEvent | NotReplayable:
    try:
        _reset_state(provider, event)
    except NotReplayable as error:
        return error
    return event


def _reset_state(provider: Provider, event: InboxEvent) -> None:
    """Read the body again, and set the state that the event would have if it arrived now."""
    content = provider.read(event.body)
    if content.unreadable is not None:
        raise NotReplayable(f"Inbox event {event.id} still cannot be read: {content.unreadable}.")
    event.type, event.subscription_id = content.type, content.subscription_id
    event.occurred_at = content.occurred_at
    if not content.concerns_seats or content.subscription_id is None:
        event.state, event.reason = InboxState.IGNORED, f"{content.type} does not concern seats"
    else:
        event.state, event.reason = InboxState.PENDING, None


def _request_syncs(session: Session, events: Iterable[InboxEvent]) -> None:
    """In one statement, which locks the subscriptions in id order."""
    session.flush()
    pending = (event for event in events if event.state == InboxState.PENDING)
    sync_queue.raise_hints(session, {event.subscription_id for event in pending if event.subscription_id})
