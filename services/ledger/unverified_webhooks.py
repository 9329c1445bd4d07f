"""Unverified webhooks: raise seats or access by a webhook body while the provider cannot be reached."""

from __future__ import annotations

from sqlalchemy.orm import Session

from domain.absence import completed
from domain.catalog.model import Catalog
from domain.snapshot import SubscriptionSnapshot
from models.audit import Cause
from models.base import Json
from models.subscription import Figures, Subscription, save, snapshot_to_json
from models.sync_queue import Lease
from services.ledger import ownership
from services.ledger.entitlements import raised_figures
from services.ledger.locked_subscription import evaluate_and_save, facts_known, open_leased


def apply_unverified(
    session: Session, lease: Lease, snapshot: SubscriptionSnapshot, catalog: Catalog, cause: Cause
) -> bool | None:
    """Apply the snapshot in an authentic webhook body, if it only raises seats or access.

    Returns whether the account changed. Returns None, and writes nothing, if the body raises nothing, lowers
    anything, names another account, or the lease was taken over.
    """
    known = session.get_one(Subscription, lease.subscription_id)
    session.expunge(known)  # the row is written past the session
    if _raise_by(session, known, snapshot, catalog) is None:
        return None
    found = open_leased(session, lease, snapshot, catalog)
    if found is None:
        return None
    opened, decision = found
    subscription = opened.subscription
    before = facts_known(subscription)
    raised = _raise_by(session, subscription, snapshot, catalog)
    if raised is None:
        return None
    subscription.raise_to(*raised)
    subscription.assign_to(decision.owner, decision.nonce)
    save(session, subscription)
    return evaluate_and_save(opened, catalog, cause, before=before)


def _raise_by(
    session: Session, subscription: Subscription, snapshot: SubscriptionSnapshot, catalog: Catalog
) -> tuple[Figures, Json] | None:
    """The raised figures and the body as the row stores it; None if the body raises nothing, lowers anything,
    or names another account than the subscription's.
    """
    owner = subscription.placement.owner
    decision = ownership.decide(session, subscription.placement, snapshot, catalog)
    if owner is not None and (decision.is_doubted or decision.owner != owner):
        return None
    complete = completed(snapshot, subscription.verified, catalog.account_key)
    figures = raised_figures(subscription, complete, catalog)
    return None if figures is None else (figures, snapshot_to_json(complete, catalog.account_key))
