"""Whatever is previewed, confirmed, paid, lost or done in the portal, in any order: it ends as was shown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import requests
from flask import Flask
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from domain.billing_terms import When
from domain.errors import SeatSyncError
from domain.provider_errors import OutcomeUnknown
from domain.purchase import choice
from domain.purchase.steps import PlanStatus
from models.assignment import Assignment, AssignmentState
from models.seat_change import SeatChange
from providers.dodo.provider import Dodo
from runtime.wiring import Runtime
from services.ledger import claims as seating
from services.ledger import sent_changes
from services.purchases import confirm as confirming
from services.purchases import settle as story
from services.purchases.cancel import cancel
from services.purchases.confirm import confirm
from services.purchases.preview import SeatRequest, preview
from services.purchases.settle import settle
from services.sync.on_demand import sync_subscription
from simulator.billing.catalog import Product
from simulator.control import actions
from simulator.control.actions import Options
from simulator.server import Simulator
from tests.clock import Clock, empty
from tests.conftest import API_KEY
from tests.factories import NOON, a_cause, parse_once
from tests.machines import assert_it_finds_a_failure, only, play
from tests.services.purchases.seat_changes_model import (
    INCLUDED,
    Change,
    Model,
    cheapest,
    price_of,
    rest_of,
    seats_of,
)
from tests.simulated import CATALOG, CHANGES, reset_simulator, sell, with_simulator
from tests.webhook_app.conftest import RecordedWakeUps, client_with
from webhook_app.app import create_app
from webhook_app.auth import ApiKeyAuth
from webhook_app.context import NAME, AppContext

pytestmark = pytest.mark.long(seconds=40)

LARGE = Product(
    product_id="pdt_large",
    name="Large",
    price=14900,
    addons=("adn_seat", "adn_pack_10", "adn_viewer", "adn_support"),
)
LARGE_SEATS = """
[products.pdt_large]
name = "Large"
included = { full = 8 }
addons.adn_seat = { full = 1 }
addons.adn_pack_10 = { full = 10 }
addons.adn_viewer = { viewer = 1 }
addons.adn_support = {}
maximum = { full = 500 }
"""
CART = {"adn_seat": 2, "adn_pack_10": 1, "adn_viewer": 2, "adn_support": 1}
PEOPLE = [f"member-{number:02}" for number in range(20)]
NUMBERS = st.integers(5, 24)
SOME = st.integers(1, 8)
PRODUCTS = st.sampled_from([None, None, None, *INCLUDED])
PAYMENTS = st.sampled_from(["succeeds", "waits", "succeeds", "fails", "succeeds"])
FAULTS = st.sampled_from([None, "api_cut_probability", "api_cut_before_probability", None, None, None])


class SeatChanges(RuleBasedStateMachine):
    """One account with one subscription at a provider that is spoken to over HTTP."""

    def __init__(self, runtime: Runtime, clock: Clock, simulator: Simulator, app: Flask) -> None:
        super().__init__()
        empty(clock.engine)
        clock.set(NOON)
        runtime.redis.flushdb()
        self.clock, self.simulator = clock, simulator
        self.world = reset_simulator(simulator.world)
        self.world.catalog.put_product(LARGE)
        self.service = replace(
            with_simulator(runtime, simulator.url), catalog=parse_once(CATALOG + LARGE_SEATS)
        )
        app.extensions[NAME] = AppContext(self.service, RecordedWakeUps(), ApiKeyAuth(self.service))
        self.app = client_with(app, API_KEY)
        sold = sell(self.world, self.service, CART)
        self.model = Model(self.world, sold, NOON)
        self.model.sync()
        self.rest = rest_of(CART)

    @initialize(count=st.integers(6, 17))
    def begin(self, count: int) -> None:
        self.claim(count)

    def passes(self, time: timedelta = timedelta(seconds=1)) -> None:
        """Some time; the provider's payments and renewals come when the rules say so."""
        self.clock.advance(time)
        self.model.now = self.clock.now

    # Those who buy.

    @rule(
        seats=NUMBERS,
        when=st.sampled_from([None, None, *When]),
        release=st.sampled_from([(), "suggested"]),
        product_id=PRODUCTS,
    )
    def preview(
        self, seats: int | None, when: When | None, release: Any, product_id: str | None = None
    ) -> None:
        """Without `seats`, those of another product are the present ones, or what it includes."""
        self.passes()
        before, model = self.model.cart, self.model
        named = {} if seats is None else {"full": seats}
        wish = SeatRequest(seats=named, when=when, release=release, product_id=product_id)
        model.sync()
        seats = max(model.known, INCLUDED[product_id or model.product_id]) if seats is None else seats
        refused = model.refuses_preview(seats, product_id, names_people=release == "suggested")
        told = outcome(lambda: preview(self.service, "acme", wish))
        if refused:
            assert told == refused
            return
        kept = told.change
        addons = {one["addon_id"]: one["quantity"] for one in kept.plan["cart"]["addons"]}
        cart = {kept.plan["cart"]["product_id"]: 1, **addons}
        price, after = cheapest(seats, product_id or model.product_id)
        is_other = after != seats_of(before)
        assert kept.seats == ({"full": {"before": seats_of(before), "after": after}} if is_other else {})
        assert (price_of(cart), seats_of(cart), rest_of(cart)) == (price, after, self.rest)
        assert (product_id or model.product_id) in cart
        leaving = max(0, len(model.people) - after) if release and after < seats_of(before) else 0
        assert len(set(kept.release) & model.people) == len(kept.release) == leaving
        model.changes.append(
            Change(
                change_id=kept.id,
                token=told.token,
                cart=cart,
                before=seats_of(before),
                after=after,
                release=kept.release,
                is_charged=kept.shown["charged_now"]["amount"] > 0,
                at_renewal=kept.plan["when"] == When.AT_RENEWAL,
                facts=model.facts,
                expires_at=kept.expires_at,
            )
        )

    @precondition(lambda self: any(one.state == "previewed" for one in self.model.changes))
    @rule(data=st.data(), payment=PAYMENTS, fault=FAULTS)
    def confirm(self, data: st.DataObject, payment: str, fault: str | None) -> None:
        """Most often the newest, and any other as well: too old, overtaken, or pressed again."""
        changes = self.model.changes
        self.press(data.draw(st.sampled_from([*changes, *changes[-1:] * len(changes)])), payment, fault)

    @rule(seats=SOME, payment=PAYMENTS, fault=FAULTS, is_awaited=st.booleans())
    def add(self, seats: int, payment: str, fault: str | None, is_awaited: bool) -> None:
        self.buy(self.model.known + seats, payment, fault)
        if is_awaited:
            self.settle()

    @rule(seats=SOME, fault=FAULTS)
    def give_back(self, seats: int, fault: str | None) -> None:
        self.buy(max(self.model.included, self.model.known - seats), "succeeds", fault)

    @rule(seats=NUMBERS, fault=FAULTS)
    def plan_for_the_renewal(self, seats: int, fault: str | None) -> None:
        self.buy(seats, "succeeds", fault, When.AT_RENEWAL)

    @rule(payment=PAYMENTS, fault=FAULTS, when=st.sampled_from(When), keeps_addons=st.booleans())
    def change_the_product(self, payment: str, fault: str | None, when: When, keeps_addons: bool) -> None:
        """To the other one, with as many seats, or with the add-ons that are there."""
        other = "pdt_team" if self.model.product_id == "pdt_large" else "pdt_large"
        seats = self.model.known + INCLUDED[other] - self.model.included if keeps_addons else None
        self.buy(seats, payment, fault, when, other)

    @rule(seats=SOME, extra=SOME)
    def add_too_late(self, seats: int, extra: int) -> None:
        """Somebody is quicker in the portal."""
        known = len(self.model.changes)
        self.preview(self.model.known + seats, None, ())
        self.change_in_the_portal(extra, 2, is_seen=False)
        if len(self.model.changes) > known:
            self.press(self.model.changes[-1], "succeeds", None)

    def buy(
        self,
        seats: int | None,
        payment: str,
        fault: str | None,
        when: When | None = None,
        product_id: str | None = None,
    ) -> None:
        """Shown and agreed to at once."""
        known = len(self.model.changes)
        self.preview(seats, when, "suggested", product_id)
        if len(self.model.changes) > known:
            self.press(self.model.changes[-1], payment, fault)

    def press(self, one: Change, payment: str, fault: str | None) -> None:
        self.passes()
        model = self.model
        refused = None if one in model.sent else model.refuses_to_send(one)
        self.world.board.turn({"plan_change_payment": payment, "api_fault_routes": [CHANGES]})
        self.world.board.turn({fault: 1.0} if fault else {})
        told = outcome(lambda: confirm(self.service, "acme", one.token))
        self.world.board.turn({fault: 0.0} if fault else {})
        if refused:
            assert told == refused
            return
        if one not in model.sent:
            model.sent.append(one)
            one.state = "submitted"
            model.sync()
            assert one.state == self.comes_of(one, payment, fault)
        assert told.state == one.state

    def comes_of(self, one: Change, payment: str, fault: str | None) -> str:
        """What the first sync after the write shows, whether or not its response was lost."""
        if fault == "api_cut_before_probability":
            return "submitted"
        if one.at_renewal:
            return "scheduled"
        return "submitted" if one.is_charged and payment != "succeeds" else "applied"

    @precondition(lambda self: self.model.changes)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        self.passes()
        one = data.draw(st.sampled_from(self.model.changes))
        if one.state == "scheduled":
            told = self.drop(one, lambda: cancel(self.service, "acme", one.change_id))
        else:
            told = outcome(lambda: cancel(self.service, "acme", one.change_id))
        if one.state in {"submitted", "applied", "failed"} and isinstance(told, str):
            assert told == "NotCancellable"
            return
        if one.state == "previewed":
            one.state = "expired"
        assert told.state == one.state

    def drop(self, one: Change, call: Callable[[], SeatChange]) -> Any:
        """Cancelled at the provider, if a sync just before still shows it there."""
        self.model.sync()
        is_there = one.state == "scheduled" and one.missed_at is None
        told = outcome(call)
        if is_there:
            assert self.model.planned is None
            one.state = "cancelled"
            self.model.sync()
        return told

    # Their people.

    @rule(count=st.integers(1, 5), leaves=st.sampled_from(PEOPLE))
    def people_come_and_go(self, count: int, leaves: str) -> None:
        self.passes()
        if leaves in self.model.people:
            with self.service.transaction() as session:
                seating.release(session, "acme", leaves, a_cause())
            self.model.people.remove(leaves)
        self.claim(count)

    def claim(self, count: int) -> None:
        """All in one transaction, until one of them is refused."""
        self.passes()
        with self.service.transaction() as session:
            for name in [name for name in PEOPLE if name not in self.model.people][:count]:
                told = outcome(lambda name=name: self.claims(session, name))
                if len(self.model.people) >= self.model.known:
                    assert told == "NoSeatAvailable"
                    return
                self.model.people.add(name)

    def claims(self, session: Session, name: str) -> None:
        wish = seating.ClaimRequest(member_id=name, role="member")
        seating.claim(session, "acme", wish, self.service.catalog, a_cause())

    # The provider.

    @rule(is_paid=st.booleans(), is_seen=st.booleans())
    def renew(self, is_paid: bool, is_seen: bool) -> None:
        kept = self.world.state.get(self.model.subscription_id)
        fails = not is_paid and kept.scheduled_change and kept.prevents_scheduled_change
        self.world.board.turn({"plan_change_payment": "fails" if fails else "succeeds"})
        self.happens(actions.renew(self.world, Options()))
        self.sync_if(is_seen)

    @precondition(lambda self: self.world.state.get(self.model.subscription_id).pending_change)
    @rule(payment=st.sampled_from(["succeeds", "fails"]), is_seen=st.booleans())
    def payment_ends(self, payment: str, is_seen: bool) -> None:
        self.happens(actions.settle_plan_change(self.world, Options(payment=payment)))
        self.sync_if(is_seen)

    @rule(extra=st.integers(1, 12), viewers=st.integers(1, 3), is_seen=st.booleans())
    def change_in_the_portal(self, extra: int, viewers: int, is_seen: bool) -> None:
        """The provider may refuse it while another change waits; then nothing happens."""
        self.world.board.turn({"plan_change_payment": "succeeds"})
        cart = {"adn_seat": extra, "adn_support": 1, "adn_viewer": viewers}
        addons = [{"addon_id": name, "quantity": count} for name, count in cart.items()]
        self.in_the_portal("change-plan", {"addons": addons, "effective_at": "immediately"})
        self.rest = rest_of(self.model.cart)
        self.sync_if(is_seen)

    @precondition(lambda self: self.model.planned is not None)
    @rule(is_seen=st.booleans())
    def take_back_in_the_portal(self, is_seen: bool) -> None:
        self.in_the_portal("cancel-scheduled-change", {})
        self.sync_if(is_seen)

    def in_the_portal(self, action: str, body: object) -> None:
        self.passes()
        path = f"/subscriptions/{self.model.subscription_id}/portal/{action}"
        requests.post(f"{self.simulator.control_url}{path}", json=body, timeout=5)

    def happens(self, rule: Any) -> None:
        self.passes()
        self.world.apply(self.model.subscription_id, rule, silently=True)

    # Our own syncs.

    def sync_if(self, is_seen: bool) -> None:
        if is_seen:
            self.sync()

    @rule()
    def sync(self) -> None:
        self.passes()
        sync_subscription(self.service, self.model.subscription_id, patience=5)
        self.model.sync()
        document = self.app.get("/v1/accounts/acme/seats").json["seats"]
        assert document["full"]["purchased"] == seats_of(self.model.cart)
        assert document["viewer"]["purchased"] == self.model.cart["adn_viewer"]

    @precondition(lambda self: any(one.is_open for one in self.model.sent))
    @rule()
    def settle(self) -> None:
        self.passes(timedelta(minutes=2))
        with self.service.sessions.begin() as session:
            session.execute(text("UPDATE seat_changes SET next_at = now()"))
        for one in [one for one in self.model.sent if one.is_open]:
            if one.state == "scheduled" and one.missed_at is None and self.model.is_outgrown(one):
                self.drop(one, lambda one=one: settle(self.service, one.change_id))
            else:
                settle(self.service, one.change_id)
                self.model.settle(one)

    @precondition(lambda self: any(one.state == "previewed" for one in self.model.changes))
    @rule()
    def previews_grow_old(self) -> None:
        self.passes(timedelta(minutes=16))

    # What always holds.

    @invariant()
    def every_change_stands_as_it_should(self) -> None:
        with self.service.sessions() as session:
            kept = {one.id: one.state for one in session.scalars(select(SeatChange))}
        assert kept == {one.change_id: one.state for one in self.model.changes}

    @invariant()
    def what_was_confirmed_was_sent_once_and_nothing_else(self) -> None:
        writes = self.world.requests.report(1000)["writes"]
        assert isinstance(writes, list)
        asked = [json.loads(one["body"])["metadata"] for one in writes if one["route"] == CHANGES]
        sent = Counter(metadata["seatsync_change_id"] for metadata in asked)
        assert sent == Counter(one.change_id for one in self.model.sent)

    @invariant()
    def nobody_leaves_but_by_a_change_that_was_applied_and_named_them(self) -> None:
        with self.service.sessions() as session:
            seated = select(Assignment.member_id).where(Assignment.state == AssignmentState.ACTIVE)
            assert set(session.scalars(seated)) == self.model.people

    @invariant()
    def the_rest_of_the_cart_stays(self) -> None:
        assert rest_of(self.model.cart) == self.rest


Begin = Callable[[type[SeatChanges]], SeatChanges]


class SlowPayments(SeatChanges):
    """Nothing is paid at once."""

    def press(self, one: Change, payment: str, fault: str | None) -> None:
        super().press(one, "waits", None)


def outcome(call: Callable[[], Any]) -> Any:
    """What is answered, or the name of the refusal."""
    try:
        return call()
    except SeatSyncError as error:
        return type(error).__name__


@pytest.fixture
def begin(clocked_runtime: Runtime, clock: Clock, simulator: Simulator) -> Begin:
    """All worlds share an app: to describe its routes anew would take longer than a step."""
    app = create_app(clocked_runtime, RecordedWakeUps())
    return lambda machine: machine(clocked_runtime, clock, simulator, app)


def test_no_order_of_events_breaks_what_was_shown(begin: Begin):
    play(lambda: begin(SeatChanges), examples=20, steps=12)


# Without any one of its safeguards the service breaks it, and the machine finds out.


def forgetting_other_addons(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = choice.with_seats

    def without_support(*asked: Any, **bounds: Any) -> Any:
        cart = chosen(*asked, **bounds)
        return replace(cart, addons=tuple(one for one in cart.addons if one.addon_id != "adn_support"))

    monkeypatch.setattr(choice, "with_seats", without_support)


def sending_again_what_was_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    change = Dodo.change

    def twice(self: Dodo, plan: Any, *, change_id: str) -> None:
        try:
            change(self, plan, change_id=change_id)
        except OutcomeUnknown:
            change(self, plan, change_id=change_id)

    monkeypatch.setattr(Dodo, "change", twice)


def without_a_sync_before_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirming, "sync_or_raise", lambda *_: None)


def taking_what_is_not_seen_for_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "_would_be_accepted_again", lambda *_: True)


def leaving_the_seats_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_carried_over", lambda *_, **__: {})


def comparing_only_the_addons(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change to another product with the same add-ons then looks applied before it is."""

    def status(plan: Any, snapshot: Any) -> PlanStatus:
        planned = snapshot.scheduled_change
        if snapshot.addons == plan.cart.addons:
            return PlanStatus.APPLIED
        return PlanStatus.SCHEDULED if planned and planned.addons == plan.cart.addons else PlanStatus.NONE

    monkeypatch.setattr(sent_changes, "status_of", status)


# The world and the rules that each safeguard is there for.
WHAT_EACH_IS_FOR = {
    forgetting_other_addons: (SeatChanges, "add", "give_back"),
    sending_again_what_was_not_answered: (SeatChanges, "add", "give_back"),
    without_a_sync_before_sending: (SeatChanges, "add", "add_too_late"),
    taking_what_is_not_seen_for_failed: (SlowPayments, "add", "settle"),
    leaving_the_seats_behind: (SeatChanges, "change_the_product"),
    comparing_only_the_addons: (SeatChanges, "change_the_product"),
}


@pytest.mark.parametrize("ablation", WHAT_EACH_IS_FOR)
def test_without_one_safeguard_it_breaks(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, ablation: Callable[[pytest.MonkeyPatch], None]
):
    ablation(monkeypatch)
    machine = only(*WHAT_EACH_IS_FOR[ablation])
    assert_it_finds_a_failure(lambda: begin(machine))
