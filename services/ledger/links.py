"""Links: the app's word on which account a subscription belongs to."""

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
from models.subscription import Subscription, insert_if_unknown
from models.sync_queue import raise_hint
from services.ledger import ownership
from services.ledger.accounts import open_account
from services.ledger.inputs import load
from services.ledger.locked_account import lock_account
from services.ledger.opened import (
    evaluate_and_save,
    open_to_move,
)
from services.ledger.subscriptions import _NEVER_THERE


def link(session: Session, account_id: str, subscription_id: str, catalog: Catalog, cause: Cause) -> bool:
    """The app's word on where a subscription belongs, which is final; whether that changed anything.

    Asks for a look at the provider in any case. A sync under way is overtaken, so that it cannot
    write into the account the subscription has left.
    """
    open_account(session, account_id, catalog, cause)
    if session.get(Subscription, subscription_id) is None:
        _make_known(session, subscription_id, account_id, catalog)
    opened = open_to_move(session, subscription_id, account_id, catalog)
    subscription = opened.subscription
    raise_hint(session, subscription_id)
    if subscription.account_id == account_id and subscription.linked_by == LinkedBy.APP:
        return False
    before = subscription.facts()
    subscription.refused_accounts = [one for one in subscription.refused_accounts if one != account_id]
    _move(session, subscription, Owner(account_id, LinkedBy.APP))
    drift_finding.update_findings(session, subscription_id, (), kinds=findings.OWNERSHIP)
    return evaluate_and_save(opened, catalog, cause, before=before)


def unlink(session: Session, account_id: str, subscription_id: str, catalog: Catalog, cause: Cause) -> bool:
    """The app's word that a subscription does not belong to an account; whether that changed anything.

    If it is there, its account is decided anew, by what was last seen of it. Metadata that names the refused
    account is not believed from now on, proved or not, until the app links the two. Raises
    `SubscriptionNotFound`, and `OwnAccount` if there is no link to undo.
    """
    subscription = session.get(Subscription, subscription_id)
    if subscription is None:
        raise SubscriptionNotFound(f"No subscription {subscription_id!r} is known here.")
    placement = _refusing(subscription, account_id)
    decision = ownership.decide_newest(session, subscription, placement, catalog)
    owner = placement.owner if decision is None else decision.owner
    target = None if owner is None else owner.account_id
    if target is not None:
        account_rows.insert_if_absent(session, target, catalog.defaults)
    opened = open_to_move(session, subscription_id, target, catalog)
    subscription = opened.subscription
    if ownership.decide_newest(session, subscription, placement, catalog) != decision:
        raise Contended(f"Account {target!r} is being taken by another subscription. Try again.")
    before = subscription.facts()
    subscription.refused_accounts = sorted(placement.refused)
    still_there = () if decision is None else decision.findings
    drift_finding.update_findings(session, subscription_id, still_there, kinds=findings.OWNERSHIP)
    if owner != subscription.placement.owner:
        _move(session, subscription, owner)
        raise_hint(session, subscription_id)
    if owner is None:
        drift_finding.dismiss_kinds(session, subscription_id, _NEVER_THERE, "unlinked by the app")
    session.flush()
    evaluate_and_save(opened, catalog, cause, before=before)
    return before != subscription.facts()


def _refusing(subscription: Subscription, account_id: str) -> Placement:
    """Where the subscription stands once the app has refused the account."""
    placement = subscription.placement
    is_there = placement.owner is not None and placement.owner.account_id == account_id
    if account_id == subscription.id:
        if not is_there or placement.owner is None or placement.owner.linked_by is not LinkedBy.APP:
            raise OwnAccount(
                f"Account {account_id!r} is the subscription's own, which it falls back to. Link the "
                "subscription to another account instead (PUT .../subscriptions/SUBSCRIPTION_ID).",
                details={"account_id": account_id, "subscription_id": subscription.id},
            )
        return replace(placement, owner=None)
    refused = placement.refused | {account_id}
    return replace(placement, owner=None if is_there else placement.owner, refused=refused)


def _make_known(session: Session, subscription_id: str, account_id: str, catalog: Catalog) -> None:
    """Insert a row for a subscription that had none, once the account's other ones are locked. Who requests
    many syncs at once does the same: locks the known ones first, and inserts the new ones after them.
    """
    load(session, [lock_account(session, account_id).account_id], catalog)
    if insert_if_unknown(session, subscription_id):
        return
    placed = session.get_one(Subscription, subscription_id).account_id
    if placed not in (None, account_id):
        raise Contended(f"Subscription {subscription_id!r} is being moved by another call.")


def _move(session: Session, subscription: Subscription, owner: Owner | None) -> None:
    """Place it, and overtake a sync that is under way."""
    subscription.assign_to(owner)
    subscription.fence += 1
    subscription.lease_until = None
    session.flush()
