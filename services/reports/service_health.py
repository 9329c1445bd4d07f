"""Service health from the database: pending work and its age, dead letters, findings, account statuses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from models import row_count
from models.inbox import InboxState
from models.row_count import Deliveries

# Each part reads rows that need work, or one end of an index, so that it takes as long with a million rows.
_HEALTH = sql(
    """
    SELECT
        (SELECT count(*) FROM inbox WHERE state = 'pending') AS pending,
        (SELECT count(*) FROM inbox WHERE state = 'dead') AS dead_letters,
        (SELECT extract(epoch FROM now() - min(received_at)) FROM inbox WHERE state = 'pending') AS oldest,
        (SELECT count(*) FROM subscriptions WHERE hint > synced AND dead_reason IS NULL) AS waiting,
        (SELECT count(*) FROM subscriptions WHERE dead_reason IS NOT NULL) AS dead,
        (SELECT extract(epoch FROM now() - min(verified_at)) FROM subscriptions) AS unverified,
        (SELECT jsonb_object_agg(state, n)
         FROM (SELECT state, count(*) AS n FROM drift_findings
               WHERE state IN ('open', 'held') GROUP BY state) AS counted) AS findings,
        (SELECT jsonb_object_agg(cause, n)
         FROM (SELECT cause, count(*) AS n FROM drift_findings
               WHERE first_seen > now() - interval '1 day' GROUP BY cause) AS counted) AS causes
    """
)
_OLDEST = sql(
    "SELECT coalesce(extract(epoch FROM now() - min(received_at)), 0) FROM inbox WHERE state = 'pending'"
)
_OLDEST_SYNC = sql(
    """
    SELECT coalesce(extract(epoch FROM now() - least(
        (SELECT min(looked_at) FROM subscriptions),
        (SELECT min(created_at) FROM subscriptions WHERE looked_at IS NULL))), 0)
    """
)
_PRODUCTS = sql(
    "SELECT DISTINCT coalesce(unverified, snapshot) ->> 'product_id' FROM subscriptions "
    "WHERE coalesce(unverified, snapshot) IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """Numbers of rows by state, and ages in seconds.

    `inbox` has the events that still need work. Accounts are those of the last count.
    """

    inbox: dict[str, int]
    deliveries: Deliveries
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
        inbox={InboxState.PENDING: row.pending, InboxState.DEAD: row.dead_letters},
        deliveries=row_count.deliveries(session),
        accounts=dict(row_count.accounts_by_status(session)),
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
