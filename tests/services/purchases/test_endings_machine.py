"""Whatever is previewed, confirmed, undone, lost or done in the portal, in any order: it ends as shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import select

from domain.billing_terms import When
from domain.errors import SeatSyncError
from domain.provider_errors import OutcomeUnknown
from models.account import Account
from models.cancellation import Cancellation
from providers.dodo.provider import Dodo
from runtime.wiring import Runtime
from services.ledger import cancellations
from services.purchases import ending, settle_ending
from services.purchases.ending import CancellationRequest
from services.sync.on_demand import sync_subscription
from simulator.billing.lifecycle import Rule
from simulator.control import actions
from simulator.control.actions import Options
from simulator.server import Simulator
from tests.clock import Clock, empty
from tests.factories import NOON
from tests.machines import assert_it_finds_a_failure, only, play
from tests.services.purchases.endings import UPDATES, kinds, writes
from tests.services.purchases.endings_model import Model, Row
from tests.services.purchases.seat_changes_model import seats_of
from tests.simulated import reset_simulator, sell, with_simulator

pytestmark = pytest.mark.long(seconds=60)

CART = {"adn_seat": 2, "adn_pack_10": 1, "adn_viewer": 2, "adn_support": 1}
WHENS = st.sampled_from(["at_renewal", "at_renewal", "now"])
FAULTS = st.sampled_from([None, "api_cut_probability", "api_cut_before_probability", None])
SENT = {"at_renewal": True, "now": "cancelled", "undo": False}


class Endings(RuleBasedStateMachine):
    """One account with one running subscription at a provider that is spoken to over HTTP."""

    def __init__(self, runtime: Runtime, clock: Clock, simulator: Simulator) -> None:
        super().__init__()
        empty(clock.engine)
        clock.set(NOON)
        runtime.redis.flushdb()
        self.clock = clock
        self.world = reset_simulator(simulator.world)
        self.service = with_simulator(runtime, simulator.url)
        self.model = Model(self.world, sell(self.world, self.service, CART), NOON)
        self.model.sync()

    def passes(self, time: timedelta = timedelta(seconds=1)) -> None:
        self.clock.advance(time)
        self.model.now = self.clock.now

    # Those who cancel.

    @rule(when=WHENS)
    def preview(self, when: str) -> None:
        self.ask(when)

    def ask(self, when: str) -> Row | None:
        self.passes()
        refused = self.model.refuses_preview(when)
        told = outcome(lambda: ending.preview(self.service, "acme", CancellationRequest(when=When(when))))
        if refused:
            assert told == refused
            return None
        row = told.cancellation
        full = row.shown["seats"]["full"]
        assert (full["before"], full["after"]) == (seats_of({"pdt_team": 1, **self.model.cart}), 0)
        shown = Row(
            subscription_id=row.subscription_id,
            when=when,
            state="previewed",
            id=row.id,
            token=told.token,
            facts=self.model.facts,
            expires_at=row.expires_at,
        )
        self.model.rows.append(shown)
        return shown

    @rule(when=WHENS, fault=FAULTS)
    def cancel(self, when: str, fault: str | None) -> None:
        """Shown and agreed to at once."""
        shown = self.ask(when)
        if shown is not None:
            self.press(shown, fault)

    @precondition(lambda self: any(row.token for row in self.model.rows))
    @rule(data=st.data(), fault=FAULTS)
    def confirm(self, data: st.DataObject, fault: str | None) -> None:
        """Any of them: too old, overtaken, or pressed again."""
        self.press(data.draw(st.sampled_from([row for row in self.model.rows if row.token])), fault)

    @rule(when=WHENS)
    def cancel_too_late(self, when: str) -> None:
        """Somebody is quicker in the portal."""
        shown = self.ask(when)
        self.happens(actions.ACTIONS["undo-cancel" if self.model.is_leaving else "cancel-at-period-end"])
        if shown is not None:
            self.press(shown, None)

    def press(self, row: Row, fault: str | None) -> None:
        self.passes()
        refused = None
        if row.sent_at is None:
            refused = self.model.refuses_to_send(row)
        told = self.with_fault(fault, lambda: ending.confirm(self.service, "acme", str(row.token)))
        if refused:
            assert told == refused
            return
        if row.sent_at is None:
            row.state, row.sent_at = "submitted", self.model.now
            self.model.sent.append(row.when)
            self.model.settle(row)
        assert told.state == row.state

    @precondition(lambda self: self.model.rows)
    @rule(data=st.data(), fault=FAULTS)
    def undo(self, data: st.DataObject, fault: str | None) -> None:
        self.take_back(data.draw(st.sampled_from(self.model.rows)), fault)

    @precondition(lambda self: any(row.state == "scheduled" for row in self.model.rows))
    @rule(fault=FAULTS)
    def undo_what_is_scheduled(self, fault: str | None) -> None:
        self.take_back(next(row for row in self.model.rows if row.state == "scheduled"), fault)

    def take_back(self, row: Row, fault: str | None) -> None:
        self.passes()
        refused, is_sent = self.refuses_undo(row)
        told = self.with_fault(fault, lambda: ending.undo(self.service, "acme", str(row.id)))
        if refused:
            assert told == refused
            return
        if is_sent:
            row.undo_sent_at = self.model.now
            self.model.sent.append("undo")
            self.model.settle(row)
        assert told.state == row.state

    def refuses_undo(self, row: Row) -> tuple[str | None, bool]:
        """Why it cannot be undone, or else whether an undo is sent now."""
        if row.state in {"previewed", "expired"}:
            row.state = "expired"
            return None, False
        if row.state == "submitted":
            return "ChangeInFlight", False
        if row.state == "scheduled" and row.undo_sent_at is not None:
            self.model.settle(row)
            return (None if row.state in {"scheduled", "undone"} else "NotUndoable"), False
        if row.state == "scheduled":
            self.model.sync()
        if row.state == "undone":
            return None, False
        if row.state != "scheduled":
            return "NotUndoable", False
        return ("ChangeInFlight", False) if self.model.is_busy else (None, True)

    def with_fault(self, fault: str | None, call: Callable[[], Any]) -> Any:
        self.world.board.turn({"api_fault_routes": [UPDATES], **({fault: 1.0} if fault else {})})
        told = outcome(call)
        self.world.board.turn({fault: 0.0} if fault else {})
        return told

    # The provider.

    @precondition(lambda self: not self.model.is_ended)
    @rule(is_seen=st.booleans())
    def customer_decides(self, is_seen: bool) -> None:
        """In the portal: to leave, or to stay after all."""
        self.happens(actions.ACTIONS["undo-cancel" if self.model.is_leaving else "cancel-at-period-end"])
        self.sync_if(is_seen)

    @precondition(lambda self: not self.model.is_ended)
    @rule(is_seen=st.booleans())
    def ends_in_the_dashboard(self, is_seen: bool) -> None:
        self.happens(actions.ACTIONS["cancel"])
        self.sync_if(is_seen)

    @precondition(lambda self: not self.model.is_ended)
    @rule(is_seen=st.booleans())
    def renew(self, is_seen: bool) -> None:
        self.happens(actions.renew)
        self.sync_if(is_seen)

    @precondition(lambda self: self.model.seen_ended)
    @rule()
    def buy_again(self) -> None:
        """The same customer, and the same cart."""
        self.passes()
        before = self.world.state.get(self.model.subscription_id)
        wanted = {
            "product_id": before.product_id,
            "addons": [{"addon_id": name, "quantity": count} for name, count in CART.items()],
            "customer": {"customer_id": before.customer.customer_id},
            "metadata": dict(before.metadata),
        }
        bought = self.world.open(wanted, silently=True).subscription_id
        sync_subscription(self.service, bought, patience=5)
        self.model.subscription_id, self.model.seen_ended = bought, False
        self.model.sync()

    def happens(self, make: Callable[[Any, Options], Rule]) -> None:
        self.passes()
        if not self.model.is_ended:
            self.world.apply(self.model.subscription_id, make(self.world, Options()), silently=True)

    # Our own syncs.

    def sync_if(self, is_seen: bool) -> None:
        if is_seen:
            self.sync()

    @rule()
    def sync(self) -> None:
        self.passes()
        sync_subscription(self.service, self.model.subscription_id, patience=5)
        self.model.sync()

    @precondition(lambda self: any(row.is_pending for row in self.model.rows))
    @rule()
    def settle(self) -> None:
        self.passes(timedelta(minutes=2))
        for row in [row for row in self.model.rows if row.is_pending]:
            settle_ending.settle(self.service, str(row.id))
            self.model.settle(row)

    @precondition(lambda self: any(row.state == "previewed" for row in self.model.rows))
    @rule()
    def previews_grow_old(self) -> None:
        self.passes(timedelta(minutes=16))

    # What always holds.

    @invariant()
    def every_cancellation_stands_as_it_should(self) -> None:
        with self.service.sessions() as session:
            stored = {one.id: one for one in session.scalars(select(Cancellation))}
        known = {row.id for row in self.model.rows}
        for row in self.model.rows:
            if row.id is None:
                row.id = next(one for one in stored if one not in known)
                known.add(row.id)
        states = {name: (one.state, one.undo_sent_at is not None) for name, one in stored.items()}
        assert states == {row.id: (row.state, row.undo_sent_at is not None) for row in self.model.rows}

    @invariant()
    def what_was_asked_for_was_sent_once_and_nothing_else(self) -> None:
        bodies = {
            '{"cancel_at_next_billing_date":true}': "at_renewal",
            '{"status":"cancelled"}': "now",
            '{"cancel_at_next_billing_date":false}': "undo",
        }
        assert [bodies[one["body"]] for one in writes(self.world)] == self.model.sent

    @invariant()
    def each_thing_that_happened_is_one_notice(self) -> None:
        assert kinds(self.service) == self.model.notices

    @invariant()
    def seats_go_only_when_a_sync_shows_the_end(self) -> None:
        with self.service.sessions() as session:
            seats = session.get_one(Account, "acme").seats["full"]
        bought = 0 if self.model.seen_ended else seats_of({"pdt_team": 1, **self.model.seen_cart})
        assert seats["included"] + seats["addon"] == bought

    @invariant()
    def the_whole_cart_stays(self) -> None:
        assert dict(self.model.cart) == CART


def outcome(call: Callable[[], Any]) -> Any:
    """What is answered, or the name of the refusal."""
    try:
        return call()
    except SeatSyncError as error:
        return type(error).__name__


Begin = Callable[[type[Endings]], Endings]


@pytest.fixture
def begin(clocked_runtime: Runtime, clock: Clock, simulator: Simulator) -> Begin:
    return lambda machine: machine(clocked_runtime, clock, simulator)


def test_no_order_of_events_breaks_what_was_shown(begin: Begin):
    play(lambda: begin(Endings), examples=25, steps=12)


# Without any one of its safeguards the service breaks it, and the machine finds out.


def sending_again_what_was_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = Dodo.cancel

    def twice(self: Dodo, subscription_id: str, when: When) -> None:
        try:
            cancel(self, subscription_id, when)
        except OutcomeUnknown:
            cancel(self, subscription_id, when)

    monkeypatch.setattr(Dodo, "cancel", twice)


def without_a_sync_before_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "sync_or_raise", lambda *_: None)


def taking_what_is_not_seen_at_once_for_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle_ending, "_MAY_STILL_ARRIVE", timedelta())


def taking_each_end_for_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellations.Sighting, "ends_now", cancellations.Sighting.is_ended)


# The rules that each safeguard is there for.
WHAT_EACH_IS_FOR = {
    sending_again_what_was_not_answered: ("cancel",),
    without_a_sync_before_sending: ("cancel_too_late",),
    taking_what_is_not_seen_at_once_for_lost: ("cancel",),
    taking_each_end_for_news: ("ends_in_the_dashboard", "sync"),
}


@pytest.mark.parametrize("ablation", WHAT_EACH_IS_FOR)
def test_without_one_safeguard_it_breaks(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, ablation: Callable[[pytest.MonkeyPatch], None]
):
    ablation(monkeypatch)
    machine = only(Endings, *WHAT_EACH_IS_FOR[ablation])
    assert_it_finds_a_failure(lambda: begin(machine))
