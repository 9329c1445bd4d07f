"""Sync: lease the subscription, fetch it with no transaction open, write under the fence.

Run by a doorbell, by a sweep, twice at once or never: each start finds in the row whether there is
anything to do, and only the newest lease may write.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from domain import findings
from domain.drift import contradicts
from domain.errors import (
    AnswerIncomplete,
    BudgetSpent,
    KeyRefused,
    PermanentError,
    SubscriptionNotAtProvider,
    TransientError,
)
from domain.snapshot import SubscriptionSnapshot, SubscriptionStatus
from models import drift_finding, generation, inbox, scheduled_job, sync_queue
from models.audit import Cause
from models.sync_queue import Lease
from providers.base import Caller
from runtime.wiring import Runtime
from services.ledger import subscriptions, unverified_webhooks
from services.sync import payments
from services.sync.backoff import LONGEST_QUICK, backoff

log = logging.getLogger(__name__)

# Longer than a retrieve can take in all (eight seconds, see `providers.http`), short enough that the
# work of a killed process is taken up again soon.
LEASE: Final = timedelta(seconds=10)

# About eight hours of an unreachable provider; then a person should look. A new event, a reconcile
# or a replay brings the row back.
MOST_ATTEMPTS: Final = 100

# A refusal is tried again after an hour, then after as long as it has lasted: five attempts in eight hours.
REFUSAL_PAUSE: Final = timedelta(hours=1)
GIVEN_UP_AFTER: Final = timedelta(hours=8)

# Reads may lag behind webhooks. A retrieve that contradicts an event this young is repeated once, this long
# after it; a subscription announced this short a time ago may not be readable yet.
_YOUNG: Final = timedelta(minutes=1)
_ONCE_MORE_IN: Final = timedelta(seconds=10)
_NOT_YET: Final = timedelta(minutes=5)


class SyncOutcome(StrEnum):
    NOTHING_DUE = "nothing_due"
    SYNCED = "synced"
    OVERTAKEN = "overtaken"
    OUTDATED = "outdated"
    NOT_AT_PROVIDER = "not_at_provider"
    POSTPONED = "postponed"
    KEY_REFUSED = "key_refused"
    BUDGET_SPENT = "budget_spent"
    DEAD = "dead"


def sync(runtime: Runtime, subscription_id: str, *, caller: Caller | None = None) -> SyncOutcome:
    """Make our picture of one subscription equal the provider's, if anything asks for it.

    A process whose generation was replaced leaves it to those of the newer one.

    `caller` says out of whose part of the request budget; without it, the row does: out of a webhook's, or
    out of the timer's where nobody else asks.
    """
    with runtime.sessions.begin() as session:
        if generation.state_of(session, runtime.catalog).was_replaced:
            return SyncOutcome.OUTDATED
        lease = sync_queue.lease(session, subscription_id, LEASE)
    if lease is None:
        return SyncOutcome.NOTHING_DUE
    try:
        outcome = _look(runtime, lease, caller or (Caller.RECONCILE if lease.routine else Caller.WEBHOOK))
    except (OperationalError, InterfaceError, PoolTimeoutError):
        _give_back(runtime, lease)
        raise
    except Exception as error:  # a mistake of ours must not stop those behind it
        failed = {"subscription_id": subscription_id, "error": type(error).__name__}
        # The text of a database error may hold personal data.
        log.exception("sync failed", extra=failed, exc_info=not isinstance(error, SQLAlchemyError))
        unexpected = TransientError(f"unexpected {type(error).__name__}, see the log")
        outcome = _postpone(runtime, lease, unexpected, delay=backoff(lease.attempt), raise_meanwhile=False)
    log.info(
        "subscription looked at",
        extra={
            "subscription_id": subscription_id,
            "outcome": outcome.value,
            "fence": lease.fence,
            "events": len(lease.events),
            "attempt": lease.attempt,
        },
    )
    return outcome


def _give_back(runtime: Runtime, lease: Lease) -> None:
    """The database could not serve, which is no attempt at the subscription. If it still cannot, the lease
    ends by itself.
    """
    with suppress(SQLAlchemyError), runtime.sessions.begin() as session:
        sync_queue.release_unasked(session, lease, delay=timedelta(seconds=1))


def _look(runtime: Runtime, lease: Lease, caller: Caller) -> SyncOutcome:
    if lease.attempt > MOST_ATTEMPTS:
        return _bury(runtime, lease, f"gave up after {MOST_ATTEMPTS} attempts")
    try:
        snapshot = runtime.provider.retrieve(lease.subscription_id, caller=caller)
    except SubscriptionNotAtProvider as missing:
        return _not_at_provider(runtime, lease, missing)
    except BudgetSpent as spent:
        return _wait_for_budget(runtime, lease, spent)
    except TransientError as error:
        _record_missing(runtime, lease, error)
        outcome = _postpone(runtime, lease, error, delay=max(backoff(lease.attempt), error.retry_after or 0))
        return SyncOutcome.KEY_REFUSED if isinstance(error, KeyRefused) else outcome
    except PermanentError as error:
        return _refused(runtime, lease, error)
    return _write(runtime, lease, snapshot)


def _write(runtime: Runtime, lease: Lease, snapshot: SubscriptionSnapshot) -> SyncOutcome:
    ends_at = _deadline_in_body(runtime, lease, snapshot)
    with runtime.transaction() as session:
        is_contradicted = _is_contradicted(session, runtime, lease, snapshot)
        changed = subscriptions.apply(
            session,
            lease,
            snapshot,
            runtime.catalog,
            _cause(runtime, lease, "sync", "the provider was asked"),
            past_due_ends_at=ends_at,
        )
        if changed is not None:
            payments.take_note(session, runtime.provider, lease)
            if is_contradicted:
                sync_queue.sync_again(session, lease.subscription_id, delay=_ONCE_MORE_IN)
    if changed is not None and lease.attempt > 1:
        _hasten_the_others(runtime)
    return SyncOutcome.OVERTAKEN if changed is None else SyncOutcome.SYNCED


def _is_contradicted(
    session: Session, runtime: Runtime, lease: Lease, snapshot: SubscriptionSnapshot
) -> bool:
    """Whether the newest event behind the lease is young and says otherwise: then the retrieve may lag."""
    if not lease.events:
        return False
    said = _described(runtime, inbox.recent_bodies(session, lease.events, age=_YOUNG))
    return said is not None and contradicts(said, snapshot)


def _hasten_the_others(runtime: Runtime) -> None:
    """The provider is back; at most once a minute, lest one that flaps wear out one that always fails."""
    with runtime.sessions.begin() as session:
        if scheduled_job.claim_run(session, "hasten", timedelta(minutes=1)):
            sync_queue.retry_failed_now(session, longer_than=timedelta(seconds=LONGEST_QUICK))


def _not_at_provider(runtime: Runtime, lease: Lease, missing: SubscriptionNotAtProvider) -> SyncOutcome:
    if _may_come_yet(runtime, lease):
        not_yet = TransientError(f"{missing.message} It was announced moments ago, so it is asked for again.")
        return _postpone(runtime, lease, not_yet, delay=backoff(lease.attempt), raise_meanwhile=False)
    with runtime.transaction() as session:
        cause = _cause(runtime, lease, "sync", "the provider does not know it")
        written = subscriptions.not_at_provider(
            session, lease, runtime.catalog, cause, term=runtime.settings.missing_term
        )
    return SyncOutcome.NOT_AT_PROVIDER if written else SyncOutcome.OVERTAKEN


def _may_come_yet(runtime: Runtime, lease: Lease) -> bool:
    """Whether a webhook has announced the subscription so lately that reads may not show it yet."""
    if not lease.events:
        return False
    with runtime.sessions() as session:
        return sync_queue.is_newly_announced(session, lease.subscription_id, within=_NOT_YET)


def _refused(runtime: Runtime, lease: Lease, error: PermanentError) -> SyncOutcome:
    """Try again hours later, a few times: what the provider refuses may be its own passing mistake."""
    with runtime.sessions() as session:
        refused_for = sync_queue.refused_for(session, lease)
    if refused_for >= GIVEN_UP_AFTER:
        return _bury(runtime, lease, error.message)
    claimed = _newest_claim(runtime, lease)
    with runtime.transaction() as session:
        _raise_by(session, runtime, lease, claimed)
        is_ours = sync_queue.release_refused(
            session, lease, delay=max(REFUSAL_PAUSE, refused_for), error=error.message
        )
        if is_ours:
            drift_finding.hold_differences(session, lease.subscription_id, error.message)
    return SyncOutcome.POSTPONED


def _postpone(
    runtime: Runtime,
    lease: Lease,
    error: TransientError,
    *,
    delay: float,
    raise_meanwhile: bool = True,
) -> SyncOutcome:
    """Try again later; meanwhile let what an authentic body says raise seats, never lower them."""
    claimed = _newest_claim(runtime, lease) if raise_meanwhile else None
    with runtime.transaction() as session:
        _raise_by(session, runtime, lease, claimed)
        sync_queue.release(session, lease, delay=timedelta(seconds=delay), error=error.message)
    return SyncOutcome.POSTPONED


def _record_missing(runtime: Runtime, lease: Lease, error: TransientError) -> None:
    """If the answer lacked a field that decides, a person should see that."""
    if isinstance(error, AnswerIncomplete):
        missing = findings.field_missing(error.field, "with the last good count")
        with runtime.sessions.begin() as session:
            drift_finding.record(session, lease.subscription_id, [missing])


def _wait_for_budget(runtime: Runtime, lease: Lease, spent: BudgetSpent) -> SyncOutcome:
    claimed = _newest_claim(runtime, lease)
    with runtime.transaction() as session:
        _raise_by(session, runtime, lease, claimed)
        sync_queue.release_unasked(session, lease, delay=timedelta(seconds=spent.retry_after or 1.0))
    return SyncOutcome.BUDGET_SPENT


def _raise_by(session: Session, runtime: Runtime, lease: Lease, claimed: SubscriptionSnapshot | None) -> None:
    if claimed is not None:
        cause = _cause(runtime, lease, "body", "the provider could not be asked; its webhook raises")
        unverified_webhooks.apply_unverified(session, lease, claimed, runtime.catalog, cause)


def _bury(runtime: Runtime, lease: Lease, reason: str) -> SyncOutcome:
    with runtime.sessions.begin() as session:
        buried = sync_queue.mark_dead(session, lease, reason)
        if buried:
            drift_finding.hold_differences(session, lease.subscription_id, reason)
    if not buried:
        return SyncOutcome.OVERTAKEN
    log.error(
        "subscription became a dead letter",
        extra={"subscription_id": lease.subscription_id, "reason": reason},
    )
    return SyncOutcome.DEAD


def _newest_claim(runtime: Runtime, lease: Lease) -> SubscriptionSnapshot | None:
    """What the newest waiting webhook that describes the subscription says of it."""
    with runtime.sessions() as session:
        bodies = inbox.pending_bodies(session, lease.subscription_id)
    return _described(runtime, bodies)


def _described(runtime: Runtime, bodies: Sequence[bytes]) -> SubscriptionSnapshot | None:
    """The state in the first of these bodies that is about the subscription and not about a payment of it."""
    events = map(runtime.provider.read, bodies)
    return next((event.snapshot for event in events if event.snapshot or event.payment is None), None)


def _deadline_in_body(runtime: Runtime, lease: Lease, snapshot: SubscriptionSnapshot) -> datetime | None:
    """A retrieve does not carry the payment deadline, the webhooks of that status do."""
    if snapshot.status != SubscriptionStatus.PAST_DUE or not lease.events:
        return None
    claimed = _newest_claim(runtime, lease)
    if claimed is None or claimed.status != SubscriptionStatus.PAST_DUE:
        return None
    return claimed.past_due_ends_at


def _cause(runtime: Runtime, lease: Lease, source: str, reason: str) -> Cause:
    return Cause(
        actor=f"provider:{runtime.provider.name}",
        source=source,
        reason=reason,
        event_id=lease.event_id,
        fence=lease.fence,
    )
