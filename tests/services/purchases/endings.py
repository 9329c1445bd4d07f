"""Helpers for tests of cancellations: ask for them, let time pass, and see what became of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, text

from domain.billing_terms import When
from models.account import Account
from models.cancellation import Cancellation
from models.notice import StoredNotice
from runtime.wiring import Runtime
from services.purchases import ending
from services.purchases.ending import CancellationRequest
from services.sync.on_demand import sync_subscription
from simulator.world import World

UPDATES = "PATCH /subscriptions/<subscription_id>"


def previewed(service: Runtime, when: When = When.AT_RENEWAL, subscription_id: str | None = None) -> Any:
    return ending.preview(service, "acme", CancellationRequest(when=when, subscription_id=subscription_id))


def cancelled(
    service: Runtime, when: When = When.AT_RENEWAL, subscription_id: str | None = None
) -> Cancellation:
    return ending.confirm(service, "acme", previewed(service, when, subscription_id).token, actor="key:test")


def undone(service: Runtime, row: Cancellation) -> Cancellation:
    return ending.undo(service, "acme", row.id, actor="key:test")


def the(service: Runtime, row: Cancellation) -> Cancellation:
    with service.sessions() as session:
        return session.get_one(Cancellation, row.id)


def all_of(service: Runtime) -> list[Cancellation]:
    """All that were sent or found, oldest first."""
    with service.sessions() as session:
        found = session.scalars(select(Cancellation).order_by(Cancellation.created_at, Cancellation.id))
        return [one for one in found if one.state not in {"previewed", "expired"}]


def sent_long_ago(service: Runtime, minutes: int = 2) -> None:
    """Whatever was sent was sent that much earlier, and is due to be checked."""
    with service.sessions.begin() as session:
        session.execute(
            text(
                "UPDATE cancellations SET sent_at = sent_at - make_interval(mins => :minutes), "
                "undo_sent_at = undo_sent_at - make_interval(mins => :minutes), next_at = now()"
            ),
            {"minutes": minutes},
        )


def synced(service: Runtime, subscription_id: str) -> None:
    sync_subscription(service, subscription_id, patience=5)


def account(service: Runtime) -> Account:
    with service.sessions() as session:
        return session.get_one(Account, "acme")


def purchased(service: Runtime, seat_type: str = "full") -> int:
    kept = account(service).seats[seat_type]
    return int(kept["included"] + kept["addon"] + kept["contract"])


def notices(service: Runtime) -> list[tuple[str, dict[str, Any]]]:
    """The notices about cancellations, oldest first: what happened, and the data."""
    of_endings = select(StoredNotice).where(StoredNotice.type.startswith("cancellation."))
    with service.sessions() as session:
        found = session.scalars(of_endings.order_by(StoredNotice.id))
        return [(one.type.removeprefix("cancellation."), one.data) for one in found]


def kinds(service: Runtime) -> list[str]:
    return [kind for kind, _ in notices(service)]


def writes(world: World) -> list[dict[str, Any]]:
    """The requests that were sent about cancellations, oldest first."""
    sent = world.requests.report(1000)["writes"]
    assert isinstance(sent, list)
    return [one for one in sent if one["route"] == UPDATES]
