"""What whoever waits for everything asks: how many are left, what stands in the way."""

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
    """The first pass that began then or later and has come to its end."""
    return session.scalar(
        select(ReconcilePass)
        .where(*completed_passes(provider), ReconcilePass.started_at >= begun_since)
        .order_by(ReconcilePass.id)
        .limit(1)
    )


def listed_before(session: Session, provider: str) -> int | None:
    """How many subscriptions the last whole list had."""
    return session.scalar(
        select(ReconcilePass.listed)
        .where(*completed_passes(provider))
        .order_by(ReconcilePass.id.desc())
        .limit(1)
    )


# A look that began later covers what was asked for before, whatever was asked for meanwhile.
_LEFT = sql(
    """
    SELECT count(*) FROM subscriptions
    WHERE hint > synced AND dead_reason IS NULL AND (looked_at IS NULL OR looked_at < :moment)
    """
)


def count_left(session: Session, *, not_seen_since: datetime) -> int:
    """How many wait for a look and have had none since that moment; those given up on wait no more."""
    return int(session.execute(_LEFT, {"moment": not_seen_since}).scalar_one())


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
    """Every known subscription by id, from the one behind `after`."""
    return session.execute(_ALL_KNOWN, {"after": after, "limit": limit}).scalars().all()


def stuck(session: Session, *, after: str, limit: int) -> Sequence[str]:
    """The same for those that were given up on, and those whose last look could not be made use of."""
    return session.execute(_STUCK, {"after": after, "limit": limit}).scalars().all()


def failed(session: Session, *, limit: int) -> Sequence[PendingSync]:
    """Those whose last look came to nothing and is to be repeated, or was given up on; by id."""
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
