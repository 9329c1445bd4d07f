"""Queries on the progress of a full sync: what is left, and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, or_, select
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from models.reconcile_pass import ReconcilePass, completed_passes
from models.subscription import Subscription
from models.sync_queue import PendingSync


def finished_pass(session: Session, provider: str, *, begun_since: datetime) -> ReconcilePass | None:
    """The first completed pass that began at `begun_since` or later; None before it is completed."""
    return session.scalar(
        select(ReconcilePass)
        .where(*completed_passes(provider), ReconcilePass.started_at >= begun_since)
        .order_by(ReconcilePass.id)
        .limit(1)
    )


def listed_before(session: Session, provider: str) -> int | None:
    """How many subscriptions the last completed pass listed; None if there is none."""
    return session.scalar(
        select(ReconcilePass.listed)
        .where(*completed_passes(provider))
        .order_by(ReconcilePass.id.desc())
        .limit(1)
    )


# Later hints do not matter: a sync that began after the moment covers all that was requested before it.
_COUNT_LEFT = sql(
    """
    SELECT count(*) FROM subscriptions
    WHERE hint > synced AND dead_reason IS NULL AND (looked_at IS NULL OR looked_at < :moment)
    """
)


def count_left(session: Session, *, not_seen_since: datetime) -> int:
    """How many subscriptions have a sync pending and none since that moment; dead letters do not count."""
    return int(session.execute(_COUNT_LEFT, {"moment": not_seen_since}).scalar_one())


_ALL_KNOWN = sql("SELECT id FROM subscriptions WHERE id > :after ORDER BY id LIMIT :limit")

_STUCK = sql(
    """
    SELECT id FROM subscriptions AS known
    WHERE id > :after
      AND (dead_reason IS NOT NULL
           OR EXISTS (SELECT FROM drift_findings WHERE subject = known.id AND state = 'held'))
    ORDER BY id LIMIT :limit
    """
)


def all_known(session: Session, *, after: str, limit: int) -> Sequence[str]:
    """The ids of all known subscriptions, in order, that come after `after`."""
    return session.execute(_ALL_KNOWN, {"after": after, "limit": limit}).scalars().all()


def stuck(session: Session, *, after: str, limit: int) -> Sequence[str]:
    """The ids, in order after `after`, of dead subscriptions and of those with a held finding."""
    return session.execute(_STUCK, {"after": after, "limit": limit}).scalars().all()


def failed(session: Session, *, limit: int) -> Sequence[PendingSync]:
    """Subscriptions whose last sync failed, to be retried or dead, by id."""
    wanted = (
        select(Subscription.id, Subscription.last_error, Subscription.dead_reason)
        .where(
            or_(
                Subscription.dead_reason.is_not(None),
                and_(Subscription.hint > Subscription.synced, Subscription.last_error.is_not(None)),
            )
        )
        .order_by(Subscription.id)
        .limit(limit)
    )
    return [
        PendingSync(row.id, row.dead_reason or row.last_error, row.dead_reason is not None)
        for row in session.execute(wanted)
    ]
