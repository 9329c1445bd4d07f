"""One sync: lease the subscription, retrieve it with no transaction open, write the result if the fencing
token is still the row's.

It may be started by a wake-up, by a sweep, several times at once or not at all: the row says whether anything
is due, and only the newest lease may write.
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
from domain.provider_errors import (
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
from providers.base import Priority
from runtime.wiring import Runtime
from services.ledger import subscriptions, unverified_webhooks
from services.sync import payments
from services.sync.backoff import LONGEST_QUICK, backoff

log = logging.getLogger(__name__)

# Longer than the eight seconds that a retrieve can take in all (see `providers.http`), short enough that the
# work of a killed process is soon repeated.
LEASE: Final = timedelta(seconds=10)

# About eight hours of an unreachable provider. A new event, a reconcile or a replay revives the row.
MOST_ATTEMPTS: Final = 100

# A refused retrieve is retried after an hour, then after as long as the refusals have lasted: five attempts
# in eight hours.
REFUSAL_PAUSE: Final = timedelta(hours=1)
GIVEN_UP_AFTER: Final = timedelta(hours=8)

# Reads may lag behind webhooks. A retrieve that contradicts an event of the last minute is repeated once; a
# subscription that became known within `_NOT_YET` may not be readable yet.
_REPEAT_AFTER: Final = timedelta(seconds=10)
_NOT_YET: Final = timedelta(minutes=5)


class SyncOutcome(StrEnum):
    NOTHING_DUE = "nothing_due"
    """No sync was requested, another worker holds the lease, or the next attempt is not due yet."""
    SYNCED = "synced"
    SUPERSEDED = "superseded"
    """A newer lease exists, so nothing was written."""
    OUTDATED = "outdated"
    """A newer catalogue or release is in force, so this process may not sync."""
    NOT_AT_PROVIDER = "not_at_provider"
    POSTPONED = "postponed"
    """The retrieve failed and will be retried."""
    KEY_REFUSED = "key_refused"
    BUDGET_SPENT = "budget_spent"
    DEAD = "dead"


Answer = SubscriptionSnapshot | Exception | None
"""What a retrieve gave: the snapshot, or the error it raised; None if no attempt was left."""


def sync(runtime: Runtime, subscription_id: str, *, priority: Priority | None = None) -> SyncOutcome:
    """Sync the subscription, if a sync of it is due.

    `priority` selects the part of the request budget, see `retrieve`. Raises the database's error if the
    database is unavailable; any other failure counts as an attempt and is retried.
    """
    leases = lease_due(runtime, [subscription_id])
    if leases is None:
        return SyncOutcome.OUTDATED
    if not leases:
        return SyncOutcome.NOTHING_DUE
    (lease,) = leases
    return write(runtime, lease, retrieve(runtime, lease, priority=priority))


def lease_due(runtime: Runtime, subscription_ids: Sequence[str]) -> Sequence[Lease] | None:
    """Lease those of the subscriptions that are due. None if a newer catalogue or release is in force, so
    that this process may not sync.
    """
    with runtime.sessions.begin() as session:
        if generation.state_of(session, runtime.catalog).was_replaced:
            return None
        return sync_queue.lease(session, subscription_ids, LEASE)


def retrieve(runtime: Runtime, lease: Lease, *, priority: Priority | None = None) -> Answer:
    """Retrieve the leased subscription. Never raises, and may run in any thread.

    `priority` selects the part of the request budget; by default it is the reconcile part for routine
    requests and the webhook part for all others.
    """
    if lease.attempt > MOST_ATTEMPTS:
        return None
    priority = priority or (Priority.RECONCILE if lease.routine else Priority.WEBHOOK)
    try:
        return runtime.provider.retrieve(lease.subscription_id, priority=priority)
    except Exception as error:  # noqa: BLE001  `write` handles it, in the thread that may use the database
        return error


def write(runtime: Runtime, lease: Lease, answer: Answer) -> SyncOutcome:
    """Write what the retrieve gave, if the lease is still valid, and end the lease. Raises like `sync`."""
    try:
        outcome = _write_answer(runtime, lease, answer)
    except (OperationalError, InterfaceError, PoolTimeoutError):
        _release_uncounted(runtime, lease)
        raise
    except Exception as error:  # a bug must not stop the subscriptions after this one
        failed = {"subscription_id": lease.subscription_id, "error": type(error).__name__}
        # The text of a database error may hold personal data.
        log.exception("sync failed", extra=failed, exc_info=not isinstance(error, SQLAlchemyError))
        unexpected = TransientError(f"unexpected {type(error).__name__}, see the log")
        outcome = _postpone(runtime, lease, unexpected, delay=backoff(lease.attempt), use_webhooks=False)
    log.info(
        "subscription synced" if outcome is SyncOutcome.SYNCED else "subscription not synced",
        extra={
            "subscription_id": lease.subscription_id,
            "outcome": outcome.value,
            "fence": lease.fence,
            "events": len(lease.events),
            "attempt": lease.attempt,
        },
    )
    return outcome


def _write_answer(runtime: Runtime, lease: Lease, answer: Answer) -> SyncOutcome:
    match answer:
        case None:
            return _mark_dead(runtime, lease, f"gave up after {MOST_ATTEMPTS} attempts")
        case SubscriptionSnapshot():
            return _write_snapshot(runtime, lease, answer)
        case SubscriptionNotAtProvider():
            return _write_not_at_provider(runtime, lease, answer)
        case BudgetSpent():
            return _wait_for_budget(runtime, lease, answer)
        case TransientError():
            _record_missing_field(runtime, lease, answer)
            delay = max(backoff(lease.attempt), answer.retry_after or 0)
            outcome = _postpone(runtime, lease, answer, delay=delay)
            return SyncOutcome.KEY_REFUSED if isinstance(answer, KeyRefused) else outcome
        case PermanentError():
            return _postpone_refused(runtime, lease, answer)
        case unexpected:
            raise unexpected


# The provider has answered.


def _write_snapshot(runtime: Runtime, lease: Lease, snapshot: SubscriptionSnapshot) -> SyncOutcome:
    past_due_ends_at = _deadline_from_webhook(runtime, lease, snapshot)
    may_lag = _contradicts_young_event(runtime, lease, snapshot)
    with runtime.transaction() as session:
        written = subscriptions.apply(
            session,
            lease,
            snapshot,
            runtime.catalog,
            _cause(runtime, lease, "sync", "retrieved from the provider"),
            past_due_ends_at=past_due_ends_at,
        )
        if written is None:
            return SyncOutcome.SUPERSEDED
        payments.apply_payment_events(session, runtime.provider, lease)
        if may_lag:
            sync_queue.sync_again(session, lease.subscription_id, delay=_REPEAT_AFTER)
    if lease.attempt > 1:
        _end_backoff_of_others(runtime)
    return SyncOutcome.SYNCED


def _contradicts_young_event(runtime: Runtime, lease: Lease, snapshot: SubscriptionSnapshot) -> bool:
    in_webhook = _first_state(runtime, lease.young_bodies)
    return in_webhook is not None and contradicts(in_webhook, snapshot)


def _deadline_from_webhook(runtime: Runtime, lease: Lease, snapshot: SubscriptionSnapshot) -> datetime | None:
    """The payment deadline: webhooks of past due subscriptions carry it, retrieves do not."""
    if snapshot.status != SubscriptionStatus.PAST_DUE or not lease.events:
        return None
    in_webhook = _newest_webhook_state(runtime, lease)
    if in_webhook is None or in_webhook.status != SubscriptionStatus.PAST_DUE:
        return None
    return in_webhook.past_due_ends_at


def _end_backoff_of_others(runtime: Runtime) -> None:
    """A retry has succeeded, so the provider is reachable again. At most once a minute, because an unstable
    provider would otherwise use up the attempts of subscriptions that always fail.
    """
    with runtime.sessions.begin() as session:
        if scheduled_job.start_if_due(session, "hasten", timedelta(minutes=1)):
            sync_queue.retry_failed_now(session, longer_than=timedelta(seconds=LONGEST_QUICK))


def _write_not_at_provider(runtime: Runtime, lease: Lease, error: SubscriptionNotAtProvider) -> SyncOutcome:
    if _is_newly_announced(runtime, lease):
        not_yet = TransientError(f"{error.message} A webhook announced it just now, so the sync is retried.")
        return _postpone(runtime, lease, not_yet, delay=backoff(lease.attempt), use_webhooks=False)
    with runtime.transaction() as session:
        cause = _cause(runtime, lease, "sync", "not found at the provider")
        is_written = subscriptions.not_at_provider(
            session, lease, runtime.catalog, cause, term=runtime.settings.missing_term
        )
    return SyncOutcome.NOT_AT_PROVIDER if is_written else SyncOutcome.SUPERSEDED


def _is_newly_announced(runtime: Runtime, lease: Lease) -> bool:
    if not lease.events:
        return False
    with runtime.sessions() as session:
        return sync_queue.is_newly_announced(session, lease.subscription_id, within=_NOT_YET)


# There is no usable answer.


def _wait_for_budget(runtime: Runtime, lease: Lease, error: BudgetSpent) -> SyncOutcome:
    in_webhook = _newest_webhook_state(runtime, lease)
    with runtime.transaction() as session:
        _apply_unverified(session, runtime, lease, in_webhook)
        sync_queue.release_uncounted(session, lease, delay=timedelta(seconds=error.retry_after or 1.0))
    return SyncOutcome.BUDGET_SPENT


def _record_missing_field(runtime: Runtime, lease: Lease, error: TransientError) -> None:
    """Record a finding if the answer lacked a field that the count depends on."""
    if isinstance(error, AnswerIncomplete):
        missing = findings.field_missing(error.field, "with the last good count")
        with runtime.sessions.begin() as session:
            drift_finding.record(session, lease.subscription_id, [missing])


def _postpone(
    runtime: Runtime, lease: Lease, error: TransientError, *, delay: float, use_webhooks: bool = True
) -> SyncOutcome:
    """Retry after `delay` seconds. With `use_webhooks`, the newest webhook may raise seats until then."""
    in_webhook = _newest_webhook_state(runtime, lease) if use_webhooks else None
    with runtime.transaction() as session:
        _apply_unverified(session, runtime, lease, in_webhook)
        sync_queue.release(session, lease, delay=timedelta(seconds=delay), error=error.message)
    return SyncOutcome.POSTPONED


def _postpone_refused(runtime: Runtime, lease: Lease, error: PermanentError) -> SyncOutcome:
    """Retry a few times, hours apart: what the provider refuses may be a passing mistake of its own."""
    with runtime.sessions() as session:
        refused_for = sync_queue.refused_for(session, lease)
    if refused_for >= GIVEN_UP_AFTER:
        return _mark_dead(runtime, lease, error.message)
    in_webhook = _newest_webhook_state(runtime, lease)
    with runtime.transaction() as session:
        _apply_unverified(session, runtime, lease, in_webhook)
        is_ours = sync_queue.release_refused(
            session, lease, delay=max(REFUSAL_PAUSE, refused_for), error=error.message
        )
        if is_ours:
            drift_finding.hold_differences(session, lease.subscription_id, error.message)
    return SyncOutcome.POSTPONED


def _release_uncounted(runtime: Runtime, lease: Lease) -> None:
    """An unavailable database is no attempt at the subscription. If this fails too, the lease expires."""
    with suppress(SQLAlchemyError), runtime.sessions.begin() as session:
        sync_queue.release_uncounted(session, lease, delay=timedelta(seconds=1))


def _mark_dead(runtime: Runtime, lease: Lease, reason: str) -> SyncOutcome:
    with runtime.sessions.begin() as session:
        is_dead = sync_queue.mark_dead(session, lease, reason)
        if is_dead:
            drift_finding.hold_differences(session, lease.subscription_id, reason)
    if not is_dead:
        return SyncOutcome.SUPERSEDED
    log.error("subscription marked dead", extra={"subscription_id": lease.subscription_id, "reason": reason})
    return SyncOutcome.DEAD


# The state that webhooks claim: it may raise seats while the subscription cannot be retrieved, never lower
# them.


def _apply_unverified(
    session: Session, runtime: Runtime, lease: Lease, in_webhook: SubscriptionSnapshot | None
) -> None:
    if in_webhook is not None:
        cause = _cause(runtime, lease, "body", "provider unavailable; seats taken from its webhook")
        unverified_webhooks.apply_unverified(session, lease, in_webhook, runtime.catalog, cause)


def _newest_webhook_state(runtime: Runtime, lease: Lease) -> SubscriptionSnapshot | None:
    """The state in the newest pending webhook about the subscription; None if it cannot be read."""
    with runtime.sessions() as session:
        bodies = inbox.pending_bodies(session, lease.subscription_id)
    return _first_state(runtime, bodies)


def _first_state(runtime: Runtime, bodies: Sequence[bytes]) -> SubscriptionSnapshot | None:
    """The state in the first of these bodies that is not about a payment."""
    events = map(runtime.provider.read, bodies)
    return next((event.snapshot for event in events if event.snapshot or event.payment is None), None)


def _cause(runtime: Runtime, lease: Lease, source: str, reason: str) -> Cause:
    return Cause(
        actor=f"provider:{runtime.provider.name}",
        source=source,
        reason=reason,
        event_id=lease.event_id,
        fence=lease.fence,
    )
