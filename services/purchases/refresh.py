"""A fresh sync before a seat change, so that it is made of what the provider has now."""

from __future__ import annotations

from typing import Final

from sqlalchemy.orm import Session

from domain.errors import (
    KeyRefused,
    NoSubscription,
    TransientError,
)
from domain.snapshot import SubscriptionSnapshot
from models.seat_change import SeatChange
from models.subscription import Subscription, snapshot_from_json
from providers.base import Caller
from runtime.wiring import Runtime
from services.sync.on_demand import SyncResult, sync_subscription

PATIENCE: Final = 5.0
"""Seconds that a caller waits for a look."""


def sync_now(runtime: Runtime, subscription_id: str, *, caller: Caller = Caller.INTERACTIVE) -> SyncResult:
    """Sync the subscription and wait for it, for `PATIENCE` seconds at most."""
    return sync_subscription(runtime, subscription_id, patience=PATIENCE, caller=caller)


def sync_or_raise(runtime: Runtime, subscription_id: str) -> None:
    """What is changed is what the provider has now: a cart that is out of date would undo others' changes."""
    looked = sync_now(runtime, subscription_id)
    if looked.waiting:
        (waiting,) = looked.waiting
        kind = KeyRefused if looked.key_refused else TransientError
        raise kind(
            "The subscription could not be looked at, and nothing was sent: "
            f"{waiting.reason or 'the provider did not answer in time.'}",
            retry_after=waiting.due_in.total_seconds(),
        )


def snapshot_of(session: Session, subscription_id: str) -> SubscriptionSnapshot:
    kept = session.get_one(Subscription, subscription_id).snapshot
    if kept is None:
        raise NoSubscription("The provider does not know the subscription.")
    return snapshot_from_json(kept)


def is_still_of(session: Session, change: SeatChange) -> bool:
    """Whether the subscription still belongs to the account that asked for the change."""
    return session.get_one(Subscription, change.subscription_id).account_id == change.account_id
