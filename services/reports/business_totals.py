"""Totals of the whole business: subscriptions, accounts, seats and held findings in the database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from models.account import Account
from models.base import Json
from models.drift_finding import DriftFinding, FindingState
from models.subscription import Subscription

_STATUSES = sql(
    """
    SELECT coalesce(unverified, snapshot) ->> 'status' AS status, count(*) AS number FROM subscriptions
    WHERE snapshot IS NOT NULL OR unverified IS NOT NULL GROUP BY 1
    """
)
_PRODUCTS = sql(
    """
    SELECT coalesce(unverified, snapshot) ->> 'product_id' AS product_id, count(*) AS number
    FROM subscriptions
    WHERE snapshot IS NOT NULL OR unverified IS NOT NULL GROUP BY 1
    """
)
_ADDONS = sql(
    """
    SELECT kept ->> 'product_id' AS product_id, addon ->> 'addon_id' AS addon_id, count(DISTINCT id) AS number
    FROM (SELECT id, coalesce(unverified, snapshot) AS kept FROM subscriptions) AS known,
         jsonb_array_elements(CASE jsonb_typeof(kept -> 'addons') WHEN 'array' THEN kept -> 'addons' END)
             AS addon
    GROUP BY 1, 2
    """
)


def subscriptions_by_status(session: Session) -> Mapping[str, int]:
    """How many subscriptions have each status of the provider, not counting those that were never seen."""
    return {row.status: row.number for row in session.execute(_STATUSES)}


def subscriptions_by_product(session: Session) -> Mapping[str, int]:
    """How many subscriptions have each product."""
    return {row.product_id: row.number for row in session.execute(_PRODUCTS)}


def subscriptions_by_addon(session: Session) -> Mapping[tuple[str, str], int]:
    """How many subscriptions have the add-on in their cart, by product and add-on."""
    return {(row.product_id, row.addon_id): row.number for row in session.execute(_ADDONS)}


def count_accounts(session: Session, *, created_since: datetime | None = None) -> int:
    """The number of accounts that are not deleted; with `created_since`, of those created then or later."""
    wanted = select(func.count()).select_from(Account).where(Account.deleted_at.is_(None))
    if created_since is not None:
        wanted = wanted.where(Account.created_at >= created_since)
    return session.scalar(wanted) or 0


def balances(session: Session) -> Iterator[Json]:
    """The balances of each account as JSON, as its row stores them."""
    yield from session.scalars(
        select(Account.seats).where(Account.deleted_at.is_(None)).execution_options(yield_per=1000)
    )


def held(session: Session) -> Mapping[str, int]:
    """How many subscriptions are held for each reason."""
    wanted = (
        select(DriftFinding.held_because, func.count(DriftFinding.subject.distinct()))
        .where(DriftFinding.state == FindingState.HELD)
        .group_by(DriftFinding.held_because)
    )
    return {reason: number for reason, number in session.execute(wanted) if reason is not None}


def known(session: Session, subscription_ids: Collection[str]) -> Mapping[str, Subscription]:
    """The stored subscriptions with these ids, by id. Detached, so that a dry run may change them."""
    found = session.scalars(select(Subscription).where(Subscription.id.in_(subscription_ids))).all()
    session.expunge_all()
    return {one.id: one for one in found}


def count_known_accounts(session: Session, account_ids: Collection[str]) -> int:
    """How many of these accounts exist."""
    wanted = (
        select(func.count())
        .select_from(Account)
        .where(Account.id.in_(account_ids), Account.deleted_at.is_(None))
    )
    return session.scalar(wanted) or 0
