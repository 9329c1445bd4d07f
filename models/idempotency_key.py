"""Idempotency keys: the response to each writing call, stored in the transaction that did the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ARRAY, Index, LargeBinary, Text, bindparam, delete, func, select, update
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.errors import IdempotencyKeyReused
from domain.ids import path_segment
from models.base import Base, Json, Written, affected, delete_slice

KEPT_FOR = timedelta(hours=24)


class IdempotencyKey(Base):
    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"),)

    # The caller, the method and the path. The same key in another scope is a different key.
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
    """Claim the key. Returns the stored response, or None if the key is new and the caller should do the
    work.

    A concurrent call with the same key waits here until the first one commits, and then returns its response.
    Raises `IdempotencyKeyReused` if the key was used with a different request body.
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
            f"The Idempotency-Key {key!r} was already used with a different body. Send a new key for a new "
            "request."
        )
    return StoredAnswer(stored.status or 200, stored.body or {})


def store(
    session: Session, scope: str, key: str, status: int, body: Json, *, instead_of: Json | None = None
) -> None:
    """Store the response in the same transaction as the work. With `instead_of`, replace the stored response
    only if its body still equals that value.
    """
    claimed = update(IdempotencyKey).where(IdempotencyKey.scope == scope, IdempotencyKey.key == key)
    if instead_of is not None:
        claimed = claimed.where(IdempotencyKey.body == instead_of)
    session.execute(claimed.values(status=status, body=body))


_DELETE_ANSWERS = sql(
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
    """Delete the account's stored responses that name these members or contain one of these values.

    Keys are searched for e-mail addresses too, because apps may build keys from them. A call repeated with a
    deleted key is carried out again. Returns the number of responses deleted.
    """
    facts = {"ids": list(member_ids), "values": list(values)}
    addresses = [value.lower() for value in values if "@" in value]
    path = f" /v1/accounts/{path_segment(account_id)}/"
    return affected(session, _DELETE_ANSWERS.bindparams(path=path, facts=facts, addresses=addresses))


def delete_old(session: Session, *, limit: int) -> int:
    """Delete at most `limit` responses older than `KEPT_FOR`. Returns their number."""
    is_old = IdempotencyKey.created_at < func.now() - KEPT_FOR
    return delete_slice(session, is_old, oldest_by=IdempotencyKey.created_at, limit=limit)
