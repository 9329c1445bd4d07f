"""Idempotency keys: the answer of a writing call, kept in the transaction that did the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ARRAY, LargeBinary, Text, bindparam, delete, func, select, update
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.errors import IdempotencyKeyReused
from domain.ids import path_segment
from models.base import Base, Json, Written, affected

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


def store(
    session: Session, scope: str, key: str, status: int, body: Json, *, instead_of: Json | None = None
) -> None:
    """Keep the answer beside the work, to be committed with it; or `instead_of` another one, unless somebody
    has put theirs there before.
    """
    kept = update(IdempotencyKey).where(IdempotencyKey.scope == scope, IdempotencyKey.key == key)
    if instead_of is not None:
        kept = kept.where(IdempotencyKey.body == instead_of)
    session.execute(kept.values(status=status, body=body))


_FORGET_PERSON = sql(
    """
    DELETE FROM idempotency_keys
    WHERE position(:path IN scope) > 0
      AND (jsonb_path_exists(body, '$.**.member_id ? (@ == $ids[*])', :facts)
           OR jsonb_path_exists(body, '$.** ? (@ == $values[*])', :facts)
           OR EXISTS (SELECT 1 FROM unnest(:addresses) AS address WHERE position(address IN lower(key)) > 0))
    """
).bindparams(bindparam("facts", type_=JSONB), bindparam("addresses", type_=ARRAY(Text)))


def delete_answers(
    session: Session, account_id: str, *, member_ids: Sequence[str], values: Sequence[str]
) -> int:
    """Drop the account's answers that speak of these members or repeat one of these values.

    A key may have been made of an address, so keys are looked into as well. Who sends such a key again
    has the work done again, which finds it done.
    """
    facts = {"ids": list(member_ids), "values": list(values)}
    addresses = [value.lower() for value in values if "@" in value]
    path = f" /v1/accounts/{path_segment(account_id)}/"
    return affected(session, _FORGET_PERSON.bindparams(path=path, facts=facts, addresses=addresses))


def delete_old(session: Session) -> int:
    """Drop answers that are past their time."""
    return affected(session, delete(IdempotencyKey).where(IdempotencyKey.created_at < func.now() - KEPT_FOR))
