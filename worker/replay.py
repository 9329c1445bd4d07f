"""Replay: give a dead letter another chance."""

from __future__ import annotations

from models import inbox, schedule
from models.inbox import InboxEvent, InboxState
from runtime.wiring import Runtime
from seats.errors import NotReplayable


def replay(runtime: Runtime, inbox_id: int) -> InboxEvent:
    """Read the letter again and have its subscription looked at; the event as it is then.

    Raises `InboxEventNotFound`, and `NotReplayable` for one that is not dead or still cannot be read.
    """
    with runtime.sessions.begin() as session:
        letter = inbox.dead_letter(session, inbox_id)
        event = runtime.provider.read(letter.body)
        if event.unreadable is not None:
            raise NotReplayable(f"Inbox event {inbox_id} still cannot be read: {event.unreadable}.")
        letter.type, letter.subscription_id = event.type, event.subscription_id
        letter.occurred_at = event.occurred_at
        if not event.concerns_seats or event.subscription_id is None:
            letter.state, letter.reason = InboxState.IGNORED, f"{event.type} does not concern seats"
        else:
            letter.state, letter.reason = InboxState.PENDING, None
            session.flush()
            schedule.raise_hint(session, event.subscription_id)
    return letter
