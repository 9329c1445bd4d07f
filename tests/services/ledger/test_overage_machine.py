"""Two products on one account, two catalogues and the app's own rules, in any order: no deadline moves.

After every step: the deadline of an overage is the one that it was first given, as long as the overage lasts
by figures that the provider has confirmed; and the policy of a seat type is the strictest of the products
that give seats of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain import seat_rules
from domain.balance import Balance
from domain.overage import NO_OVERAGE, OverageClock
from domain.snapshot import AddonQuantity
from runtime.wiring import Runtime
from tests.acme import DAY, Acme
from tests.clock import Clock, empty
from tests.factories import NOON
from tests.machines import assert_it_finds_a_failure, only, play

ORDER = ("strict", "auto_expand", "grace", "soft")
OTHER_ORDER = ("soft", "grace", "auto_expand", "strict")
POLICY_OF = {
    "pdt_of_strict": "strict",
    "pdt_of_soft": "soft",
    "pdt_of_grace": "grace",
    "pdt_suspending": "grace",
    "pdt_long": "grace",
    "pdt_no_seats": "soft",
}
EXTRA = """
[products.pdt_long]
per_unit = { full = 1 }
policy = "grace"
grace_days = 90

[products.pdt_no_seats]
policy = "soft"
addons.adn_support = {}
"""
PRODUCTS = st.sampled_from([*POLICY_OF, "pdt_of_grace", "pdt_of_grace"])
STATUSES = st.sampled_from(["active", "active", "active", "active", "paused", "cancelled", "pending"])
SEATS = st.integers(0, 3)
MEMBERS = st.sampled_from(["ada", "ben", "cyd", "dan", "eve"])
OVERRIDES = st.sampled_from(
    [
        {},
        {},
        {"policy": "grace"},
        {"policy": "soft"},
        {"policy": "strict"},
        {"grace_days": 1},
        {"grace_days": 90},
        {"suspend_after_grace": True},
        {"seat_types": {"full": "soft"}},
        {"seat_types": {"full": "grace"}, "policy": "strict"},
    ]
)
WORDS = (
    ("[products.pdt_of_grace]\n", "[products.pdt_of_grace]\ngrace_days = 30\n"),
    ("[defaults]\n", f"[defaults]\npolicy_order = {list(OTHER_ORDER)}\n"),
)


@dataclass(frozen=True)
class Sold:
    """One subscription, as the provider has it."""

    product_id: str
    seats: int
    status: str

    @property
    def gives(self) -> bool:
        return self.status == "active" and self.seats > 0 and self.product_id != "pdt_no_seats"


class Overages(RuleBasedStateMachine):
    """One account with two subscriptions, on the database whose clock moves."""

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        super().__init__()
        empty(clock.engine)
        clock.set(NOON)
        runtime.provider.subscriptions.clear()
        runtime.provider.events.clear()
        runtime.provider.failing = None
        self.acme = Acme(runtime, clock, EXTRA)
        self.sold: dict[str, Sold] = {}
        self.override: dict[str, Any] = {}
        self.order = ORDER
        self.promised: datetime | None = None

    @initialize()
    def begin(self) -> None:
        """Three people on one seat, under a deadline: most of what is to be seen happens there."""
        self.first("pdt_of_grace", 1, "active")
        for member_id in ("ada", "ben", "cyd"):
            self.claim(member_id)

    # The provider.

    @rule(product_id=PRODUCTS, seats=SEATS, status=STATUSES)
    def first(self, product_id: str, seats: int, status: str) -> None:
        self.sold["sub_1"] = Sold(product_id, seats, status)
        self.acme.changes(**self._words("sub_1"))

    @rule(product_id=PRODUCTS, seats=SEATS, status=STATUSES)
    def second(self, product_id: str, seats: int, status: str) -> None:
        self.sold["sub_2"] = Sold(product_id, seats, status)
        self.acme.also_buys(**self._words("sub_2"))

    @rule(seats=st.integers(0, 9))
    def a_body_says(self, seats: int) -> None:
        """A webhook that is not true (any more), and the provider is away."""
        words = self._words("sub_1")
        self.acme.gets_webhook_during_outage(**{**words, "quantity": max(seats, 1), "addons": ()})

    @rule()
    def look(self) -> None:
        self.acme.is_synced()

    # The app, and the operator.

    @rule(member_id=MEMBERS)
    def claim(self, member_id: str) -> None:
        self.acme.claims(member_id)

    @rule(member_id=MEMBERS)
    def release(self, member_id: str) -> None:
        self.acme.releases(member_id)

    @rule(override=OVERRIDES)
    def decide(self, override: dict[str, Any]) -> None:
        self.override = override
        self.acme.sets_policy(**override)

    @rule(words=st.sampled_from(WORDS))
    def apply_entitlements(self, words: tuple[str, str]) -> None:
        """The catalogue says something else, or again what it said before."""
        plain, changed = words
        if changed in self.acme.catalog_text:
            plain, changed = changed, plain
        text = self.acme.catalog_text.replace(plain, changed)
        assert text != self.acme.catalog_text
        self.acme.edits_catalogue(plain, changed)
        self.order = OTHER_ORDER if "policy_order" in text else ORDER

    @rule(time=st.sampled_from([DAY, 5 * DAY, 20 * DAY, timedelta(minutes=1)]))
    def time_passes(self, time: timedelta) -> None:
        self.acme.after(time)

    # What always holds.

    @invariant()
    def the_deadline_belongs_to_the_overage(self) -> None:
        if not self.sold:
            return
        account = self.acme.account
        balance = Balance.from_json(account.seats["full"])
        if not balance.is_over and not account.unverified:
            self.promised = None
        elif balance.deadline is not None:
            self.promised = self.promised or balance.deadline
            assert balance.deadline == self.promised

    @invariant()
    def the_strictest_of_those_who_give_seats_decides(self) -> None:
        giving = {POLICY_OF[one.product_id] for one in self.sold.values() if one.gives}
        if not giving or self.acme.account.unverified:
            return
        own = self.override.get("seat_types", {}).get("full") or self.override.get("policy")
        assert self.acme.policy_of() == (own or min(giving, key=self.order.index))

    @invariant()
    def the_counters_are_the_rows(self) -> None:
        self.acme.check_counters()

    def teardown(self) -> None:
        """Each row of the audit begins where the last one ended: so the end tells of all steps."""
        self.acme.check()

    def _words(self, subscription_id: str) -> dict[str, object]:
        """One that is sold by the unit is sold at least once: no seats are those of another type."""
        sold = self.sold[subscription_id]
        gives_none = sold.seats == 0 or sold.product_id == "pdt_no_seats"
        product_id = "pdt_no_seats" if gives_none else sold.product_id
        support = (AddonQuantity("adn_support", 1),) if gives_none else ()
        return {
            "product_id": product_id,
            "quantity": max(sold.seats, 1),
            "status": sold.status,
            "addons": support,
        }


def test_no_product_catalogue_or_decision_moves_a_deadline_while_the_overage_lasts(
    clocked_runtime: Runtime, clock: Clock
):
    play(lambda: Overages(clocked_runtime, clock), examples=25, steps=30)


# Without any one of its safeguards a deadline moves, or another product decides, and the machine finds out.


def with_a_deadline_that_is_forgotten_out_of_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OverageClock, "known_deadline", property(lambda self: self.deadline))


def with_an_overage_that_a_body_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OverageClock, "stopped", lambda *_, **__: NO_OVERAGE)


def with_defaults_where_products_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    strictest = seat_rules._strictest

    def defaults(catalog, decided):
        return strictest(catalog, decided) if len(set(decided)) == 1 else catalog.defaults

    monkeypatch.setattr(seat_rules, "_strictest", defaults)


def with_a_say_for_every_product(monkeypatch: pytest.MonkeyPatch) -> None:
    deciding = seat_rules.deciding
    monkeypatch.setattr(seat_rules, "deciding", lambda offers, _=None: deciding(offers) or list(offers))
    monkeypatch.setattr(seat_rules, "_rank", lambda *_: (False, False, False))


# The rules that each safeguard is there for.
WHAT_EACH_IS_FOR = {
    with_a_deadline_that_is_forgotten_out_of_force: ("decide", "time_passes"),
    with_an_overage_that_a_body_ends: ("a_body_says", "look", "time_passes"),
    with_defaults_where_products_differ: ("first", "second"),
    with_a_say_for_every_product: ("first", "second"),
}


@pytest.mark.parametrize("ablation", WHAT_EACH_IS_FOR)
def test_without_one_safeguard_a_deadline_moves_or_another_product_decides(
    clocked_runtime: Runtime,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    ablation: Callable[[pytest.MonkeyPatch], None],
):
    ablation(monkeypatch)
    machine = only(Overages, *WHAT_EACH_IS_FOR[ablation])
    assert_it_finds_a_failure(lambda: machine(clocked_runtime, clock))
