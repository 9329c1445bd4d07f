"""The ledger: the only place that changes seats.

Each function is one change inside the caller's transaction: it opens the account's book (the one
lock, always first), decides, and posts balance and audit row together. Errors are raised before
anything is written. Figures are absolute; a change made twice is made once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from models import account, finding, generation, planned_changes, role_moves, waiting
from models.audit import Cause
from models.base import Json
from models.book import NOBODY, Book, Subject, open_book, post
from models.enforcement import enforce, look_at_grace
from models.evaluation import effect_of, evaluate, rules_of, seats_from_json, weigh
from models.inbox import InboxEvent, InboxState
from models.rules import Override
from models.schedule import Lease, raise_hint
from models.subscription import LinkedBy, Subscription, kept_snapshot, make_known, to_keep
from seats import findings
from seats.catalog import Catalog
from seats.counts import subscription_seats
from seats.drift import differences, fingerprint
from seats.errors import Contended
from seats.findings import Finding, Uncountable
from seats.ids import is_id
from seats.limit import at_least
from seats.rules import AccountRules
from seats.snapshot import SubscriptionSnapshot, SubscriptionStatus
from seats.statuses import StatusEffect

# How much of its seats a status leaves usable; a body may only move a subscription up this order.
_ACCESS = {
    StatusEffect.COUNTS: 4,
    StatusEffect.COUNTS_UNTIL_DEADLINE: 3,
    StatusEffect.COUNTS_FOR_GRACE: 2,
    StatusEffect.PENDING: 1,
    StatusEffect.SUSPENDED: 1,
}


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
    subscription, books = opened
    before = _facts(subscription)
    ours = planned_changes.carry_out(session, books, snapshot, cause)
    _settle_differences(session, subscription, lease, snapshot, ours=ours.fields)
    _take_back_unverified(subscription, lease, catalog)
    subscription.account_id, subscription.linked_by = _home(subscription, snapshot, catalog)
    subscription.snapshot = to_keep(snapshot, catalog.account_key)
    subscription.fingerprint = fingerprint(snapshot)
    subscription.verified_at = lease.taken_at
    subscription.past_due_ends_at = _deadline(subscription, snapshot, past_due_ends_at)
    seen = weigh(subscription, catalog, lease.taken_at)
    _settle(session, subscription, lease, (*seen, *ours.findings))
    return _restate(session, books, catalog, ours.cause or cause, subscription=subscription, before=before)


def apply_unverified(
    session: Session, lease: Lease, snapshot: SubscriptionSnapshot, catalog: Catalog, cause: Cause
) -> bool | None:
    """Let an authentic body raise seats or restore access while no retrieve can be had.

    None, and nothing written, where it would raise nothing, or might lower anything.
    """
    subscription = session.get_one(Subscription, lease.subscription_id)
    if not _raises(subscription, snapshot, catalog):
        return None
    opened = _open(session, lease, snapshot, catalog)
    if opened is None or not _raises(opened[0], snapshot, catalog):
        return None
    subscription, books = opened
    before = _facts(subscription)
    subscription.account_id, subscription.linked_by = _home(subscription, snapshot, catalog)
    subscription.unverified = to_keep(snapshot, catalog.account_key)
    weigh(subscription, catalog, lease.taken_at)
    session.flush()
    return _restate(session, books, catalog, cause, subscription=subscription, before=before)


def not_at_provider(session: Session, lease: Lease, catalog: Catalog, cause: Cause) -> bool:
    """The provider knows no such subscription: an answer, kept as a finding. False if overtaken.

    One that we saw before keeps its last good figures: the provider never deletes subscriptions, so
    the likelier cause is a key of another mode or business, which must not empty every account.
    """
    opened = _open_at_home(session, lease, catalog)
    if opened is None:
        return False
    subscription, books = opened
    before = _facts(subscription)
    _take_back_unverified(subscription, lease, catalog)
    missing = findings.not_at_provider(subscription.id, was_there=subscription.snapshot is not None)
    _settle(session, subscription, lease, (missing,))
    subscription.last_error = missing.message
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
    subscription = session.get_one(Subscription, subscription_id)
    before_id = subscription.account_id
    books = _open_books(session, {account_id, before_id})
    session.refresh(subscription, with_for_update=True)
    if subscription.account_id != before_id:
        raise Contended(f"Subscription {subscription_id!r} is being moved by another call.")
    raise_hint(session, subscription_id)
    if subscription.account_id == account_id and subscription.linked_by == LinkedBy.APP:
        return False
    before = subscription.facts()
    subscription.account_id, subscription.linked_by = account_id, LinkedBy.APP.value
    subscription.fence += 1
    subscription.lease_until = None
    session.flush()
    subject = Subject(subscription_id=subscription.id, before=before, after=subscription.facts())
    changed = [_evaluate_or_leave(session, book, catalog, cause, subject) for book in books]
    return any(changed)


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


def home_of(snapshot: SubscriptionSnapshot, catalog: Catalog) -> tuple[str, str]:
    """The account of a subscription that the app has not linked, and how we know: the one its metadata
    names, else one of its own.
    """
    named = (snapshot.metadata or {}).get(catalog.account_key) if catalog.account_key else None
    account_id = str(named).strip() if isinstance(named, str | int) and not isinstance(named, bool) else ""
    if is_id(account_id):
        return account_id, LinkedBy.METADATA.value
    return snapshot.subscription_id, LinkedBy.OWN_ID.value


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
) -> tuple[Subscription, Sequence[Book]] | None:
    """The leased subscription with the books of where it is and where it belongs; None if overtaken."""
    subscription = session.get_one(Subscription, lease.subscription_id)
    home, _ = _home(subscription, snapshot, catalog)
    if subscription.account_id != home:
        account.insert_if_absent(session, home, catalog.defaults)
    return _open_at_home(session, lease, catalog, home)


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


def _take_back_unverified(subscription: Subscription, lease: Lease, catalog: Catalog) -> None:
    """The provider has answered: what only a body vouched for goes, the last verified figures stand."""
    if subscription.unverified is None:
        return
    since = subscription.status_since
    subscription.unverified = subscription.seats = subscription.status = subscription.effect = None
    weigh(subscription, catalog, lease.taken_at)
    subscription.status_since = since  # a body that is not confirmed moves no clock


def _open_books(session: Session, account_ids: set[str | None]) -> Sequence[Book]:
    """The books in the order of their ids, so that two movers never wait for each other."""
    return [open_book(session, account_id) for account_id in sorted(filter(None, account_ids))]


def _home(subscription: Subscription, snapshot: SubscriptionSnapshot, catalog: Catalog) -> tuple[str, str]:
    """The account: the one the app linked, else where the snapshot says."""
    if subscription.linked_by == LinkedBy.APP and subscription.account_id is not None:
        return subscription.account_id, LinkedBy.APP.value
    return home_of(snapshot, catalog)


def _deadline(
    subscription: Subscription, snapshot: SubscriptionSnapshot, from_body: datetime | None
) -> datetime | None:
    """The provider's payment deadline; only bodies carry it, so what one said holds while it is past due."""
    if snapshot.status != SubscriptionStatus.PAST_DUE:
        return None
    return snapshot.past_due_ends_at or from_body or subscription.past_due_ends_at


def _raises(subscription: Subscription, snapshot: SubscriptionSnapshot, catalog: Catalog) -> bool:
    """Whether the snapshot gives at least everything that stands now, and something more, where it is."""
    if subscription.account_id not in (None, _home(subscription, snapshot, catalog)[0]):
        return False
    effect = catalog.effect(snapshot.status)
    try:
        offered = subscription_seats(catalog, snapshot)
    except Uncountable:
        return False
    standing = seats_from_json(subscription.seats or {})
    nothing_less = all(
        seat_type in offered and at_least(offered[seat_type].purchased, seats.purchased)
        for seat_type, seats in standing.items()
    )
    more_seats = any(
        seat_type not in standing or not at_least(standing[seat_type].purchased, seats.purchased)
        for seat_type, seats in offered.items()
    )
    was = effect_of(subscription, catalog)
    before, after = (_ACCESS.get(one, 0) if one else 0 for one in (was, effect))
    return nothing_less and after >= before and after > 0 and (more_seats or after > before)


def _settle_differences(
    session: Session,
    subscription: Subscription,
    lease: Lease,
    snapshot: SubscriptionSnapshot,
    *,
    ours: Collection[str],
) -> None:
    """What we knew otherwise until now is no longer so; what nobody had told us of is written down, but for
    the fields that we have changed ourselves.
    """
    known = subscription.snapshot
    moved = () if known is None else differences(kept_snapshot(known), snapshot)
    finding.settle_differences(
        session,
        subscription.id,
        [one for one in moved if one.field not in ours],
        look=lease,
        seen_before=subscription.verified_at,
    )


def _settle(session: Session, subscription: Subscription, lease: Lease, seen: Sequence[Finding]) -> None:
    """The look is over: what it covered is done, what it found is recorded, the next may come."""
    subscription.synced = max(subscription.synced, lease.mark)
    subscription.lease_until = None
    subscription.looked_at = lease.taken_at
    subscription.attempts = 0
    subscription.last_error = subscription.refused_since = None
    finding.settle(session, subscription.id, seen)
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
