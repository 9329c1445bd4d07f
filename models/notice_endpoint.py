"""Notice endpoints: the app's URLs that notices are sent to, and the secrets that sign them.

`busy_until` is the end of a worker's lease, or of a pause after a time-out. One worker at a time sends to an
endpoint; the pause keeps an endpoint that does not respond from delaying the notices of others. All times
come from the database clock.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ARRAY, CheckConstraint, DateTime, Text, delete, func, or_, select, update
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.errors import EndpointExists, EndpointNotFound
from domain.notices import NoticeType
from models.base import Base, Moment, Written, affected
from models.notice import DeliveryState, NoticeDelivery

OLD_SECRETS_SIGN_FOR: Final = timedelta(hours=24)
_KEY_BYTES: Final = 32


class Endpoint(Base):
    __tablename__ = "notice_endpoints"
    __table_args__ = (
        CheckConstraint("cardinality(secrets) > 0", name="has_secret"),
        CheckConstraint("cardinality(types) > 0", name="has_type"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(unique=True)
    # Newest first. The older ones sign as well, each until a day after the rotation that replaced it: the
    # second secret until a day after `rotated_at`, the next ones until a day after each time in
    # `earlier_rotations`.
    secrets: Mapped[list[str]] = mapped_column(ARRAY(Text))
    rotated_at: Mapped[Moment | None]
    earlier_rotations: Mapped[list[datetime]] = mapped_column(
        ARRAY(DateTime(timezone=True)), server_default="{}"
    )
    # The notice types it subscribes to; None for all.
    types: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    created_at: Mapped[Written]
    disabled_at: Mapped[Moment | None]
    busy_until: Mapped[Moment | None]


def register(session: Session, url: str, types: Sequence[NoticeType] | None) -> Endpoint:
    """Create an endpoint with a new secret. Raises `EndpointExists` if the URL is already registered."""
    wanted = (
        insert(Endpoint)
        .values(
            id=f"ep_{secrets.token_hex(8)}",
            url=url,
            secrets=[_new_secret()],
            types=None if types is None else [wanted.value for wanted in dict.fromkeys(types)],
        )
        .on_conflict_do_nothing(index_elements=[Endpoint.url])
        .returning(Endpoint)
    )
    found = session.scalar(wanted)
    if found is None:
        raise EndpointExists(
            "This URL is already registered. Delete its endpoint first, or rotate its secret."
        )
    return found


_ROTATE = sql(
    """
    WITH known AS (
        SELECT id, array_prepend(rotated_at, earlier_rotations) AS rotations,
               (SELECT count(*) FROM unnest(array_prepend(rotated_at, earlier_rotations)) AS rotated
                WHERE rotated > now() - :old_for) AS old_ones
        FROM notice_endpoints WHERE id = :endpoint_id FOR UPDATE
    )
    UPDATE notice_endpoints AS endpoint
    SET secrets = ARRAY[:fresh] || secrets[1 : 1 + old_ones],
        earlier_rotations = rotations[1 : old_ones],
        rotated_at = now()
    FROM known WHERE endpoint.id = known.id
    """
)


def rotate(session: Session, endpoint_id: str) -> Endpoint:
    """Give the endpoint a new secret. The previous one keeps signing beside it for a day, even if the secret
    is rotated again meanwhile. Raises `EndpointNotFound`.
    """
    wanted = {"endpoint_id": endpoint_id, "fresh": _new_secret(), "old_for": OLD_SECRETS_SIGN_FOR}
    affected(session, _ROTATE.bindparams(**wanted))
    return _get(session, endpoint_id)


def enable(session: Session, endpoint_id: str) -> Endpoint:
    """Enable the endpoint for notices from now on. Safe to repeat. Raises `EndpointNotFound`."""
    affected(session, update(Endpoint).where(Endpoint.id == endpoint_id).values(disabled_at=None))
    return _get(session, endpoint_id)


def _get(session: Session, endpoint_id: str) -> Endpoint:
    found = session.get(Endpoint, endpoint_id, populate_existing=True)
    if found is None:
        raise EndpointNotFound(f"There is no notice endpoint {endpoint_id!r}.")
    return found


def remove(session: Session, endpoint_id: str) -> bool:
    """Delete the endpoint with its deliveries. Returns False if there is no such endpoint."""
    return bool(affected(session, delete(Endpoint).where(Endpoint.id == endpoint_id)))


def all_endpoints(session: Session) -> Sequence[Endpoint]:
    return session.scalars(select(Endpoint).order_by(Endpoint.created_at, Endpoint.id)).all()


_HAS_DUE_DELIVERY = (
    select(NoticeDelivery.id)
    .where(
        NoticeDelivery.endpoint_id == Endpoint.id,
        NoticeDelivery.state == DeliveryState.PENDING,
        NoticeDelivery.next_at <= func.now(),
    )
    .exists()
)
_DUE = select(Endpoint.id).where(
    Endpoint.disabled_at.is_(None),
    or_(Endpoint.busy_until.is_(None), Endpoint.busy_until <= func.now()),
    _HAS_DUE_DELIVERY,
)


@dataclass(frozen=True, slots=True)
class TargetEndpoint:
    """A leased endpoint to send to, and the secrets to sign with, newest first."""

    endpoint_id: str
    url: str
    secrets: Sequence[str] = field(repr=False)


def any_due(session: Session) -> bool:
    """Whether `lease_next` would find an endpoint."""
    return bool(session.scalar(select(_DUE.exists())))


def lease_next(session: Session, *, lease: timedelta) -> TargetEndpoint | None:
    """Lease the longest idle endpoint that has a due delivery and is not busy; None if there is none.

    No other worker gets it until it is released or the time `lease` is over.
    """
    longest_idle = _DUE.order_by(Endpoint.busy_until.nulls_first(), Endpoint.id).limit(1)
    # FOR NO KEY UPDATE, so that claims can add deliveries for the endpoint at the same time.
    next_one = longest_idle.with_for_update(key_share=True, skip_locked=True).cte("next")
    leased = (
        update(Endpoint)
        .where(Endpoint.id == next_one.c.id)
        .values(busy_until=func.now() + lease)
        .returning(Endpoint, func.now())
    )
    row = session.execute(leased, execution_options={"synchronize_session": False}).one_or_none()
    if row is None:
        return None
    found, now = row
    return TargetEndpoint(found.id, found.url, _signing_secrets(found, now))


def _signing_secrets(found: Endpoint, now: datetime) -> Sequence[str]:
    """The newest secret, and those replaced less than a day ago."""
    rotations = () if found.rotated_at is None else (found.rotated_at, *found.earlier_rotations)
    old_ones = sum(rotation > now - OLD_SECRETS_SIGN_FOR for rotation in rotations)
    return found.secrets[: 1 + old_ones]


def release(session: Session, endpoint_id: str, *, rest: timedelta = timedelta(0)) -> None:
    """Release the endpoint. Nothing more is sent to it for the time `rest`."""
    released = update(Endpoint).where(Endpoint.id == endpoint_id).values(busy_until=func.now() + rest)
    affected(session, released)


def disable(session: Session, endpoint_id: str) -> None:
    """Stop sending to the endpoint until it is enabled again. It stays listed."""
    affected(session, update(Endpoint).where(Endpoint.id == endpoint_id).values(disabled_at=func.now()))


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
