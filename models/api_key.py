"""API keys. Only hashes are stored; a key is found by its public id and its hash compared in constant time.

A key has the form `ss_<public id>_<secret>`. The secret has 256 random bits, so a single SHA-256 is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ARRAY, CheckConstraint, LargeBinary, Text, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, Moment, Written, affected

_FORMAT = re.compile(r"ss_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


class Scope(StrEnum):
    READ = "read"
    CLAIM = "claim"
    BILLING = "billing"
    ADMIN = "admin"


class ApiKey(Base):
    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("scopes <@ ARRAY['read', 'claim', 'billing', 'admin']::text[]", name="scopes"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[Written]
    revoked_at: Mapped[Moment | None]


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a valid key. `actor` is the name for the audit."""

    actor: str
    scopes: frozenset[Scope]


def create(session: Session, name: str, scopes: Sequence[Scope]) -> str:
    """Create a key with these scopes. Returns the whole key, which cannot be read again later."""
    public_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    session.add(
        ApiKey(id=public_id, name=name, secret_hash=_hash(secret), scopes=[scope.value for scope in scopes])
    )
    session.flush()
    return f"ss_{public_id}_{secret}"


def revoke(session: Session, public_id: str) -> bool:
    """Revoke the key. Returns False if there is no valid key with that id."""
    revoked = (
        update(ApiKey)
        .where(ApiKey.id == public_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
    return bool(affected(session, revoked))


def all_keys(session: Session) -> Sequence[ApiKey]:
    return session.scalars(select(ApiKey).order_by(ApiKey.created_at)).all()


def find(session: Session, presented: str) -> Caller | None:
    """The caller with this key; None if the key is malformed, unknown, wrong or revoked."""
    match = _FORMAT.fullmatch(presented)
    if match is None:
        return None
    public_id, secret = match.groups()
    key = session.get(ApiKey, public_id)
    stored = key.secret_hash if key is not None and key.revoked_at is None else bytes(32)
    if not hmac.compare_digest(stored, _hash(secret)) or key is None:
        return None
    return Caller(f"key:{key.id}", frozenset(Scope(scope) for scope in key.scopes))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
