"""The ledger: the only place that changes seats.

Each function is one change inside the caller's transaction: it locks the account (the one lock, always
first), decides, records, and saves once. A refusal saves only what was recorded before it. Figures are
absolute; a change made twice is made once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from domain import findings
from domain.absence import completed, missing, settled_kinds
from domain.catalog.model import Catalog
from domain.drift import Difference, differences
from domain.errors import AccountNotEmpty, Contended, OwnAccount, SubscriptionNotFound
from domain.findings import Finding, FindingKind
from domain.notices import Notice, NoticeType
from domain.ownership import Decision, LinkedBy, Owner, Placement
from domain.seat_rules import AccountRules
from domain.snapshot import SubscriptionSnapshot
from models import account as accounts
from models import assignment, drift_finding, generation, ownership, planned_changes, role_moves, waiting
from models.account_rules import Override
from models.audit import Cause
from models.base import Json
from models.enforcement import enforce, look_at_grace
from models.evaluation import evaluate, raised_figures, rules_of
from models.inbox import InboxEvent, InboxState
from models.inputs import Inputs, load
from models.locked_account import NOBODY, LockedAccount, Subject, changing, lock
from models.subscription import Figures, Subscription, make_known, of_account, to_keep
from models.sync_queue import Lease, raise_hint
from models.takeover import take_over

_NEVER_THERE = {FindingKind.NOT_AT_PROVIDER}


def open_account(session: Session, account_id: str, catalog: Catalog, cause: Cause) -> bool:
    """Make sure that the account exists; True if it is new. It starts with its free or contract seats."""
    is_new = accounts.insert_if_absent(session, account_id, catalog.defaults)
    if is_new:
        with changing(session, account_id) as account:
            _evaluate_or_leave(account, _inputs_of(account, catalog), catalog, cause)
    return is_new


def apply(
    session: Session,
    lease: Lease,
    snapshot: SubscriptionSnapshot,
    catalog: Catalog,
    cause: Cause,
    *,
    past_due_ends_at: datetime | None = None,
) -> bool | None:
    """Write what a retrieve showed; whether anything changed, or None if a later lease has begun since
    and nothing was written.

    `past_due_ends_at` is the provider's deadline from a webhook body, where a retrieve has none.
    """
    found = _open(session, lease, snapshot, catalog)
    if found is None:
        return None
    opened, decision = found
    subscription = opened.subscription
    before, known = _facts(subscription), subscription.verified
    whole = completed(snapshot, known, catalog.account_key)
    ours = planned_changes.Ours()
    if opened.has_sent_changes:
        ours = planned_changes.carry_out(session, opened.accounts, whole, cause)
    moved = () if known is None else differences(known, whole)
    _settle_differences(session, opened, lease, moved, ours=ours.fields)
    subscription.belongs_to(decision.owner, decision.nonce)
    seen = take_over(subscription, whole, catalog, lease.taken_at, past_due_ends_at=past_due_ends_at)
    seen = (*seen, *missing(snapshot, known), *decision.findings, *ours.findings)
    _settle(session, opened, lease, seen, kinds=settled_kinds(snapshot, catalog.account_key))
    return _reevaluate(opened, catalog, ours.cause or cause, before=before)


def apply_unverified(
    session: Session, lease: Lease, snapshot: SubscriptionSnapshot, catalog: Catalog, cause: Cause
) -> bool | None:
    """Let an authentic body raise seats or restore access while no retrieve can be had.

    None, and nothing written, where it would raise nothing, or might lower or move anything.
    """
    known = session.get_one(Subscription, lease.subscription_id)
    if _raise_by(session, known, snapshot, catalog) is None:
        return None
    found = _open(session, lease, snapshot, catalog)
    if found is None:
        return None
    opened, decision = found
    subscription = opened.subscription
    before = _facts(subscription)
    raised = _raise_by(session, subscription, snapshot, catalog)
    if raised is None:
        return None
    subscription.raise_to(*raised)
    subscription.belongs_to(decision.owner, decision.nonce)
    session.flush()
    return _reevaluate(opened, catalog, cause, before=before)


def not_at_provider(
    session: Session,
    lease: Lease,
    catalog: Catalog,
    cause: Cause,
    *,
    term: timedelta,
) -> bool:
    """The provider knows no such subscription: an answer, kept as a finding. False if overtaken.

    One that was seen before keeps its last good figures for the `term`, which a notice announces; a 404
    after that ends it. The provider never deletes subscriptions, so the likelier cause is a key of another
    mode or business, which must not empty every account at once.
    """
    opened = _open_at_home(session, lease, catalog)
    if opened is None:
        return False
    subscription = opened.subscription
    before = _facts(subscription)
    subscription.drop_unverified()
    found = _miss(opened, lease.taken_at, term)
    kinds = _NEVER_THERE if subscription.gone_at is None else findings.SYNCED
    _settle(session, opened, lease, (found,), kinds=kinds)
    subscription.last_error = found.message
    session.flush()
    _reevaluate(opened, catalog, cause, before=before)
    return True


def link(session: Session, account_id: str, subscription_id: str, catalog: Catalog, cause: Cause) -> bool:
    """The app's word on where a subscription belongs, which is final; whether that changed anything.

    Asks for a look at the provider in any case. A sync under way is overtaken, so that it cannot
    write into the account the subscription has left.
    """
    open_account(session, account_id, catalog, cause)
    if session.get(Subscription, subscription_id) is None:
        _make_known(session, subscription_id, account_id, catalog)
    opened = _open_to_move(session, subscription_id, account_id, catalog)
    subscription = opened.subscription
    raise_hint(session, subscription_id)
    if subscription.account_id == account_id and subscription.linked_by == LinkedBy.APP:
        return False
    before = subscription.facts()
    subscription.refused_accounts = [one for one in subscription.refused_accounts if one != account_id]
    _move(session, subscription, Owner(account_id, LinkedBy.APP))
    drift_finding.settle(session, subscription_id, (), kinds=findings.OWNERSHIP)
    return _reevaluate(opened, catalog, cause, before=before)


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
        accounts.insert_if_absent(session, target, catalog.defaults)
    opened = _open_to_move(session, subscription_id, target, catalog)
    subscription = opened.subscription
    if ownership.decide_newest(session, subscription, placement, catalog) != decision:
        raise Contended(f"Account {target!r} is being taken by another subscription. Try again.")
    before = subscription.facts()
    subscription.refused_accounts = sorted(placement.refused)
    still_there = () if decision is None else decision.findings
    drift_finding.settle(session, subscription_id, still_there, kinds=findings.OWNERSHIP)
    if owner != subscription.placement.owner:
        _move(session, subscription, owner)
        raise_hint(session, subscription_id)
    if owner is None:
        drift_finding.dismiss_kinds(session, subscription_id, _NEVER_THERE, "unlinked by the app")
    session.flush()
    _reevaluate(opened, catalog, cause, before=before)
    return before != subscription.facts()


def delete_account(session: Session, account_id: str, catalog: Catalog, cause: Cause) -> None:
    """Delete an account that has no subscription, no member and no contract. Its audit is kept.

    Raises `AccountNotFound`, and `AccountNotEmpty`, naming what the account still has.
    """
    with changing(session, account_id) as account:
        left = [
            what
            for what, is_there in {
                "subscriptions": bool(of_account(session, account_id)),
                "members": assignment.any_live(session, account_id),
                "contracts": bool(catalog.contracts_of(account_id)),
            }.items()
            if is_there
        ]
        if left:
            raise AccountNotEmpty(
                f"Account {account_id!r} still has {' and '.join(left)}. Only an empty account can be "
                "deleted: release its members and unlink its subscriptions first.",
                details={"account_id": account_id, "has": left},
            )
        account.override = None
        account.record(cause, Subject(before={"deleted": False}, after={"deleted": True}))
    accounts.mark_deleted(session, account_id)


def reevaluate(session: Session, account_id: str, catalog: Catalog, cause: Cause) -> bool:
    """Lock the account and `reevaluate_locked` it; whether it changed."""
    account = lock(session, account_id)
    reevaluate_locked(account, catalog, cause)
    return account.save()


def reevaluate_locked(account: LockedAccount, catalog: Catalog, cause: Cause) -> None:
    """Work the account out anew because time passed or the catalogue changed; nothing is recorded if a newer
    generation does that.

    A payment deadline that passed is not carried out here: it asks for a look at the provider, and
    that look decides.
    """
    inputs = _inputs_of(account, catalog)
    if inputs.may_evaluate:
        _evaluate(account, inputs, catalog, cause, NOBODY)


def set_policy(
    session: Session, account_id: str, override: Override, catalog: Catalog, cause: Cause
) -> AccountRules:
    """The app's own rules for one account, in place of those it had; an empty override takes them back.

    Raises `AccountNotFound`.
    """
    with changing(session, account_id) as account:
        before, account.override = account.override, override.to_json()
        if account.override != before:
            account.restart_clocks()
        subject = Subject(before={"override": before}, after={"override": account.override})
        _evaluate_or_leave(account, _inputs_of(account, catalog), catalog, cause, subject)
    return rules_of(session, account_id, account.override, catalog)


@dataclass(frozen=True, slots=True)
class _Opened:
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


def _reevaluate(opened: _Opened, catalog: Catalog, cause: Cause, *, before: Json | None) -> bool:
    """Evaluate and save the accounts of a subscription that was as `before` says; whether one changed."""
    subscription = opened.subscription
    subject = Subject(subscription_id=subscription.id, before=before, after=subscription.facts())
    for account, inputs in zip(opened.accounts, opened.inputs, strict=True):
        _evaluate_or_leave(account, inputs, catalog, cause, subject)
    saved = [account.save() for account in opened.accounts]
    return any(saved)


def _inputs_of(account: LockedAccount, catalog: Catalog) -> Inputs:
    (found,) = load(account.session, [account.account_id], catalog)
    return found


def _evaluate_or_leave(
    account: LockedAccount, inputs: Inputs, catalog: Catalog, cause: Cause, subject: Subject = NOBODY
) -> None:
    """Evaluate the account, or leave that to a process of the generation in force: it is due at once then."""
    if inputs.may_evaluate:
        _evaluate(account, inputs, catalog, cause, subject)
    else:
        account.wake_by(account.now)
        account.record(cause, subject)


def _evaluate(
    account: LockedAccount, inputs: Inputs, catalog: Catalog, cause: Cause, subject: Subject
) -> None:
    """Work the account out anew, record it, and carry out what its deadlines ask for.

    A catalogue that changed moves the members whose roles mean another seat type now.
    """
    is_awaited = any(balance.waiting for balance in account.balances.values())
    if account.catalog_digest != catalog.digest:
        role_moves.carry_out(account, catalog, cause)
    rules = evaluate(account.session, account, inputs, catalog)
    look_at_grace(account, inputs, catalog)
    account.record(cause, subject)
    if account.unverified:
        return
    if is_awaited:
        waiting.settle(account)
        account.judge()
    enforce(account, inputs, rules, catalog)


def _open(
    session: Session, lease: Lease, snapshot: SubscriptionSnapshot, catalog: Catalog
) -> tuple[_Opened, Decision] | None:
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
        accounts.insert_if_absent(session, owner.account_id, catalog.defaults, by_metadata=by_metadata)
        opened = _open_decided(session, lease, snapshot, catalog, decision)
        if opened is None:
            raise _Overtaken  # which takes the new account back
    return opened


class _Overtaken(Exception):
    """A later lease of the subscription has begun."""


def _open_decided(
    session: Session, lease: Lease, snapshot: SubscriptionSnapshot, catalog: Catalog, decision: Decision
) -> tuple[_Opened, Decision] | None:
    """The same, if the decision is still the same under the locks."""
    opened = _open_at_home(session, lease, catalog, decision.owner.account_id)
    if opened is None or ownership.decide(session, opened.subscription, snapshot, catalog) != decision:
        return None
    return opened, decision


def _open_at_home(session: Session, lease: Lease, catalog: Catalog, *further: str) -> _Opened | None:
    """The leased subscription and the accounts it touches, which are locked first; None if overtaken, by
    another lease or by a newer generation.
    """
    subscription = session.get_one(Subscription, lease.subscription_id)
    before = subscription.account_id
    opened = _lock_all(session, {before, *further}, subscription, catalog)
    is_ours = subscription.fence == lease.fence and subscription.account_id == before
    may_write = all(one.may_evaluate for one in opened.inputs)
    if not opened.inputs:
        may_write = generation.admits(session, catalog)
    return opened if is_ours and may_write else None


def _facts(subscription: Subscription) -> Json | None:
    """What the audit knew of it; nothing before anybody said anything of it."""
    return subscription.facts() if subscription.snapshot or subscription.unverified else None


def _raise_by(
    session: Session, subscription: Subscription, snapshot: SubscriptionSnapshot, catalog: Catalog
) -> tuple[Figures, Json] | None:
    """The figures that the body raises those in force to, and what is kept of it; None if it raises nothing,
    lowers anything, or names another account than the subscription's.
    """
    decision, owner = ownership.decide(session, subscription, snapshot, catalog), subscription.placement.owner
    if owner is not None and (decision.is_doubted or decision.owner != owner):
        return None
    whole = completed(snapshot, subscription.verified, catalog.account_key)
    figures = raised_figures(subscription, whole, catalog)
    return None if figures is None else (figures, to_keep(whole, catalog.account_key))


def _miss(opened: _Opened, seen_at: datetime, term: timedelta) -> Finding:
    """Note a 404, and end the subscription if its term is over. A notice announces the term."""
    subscription = opened.subscription
    if subscription.snapshot is None:
        return findings.not_at_provider(subscription.id, was_there=False)
    since = subscription.missing_since or seen_at
    ends_at = since + term
    if subscription.missing_since is None:
        told = {"subscription_id": subscription.id, "ends_at": ends_at.isoformat()}
        for account in opened.accounts:
            account.add_notice(Notice(NoticeType.SUBSCRIPTION_MISSING, told))
    subscription.missing_since = since
    if seen_at >= ends_at and subscription.gone_at is None:
        subscription.gone_at = seen_at
    return findings.not_at_provider(subscription.id, was_there=True, ends_at=ends_at, now=seen_at)


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


def _open_to_move(
    session: Session, subscription_id: str, account_id: str | None, catalog: Catalog
) -> _Opened:
    """The subscription and the accounts where it is and where it goes, which are locked first."""
    subscription = session.get_one(Subscription, subscription_id)
    before_id = subscription.account_id
    opened = _lock_all(session, {account_id, before_id}, subscription, catalog)
    if subscription.account_id != before_id:
        raise Contended(f"Subscription {subscription_id!r} is being moved by another call.")
    return opened


def _make_known(session: Session, subscription_id: str, account_id: str, catalog: Catalog) -> None:
    """Insert a row for a subscription that had none, once the account's other ones are locked. Who requests
    many syncs at once does the same: locks the known ones first, and inserts the new ones after them.
    """
    load(session, [lock(session, account_id).account_id], catalog)
    if make_known(session, subscription_id):
        return
    placed = session.get_one(Subscription, subscription_id).account_id
    if placed not in (None, account_id):
        raise Contended(f"Subscription {subscription_id!r} is being moved by another call.")


def _move(session: Session, subscription: Subscription, owner: Owner | None) -> None:
    """Place it, and overtake a sync that is under way."""
    subscription.belongs_to(owner)
    subscription.fence += 1
    subscription.lease_until = None
    session.flush()


def _lock_all(
    session: Session, account_ids: set[str | None], subscription: Subscription, catalog: Catalog
) -> _Opened:
    """The accounts, locked in the order of their ids so that two movers never wait for each other; then the
    subscription as it is now.
    """
    touched = [lock(session, account_id) for account_id in sorted(filter(None, account_ids))]
    ids = [account.account_id for account in touched]
    return _Opened(subscription, touched, load(session, ids, catalog, subscription.id))


def _settle_differences(
    session: Session,
    opened: _Opened,
    lease: Lease,
    moved: Sequence[Difference],
    *,
    ours: Collection[str],
) -> None:
    """Close the findings about what differed until now, and record the differences that no webhook and no
    list page announced, except in the fields that we changed ourselves.
    """
    drift_finding.settle_differences(
        session,
        opened.subscription.id,
        [one for one in moved if one.field not in ours],
        look=lease,
        seen_before=opened.subscription.verified_at,
        has_known=opened.has_findings,
    )


def _settle(
    session: Session,
    opened: _Opened,
    lease: Lease,
    seen: Sequence[Finding],
    *,
    kinds: Collection[FindingKind],
) -> None:
    """The look is over: what it covered is done, what it found of these kinds is recorded."""
    subscription = opened.subscription
    subscription.synced = max(subscription.synced, lease.mark)
    subscription.lease_until = None
    subscription.looked_at = lease.taken_at
    subscription.attempts = 0
    subscription.last_error = subscription.refused_since = None
    if opened.has_findings:
        drift_finding.settle(session, subscription.id, seen, kinds=kinds)
    else:
        drift_finding.record(session, subscription.id, seen)
    session.execute(
        update(InboxEvent)
        .where(InboxEvent.id.in_(lease.events), InboxEvent.state.in_((InboxState.PENDING, InboxState.DEAD)))
        .values(state=InboxState.DONE, reason=None)
    )
    session.flush()
