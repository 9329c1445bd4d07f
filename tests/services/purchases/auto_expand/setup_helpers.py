"""Helpers for tests of pending claims: what happens to them, and what can be seen of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import select, text

from domain.catalog.reader import parse
from models import assignment
from models.account import Account
from models.assignment import Assignment
from models.notice import StoredNotice
from models.purchase_queue import QueuedPurchase
from runtime.wiring import Runtime
from services.ledger import pending_claims
from services.ledger.claims import ClaimRequest
from services.purchases import auto_expand
from services.purchases import settle as seat_change
from simulator.billing.subscription import AddonUnits
from simulator.control import actions
from simulator.control.actions import Options
from simulator.world import World
from tests.factories import a_cause
from tests.simulated import CATALOG, CHANGES

CART = {"adn_viewer": 2, "adn_support": 1}
OF_FIVE = [f"member-{number}" for number in range(5)]


BUYING = {'policy = "strict"': 'policy = "auto_expand"'}


def with_catalog(service: Runtime, changes: Mapping[str, str]) -> Runtime:
    """The service with a catalogue that buys seats automatically, ten a day, and with these text changes."""
    catalog_text = CATALOG
    for before, after in {**BUYING, **changes}.items():
        assert before in catalog_text
        catalog_text = catalog_text.replace(before, after)
    return replace(service, catalog=parse(catalog_text, "test catalogue"))


def claim(service: Runtime, *member_ids: str, **wish: Any) -> None:
    for member_id in member_ids:
        with service.transaction() as session:
            wanted = ClaimRequest(member_id=member_id, **{"role": "member", **wish})
            pending_claims.claim(session, "acme", wanted, service.catalog, a_cause())


def seat_of(service: Runtime, member_id: str) -> int:
    with service.sessions() as session:
        found = assignment.newest_id(session, "acme", member_id)
    assert found is not None
    return found


def come_again(service: Runtime) -> None:
    """The buyer's next visit, without the wait for it."""
    with service.sessions.begin() as session:
        session.execute(text("UPDATE expansions SET next_at = now(), lease_until = NULL"))
    auto_expand.expand_due(service, until=time.monotonic() + 60)


def people(service: Runtime) -> Mapping[str, str]:
    """Who came beside the first five, and how they stand; who waits for a purchase is `waiting`."""
    with service.sessions() as session:
        found = session.scalars(select(Assignment).where(Assignment.member_id.not_in(OF_FIVE)))
        return {one.member_id: "waiting" if one.awaits else one.state for one in found}


def balance(service: Runtime) -> Mapping[str, Any]:
    with service.sessions() as session:
        kept: Mapping[str, Any] = session.get_one(Account, "acme").seats["full"]
    return kept


def status(service: Runtime) -> str:
    with service.sessions() as session:
        return session.get_one(Account, "acme").status


def notices(service: Runtime) -> Sequence[tuple[str, str | None]]:
    """What the app was told, and of whom; changed counts are another story."""
    with service.sessions() as session:
        told = session.scalars(select(StoredNotice).order_by(StoredNotice.id)).all()
    return [(one.type, one.data.get("member_id")) for one in told if one.type != "seat.count_changed"]


def reason(service: Runtime, member_id: str) -> str:
    with service.sessions() as session:
        said = session.scalars(select(StoredNotice).where(StoredNotice.type == "seat.claim_refused"))
        return next(one.data["reason"] for one in said if one.data["member_id"] == member_id)


def sent(world: World) -> int:
    """Purchases that have reached the provider, whatever it made of them."""
    routes = world.requests.report(0)["routes"]
    assert isinstance(routes, dict)
    return int(routes.get(CHANGES, 0))


def is_anybody_waited_for(service: Runtime) -> bool:
    with service.sessions() as session:
        return session.scalar(select(QueuedPurchase.account_id)) is not None


def customer_buys(world: World, subscription_id: str, **addons: int) -> None:
    """In the provider's portal, and its webhook is late."""
    cart = [AddonUnits(name, count) for name, count in {**CART, **addons}.items()]
    world.apply(subscription_id, actions.set_cart(world, Options(addons=cart)), silently=True)


def settles(world: World, subscription_id: str, payment: str) -> None:
    """The charge that waited comes to an end."""
    world.apply(subscription_id, actions.settle_plan_change(world, Options(payment=payment)), silently=True)


def long_ago(service: Runtime, interval: str = "1 minute") -> None:
    """All of this was so long ago: a write has arrived by now, had it been going to."""
    ago = f"interval '{interval}'"
    with service.sessions.begin() as session:
        session.execute(text(f"UPDATE seat_changes SET sent_at = sent_at - {ago}, next_at = now()"))
        session.execute(text(f"UPDATE assignments SET claimed_at = claimed_at - {ago}"))


def settle(service: Runtime) -> None:
    seat_change.settle_due(service, until=time.monotonic() + 60)
