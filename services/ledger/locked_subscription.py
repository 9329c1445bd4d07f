"""Opened subscriptions: a subscription locked for writing, together with the accounts that it concerns."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.orm import Session

from domain.catalog.model import Catalog
from domain.errors import Contended
from domain.ownership import Decision, LinkedBy
from domain.snapshot import SubscriptionSnapshot
from models import account as account_rows
from models import generation
from models.audit import Cause
from models.base import Json
from models.subscription import Subscription, lock, placement_of
from models.sync_queue import Lease
from services.ledger import ownership
from services.ledger.accounts import evaluate_or_defer
from services.ledger.evaluation_inputs import Inputs, load_with
from services.ledger.locked_account import LockedAccount, Subject, lock_account


@dataclass(frozen=True, slots=True)
class OpenedSubscription:
    """A locked subscription; the accounts it belongs to before and after the change, locked too; and the
    inputs to evaluate each of these accounts.
    """

    subscription: Subscription
    accounts: Sequence[LockedAccount]
    inputs: Sequence[Inputs]

    @property
    def has_sent_changes(self) -> bool:
        return any(one.has_sent_changes for one in self.inputs)

    @property
    def has_findings(self) -> bool:
        """False if there are certainly no findings to close. Without an account this is not known: True."""
        return not self.inputs or any(one.has_findings for one in self.inputs)


def evaluate_and_save(
    opened: OpenedSubscription, catalog: Catalog, cause: Cause, *, before: Json | None
) -> bool:
    """Evaluate and save the accounts of a changed subscription. `before` are its facts before the change,
    None if it was new. Returns whether an account changed.
    """
    subscription = opened.subscription
    subject = Subject(subscription_id=subscription.id, before=before, after=subscription.facts())
    for account, inputs in zip(opened.accounts, opened.inputs, strict=True):
        evaluate_or_defer(account, inputs, catalog, cause, subject)
    saved = [account.save() for account in opened.accounts]
    return any(saved)


def open_leased(
    session: Session, lease: Lease, snapshot: SubscriptionSnapshot, catalog: Catalog
) -> tuple[OpenedSubscription, Decision] | None:
    """Lock the leased subscription with its present account and its owner by the snapshot.

    Returns None if another worker took over the lease, a newer generation took over, or the owner changed
    since the lease was taken; the lease then expires and the sync is repeated. The owner is decided twice:
    before the locks, because accounts are locked in the order of their ids, and again under the locks.
    """
    decision = ownership.decide(session, lease.placement, snapshot, catalog)
    owner = decision.owner
    if lease.placement.account_id == owner.account_id:
        return _open_decided(session, lease, snapshot, catalog, decision)
    opened = None
    with suppress(_Abandoned), session.begin_nested():
        by_metadata = owner.linked_by is LinkedBy.METADATA
        account_rows.insert_if_absent(session, owner.account_id, catalog.defaults, by_metadata=by_metadata)
        opened = _open_decided(session, lease, snapshot, catalog, decision)
        if opened is None:
            raise _Abandoned
    return opened


class _Abandoned(Exception):
    """Rolls back the savepoint, and with it the account that was inserted."""


def _open_decided(
    session: Session,
    lease: Lease,
    snapshot: SubscriptionSnapshot,
    catalog: Catalog,
    decision: Decision,
) -> tuple[OpenedSubscription, Decision] | None:
    """Lock, and decide again; None if the decision is another one now, or the lease was taken over."""
    opened = open_with_accounts(session, lease, catalog, decision.owner.account_id)
    if opened is None:
        return None
    under_lock = ownership.decide(session, opened.subscription.placement, snapshot, catalog)
    return (opened, decision) if under_lock == decision else None


def open_with_accounts(
    session: Session, lease: Lease, catalog: Catalog, *further: str
) -> OpenedSubscription | None:
    """Lock the subscription's account and the `further` ones by id, then the leased subscription.

    None if another worker took over the lease, the subscription moved, or a newer generation took over.
    """
    account_id = lease.placement.account_id
    opened = _lock_all(session, {account_id, *further}, lease.subscription_id, catalog)
    subscription = opened.subscription
    is_unchanged = subscription.fence == lease.fence and subscription.account_id == account_id
    may_write = all(one.may_evaluate for one in opened.inputs)
    if not opened.inputs:
        may_write = generation.may_evaluate(session, catalog)
    return opened if is_unchanged and may_write else None


def facts_known(subscription: Subscription) -> Json | None:
    """The subscription's facts for the audit; None if no snapshot and no webhook body has been stored."""
    return subscription.facts() if subscription.snapshot or subscription.unverified else None


def open_to_move(
    session: Session, subscription_id: str, account_id: str | None, catalog: Catalog
) -> OpenedSubscription:
    """Lock the subscription's present account and its next one, if any, then the subscription.

    Raises `Contended` if another call moves the subscription meanwhile.
    """
    before_id = placement_of(session, subscription_id).account_id
    opened = _lock_all(session, {account_id, before_id}, subscription_id, catalog)
    if opened.subscription.account_id != before_id:
        raise Contended(f"Another call is moving subscription {subscription_id!r}. Try again.")
    return opened


def _lock_all(
    session: Session, account_ids: set[str | None], subscription_id: str, catalog: Catalog
) -> OpenedSubscription:
    """Lock the accounts in the order of their ids, to avoid deadlocks, then the subscription."""
    accounts = [lock_account(session, account_id) for account_id in sorted(filter(None, account_ids))]
    ids = [account.account_id for account in accounts]
    locked = lock(session, ids, subscription_id)
    subscription = next(one for one in locked if one.id == subscription_id)
    return OpenedSubscription(
        subscription, accounts, load_with(session, ids, locked, catalog, subscription_id)
    )
