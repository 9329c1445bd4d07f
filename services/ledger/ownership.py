"""Ownership checks that need the database: other customers of an account, used proofs, the hourly limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Text, func, literal, select
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from domain import ownership
from domain.catalog.model import Catalog
from domain.ownership import PROOF_KEY, Decision, Doubt, Name, Placement
from domain.snapshot import SubscriptionSnapshot
from models import account, installation
from models.subscription import Subscription

LIMIT_PERIOD: Final = timedelta(hours=1)
"""The period of `metadata_accounts_per_hour`."""

DoubtOf = Callable[[str], Doubt | None]
"""Given an account id: why plain metadata may not name that account; None if it may."""

_CUSTOMER: Final = func.coalesce(Subscription.snapshot, Subscription.unverified)["customer_id"].astext


def decide(
    session: Session,
    placement: Placement,
    snapshot: SubscriptionSnapshot,
    catalog: Catalog,
    *,
    doubt_first: DoubtOf = lambda _: None,
) -> Decision:
    """The owner of a subscription with this placement according to the snapshot, see `domain.ownership`.

    `snapshot` is as the provider sent it, not completed with older values. `doubt_first` is asked before
    the database; a dry run passes what it has not written.
    """

    def doubt_of(account_id: str) -> Doubt | None:
        return doubt_first(account_id) or _doubt_of(session, account_id, snapshot, catalog)

    return ownership.decide(placement, _named_in(session, snapshot, catalog), catalog, doubt_of)


def decide_newest(
    session: Session, subscription: Subscription, placement: Placement, catalog: Catalog
) -> Decision | None:
    """The owner according to the newest stored snapshot, given this placement; None without a snapshot."""
    if subscription.newest is None:
        return None
    return decide(session, placement, subscription.newest, catalog)


def _named_in(session: Session, snapshot: SubscriptionSnapshot, catalog: Catalog) -> Name | None:
    """The account that the metadata names; with the nonce if one of our checkouts signed that name."""
    account_id = ownership.named_account(snapshot.metadata, catalog.account_key)
    if account_id is None:
        return None
    metadata = snapshot.metadata or {}
    proof = metadata.get(PROOF_KEY)
    if not isinstance(proof, str):
        return Name(account_id)
    secret = installation.checkout_secret(session)
    stated = str(metadata[catalog.account_key or ""])  # the signature covers the value with its blanks
    nonce = ownership.proved_nonce(secret, stated, proof)
    if nonce is None or _is_used(session, nonce, snapshot.subscription_id):
        return Name(account_id)
    return Name(stated, nonce)


def _is_used(session: Session, nonce: str, subscription_id: str) -> bool:
    """True if another subscription was linked by this proof."""
    others = select(Subscription.id).where(
        Subscription.checkout_nonce == nonce, Subscription.id != subscription_id
    )
    return session.scalar(others.limit(1)) is not None


def _doubt_of(
    session: Session, account_id: str, snapshot: SubscriptionSnapshot, catalog: Catalog
) -> Doubt | None:
    """Why plain metadata may not name this account under `metadata_names = "first"`; None if it may.

    An unknown customer counts as another customer. The hourly limit does not apply to subscriptions created
    before the hour, so that a backfill can import a whole business.
    """
    is_same = func.coalesce(literal(snapshot.customer_id, Text) == _CUSTOMER, False)
    others = select(Subscription.id).where(
        Subscription.account_id == account_id, Subscription.id != snapshot.subscription_id, ~is_same
    )
    if session.scalar(others.limit(1)) is not None:
        return Doubt.OTHER_CUSTOMER
    if account.exists(session, account_id) or not _is_young(session, snapshot):
        return None
    opened = account.count_opened_by_metadata(session, within=LIMIT_PERIOD)
    return Doubt.TOO_MANY_ACCOUNTS if opened >= catalog.metadata_accounts_per_hour else None


def _is_young(session: Session, snapshot: SubscriptionSnapshot) -> bool:
    return snapshot.created_at is None or snapshot.created_at > account.now(session) - LIMIT_PERIOD


# For operators.


@dataclass(frozen=True, slots=True)
class SharedLink:
    """A link by plain metadata, in an account that another customer pays for too."""

    account_id: str
    subscription_id: str


_SHARED = sql(
    """
    WITH known AS (
        SELECT id, account_id, linked_by, coalesce(snapshot, unverified) ->> 'customer_id' AS customer_id
        FROM subscriptions WHERE account_id IS NOT NULL
    )
    SELECT account_id, id FROM known
    WHERE linked_by = 'metadata' AND account_id IN (
        SELECT account_id FROM known GROUP BY account_id
        HAVING count(DISTINCT customer_id) > 1 OR (count(*) > 1 AND count(customer_id) < count(*))
    )
    ORDER BY account_id, id LIMIT :limit
    """
)


def shared_links(session: Session, *, limit: int) -> Sequence[SharedLink]:
    """The first `limit` shared links, ordered by account. An unknown customer counts as another customer."""
    return [SharedLink(row.account_id, row.id) for row in session.execute(_SHARED, {"limit": limit})]
