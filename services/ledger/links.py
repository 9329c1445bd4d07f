"""Links: the app decides which account a subscription belongs to."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.orm import Session

from domain import findings
from domain.catalog.model import Catalog
from domain.errors import Contended, OwnAccount, SubscriptionNotFound
from domain.ownership import LinkedBy, Owner, Placement
from models import account as account_rows
from models import drift_finding
from models.audit import Cause
from models.subscription import Subscription, insert_if_unknown, save
from models.sync_queue import raise_hint
from services.ledger import ownership
from services.ledger.accounts import open_account
from services.ledger.evaluation_inputs import load
from services.ledger.locked_account import lock_account
from services.ledger.locked_subscription import evaluate_and_save, open_to_move
from services.ledger.subscriptions import NOT_AT_PROVIDER


def link(session: Session, account_id: str, subscription_id: str, catalog: Catalog, cause: Cause) -> bool:
    """Link the subscription to the account, overriding any other evidence. Returns whether anything changed.

    Always requests a sync. The result of a running sync is discarded, because it could write to the account
    that the subscription has left. Raises `Contended` if another call moves the subscription.
    """
    open_account(session, account_id, catalog, cause)
    if session.get(Subscription, subscription_id) is None:
        _insert(session, subscription_id, account_id, catalog)
    opened = open_to_move(session, subscription_id, account_id, catalog)
    subscription = opened.subscription
    raise_hint(session, subscription_id)
    if subscription.account_id == account_id and subscription.linked_by == LinkedBy.APP:
        return False
    before = subscription.facts()
    subscription.refused_accounts = [one for one in subscription.refused_accounts if one != account_id]
    _move(subscription, Owner(account_id, LinkedBy.APP))
    save(session, subscription)
    drift_finding.update_findings(session, subscription_id, (), kinds=findings.OWNERSHIP)
    return evaluate_and_save(opened, catalog, cause, before=before)


def unlink(session: Session, account_id: str, subscription_id: str, catalog: Catalog, cause: Cause) -> bool:
    """Refuse the account for the subscription. Returns whether anything changed.

    If the subscription belongs to the account, its owner is decided again by its newest snapshot. From now on
    metadata that names the refused account is ignored, even with a proof, until the app links the two.
    Raises `SubscriptionNotFound`, `OwnAccount` if there is no link to undo, and `Contended`.
    """
    subscription = session.get(Subscription, subscription_id)
    if subscription is None:
        raise SubscriptionNotFound(f"Subscription {subscription_id!r} is not known here.")
    placement = _refusing(subscription, account_id)
    decision = ownership.decide_newest(session, subscription, placement, catalog)
    owner = placement.owner if decision is None else decision.owner
    target = None if owner is None else owner.account_id
    if target is not None:
        account_rows.insert_if_absent(session, target, catalog.defaults)
    opened = open_to_move(session, subscription_id, target, catalog)
    subscription = opened.subscription
    if ownership.decide_newest(session, subscription, placement, catalog) != decision:
        raise Contended(f"The owner of subscription {subscription_id!r} changed meanwhile. Try again.")
    before = subscription.facts()
    subscription.refused_accounts = sorted(placement.refused)
    remaining = () if decision is None else decision.findings
    drift_finding.update_findings(session, subscription_id, remaining, kinds=findings.OWNERSHIP)
    if owner != subscription.placement.owner:
        _move(subscription, owner)
        raise_hint(session, subscription_id)
    save(session, subscription)
    if owner is None:
        drift_finding.dismiss_kinds(session, subscription_id, NOT_AT_PROVIDER, "unlinked by the app")
    evaluate_and_save(opened, catalog, cause, before=before)
    return before != subscription.facts()


def _refusing(subscription: Subscription, account_id: str) -> Placement:
    """The subscription's placement after the app has refused the account. Raises `OwnAccount`."""
    placement = subscription.placement
    is_there = placement.owner is not None and placement.owner.account_id == account_id
    if account_id == subscription.id:
        if not is_there or placement.owner is None or placement.owner.linked_by is not LinkedBy.APP:
            raise OwnAccount(
                f"Account {account_id!r} is the subscription's default account and cannot be unlinked. Link "
                "the subscription to another account instead (PUT .../subscriptions/SUBSCRIPTION_ID).",
                details={"account_id": account_id, "subscription_id": subscription.id},
            )
        return replace(placement, owner=None)
    refused = placement.refused | {account_id}
    return replace(placement, owner=None if is_there else placement.owner, refused=refused)


def _insert(session: Session, subscription_id: str, account_id: str, catalog: Catalog) -> None:
    """Insert a row for an unknown subscription, after locking the account's other subscriptions.

    Code that requests many syncs uses the same order, existing rows before new ones, to avoid deadlocks.
    """
    load(session, [lock_account(session, account_id).account_id], catalog)
    if insert_if_unknown(session, subscription_id):
        return
    placed = session.get_one(Subscription, subscription_id).account_id
    if placed not in (None, account_id):
        raise Contended(f"Another call is moving subscription {subscription_id!r}. Try again.")


def _move(subscription: Subscription, owner: Owner | None) -> None:
    """Assign the subscription to the owner, and invalidate the lease of a running sync."""
    subscription.assign_to(owner)
    subscription.fence += 1
    subscription.lease_until = None
