"""The ledger: the only place that changes seats.

Each function is one change inside the caller's transaction: it locks the account (the one lock, always
first), decides, records, and saves once. A refusal saves only what was recorded before it. Figures are
absolute; a change made twice is made once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from domain import findings
from domain.absence import completed, settled_kinds
from domain.catalog.model import Catalog
from domain.drift import Difference, differences
from domain.findings import Finding, FindingKind
from domain.notices import Notice, NoticeType
from domain.snapshot import SubscriptionSnapshot
from models import drift_finding
from models.audit import Cause
from models.inbox import InboxEvent, InboxState
from models.sync_queue import Lease
from services.ledger import sent_changes
from services.ledger.adopt_snapshot import adopt_snapshot
from services.ledger.opened import (
    OpenedSubscription,
    evaluate_and_save,
    facts_known,
    open_at_home,
    open_leased,
)

_NEVER_THERE = {FindingKind.NOT_AT_PROVIDER}


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
    found = open_leased(session, lease, snapshot, catalog)
    if found is None:
        return None
    opened, decision = found
    subscription = opened.subscription
    before, known = facts_known(subscription), subscription.verified
    whole = completed(snapshot, known, catalog.account_key)
    ours = sent_changes.OwnChanges()
    if opened.has_sent_changes:
        ours = sent_changes.apply_shown(session, opened.accounts, whole, cause)
    moved = () if known is None else differences(known, whole)
    _settle_differences(session, opened, lease, moved, ours=ours.fields)
    seen = adopt_snapshot(
        subscription, snapshot, decision, catalog, lease.taken_at, past_due_ends_at=past_due_ends_at
    )
    kinds = settled_kinds(snapshot, catalog.account_key)
    _settle(session, opened, lease, (*seen, *ours.findings), kinds=kinds)
    return evaluate_and_save(opened, catalog, ours.cause or cause, before=before)


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
    opened = open_at_home(session, lease, catalog)
    if opened is None:
        return False
    subscription = opened.subscription
    before = facts_known(subscription)
    subscription.drop_unverified()
    found = _miss(opened, lease.taken_at, term)
    kinds = _NEVER_THERE if subscription.gone_at is None else findings.SYNCED
    _settle(session, opened, lease, (found,), kinds=kinds)
    subscription.last_error = found.message
    session.flush()
    evaluate_and_save(opened, catalog, cause, before=before)
    return True


def _miss(opened: OpenedSubscription, seen_at: datetime, term: timedelta) -> Finding:
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


def _settle_differences(
    session: Session,
    opened: OpenedSubscription,
    lease: Lease,
    moved: Sequence[Difference],
    *,
    ours: Collection[str],
) -> None:
    """Close the findings about what differed until now, and record the differences that no webhook and no
    list page announced, except in the fields that we changed ourselves.
    """
    drift_finding.close_differences(
        session,
        opened.subscription.id,
        [one for one in moved if one.field not in ours],
        look=lease,
        seen_before=opened.subscription.verified_at,
        has_known=opened.has_findings,
    )


def _settle(
    session: Session,
    opened: OpenedSubscription,
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
        drift_finding.update_findings(session, subscription.id, seen, kinds=kinds)
    else:
        drift_finding.record(session, subscription.id, seen)
    session.execute(
        update(InboxEvent)
        .where(InboxEvent.id.in_(lease.events), InboxEvent.state.in_((InboxState.PENDING, InboxState.DEAD)))
        .values(state=InboxState.DONE, reason=None)
    )
    session.flush()
