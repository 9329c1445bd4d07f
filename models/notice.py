"""The outbox: notices, written in the transaction of the change they report, and their deliveries.

pending -> delivered   the endpoint responded with 2xx
        -> dead        every attempt failed, or the endpoint is gone; `last_error` says why. Can be resent.

Leasing a delivery counts the attempt and moves `next_at` to the end of the lease. So if the worker dies, the
delivery is due again by itself.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import orjson
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Identity,
    Index,
    UniqueConstraint,
    and_,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.errors import NoticeNotFound, NotResendable
from domain.notices import Notice
from models.base import Base, Counter, Json, Moment, Written, affected, delete_slice
from models.driver import count_rows


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class StoredNotice(Base):
    __tablename__ = "notices"
    __table_args__ = (
        Index(None, "account_id", "id"),
        Index(None, "created_at"),
        Index("notices_of_no_occasion", "created_at", postgresql_where=sql("once IS NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    # The `webhook-id`: the same for every attempt, so that receivers can recognise repeats.
    message_id: Mapped[str] = mapped_column(unique=True)
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    type: Mapped[str]
    data: Mapped[Json]
    # A key that is unique per occasion, for notices that may be sent only once (a deadline is near).
    once: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[Written]


class NoticeDelivery(Base):
    __tablename__ = "notice_deliveries"
    __table_args__ = (
        UniqueConstraint("notice_id", "endpoint_id"),
        CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="state"),
        CheckConstraint("(state = 'delivered') = (delivered_at IS NOT NULL)", name="delivered"),
        CheckConstraint("state <> 'dead' OR last_error IS NOT NULL", name="reason_given"),
        Index(None, "endpoint_id", "next_at", postgresql_where=sql("state = 'pending'")),
        Index(None, "notice_id", postgresql_where=sql("state = 'dead'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    notice_id: Mapped[int] = mapped_column(ForeignKey("notices.id", ondelete="CASCADE"))
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("notice_endpoints.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(server_default=DeliveryState.PENDING.value)
    attempts: Mapped[Counter]
    next_at: Mapped[Written]
    last_error: Mapped[str | None]
    delivered_at: Mapped[Moment | None]


_IS_PENDING = NoticeDelivery.state == DeliveryState.PENDING

# One statement, because claims call this. The endpoints get the weakest lock, against deletion only;
# otherwise deleting one concurrently would make the claim fail on its foreign key.
_ADD = """
WITH added AS (
    INSERT INTO notices (message_id, account_id, type, data, once)
    SELECT message_id, %(account_id)s, type, data, once
    FROM jsonb_to_recordset(cast(%(notices)s AS jsonb))
         AS given (message_id text, type text, data jsonb, once text)
    ON CONFLICT (once) DO NOTHING
    RETURNING id, type
)
INSERT INTO notice_deliveries (notice_id, endpoint_id)
SELECT added.id, endpoint.id
FROM notice_endpoints AS endpoint
JOIN added ON endpoint.types IS NULL OR added.type = ANY (endpoint.types)
WHERE endpoint.disabled_at IS NULL
ORDER BY added.id
FOR KEY SHARE OF endpoint
"""


_TIMES: Final = frozenset({"deadline", "suspends_at", "ends_at", "effective_at"})


def add(session: Session, account_id: str | None, notices: Iterable[Notice]) -> None:
    """Store the notices, with a delivery to every enabled endpoint that subscribes to their type."""
    rows = [
        {
            "message_id": f"msg_{secrets.token_hex(16)}",
            "type": notice.type.value,
            "data": {name: _parse_time(name, value) for name, value in notice.data.items()},
            "once": None if notice.once is None else _once_key(account_id, notice),
        }
        for notice in notices
    ]
    if rows:
        given = orjson.dumps(rows, option=orjson.OPT_UTC_Z).decode()
        count_rows(session, _ADD, {"account_id": account_id, "notices": given})


def _parse_time(name: str, value: object) -> object:
    """The value; a time stored as a string is parsed, so that all times in a notice have the same format."""
    return datetime.fromisoformat(value) if name in _TIMES and isinstance(value, str) else value


def _once_key(account_id: str | None, notice: Notice) -> str:
    return orjson.dumps([notice.type, account_id, notice.data.get("seat_type"), notice.once]).decode()


# Sending.


@dataclass(frozen=True, slots=True)
class PendingDelivery:
    """A leased delivery, to be attempted now.

    `attempt` includes this attempt. It also serves as the fencing token: only its holder may write the
    outcome.
    """

    delivery_id: int
    attempt: int
    message_id: str
    account_id: str | None
    type: str
    data: Json
    created_at: datetime


_LEASE = sql(
    """
    WITH next AS (
        SELECT id FROM notice_deliveries
        WHERE endpoint_id = :endpoint_id AND state = 'pending' AND next_at <= now()
        ORDER BY notice_id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE notice_deliveries AS leased SET attempts = leased.attempts + 1, next_at = now() + :lease
    FROM next, notices AS notice
    WHERE leased.id = next.id AND notice.id = leased.notice_id
    RETURNING leased.id, leased.attempts, notice.id AS notice_id, notice.message_id, notice.account_id,
              notice.type, notice.data, notice.created_at
    """
)


def lease_due(
    session: Session, endpoint_id: str, *, limit: int, lease: timedelta
) -> Sequence[PendingDelivery]:
    """Lease up to `limit` due deliveries of the endpoint for the time `lease`, oldest notice first."""
    leased = session.execute(_LEASE, {"endpoint_id": endpoint_id, "limit": limit, "lease": lease})
    return [
        PendingDelivery(
            row.id, row.attempts, row.message_id, row.account_id, row.type, row.data, row.created_at
        )
        for row in sorted(leased, key=lambda row: row.notice_id)
    ]


def delivered(session: Session, leased: PendingDelivery) -> bool:
    """Mark the delivery as delivered. Returns False if another worker has leased it since."""
    return _write(session, leased, state=DeliveryState.DELIVERED, delivered_at=func.now(), last_error=None)


def retry_later(session: Session, leased: PendingDelivery, error: str, delay: timedelta) -> bool:
    """Attempt the delivery again after `delay`. Returns False if another worker has leased it since."""
    return _write(session, leased, next_at=func.now() + delay, last_error=error)


def mark_dead(session: Session, leased: PendingDelivery, error: str) -> bool:
    """Give the delivery up as a dead letter. Returns False if another worker has leased it since."""
    return _write(session, leased, state=DeliveryState.DEAD, last_error=error)


def release(session: Session, leased: Sequence[PendingDelivery]) -> None:
    """Release deliveries that were not attempted. They are due at once, and the attempt does not count."""
    ours = [(delivery.delivery_id, delivery.attempt) for delivery in leased]
    released = (
        update(NoticeDelivery)
        .where(tuple_(NoticeDelivery.id, NoticeDelivery.attempts).in_(ours), _IS_PENDING)
        .values(attempts=NoticeDelivery.attempts - 1, next_at=func.now())
    )
    affected(session, released)


def mark_all_dead(session: Session, endpoint_id: str, error: str) -> None:
    """Give up all pending deliveries to the endpoint as dead letters."""
    pending = update(NoticeDelivery).where(NoticeDelivery.endpoint_id == endpoint_id, _IS_PENDING)
    affected(session, pending.values(state=DeliveryState.DEAD, last_error=error))


def _write(session: Session, leased: PendingDelivery, **values: object) -> bool:
    still_ours = update(NoticeDelivery).where(
        NoticeDelivery.id == leased.delivery_id,
        NoticeDelivery.attempts == leased.attempt,
        _IS_PENDING,
    )
    return bool(affected(session, still_ours.values(**values)))


# For operators.


def page(
    session: Session, *, state: str | None, account_id: str | None, after: int | None, limit: int
) -> Sequence[StoredNotice]:
    """A page of notices, newest first, starting after the id `after`.

    With `state`, only notices with a delivery in that state.
    """
    wanted = select(StoredNotice).order_by(StoredNotice.id.desc()).limit(limit)
    if state is not None:
        wanted = wanted.where(_any_delivery(NoticeDelivery.state == state))
    if account_id is not None:
        wanted = wanted.where(StoredNotice.account_id == account_id)
    if after is not None:
        wanted = wanted.where(StoredNotice.id < after)
    return session.scalars(wanted).all()


def deliveries_of(
    session: Session, notices: Sequence[StoredNotice]
) -> Mapping[int, Sequence[NoticeDelivery]]:
    """The deliveries of each notice, by notice id."""
    found: dict[int, list[NoticeDelivery]] = defaultdict(list)
    ids = [notice.id for notice in notices]
    wanted = select(NoticeDelivery).where(NoticeDelivery.notice_id.in_(ids)).order_by(NoticeDelivery.id)
    for delivery in session.scalars(wanted):
        found[delivery.notice_id].append(delivery)
    return found


# A pending delivery keeps its number of attempts, which is the fencing token of a worker that may have
# leased it.
_RESEND = sql(
    """
    INSERT INTO notice_deliveries AS known (notice_id, endpoint_id)
    SELECT notice.id, endpoint.id
    FROM notices AS notice
    JOIN notice_endpoints AS endpoint ON endpoint.types IS NULL OR notice.type = ANY (endpoint.types)
    WHERE notice.id = :notice_id AND endpoint.disabled_at IS NULL
    FOR KEY SHARE OF endpoint
    ON CONFLICT (notice_id, endpoint_id) DO UPDATE
        SET state = 'pending', next_at = now(), last_error = NULL, delivered_at = NULL,
            attempts = CASE WHEN known.state = 'pending' THEN known.attempts ELSE 0 END
    """
)


def resend(session: Session, notice_id: int) -> int:
    """Deliver the notice again, with its message id, to every enabled endpoint that subscribes to its type.

    Returns the number of endpoints. Raises `NoticeNotFound`, or `NotResendable` if there is no such endpoint.
    """
    if session.get(StoredNotice, notice_id) is None:
        raise NoticeNotFound(f"There is no notice {notice_id}.")
    sent_to = affected(session, _RESEND.bindparams(notice_id=notice_id))
    if not sent_to:
        raise NotResendable("No enabled endpoint subscribes to notices of this type. Register one first.")
    return sent_to


def delete_old(session: Session, age: timedelta, *, occasions: timedelta, limit: int) -> int:
    """Delete at most `limit` delivered notices older than `age`; those that may be sent only once when older
    than `occasions`, since they could be sent again after that. Notices with pending or dead deliveries stay.
    Returns how many.
    """
    is_finished = ~_any_delivery(NoticeDelivery.state != DeliveryState.DELIVERED)
    # Two ranges of an index each, so that notices of an occasion are not looked at before their time.
    deleted = 0
    for of_no_occasion, kept in ((True, age), (False, occasions)):
        kind = StoredNotice.once.is_(None) if of_no_occasion else StoredNotice.once.is_not(None)
        is_old = and_(kind, StoredNotice.created_at < func.now() - kept, is_finished)
        deleted += delete_slice(session, is_old, oldest_by=StoredNotice.created_at, limit=limit - deleted)
    return deleted


def _any_delivery(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(NoticeDelivery.id).where(NoticeDelivery.notice_id == StoredNotice.id, condition).exists()
