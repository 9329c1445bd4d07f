"""Sightings: which subscriptions the running reconcile pass has found in the provider's list.

At the end of the pass they tell which known subscriptions the list did not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Text, delete
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.findings import FindingKind
from models.base import Base, affected


class Sighting(Base):
    """Subscriptions listed so far in the running pass. `reconcile_pass.advance` adds them."""

    __tablename__ = "reconcile_sightings"

    pass_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("reconcile_passes.id", ondelete="CASCADE"), primary_key=True
    )
    first_page: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    subscription_ids: Mapped[list[str]] = mapped_column(ARRAY(Text))


# EXCEPT always hashes. A join or NOT IN took seconds for 20 000 rows when the planner had old statistics of a
# table that is mostly empty. The rows are locked in id order to avoid deadlocks, because a sync locks all
# subscriptions of its account.
_MARK_VANISHED = sql(
    """
    WITH not_listed AS (
        SELECT id FROM subscriptions
        WHERE snapshot IS NOT NULL AND unlisted_since IS NULL AND created_at < :started_at
        EXCEPT SELECT unnest(subscription_ids) FROM reconcile_sightings WHERE pass_id = :pass_id
        EXCEPT SELECT subject FROM drift_findings WHERE kind = :missing AND closed_at IS NULL
    ), longest_unsynced AS MATERIALIZED (
        SELECT id FROM subscriptions WHERE id IN (SELECT id FROM not_listed) ORDER BY looked_at LIMIT :limit
    ), vanished AS MATERIALIZED (
        SELECT id FROM subscriptions WHERE id IN (SELECT id FROM longest_unsynced) ORDER BY id FOR UPDATE
    )
    UPDATE subscriptions SET unlisted_since = now() FROM vanished WHERE subscriptions.id = vanished.id
    RETURNING subscriptions.id
    """
)


def mark_unlisted(session: Session, pass_id: int, started_at: datetime, *, limit: int) -> Sequence[str]:
    """Mark up to `limit` known subscriptions that the pass did not list as unlisted, and return their ids.

    Least recently synced first. Subscriptions that the provider is known not to have are left out. Each is
    returned once, until the list shows it again.
    """
    parameters: dict[str, Any] = {
        "pass_id": pass_id,
        "started_at": started_at,
        "missing": FindingKind.NOT_AT_PROVIDER.value,
        "limit": limit,
    }
    return session.execute(_MARK_VANISHED, parameters).scalars().all()


def delete_all(session: Session, pass_id: int) -> None:
    """Delete the sightings of a pass that has ended."""
    affected(session, delete(Sighting).where(Sighting.pass_id == pass_id))
