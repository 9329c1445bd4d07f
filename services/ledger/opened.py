"""A subscription opened for writing: locked together with every account that it touches, and their inputs."""

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
from models.subscription import Subscription
from models.sync_queue import Lease
from services.ledger import ownership
from services.ledger.accounts import evaluate_or_leave
from services.ledger.inputs import Inputs, load
from services.ledger.locked_account import LockedAccount, Subject, lock_account


@dataclass(frozen=True, slots=True)
class OpenedSubscription:
    """A subscription, the accounts that it is, was or will be in, all locked, and the inputs of each."""

    subscription: Subscription
    accounts: Sequence[LockedAccount]
    inputs: Sequence[Inputs]

    @property
    def has_sent_changes(self) -> bool:
        return any(one.has_sent_changes for one in self.inputs)

    @property
    def has_findings(self) -> bool:
        """Nothing is known of a subscription that belongs to no account."""
        return not self.inputs or any(one.has_findings for one in self.inputs)


def evaluate_and_save(
    opened: OpenedSubscription, catalog: Catalog, cause: Cause, *, before: Json | None
) -> bool:
    """Evaluate and save the accounts of a subscription that was as `before` says; whether one changed."""
    subscription = opened.subscription
    subject = Subject(subscription_id=subscription.id, before=before, after=subscription.facts())
    for account, inputs in zip(opened.accounts, opened.inputs, strict=True):
        evaluate_or_leave(account, inputs, catalog, cause, subject)
    saved = [account.save() for account in opened.accounts]
    return any(saved)


def open_leased(
    session: Session, lease: Lease, snapshot: SubscriptionSnapshot, catalog: Catalog
) -> tuple[OpenedSubscription, Decision] | None:
    """The leased subscription with the accounts where it is and where it belongs, and why; None if overtaken.

    The owner is decided before the accounts are locked, since they are locked in the order of their ids, and
    once more under the locks. Where others changed the answer in between, the lease is left to run out.
    """
    subscription = session.get_one(Subscription, lease.subscription_id)
    decision = ownership.decide(session, subscription, snapshot, catalog)
    owner = decision.owner
    if subscription.fence != lease.fence:
        return None
    if subscription.account_id == owner.account_id:
        return _open_decided(session, lease, snapshot, catalog, decision)
    opened = None
    with suppress(_Overtaken), session.begin_nested():
        by_metadata = owner.linked_by is LinkedBy.METADATA
        account_rows.insert_if_absent(session, owner.account_id, catalog.defaults, by_metadata=by_metadata)
        opened = _open_decided(session, lease, snapshot, catalog, decision)
        if opened is None:
            raise _Overtaken  # which takes the new account back
    return opened


class _Overtaken(Exception):
    """A later lease of the subscription has begun."""


def _open_decided(
    session: Session, lease: Lease, snapshot: SubscriptionSnapshot, catalog: Catalog, decision: Decision
) -> tuple[OpenedSubscription, Decision] | None:
    """The same, if the decision is still the same under the locks."""
    opened = open_at_home(session, lease, catalog, decision.owner.account_id)
    if opened is None or ownership.decide(session, opened.subscription, snapshot, catalog) != decision:
        return None
    return opened, decision


def open_at_home(
    session: Session, lease: Lease, catalog: Catalog, *further: str
) -> OpenedSubscription | None:
    """The leased subscription and the accounts it touches, which are locked first; None if overtaken, by
    another lease or by a newer generation.
    """
    subscription = session.get_one(Subscription, lease.subscription_id)
    before = subscription.account_id
    opened = _lock_all(session, {before, *further}, subscription, catalog)
    is_ours = subscription.fence == lease.fence and subscription.account_id == before
    may_write = all(one.may_evaluate for one in opened.inputs)
    if not opened.inputs:
        may_write = generation.may_evaluate(session, catalog)
    return opened if is_ours and may_write else None


def facts_known(subscription: Subscription) -> Json | None:
    """What the audit knew of it; nothing before anybody said anything of it."""
    return subscription.facts() if subscription.snapshot or subscription.unverified else None


def open_to_move(
    session: Session, subscription_id: str, account_id: str | None, catalog: Catalog
) -> OpenedSubscription:
    """The subscription and the accounts where it is and where it goes, which are locked first."""
    subscription = session.get_one(Subscription, subscription_id)
    before_id = subscription.account_id
    opened = _lock_all(session, {account_id, before_id}, subscription, catalog)
    if subscription.account_id != before_id:
        raise Contended(f"Subscription {subscription_id!r} is being moved by another call.")
    return opened


def _lock_all(
    session: Session, account_ids: set[str | None], subscription: Subscription, catalog: Catalog
) -> OpenedSubscription:
    """The accounts, locked in the order of their ids so that two movers never wait for each other; then the
    subscription as it is now.
    """
    touched = [lock_account(session, account_id) for account_id in sorted(filter(None, account_ids))]
    ids = [account.account_id for account in touched]
    return OpenedSubscription(subscription, touched, load(session, ids, catalog, subscription.id))
