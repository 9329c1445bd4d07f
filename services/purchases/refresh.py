"""Sync a subscription before a seat change. A plan change replaces the whole cart, so a stale cart would undo
changes that others have made.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.orm import Session

from domain.errors import NoSubscription
from domain.provider_errors import KeyRefused, TransientError
from domain.snapshot import SubscriptionSnapshot
from models.seat_change import SeatChange
from models.subscription import Subscription, snapshot_from_json
from providers.base import Priority
from runtime.wiring import Runtime
from services.sync.on_demand import SyncResult, sync_subscription

SYNC_TIMEOUT: Final = 5.0
"""The longest that a caller waits for the sync, in seconds."""


def sync_now(
    runtime: Runtime, subscription_id: str, *, priority: Priority = Priority.INTERACTIVE
) -> SyncResult:
    """Sync the subscription; wait for at most `SYNC_TIMEOUT` seconds."""
    return sync_subscription(runtime, subscription_id, patience=SYNC_TIMEOUT, priority=priority)


def sync_or_raise(runtime: Runtime, subscription_id: str) -> None:
    """Sync the subscription. Raises `KeyRefused` if the provider rejects our API key, `TransientError` if the
    sync could not be completed in time.
    """
    result = sync_now(runtime, subscription_id)
    if result.waiting:
        (pending,) = result.waiting
        kind = KeyRefused if result.key_refused else TransientError
        raise kind(
            "The subscription could not be synced, and nothing was sent: "
            f"{pending.reason or 'the provider did not answer in time.'}",
            retry_after=pending.due_in.total_seconds(),
        )


def snapshot_of(session: Session, subscription_id: str) -> SubscriptionSnapshot:
    """The stored snapshot; raises `NoSubscription` if there is none."""
    snapshot = session.get_one(Subscription, subscription_id).snapshot
    if snapshot is None:
        raise NoSubscription("The provider does not know the subscription.")
    return snapshot_from_json(snapshot)


def is_still_of(session: Session, change: SeatChange) -> bool:
    """True if the subscription still belongs to the account that requested the change."""
    return session.get_one(Subscription, change.subscription_id).account_id == change.account_id
