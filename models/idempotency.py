"""Idempotency keys: the answer of a writing call, kept in the transaction that did the work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import LargeBinary, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, Json, Written, affected
from seats.errors import IdempotencyKeyReused

KEPT_FOR = timedelta(hours=24)


class IdempotencyKey(Base):
    __tablename__ = "idempotency_keys"

    # Who called, which method and path, and the caller's key: the same key elsewhere is another key.
    scope: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int | None]
    body: Mapped[Json | None]
    created_at: Mapped[Written]


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    status: int
    body: Json


def begin(session: Session, scope: str, key: str, request_hash: bytes) -> StoredAnswer | None:
    """The answer given before under this key, or None: the caller's work is the first.

    A second call at the same moment waits here for the first one's commit, and then finds its answer.
    Raises `IdempotencyKeyReused` if the key came with another body before.
    """
    session.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.scope == scope,
            IdempotencyKey.key == key,
            IdempotencyKey.created_at < func.now() - KEPT_FOR,
        )
    )
    first = affected(
        session,
        insert(IdempotencyKey)
        .values(scope=scope, key=key, request_hash=request_hash)
        .on_conflict_do_nothing(),
    )
    if first:
        return None
    stored = session.scalars(
        select(IdempotencyKey).where(IdempotencyKey.scope == scope, IdempotencyKey.key == key)
    ).one()
    if stored.request_hash != request_hash:
        raise IdempotencyKeyReused(
            f"The Idempotency-Key {key!r} was used before with another body. Send a new key for a new wish."
        )
    return StoredAnswer(stored.status or 200, stored.body or {})


def finish(session: Session, scope: str, key: str, status: int, body: Json) -> None:
    """Keep the answer beside the work, to be committed with it."""
    session.execute(
        update(IdempotencyKey)
        .where(IdempotencyKey.scope == scope, IdempotencyKey.key == key)
        .values(status=status, body=body)
    )


def forget_old(session: Session) -> int:
    """Drop answers that are past their time."""
    return affected(session, delete(IdempotencyKey).where(IdempotencyKey.created_at < func.now() - KEPT_FOR))
