"""The outbox: notices written in the transaction that made them true, and their deliveries.

pending -> delivered   the endpoint answered 2xx
        -> dead        every attempt failed, or the endpoint is gone; `last_error` says why. Can be resent.

A delivery's row is its schedule and its retry clock: taking it counts the attempt and moves `next_at`
past the lease, so that what a dead worker took comes back by itself.
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
    case,
    delete,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.errors import NoticeNotFound, NotResendable
from domain.notices import Notice
from models.base import Base, Counter, Json, Moment, Written, affected


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class StoredNotice(Base):
    __tablename__ = "notices"
    __table_args__ = (Index(None, "account_id", "id"), Index(None, "created_at"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    # The `webhook-id`: the same at every attempt, so that a receiver knows a repeat.
    message_id: Mapped[str] = mapped_column(unique=True)
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    type: Mapped[str]
    data: Mapped[Json]
    # What may be said only once, where no crossing says so: a deadline that comes near.
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

# One statement for all: claims call this. The endpoints are locked against their deletion alone, or one
# that is deleted meanwhile would fail the claim by its foreign key.
_PUT = sql(
    """
    WITH said AS (
        INSERT INTO notices (message_id, account_id, type, data, once)
        SELECT message_id, :account_id, type, data, once
        FROM jsonb_to_recordset(cast(:notices AS jsonb))
             AS told (message_id text, type text, data jsonb, once text)
        ON CONFLICT (once) DO NOTHING
        RETURNING id, type
    )
    INSERT INTO notice_deliveries (notice_id, endpoint_id)
    SELECT said.id, endpoint.id
    FROM notice_endpoints AS endpoint
    JOIN said ON endpoint.types IS NULL OR said.type = ANY (endpoint.types)
    WHERE endpoint.disabled_at IS NULL
    ORDER BY said.id
    FOR KEY SHARE OF endpoint
    """
)


_TIMES: Final = frozenset({"deadline", "suspends_at", "ends_at"})


def add(session: Session, account_id: str | None, notices: Iterable[Notice]) -> None:
    """Write the notices down, and a delivery of each for every endpoint that wants it now."""
    told = [
        {
            "message_id": f"msg_{secrets.token_hex(16)}",
            "type": notice.type.value,
            "data": {name: _spelled_alike(name, value) for name, value in notice.data.items()},
            "once": None if notice.once is None else _occasion(account_id, notice),
        }
        for notice in notices
    ]
    if told:
        session.execute(
            _PUT, {"account_id": account_id, "notices": orjson.dumps(told, option=orjson.OPT_UTC_Z).decode()}
        )


def _spelled_alike(name: str, value: object) -> object:
    """The value; a time of a balance as all times in a notice are spelled."""
    return datetime.fromisoformat(value) if name in _TIMES and isinstance(value, str) else value


def _occasion(account_id: str | None, notice: Notice) -> str:
    return orjson.dumps([notice.type, account_id, notice.data.get("seat_type"), notice.once]).decode()


# Sending.


@dataclass(frozen=True, slots=True)
class PendingDelivery:
    """A delivery to be tried now; `attempt` counts this try and is the right to write its outcome."""

    delivery_id: int
    attempt: int
    message_id: str
    account_id: str | None
    type: str
    data: Json
    created_at: datetime


_TAKE = sql(
    """
    WITH next AS (
        SELECT id FROM notice_deliveries
        WHERE endpoint_id = :endpoint_id AND state = 'pending' AND next_at <= now()
        ORDER BY notice_id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE notice_deliveries AS taken SET attempts = taken.attempts + 1, next_at = now() + :lease
    FROM next, notices AS notice
    WHERE taken.id = next.id AND notice.id = taken.notice_id
    RETURNING taken.id, taken.attempts, notice.id AS notice_id, notice.message_id, notice.account_id,
              notice.type, notice.data, notice.created_at
    """
)


def lease_due(
    session: Session, endpoint_id: str, *, limit: int, lease: timedelta
) -> Sequence[PendingDelivery]:
    """The oldest letters due for the endpoint; nobody else gets them until `lease` is over."""
    taken = session.execute(_TAKE, {"endpoint_id": endpoint_id, "limit": limit, "lease": lease})
    return [
        PendingDelivery(
            row.id, row.attempts, row.message_id, row.account_id, row.type, row.data, row.created_at
        )
        for row in sorted(taken, key=lambda row: row.notice_id)
    ]


def delivered(session: Session, letter: PendingDelivery) -> bool:
    """The endpoint has it; False if somebody else took the letter meanwhile, as in all that follow."""
    return _write(session, letter, state=DeliveryState.DELIVERED, delivered_at=func.now(), last_error=None)


def retry_later(session: Session, letter: PendingDelivery, error: str, delay: timedelta) -> bool:
    """Try again after `delay`."""
    return _write(session, letter, next_at=func.now() + delay, last_error=error)


def mark_dead(session: Session, letter: PendingDelivery, error: str) -> bool:
    """Give up: a dead letter, for a person to resend."""
    return _write(session, letter, state=DeliveryState.DEAD, last_error=error)


def release(session: Session, letters: Sequence[PendingDelivery]) -> None:
    """These were not tried after all: due at once, and the attempt does not count."""
    mine = [(letter.delivery_id, letter.attempt) for letter in letters]
    untried = (
        update(NoticeDelivery)
        .where(tuple_(NoticeDelivery.id, NoticeDelivery.attempts).in_(mine), _IS_PENDING)
        .values(attempts=NoticeDelivery.attempts - 1, next_at=func.now())
    )
    affected(session, untried)


def mark_all_dead(session: Session, endpoint_id: str, error: str) -> None:
    """Give up everything that waits for the endpoint."""
    waiting = update(NoticeDelivery).where(NoticeDelivery.endpoint_id == endpoint_id, _IS_PENDING)
    affected(session, waiting.values(state=DeliveryState.DEAD, last_error=error))


def _write(session: Session, letter: PendingDelivery, **values: object) -> bool:
    mine = update(NoticeDelivery).where(
        NoticeDelivery.id == letter.delivery_id,
        NoticeDelivery.attempts == letter.attempt,
        _IS_PENDING,
    )
    return bool(affected(session, mine.values(**values)))


# For operators.


def page(
    session: Session, *, state: str | None, account_id: str | None, after: int | None, limit: int
) -> Sequence[StoredNotice]:
    """Notices newest first, from the one behind the id `after`; one delivery of each is in `state`."""
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
    """Each notice's deliveries, by the notice's id."""
    found: dict[int, list[NoticeDelivery]] = defaultdict(list)
    ids = [notice.id for notice in notices]
    wanted = select(NoticeDelivery).where(NoticeDelivery.notice_id.in_(ids)).order_by(NoticeDelivery.id)
    for delivery in session.scalars(wanted):
        found[delivery.notice_id].append(delivery)
    return found


# What is under way right now needs no second start.
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
    """Send it to every endpoint that wants it now, under its old message id; to how many.

    Raises `NoticeNotFound`, and `NotResendable` where no endpoint wants it.
    """
    if session.get(StoredNotice, notice_id) is None:
        raise NoticeNotFound(f"There is no notice {notice_id}.")
    sent_to = affected(session, _RESEND.bindparams(notice_id=notice_id))
    if not sent_to:
        raise NotResendable("No endpoint that is in use wants notices of this type. Register one first.")
    return sent_to


def delete_old(session: Session, age: timedelta, *, occasions: timedelta) -> int:
    """Drop notices older than `age` that need no work any more; dead letters stay until dealt with.

    What may be said only once is dropped when it is older than `occasions`: it is said again after that.
    """
    unfinished = _any_delivery(NoticeDelivery.state != DeliveryState.DELIVERED)
    kept_for = case((StoredNotice.once.is_(None), age), else_=occasions)
    return affected(
        session, delete(StoredNotice).where(StoredNotice.created_at < func.now() - kept_for, ~unfinished)
    )


def _any_delivery(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(NoticeDelivery.id).where(NoticeDelivery.notice_id == StoredNotice.id, condition).exists()
