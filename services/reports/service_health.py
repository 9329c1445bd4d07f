"""Service health from the database: pending work and its age, dead letters, findings, account statuses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text as sql
from sqlalchemy.orm import Session

_HEALTH = sql(
    """
    SELECT
        (SELECT jsonb_object_agg(state, n)
         FROM (SELECT state, count(*) AS n FROM inbox GROUP BY state) AS counted) AS inbox,
        (SELECT extract(epoch FROM now() - min(received_at)) FROM inbox WHERE state = 'pending') AS oldest,
        (SELECT count(*) FROM subscriptions WHERE hint > synced AND dead_reason IS NULL) AS waiting,
        (SELECT count(*) FROM subscriptions WHERE dead_reason IS NOT NULL) AS dead,
        (SELECT extract(epoch FROM now() - min(verified_at)) FROM subscriptions) AS unverified,
        (SELECT jsonb_object_agg(state, n)
         FROM (SELECT state, count(*) AS n FROM drift_findings
               WHERE state IN ('open', 'held') GROUP BY state) AS counted) AS findings,
        (SELECT jsonb_object_agg(cause, n)
         FROM (SELECT cause, count(*) AS n FROM drift_findings
               WHERE first_seen > now() - interval '1 day' GROUP BY cause) AS counted) AS causes,
        (SELECT jsonb_object_agg(status, n)
         FROM (SELECT status, count(*) AS n FROM accounts
               WHERE deleted_at IS NULL GROUP BY status) AS counted) AS accounts
    """
)
_OLDEST = sql(
    "SELECT coalesce(extract(epoch FROM now() - min(received_at)), 0) FROM inbox WHERE state = 'pending'"
)
_OLDEST_SYNC = sql(
    "SELECT coalesce(extract(epoch FROM now() - min(coalesce(looked_at, created_at))), 0) FROM subscriptions"
)
_PRODUCTS = sql(
    "SELECT DISTINCT coalesce(unverified, snapshot) ->> 'product_id' FROM subscriptions "
    "WHERE coalesce(unverified, snapshot) IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """Numbers of rows by state, and ages in seconds."""

    inbox: dict[str, int]
    accounts: dict[str, int]
    subscriptions_waiting: int
    subscriptions_dead: int
    findings: dict[str, int]
    causes_of_a_day: dict[str, int]
    oldest_unprocessed_seconds: float
    oldest_unverified_seconds: float


def read(session: Session) -> ServiceHealth:
    """Read the present numbers and ages."""
    row = session.execute(_HEALTH).one()
    return ServiceHealth(
        inbox=row.inbox or {},
        accounts=row.accounts or {},
        subscriptions_waiting=row.waiting,
        subscriptions_dead=row.dead,
        findings=row.findings or {},
        causes_of_a_day=row.causes or {},
        oldest_unprocessed_seconds=float(row.oldest or 0),
        oldest_unverified_seconds=float(row.unverified or 0),
    )


def oldest_unprocessed(session: Session) -> timedelta:
    """The age of the oldest event that is still pending."""
    return timedelta(seconds=float(session.execute(_OLDEST).scalar_one()))


def oldest_sync(session: Session) -> timedelta:
    """The longest time since a subscription's last sync, or since it became known if it was never synced.

    Every completed sync counts, even one that found that the provider does not know the subscription.
    """
    return timedelta(seconds=float(session.execute(_OLDEST_SYNC).scalar_one()))


def products_in_use(session: Session) -> frozenset[str]:
    """The products of all known subscriptions, ended ones included."""
    return frozenset(session.execute(_PRODUCTS).scalars())
