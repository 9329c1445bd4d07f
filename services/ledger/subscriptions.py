"""Write the result of a sync: the subscription's row, its drift findings, and the accounts it belongs to.

Each function is one change in the caller's transaction: it locks the accounts first, records, and saves
once. Figures are absolute, so repeating a change has no further effect.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from domain import findings
from domain.absence import completed, settled_kinds
from domain.catalog.model import Catalog
from domain.drift import Difference, differences
from domain.findings import Finding, FindingKind
from domain.notices import Notice, NoticeType
from domain.snapshot import SubscriptionSnapshot
from models import drift_finding, inbox
from models.audit import Cause
from models.subscription import save
from models.sync_queue import Lease
from services.ledger import sent_changes
from services.ledger.adopt_snapshot import adopt_snapshot
from services.ledger.locked_subscription import (
    OpenedSubscription,
    evaluate_and_save,
    facts_known,
    open_leased,
    open_with_accounts,
)

NOT_AT_PROVIDER = {FindingKind.NOT_AT_PROVIDER}


def apply(
    session: Session,
    lease: Lease,
    snapshot: SubscriptionSnapshot,
    catalog: Catalog,
    cause: Cause,
    *,
    past_due_ends_at: datetime | None = None,
) -> bool | None:
    """Write a retrieved snapshot. Returns whether anything changed; None if nothing was written because
    another worker took over the lease, or a newer generation took over.

    `past_due_ends_at` is the provider's payment deadline from a webhook body; retrieves do not carry it.
    """
    found = open_leased(session, lease, snapshot, catalog)
    if found is None:
        return None
    opened, decision = found
    subscription = opened.subscription
    before, known = facts_known(subscription), subscription.verified
    complete = completed(snapshot, known, catalog.account_key)
    own = sent_changes.OwnChanges()
    if opened.has_sent_changes:
        own = sent_changes.apply_shown(session, opened.accounts, complete, cause)
    changed = () if known is None else differences(known, complete)
    _close_differences(session, opened, lease, changed, own_fields=own.fields)
    new_findings = adopt_snapshot(
        subscription, snapshot, decision, catalog, lease.taken_at, past_due_ends_at=past_due_ends_at
    )
    kinds = settled_kinds(snapshot, catalog.account_key)
    _finish_sync(session, opened, lease, (*new_findings, *own.findings), kinds=kinds)
    return evaluate_and_save(opened, catalog, own.cause or cause, before=before)


def not_at_provider(
    session: Session,
    lease: Lease,
    catalog: Catalog,
    cause: Cause,
    *,
    term: timedelta,
) -> bool:
    """Write that the provider does not know the subscription, as a drift finding. Returns False, and writes
    nothing, if another worker took over the lease or a newer generation took over.

    A subscription that was retrieved before keeps its last verified figures for `term`, which a notice
    announces; a 404 after that ends it. The provider never deletes subscriptions, so the likelier cause is an
    API key of another mode or business, which must not empty every account at once.
    """
    opened = open_with_accounts(session, lease, catalog)
    if opened is None:
        return False
    subscription = opened.subscription
    before = facts_known(subscription)
    subscription.drop_unverified()
    found = _note_missing(opened, lease.taken_at, term)
    kinds = NOT_AT_PROVIDER if subscription.gone_at is None else findings.SYNCED
    _finish_sync(session, opened, lease, (found,), kinds=kinds, error=found.message)
    evaluate_and_save(opened, catalog, cause, before=before)
    return True


def _note_missing(opened: OpenedSubscription, seen_at: datetime, term: timedelta) -> Finding:
    """Record a 404: the first one starts the term and adds a notice, one after the term ends the
    subscription. Returns the finding.
    """
    subscription = opened.subscription
    if subscription.snapshot is None:
        return findings.not_at_provider(subscription.id, was_there=False)
    since = subscription.missing_since or seen_at
    ends_at = since + term
    if subscription.missing_since is None:
        facts = {"subscription_id": subscription.id, "ends_at": ends_at.isoformat()}
        for account in opened.accounts:
            account.add_notice(Notice(NoticeType.SUBSCRIPTION_MISSING, facts))
    subscription.missing_since = since
    if seen_at >= ends_at and subscription.gone_at is None:
        subscription.gone_at = seen_at
    return findings.not_at_provider(subscription.id, was_there=True, ends_at=ends_at, now=seen_at)


def _close_differences(
    session: Session,
    opened: OpenedSubscription,
    lease: Lease,
    changed: Sequence[Difference],
    *,
    own_fields: Collection[str],
) -> None:
    """Close the findings about differences that this sync ends. Record the changes that no webhook and no
    list page announced, except in fields that this service changed itself.
    """
    drift_finding.close_differences(
        session,
        opened.subscription.id,
        [one for one in changed if one.field not in own_fields],
        lease=lease,
        last_synced_at=opened.subscription.verified_at,
        has_known=opened.has_findings,
    )


def _finish_sync(
    session: Session,
    opened: OpenedSubscription,
    lease: Lease,
    new_findings: Sequence[Finding],
    *,
    kinds: Collection[FindingKind],
    error: str | None = None,
) -> None:
    """Release the lease, save the subscription, mark the hints and events that the sync covers as done, and
    record its findings. Open findings of `kinds` that are not among the new ones are closed.
    """
    subscription = opened.subscription
    subscription.synced = max(subscription.synced, lease.covers_hint)
    subscription.lease_until = None
    subscription.looked_at = lease.taken_at
    subscription.attempts = 0
    subscription.last_error, subscription.refused_since = error, None
    if opened.has_findings:
        drift_finding.update_findings(session, subscription.id, new_findings, kinds=kinds)
    else:
        drift_finding.record(session, subscription.id, new_findings)
    save(session, subscription)
    inbox.mark_done(session, lease.events)
