"""Endpoints: the URLs that the app wants its notices sent to, and the secrets that sign them.

`busy_until` is lease and rest in one: one worker at a time sends to an endpoint, and one that stayed
silent is left alone for a while, so that it holds up nobody else's notices. All times are the database's.
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
    # Newest first. Each of the others signs as well until a day after the rotation that replaced it: the
    # second secret until a day after `rotated_at`, those behind it until a day after `earlier_rotations`.
    secrets: Mapped[list[str]] = mapped_column(ARRAY(Text))
    rotated_at: Mapped[Moment | None]
    earlier_rotations: Mapped[list[datetime]] = mapped_column(
        ARRAY(DateTime(timezone=True)), server_default="{}"
    )
    # None: whatever there is to tell.
    types: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    created_at: Mapped[Written]
    disabled_at: Mapped[Moment | None]
    busy_until: Mapped[Moment | None]


def register(session: Session, url: str, types: Sequence[NoticeType] | None) -> Endpoint:
    """A new endpoint with a secret of its own. Raises `EndpointExists` for a URL that has one."""
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
        raise EndpointExists("This URL is registered. Delete its endpoint first, or rotate its secret.")
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
    """Give the endpoint a new secret. The one before signs beside it for a day, however often it is rotated
    meanwhile. Raises `EndpointNotFound`.
    """
    wanted = {"endpoint_id": endpoint_id, "fresh": _new_secret(), "old_for": OLD_SECRETS_SIGN_FOR}
    affected(session, _ROTATE.bindparams(**wanted))
    return _get(session, endpoint_id)


def enable(session: Session, endpoint_id: str) -> Endpoint:
    """Send notices there again, from now on; one that is enabled stays so. Raises `EndpointNotFound`."""
    affected(session, update(Endpoint).where(Endpoint.id == endpoint_id).values(disabled_at=None))
    return _get(session, endpoint_id)


def _get(session: Session, endpoint_id: str) -> Endpoint:
    found = session.get(Endpoint, endpoint_id, populate_existing=True)
    if found is None:
        raise EndpointNotFound(f"There is no notice endpoint {endpoint_id!r}.")
    return found


def remove(session: Session, endpoint_id: str) -> bool:
    """Forget the endpoint and what was to be sent to it; False if there is none."""
    return bool(affected(session, delete(Endpoint).where(Endpoint.id == endpoint_id)))


def all_endpoints(session: Session) -> Sequence[Endpoint]:
    return session.scalars(select(Endpoint).order_by(Endpoint.created_at, Endpoint.id)).all()


_HAS_MAIL = (
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
    _HAS_MAIL,
)


@dataclass(frozen=True, slots=True)
class TargetEndpoint:
    """An endpoint taken to be sent to, and the secrets that sign for it, newest first."""

    endpoint_id: str
    url: str
    secrets: Sequence[str] = field(repr=False)


def any_due(session: Session) -> bool:
    """Whether there is anything that `lease_next` would take."""
    return bool(session.scalar(select(_DUE.exists())))


def lease_next(session: Session, *, lease: timedelta) -> TargetEndpoint | None:
    """The endpoint left alone the longest of those that have something due and are not busy.

    Until `lease` is over, or it is freed, nobody else gets it.
    """
    longest = _DUE.order_by(Endpoint.busy_until.nulls_first(), Endpoint.id).limit(1)
    # The weaker lock lets claims write deliveries for the endpoint meanwhile.
    next_one = longest.with_for_update(key_share=True, skip_locked=True).cte("next")
    taken = (
        update(Endpoint)
        .where(Endpoint.id == next_one.c.id)
        .values(busy_until=func.now() + lease)
        .returning(Endpoint, func.now())
    )
    row = session.execute(taken, execution_options={"synchronize_session": False}).one_or_none()
    if row is None:
        return None
    found, now = row
    return TargetEndpoint(found.id, found.url, _signing(found, now))


def _signing(found: Endpoint, now: datetime) -> Sequence[str]:
    """The secrets that sign at that time: the newest, and those replaced within a day."""
    rotations = () if found.rotated_at is None else (found.rotated_at, *found.earlier_rotations)
    old_ones = sum(rotation > now - OLD_SECRETS_SIGN_FOR for rotation in rotations)
    return found.secrets[: 1 + old_ones]


def release(session: Session, endpoint_id: str, *, rest: timedelta = timedelta(0)) -> None:
    """The lease is over; `rest` is how long the endpoint is left alone."""
    ended = update(Endpoint).where(Endpoint.id == endpoint_id).values(busy_until=func.now() + rest)
    affected(session, ended)


def disable(session: Session, endpoint_id: str) -> None:
    """Nothing is sent there any more; it stays to be seen, until somebody enables or deletes it."""
    affected(session, update(Endpoint).where(Endpoint.id == endpoint_id).values(disabled_at=func.now()))


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
