"""The inbox: every authentic webhook delivery, stored before anything else is done with it.

pending -> done      the result of a retrieve that started after the delivery was stored has been written
        -> ignored   not about seats, or for another business
        -> dead      unreadable, or every sync attempt failed; `reason` says which. Can be replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Engine,
    Identity,
    Index,
    LargeBinary,
    UniqueConstraint,
    func,
    select,
)
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.errors import InboxEventNotFound, NotReplayable
from models.base import Base, Moment, Written, delete_slice
from models.driver import Row, committed_first_row, count_rows, first_row


class InboxState(StrEnum):
    PENDING = "pending"
    DONE = "done"
    IGNORED = "ignored"
    DEAD = "dead"


class InboxEvent(Base):
    __tablename__ = "inbox"
    __table_args__ = (
        UniqueConstraint("provider", "event_id"),
        CheckConstraint("state IN ('pending', 'done', 'ignored', 'dead')", name="state"),
        CheckConstraint("state <> 'pending' OR subscription_id IS NOT NULL", name="pending_has_subscription"),
        CheckConstraint("(state IN ('ignored', 'dead')) = (reason IS NOT NULL)", name="reason_given"),
        Index("inbox_unfinished", "subscription_id", postgresql_where=sql("state IN ('pending', 'dead')")),
        Index(None, "state", "id", postgresql_where=sql("state = 'dead'")),
        Index("inbox_ignored", "id", postgresql_where=sql("state = 'ignored'")),
        Index("inbox_pending", "received_at", postgresql_where=sql("state = 'pending'")),
        Index(None, "received_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    provider: Mapped[str]
    event_id: Mapped[str]
    type: Mapped[str]
    subscription_id: Mapped[str | None]
    occurred_at: Mapped[Moment | None]
    received_at: Mapped[Written]
    state: Mapped[str]
    reason: Mapped[str | None]
    body: Mapped[bytes] = mapped_column(LargeBinary)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A delivery to be stored, and its initial state."""

    provider: str
    event_id: str
    type: str
    subscription_id: str | None
    occurred_at: datetime | None
    state: InboxState
    reason: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """The result of `store`. `is_new` is False for a repeated delivery. `due_in` is the number of seconds
    until the requested sync is due; None if no sync was requested.
    """

    is_new: bool
    due_in: float | None


_FEW, _MANY = 5, 50

# One statement, because a second round trip would cost more than the signature check. `event` writes a new
# delivery, or replaces a dead letter by its repeated delivery; any other repeat writes nothing and returns
# nothing. `hint` requests the sync of a pending event that was written. When it is due:
#  1. A dead subscription: now. The new event revives it, and its attempts are counted from 0.
#  2. One that is being synced: in a second. The running sync may have read the state before this event.
#  3. One whose sync is awaited already: when it was due, but in five minutes at most. Its backoff may be
#     hours long, and the new event may be what ends the failure.
#  4. One whose sync the timer requested, so that it is spread over the day: as if it had not been requested.
#  5. Otherwise a second after the last sync, so that a burst of events costs one or two retrieves.
_STORE = """
    WITH event AS (
        INSERT INTO inbox AS stored
            (provider, event_id, type, subscription_id, occurred_at, state, reason, body)
        VALUES (%(provider)s, %(event_id)s, %(type)s, %(subscription_id)s, %(occurred_at)s, %(state)s,
                %(reason)s, %(body)s)
        ON CONFLICT (provider, event_id) DO UPDATE SET
            type = excluded.type, subscription_id = excluded.subscription_id,
            occurred_at = excluded.occurred_at, received_at = excluded.received_at,
            state = excluded.state, reason = excluded.reason, body = excluded.body
            WHERE stored.state = 'dead' AND excluded.state <> 'dead'
        RETURNING subscription_id, state, xmax = 0 AS is_new
    ), hint AS (
        INSERT INTO subscriptions AS known (id, hint, next_at)
        SELECT subscription_id, 1, now() FROM event WHERE state = 'pending'
        ON CONFLICT (id) DO UPDATE SET
            hint = known.hint + 1,
            next_at = CASE
                WHEN known.dead_reason IS NOT NULL THEN now()                              -- 1
                WHEN known.lease_until > now() THEN now() + interval '1 second'            -- 2
                WHEN known.hint > known.synced AND NOT known.routine                       -- 3
                    THEN least(known.next_at, now() + interval '5 minutes')
                WHEN known.hint > known.synced                                             -- 4
                    THEN least(known.next_at, greatest(now(), known.verified_at + interval '1 second'))
                ELSE greatest(now(), known.verified_at + interval '1 second') END,         -- 5
            attempts = CASE WHEN known.dead_reason IS NULL THEN known.attempts ELSE 0 END,
            routine = false,
            dead_reason = NULL
        RETURNING extract(epoch FROM next_at - now()) AS due_in
    )
    SELECT coalesce((SELECT is_new FROM event), false), (SELECT due_in FROM hint)
"""


def store(session: Session, arrival: Arrival) -> StoredEvent:
    """Store the event unless it is stored already. Requests a sync of its subscription if it is pending and
    either new or a repeat of a dead letter.
    """
    return _stored_event(first_row(session, _STORE, _parameters(arrival)))


def store_and_commit(engine: Engine, arrival: Arrival) -> StoredEvent:
    """Like `store`, in a transaction of its own, which takes one round trip. Raises like `Engine.begin`."""
    return _stored_event(committed_first_row(engine, _STORE, _parameters(arrival)))


def _parameters(arrival: Arrival) -> dict[str, object]:
    return {
        "provider": arrival.provider,
        "event_id": arrival.event_id,
        "type": arrival.type,
        "subscription_id": arrival.subscription_id,
        "occurred_at": arrival.occurred_at,
        "state": arrival.state.value,
        "reason": arrival.reason,
        "body": arrival.body,
    }


def _stored_event(row: Row | None) -> StoredEvent:
    assert row is not None  # the statement always returns one
    is_new, due_in = row
    return StoredEvent(is_new=is_new, due_in=None if due_in is None else float(due_in))


def newest_bodies(session: Session, inbox_ids: Sequence[int]) -> Sequence[bytes]:
    """The bodies of the last 50 of these events to arrive, oldest first."""
    return session.scalars(
        select(InboxEvent.body).where(InboxEvent.id.in_(sorted(inbox_ids)[-_MANY:])).order_by(InboxEvent.id)
    ).all()


def pending_bodies(session: Session, subscription_id: str) -> Sequence[bytes]:
    """The bodies of the 5 newest pending events of the subscription, by the time they occurred, newest
    first.
    """
    newest = (InboxEvent.occurred_at.desc().nulls_last(), InboxEvent.id.desc())
    return session.scalars(
        select(InboxEvent.body)
        .where(InboxEvent.subscription_id == subscription_id, InboxEvent.state == InboxState.PENDING)
        .order_by(*newest)
        .limit(_FEW)
    ).all()


_MARK_DONE = """
UPDATE inbox SET state = 'done', reason = NULL WHERE id = ANY (%(ids)s) AND state IN ('pending', 'dead')
"""


def mark_done(session: Session, inbox_ids: Sequence[int]) -> None:
    """Mark those of the events as done that are pending or dead letters."""
    if inbox_ids:
        count_rows(session, _MARK_DONE, {"ids": list(inbox_ids)})


def newest_arrival(session: Session) -> datetime | None:
    """When the last delivery about any subscription arrived; None if none is stored."""
    newest = select(InboxEvent.received_at).where(InboxEvent.subscription_id.is_not(None))
    return session.scalar(newest.order_by(InboxEvent.received_at.desc()).limit(1))


def page(session: Session, *, state: str | None, after: int | None, limit: int) -> Sequence[InboxEvent]:
    """A page of events, newest first, starting after the id `after`."""
    wanted = select(InboxEvent).order_by(InboxEvent.id.desc()).limit(limit)
    if state is not None:
        wanted = wanted.where(InboxEvent.state == state)
    if after is not None:
        wanted = wanted.where(InboxEvent.id < after)
    return session.scalars(wanted).all()


def dead_letter(session: Session, inbox_id: int) -> InboxEvent:
    """The dead letter, locked. Raises `InboxEventNotFound`, or `NotReplayable` if it is in another state."""
    found = session.get(InboxEvent, inbox_id, with_for_update=True)
    if found is None:
        raise InboxEventNotFound(f"There is no inbox event {inbox_id}.")
    if found.state != InboxState.DEAD:
        raise NotReplayable(f"Inbox event {inbox_id} is {found.state}. Only dead letters can be replayed.")
    return found


def newest_id(session: Session) -> int:
    """The id of the newest event; 0 if there is none."""
    return session.scalar(select(func.max(InboxEvent.id))) or 0


def dead_letters(
    session: Session, *, reason: str, after: int, until: int, limit: int
) -> Sequence[InboxEvent]:
    """Dead letters whose reason contains `reason`, by id, locked; with `after` < id <= `until`."""
    return session.scalars(
        select(InboxEvent)
        .where(InboxEvent.state == InboxState.DEAD, InboxEvent.id > after, InboxEvent.id <= until)
        .where(InboxEvent.reason.contains(reason, autoescape=True))
        .order_by(InboxEvent.id)
        .limit(limit)
        .with_for_update()
    ).all()


def delete_old(session: Session, age: timedelta, *, limit: int) -> int:
    """Delete at most `limit` done and ignored events older than `age`. Returns how many."""
    is_old = InboxEvent.received_at < func.now() - age
    is_finished = InboxEvent.state.in_([InboxState.DONE, InboxState.IGNORED])
    return delete_slice(session, is_old & is_finished, oldest_by=InboxEvent.received_at, limit=limit)
