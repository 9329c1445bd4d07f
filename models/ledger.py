"""The ledger: the only place that changes seats.

Each function is one change inside the caller's transaction: it opens the account's book (the one
lock, always first), decides, and posts balance and audit row together. Errors are raised before
anything is written. Figures are absolute; a change made twice is made once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from models import (
    account,
    assignment,
    finding,
    generation,
    notice,
    ownership,
    planned_changes,
    role_moves,
    waiting,
)
from models.audit import Cause
from models.base import Json
from models.book import NOBODY, Book, Subject, open_book, post
from models.enforcement import enforce, look_at_grace
from models.evaluation import evaluate, raised_figures, rules_of
from models.inbox import InboxEvent, InboxState
from models.rules import Override
from models.schedule import Lease, raise_hint
from models.subscription import Figures, Subscription, make_known, of_account, to_keep
from models.takeover import take_over
from seats import findings
from seats.absence import completed, judged, missing
from seats.catalog import Catalog
from seats.drift import Difference, differences
from seats.errors import AccountNotEmpty, Contended, OwnAccount, SubscriptionNotFound
from seats.findings import Finding, FindingKind
from seats.notices import Notice, NoticeType
from seats.ownership import Decision, LinkedBy, Owner, Placement
from seats.rules import AccountRules
from seats.snapshot import SubscriptionSnapshot

_NEVER_THERE = {FindingKind.NOT_AT_PROVIDER}


def open_account(session: Session, account_id: str, catalog: Catalog, cause: Cause) -> bool:
    """Make sure that the account exists; True if it is new. It starts with its free or contract seats."""
    is_new = account.insert_if_absent(session, account_id, catalog.defaults)
    if not is_new:
        return False
    _evaluate_or_leave(session, open_book(session, account_id), catalog, cause)
    return True


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
    opened = _open(session, lease, snapshot, catalog)
    if opened is None:
        return None
    subscription, books, decision = opened
    before, known = _facts(subscription), subscription.verified
    whole = completed(snapshot, known, catalog.account_key)
    ours = planned_changes.carry_out(session, books, whole, cause)
    moved = () if known is None else differences(known, whole)
    _settle_differences(session, subscription, lease, moved, ours=ours.fields)
    subscription.belongs_to(decision.owner, decision.nonce)
    seen = take_over(subscription, whole, catalog, lease.taken_at, past_due_ends_at=past_due_ends_at)
    found = (*seen, *missing(snapshot, known), *decision.findings, *ours.findings)
    _settle(session, subscription, lease, found, kinds=judged(snapshot, catalog.account_key))
    return _restate(session, books, catalog, ours.cause or cause, subscription=subscription, before=before)


def apply_unverified(
    session: Session, lease: Lease, snapshot: SubscriptionSnapshot, catalog: Catalog, cause: Cause
) -> bool | None:
    """Let an authentic body raise seats or restore access while no retrieve can be had.

    None, and nothing written, where it would raise nothing, or might lower or move anything.
    """
    known = session.get_one(Subscription, lease.subscription_id)
    if _raise_by(session, known, snapshot, catalog) is None:
        return None
    opened = _open(session, lease, snapshot, catalog)
    if opened is None:
        return None
    subscription, books, decision = opened
    before = _facts(subscription)
    raised = _raise_by(session, subscription, snapshot, catalog)
    if raised is None:
        return None
    subscription.raise_to(*raised)
    subscription.belongs_to(decision.owner, decision.nonce)
    session.flush()
    return _restate(session, books, catalog, cause, subscription=subscription, before=before)


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
    subscription, books = opened
    before = _facts(subscription)
    subscription.drop_unverified()
    found = _miss(session, subscription, lease.taken_at, term)
    kinds = _NEVER_THERE if subscription.gone_at is None else findings.SYNCED
    _settle(session, subscription, lease, (found,), kinds=kinds)
    subscription.last_error = found.message
    session.flush()
    _restate(session, books, catalog, cause, subscription=subscription, before=before)
    return True


def link(session: Session, account_id: str, subscription_id: str, catalog: Catalog, cause: Cause) -> bool:
    """The app's word on where a subscription belongs, which is final; whether that changed anything.

    Asks for a look at the provider in any case. A sync under way is overtaken, so that it cannot
    write into the account the subscription has left.
    """
    open_account(session, account_id, catalog, cause)
    make_known(session, subscription_id)
    subscription, books = _open_to_move(session, subscription_id, account_id)
    raise_hint(session, subscription_id)
    if subscription.account_id == account_id and subscription.linked_by == LinkedBy.APP:
        return False
    before = subscription.facts()
    subscription.refused_accounts = [one for one in subscription.refused_accounts if one != account_id]
    _move(session, subscription, Owner(account_id, LinkedBy.APP))
    finding.settle(session, subscription_id, (), kinds=findings.OWNERSHIP)
    return _restate_or_leave(session, books, catalog, cause, subscription=subscription, before=before)


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
        account.insert_if_absent(session, target, catalog.defaults)
    subscription, books = _open_to_move(session, subscription_id, target)
    if ownership.decide_newest(session, subscription, placement, catalog) != decision:
        raise Contended(f"Account {target!r} is being taken by another subscription. Try again.")
    before = subscription.facts()
    subscription.refused_accounts = sorted(placement.refused)
    still_there = () if decision is None else decision.findings
    finding.settle(session, subscription_id, still_there, kinds=findings.OWNERSHIP)
    if owner != subscription.placement.owner:
        _move(session, subscription, owner)
        raise_hint(session, subscription_id)
    if owner is None:
        finding.dismiss_kinds(session, subscription_id, _NEVER_THERE, "unlinked by the app")
    session.flush()
    _restate_or_leave(session, books, catalog, cause, subscription=subscription, before=before)
    return before != subscription.facts()


def delete_account(session: Session, account_id: str, catalog: Catalog, cause: Cause) -> None:
    """Delete an account that has no subscription, no member and no contract. Its audit is kept.

    Raises `AccountNotFound`, and `AccountNotEmpty`, naming what the account still has.
    """
    book = open_book(session, account_id)
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
            f"Account {account_id!r} still has {' and '.join(left)}. Only an empty account can be deleted: "
            "release its members and unlink its subscriptions first.",
            details={"account_id": account_id, "has": left},
        )
    book.override = None
    post(session, book, cause, Subject(before={"deleted": False}, after={"deleted": True}))
    account.mark_deleted(session, account_id)


def reevaluate(session: Session, account_id: str, catalog: Catalog, cause: Cause) -> bool:
    """Work the account out anew because time passed or the catalogue changed; False, and nothing written, if
    a newer generation does that.

    A payment deadline that passed is not carried out here: it asks for a look at the provider, and
    that look decides.
    """
    book = open_book(session, account_id)
    return generation.admits(session, catalog) and _evaluate(session, book, catalog, cause)


def set_policy(
    session: Session, account_id: str, override: Override, catalog: Catalog, cause: Cause
) -> AccountRules:
    """The app's own rules for one account, in place of those it had; an empty override takes them back.

    Raises `AccountNotFound`.
    """
    book = open_book(session, account_id)
    before, book.override = book.override, override.to_json()
    if book.override != before:
        book.restart_clocks()
    subject = Subject(before={"override": before}, after={"override": book.override})
    _evaluate_or_leave(session, book, catalog, cause, subject)
    return rules_of(session, account_id, book.override, catalog)


def _restate_or_leave(
    session: Session,
    books: Sequence[Book],
    catalog: Catalog,
    cause: Cause,
    *,
    subscription: Subscription,
    before: Json | None,
) -> bool:
    """As `_restate`, for the app's word, which a process of an older generation takes as well."""
    subject = Subject(subscription_id=subscription.id, before=before, after=subscription.facts())
    changed = [_evaluate_or_leave(session, book, catalog, cause, subject) for book in books]
    return any(changed)


def _evaluate_or_leave(
    session: Session,
    book: Book,
    catalog: Catalog,
    cause: Cause,
    subject: Subject = NOBODY,
) -> bool:
    """Evaluate the book, or leave that to a process of the generation in force, which is due at once."""
    if generation.admits(session, catalog):
        return _evaluate(session, book, catalog, cause, subject)
    book.wake_by(book.now)
    return post(session, book, cause, subject)


def _evaluate(
    session: Session,
    book: Book,
    catalog: Catalog,
    cause: Cause,
    subject: Subject = NOBODY,
) -> bool:
    """Restate the book, write it down, and carry out what its deadlines ask for; whether it changed.

    A catalogue that changed moves the members whose roles mean another seat type now.
    """
    is_awaited = any(balance.waiting for balance in book.balances.values())
    if book.catalog_digest != catalog.digest:
        role_moves.carry_out(session, book, catalog, cause)
    rules = evaluate(session, book, catalog)
    look_at_grace(session, book, catalog)
    changed = post(session, book, cause, subject, is_news=not is_awaited)
    if not book.unverified:
        if is_awaited:
            waiting.settle(session, book)
            post(session, book, cause)
        enforce(session, book, rules, catalog)
    return changed


def _open(
    session: Session, lease: Lease, snapshot: SubscriptionSnapshot, catalog: Catalog
) -> tuple[Subscription, Sequence[Book], Decision] | None:
    """The leased subscription, the books of where it is and where it belongs, and why; None if overtaken.

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
        account.insert_if_absent(session, owner.account_id, catalog.defaults, by_metadata=by_metadata)
        opened = _open_decided(session, lease, snapshot, catalog, decision)
        if opened is None:
            raise _Overtaken  # which takes the new account back
    return opened


class _Overtaken(Exception):
    """A later lease of the subscription has begun."""


def _open_decided(
    session: Session, lease: Lease, snapshot: SubscriptionSnapshot, catalog: Catalog, decision: Decision
) -> tuple[Subscription, Sequence[Book], Decision] | None:
    """The same, if the decision is still the same under the locks."""
    opened = _open_at_home(session, lease, catalog, decision.owner.account_id)
    if opened is None or ownership.decide(session, opened[0], snapshot, catalog) != decision:
        return None
    return *opened, decision


def _open_at_home(
    session: Session, lease: Lease, catalog: Catalog, *further: str
) -> tuple[Subscription, Sequence[Book]] | None:
    """The leased subscription and the books it touches, locked accounts first; None if overtaken, by another
    lease or by a newer generation.
    """
    subscription = session.get_one(Subscription, lease.subscription_id)
    before = subscription.account_id
    books = _open_books(session, {before, *further})
    session.refresh(subscription, with_for_update=True)
    if subscription.fence != lease.fence or subscription.account_id != before:
        return None
    if not generation.admits(session, catalog):
        return None
    return subscription, books


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


def _miss(session: Session, subscription: Subscription, seen_at: datetime, term: timedelta) -> Finding:
    """Note a 404, and end the subscription if its term is over. A notice announces the term."""
    if subscription.snapshot is None:
        return findings.not_at_provider(subscription.id, was_there=False)
    since = subscription.missing_since or seen_at
    ends_at = since + term
    if subscription.missing_since is None and subscription.account_id is not None:
        told = {"subscription_id": subscription.id, "ends_at": ends_at.isoformat()}
        notice.put(session, subscription.account_id, [Notice(NoticeType.SUBSCRIPTION_MISSING, told)])
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
    session: Session, subscription_id: str, account_id: str | None
) -> tuple[Subscription, Sequence[Book]]:
    """The subscription and the books of where it is and of where it goes; accounts are locked first."""
    subscription = session.get_one(Subscription, subscription_id)
    before_id = subscription.account_id
    books = _open_books(session, {account_id, before_id})
    session.refresh(subscription, with_for_update=True)
    if subscription.account_id != before_id:
        raise Contended(f"Subscription {subscription_id!r} is being moved by another call.")
    return subscription, books


def _move(session: Session, subscription: Subscription, owner: Owner | None) -> None:
    """Place it, and overtake a sync that is under way."""
    subscription.belongs_to(owner)
    subscription.fence += 1
    subscription.lease_until = None
    session.flush()


def _open_books(session: Session, account_ids: set[str | None]) -> Sequence[Book]:
    """The books in the order of their ids, so that two movers never wait for each other."""
    return [open_book(session, account_id) for account_id in sorted(filter(None, account_ids))]


def _settle_differences(
    session: Session,
    subscription: Subscription,
    lease: Lease,
    moved: Sequence[Difference],
    *,
    ours: Collection[str],
) -> None:
    """Close the findings about what differed until now, and record the differences that no webhook and no
    list page announced, except in the fields that we changed ourselves.
    """
    finding.settle_differences(
        session,
        subscription.id,
        [one for one in moved if one.field not in ours],
        look=lease,
        seen_before=subscription.verified_at,
    )


def _settle(
    session: Session,
    subscription: Subscription,
    lease: Lease,
    seen: Sequence[Finding],
    *,
    kinds: Collection[FindingKind],
) -> None:
    """The look is over: what it covered is done, what it found of these kinds is recorded."""
    subscription.synced = max(subscription.synced, lease.mark)
    subscription.lease_until = None
    subscription.looked_at = lease.taken_at
    subscription.attempts = 0
    subscription.last_error = subscription.refused_since = None
    finding.settle(session, subscription.id, seen, kinds=kinds)
    session.execute(
        update(InboxEvent)
        .where(InboxEvent.id.in_(lease.events), InboxEvent.state.in_((InboxState.PENDING, InboxState.DEAD)))
        .values(state=InboxState.DONE, reason=None)
    )
    session.flush()


def _restate(
    session: Session,
    books: Sequence[Book],
    catalog: Catalog,
    cause: Cause,
    *,
    subscription: Subscription,
    before: Json | None,
) -> bool:
    after = subscription.facts()
    changed = False
    for book in books:
        subject = Subject(subscription_id=subscription.id, before=before, after=after)
        changed |= _evaluate(session, book, catalog, cause, subject)
    return changed
