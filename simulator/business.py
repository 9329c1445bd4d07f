"""A small business with simulated customers: they buy and give up seats, fail to pay, and leave."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from simulator.billing import lifecycle
from simulator.billing.lifecycle import ENDED, Outcome, Rule
from simulator.billing.plan_change import change, renew
from simulator.billing.subscription import AddonUnits, Cart, Status, Subscription
from simulator.companies import COMPANIES, FOUNDERS, Company
from simulator.refusal import Refusal
from simulator.world import World

MOST_SUBSCRIPTIONS = 24
MOST_UNITS = {"adn_seat": 30, "adn_pack_10": 2, "adn_viewer": 12, "adn_support": 1}
MOST_USERS = 40
MOST_AT_ONCE = 3
FEWEST_LIVE = 4
PACE = (1.0, 3.0)
ACCOUNTS = frozenset(company.account_id for company in COMPANIES)

Move = tuple[str, Rule]


class Business:
    """Simulates customers by the provider's own rules. Each step is one event of one company."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance

    def run(self, stopping: threading.Event, report: Callable[[str], object]) -> None:
        """Run a step every one to three seconds until `stopping` is set, and report each."""
        while not stopping.is_set():
            try:
                report(self.step())
            except Refusal as refusal:
                report(f"nothing happens: {refusal}")
            stopping.wait(self._chance.uniform(*PACE))

    def step(self) -> str:
        """Let one event happen. Returns its description."""
        live = self._live()
        if company := self._newcomer(live):
            self._world.open({**company.fields, **self._first_cart(company)})
            return f"{company.name} becomes a customer"
        if not live:
            return "no customers are left"
        subscription = self._chance.choice(live)
        description, rule = self._chance.choice(self._moves(subscription, len(live)))
        self._world.apply(subscription.subscription_id, rule)
        return f"{subscription.customer.name} {description}"

    def _live(self) -> list[Subscription]:
        return [each for each in self._own() if each.status not in ENDED]

    def _own(self) -> list[Subscription]:
        """The companies' subscriptions, without those created by hand."""
        return [each for each in self._world.state.all() if each.metadata.get("account_id") in ACCOUNTS]

    def _newcomer(self, live: list[Subscription]) -> Company | None:
        """A company that becomes a customer now, if any: first the founders, later sometimes another one."""
        if not self._has_room():
            return None
        present = {subscription.metadata.get("account_id") for subscription in live}
        absent = [company for company in COMPANIES if company.account_id not in present]
        if len(live) < FOUNDERS:
            return absent[0]
        return self._chance.choice(absent) if absent and self._chance.random() < 0.05 else None

    def _first_cart(self, company: Company) -> dict[str, object]:
        if company.product_id == "pdt_per_user":
            return {"quantity": self._chance.randint(3, 12)}
        addons = [{"addon_id": "adn_seat", "quantity": self._chance.randint(1, 10)}]
        return {"addons": addons}

    def _moves(self, subscription: Subscription, live: int) -> list[Move]:
        """What may happen next. A likely move is listed several times."""
        if subscription.status in {Status.ON_HOLD, Status.PAST_DUE}:
            return [("pays the debt", lifecycle.recover)]
        if subscription.status == Status.PAUSED:
            return [("resumes", lifecycle.unpause)]
        if subscription.cancel_at_next_billing_date:
            return self._farewells(live)
        return [
            *[self._shopping(subscription)] * 12,
            ("fails to pay, and has some days of grace", lifecycle.past_due),
            ("fails to pay", lifecycle.hold),
            ("pauses", lifecycle.pause),
            ("will leave at the end of the period", lifecycle.cancel_later),
            ("renews", self._renew),
        ]

    def _farewells(self, live: int) -> list[Move]:
        """The moves of a customer who has cancelled. Most stay; none leaves while there are few customers."""
        stays: Move = ("stays after all", lifecycle.stay)
        may_leave = live > FEWEST_LIVE and self._has_room()
        return [stays, stays, ("leaves", self._renew)] if may_leave else [stays]

    def _has_room(self) -> bool:
        """Whether another subscription may be opened. Ended ones are kept, so their number is limited."""
        return len(self._own()) < MOST_SUBSCRIPTIONS

    def _renew(self, subscription: Subscription, now: datetime) -> Outcome:
        return renew(subscription, now, self._world.catalog)

    def _shopping(self, subscription: Subscription) -> Move:
        """A change of up to three units towards a random number, so that carts neither fill up nor empty."""
        if subscription.product_id == "pdt_per_user":
            step = self._step(subscription.quantity, 1, MOST_USERS)
            cart = replace(subscription.cart, quantity=subscription.quantity + step)
            return self._cart_change(step, "user", cart)
        units = {addon.addon_id: addon.quantity for addon in subscription.addons}
        addon_id = self._chance.choices(list(MOST_UNITS), weights=[8, 1, 3, 1])[0]
        step = self._step(units.get(addon_id, 0), 0, MOST_UNITS[addon_id])
        units[addon_id] = units.get(addon_id, 0) + step
        addons = tuple(AddonUnits(each, quantity) for each, quantity in units.items() if quantity)
        return self._cart_change(step, addon_id, replace(subscription.cart, addons=addons))

    def _step(self, held: int, least: int, most: int) -> int:
        goal = self._chance.choice([number for number in range(least, most + 1) if number != held])
        return max(-MOST_AT_ONCE, min(goal - held, MOST_AT_ONCE))

    def _cart_change(self, step: int, unit: str, cart: Cart) -> Move:
        def rule(subscription: Subscription, _now: datetime) -> Outcome:
            return change(subscription, cart, self._world.catalog)

        return (f"buys {step} x {unit}" if step > 0 else f"gives up {-step} x {unit}", rule)
