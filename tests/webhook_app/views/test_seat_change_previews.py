"""What a preview of a seat change shows over HTTP: the provider's own figures, and whether a date moves."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from domain.billing_terms import Proration, When
from domain.catalog.reader import parse
from runtime.wiring import Runtime
from services.sync.on_demand import sync_subscription
from simulator.billing.lifecycle import changed
from simulator.server import Simulator
from simulator.world import World
from tests.conftest import PROVIDER_KEY
from tests.simulated import CATALOG, with_simulator
from tests.webhook_app.conftest import OpenDoor

CHANGE = "/v1/accounts/acme/seat-changes"
CART = {"adn_seat": 3, "adn_pack_10": 1, "adn_viewer": 4, "adn_support": 1}
BOUNDS = "minimum = { full = 7, viewer = 2 }\n"
MOMENTS = {When.NOW: "immediately", When.AT_RENEWAL: "next_billing_date"}
AGREED = (
    *("seats", "cart", "when", "proration", "charged_now", "tax", "credit", "renewal", "next_billing_date"),
    *("billing_date_moves", "minimum", "maximum", "sentence", "created_at", "expires_at"),
)
KEEPS_THE_DATE = {Proration.PRORATED_IMMEDIATELY_KEEP_CYCLE, Proration.DO_NOT_BILL}
MOMENT = timedelta(minutes=1)  # between two questions to the provider, whose periods begin when it is asked


@pytest.fixture
def service(runtime: Runtime, simulator: Simulator, world: World) -> Runtime:
    return replace(with_simulator(runtime, simulator.url), catalog=parse(CATALOG + BOUNDS, "test catalogue"))


def sell(world: World, service: Runtime, **wishes: Any) -> str:
    """Eighteen full seats, four viewers and a support contract, ten days into their period; its id."""
    now = datetime.now(UTC)
    cart = [{"addon_id": name, "quantity": count} for name, count in CART.items()]
    usual = {
        "metadata": {"account_id": "acme"},
        "addons": cart,
        "previous_billing_date": now - timedelta(days=10, hours=1),
        "next_billing_date": now + timedelta(days=20),
    }
    sold = world.open({**usual, **wishes}, silently=True).subscription_id
    sync_subscription(service, sold, patience=5)
    return sold


@pytest.fixture
def sold(world: World, service: Runtime) -> str:
    return sell(world, service)


@pytest.fixture
def buyer(service: Runtime, sold: str, open_door: OpenDoor) -> FlaskClient:
    return open_door(service)


@pytest.fixture
def sold_in(world: World, service: Runtime, open_door: OpenDoor) -> Callable[[str], FlaskClient]:
    """Eight full seats in another currency, in a country with a tax of 10 %."""

    def client(currency: str) -> FlaskClient:
        team = world.catalog.product("pdt_team")
        world.catalog.put_product(replace(team, price=5400, currency=currency, addons=("adn_seat",)))
        world.catalog.put_addon(replace(world.catalog.addon("adn_seat"), currency=currency))
        seats = [{"addon_id": "adn_seat", "quantity": 3}]
        sell(world, service, addons=seats, billing={"country": "JP"})
        return open_door(service)

    return client


def previewed(client: FlaskClient, seats: dict[str, int], **more: Any) -> dict[str, Any]:
    answer = client.post(f"{CHANGE}/preview", json={"seats": seats, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json)


def asked_directly(simulator: Simulator, shown: dict[str, Any]) -> dict[str, Any]:
    """What the provider itself says of the same change."""
    body = {
        **shown["cart"]["after"],
        "proration_billing_mode": shown["proration"],
        "effective_at": MOMENTS[shown["when"]],
    }
    answer = requests.post(
        f"{simulator.url}/subscriptions/{shown['subscription_id']}/change-plan/preview",
        json=body,
        headers={"Authorization": f"Bearer {PROVIDER_KEY}"},
        timeout=5,
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def as_shown(told: dict[str, Any]) -> dict[str, Any]:
    """The provider's figures where a preview shows them."""
    summary, plan = told["immediate_charge"]["summary"], told["new_plan"]
    gained = summary["customer_credits"]
    return {
        "charged_now": (summary["total_amount"], summary["currency"]),
        "tax": (summary["tax"], summary["currency"]),
        "credit": (gained, summary["customer_credits_currency"]) if gained else None,
        "renewal": (plan["recurring_pre_tax_amount"], plan["currency"]),
    }


def amounts(shown: dict[str, Any]) -> dict[str, Any]:
    names = ("charged_now", "tax", "credit", "renewal")
    return {name: shown[name] and (shown[name]["amount"], shown[name]["currency"]) for name in names}


def in_words(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: shown[name] and shown[name]["text"] for name in ("charged_now", "tax", "credit", "renewal")}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# The provider's own figures.


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("proration", Proration)
@pytest.mark.parametrize("full", [23, 12])
def test_a_preview_shows_exactly_what_the_provider_says(
    buyer: FlaskClient, simulator: Simulator, when: When, proration: Proration, full: int
):
    shown = previewed(buyer, {"full": full}, when=when, proration=proration)
    told = asked_directly(simulator, shown)
    assert amounts(shown) == as_shown(told)
    apart = moment(shown["next_billing_date"]) - moment(told["new_plan"]["next_billing_date"])
    assert abs(apart) < MOMENT


@pytest.mark.parametrize(
    ("proration", "full", "figures"),
    [
        ("full_immediately", 23, ("498.15 EUR", "93.15 EUR", None)),
        ("difference_immediately", 23, ("92.25 EUR", "17.25 EUR", None)),
        ("do_not_bill", 23, ("0.00 EUR", "0.00 EUR", None)),
        ("difference_immediately", 17, ("0.00 EUR", "-3.45 EUR", "18.45 EUR")),
    ],
)
def test_the_figures_are_shown_as_people_write_them(
    buyer: FlaskClient, proration: str, full: int, figures: tuple[str, str, str | None]
):
    """Five seats more are 75.00 EUR a month, one less 15.00 EUR, and the tax on them 23 %."""
    shown = in_words(previewed(buyer, {"full": full}, when="now", proration=proration))
    assert (shown["charged_now"], shown["tax"], shown["credit"]) == figures
    assert shown["renewal"] == ("405.00 EUR" if full == 23 else "315.00 EUR")


def test_credit_that_is_used_is_shown_as_such(buyer: FlaskClient, simulator: Simulator):
    fewer = previewed(buyer, {"full": 17}, when="now", proration="difference_immediately")
    assert buyer.post(CHANGE, json={"token": fewer["token"]}).json["state"] == "applied"
    shown = previewed(buyer, {"full": 22}, proration="difference_immediately")
    assert amounts(shown) == as_shown(asked_directly(simulator, shown))
    assert in_words(shown)["credit"] == "-18.45 EUR"
    assert "costs 73.80 EUR and 18.45 EUR of credit, tax included, today" in shown["sentence"]


@pytest.mark.parametrize(
    ("currency", "charged", "tax", "renewal"),
    [("JPY", "8250 JPY", "750 JPY", "17400 JPY"), ("KWD", "8.250 KWD", "0.750 KWD", "17.400 KWD")],
)
def test_amounts_have_the_decimals_of_their_currency(
    sold_in: Callable[[str], FlaskClient], currency: str, charged: str, tax: str, renewal: str
):
    shown = previewed(sold_in(currency), {"full": 13}, proration="difference_immediately")
    assert in_words(shown) == {"charged_now": charged, "tax": tax, "credit": None, "renewal": renewal}
    assert f"costs {charged}, tax included, today; then {renewal} a month before tax" in shown["sentence"]


@pytest.mark.parametrize(
    ("count", "interval", "words"), [(3, "Month", "every 3 months"), (1, "Year", "a year")]
)
def test_the_sentence_says_how_often_the_price_is_due(
    world: World, buyer: FlaskClient, count: int, interval: str, words: str
):
    (sold,) = buyer.get("/v1/accounts/acme/seats").json["subscriptions"]
    often = {"payment_frequency_count": count, "payment_frequency_interval": interval}
    world.apply(sold["subscription_id"], lambda one, _: changed(replace(one, **often)), silently=True)
    assert f"then 405.00 EUR {words} before tax" in previewed(buyer, {"full": 23})["sentence"]


# Whether the billing date moves.


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("proration", Proration)
def test_only_a_change_now_that_begins_a_period_moves_the_billing_date_and_says_so(
    buyer: FlaskClient, world: World, sold: str, when: When, proration: Proration
):
    shown = previewed(buyer, {"full": 23}, when=when, proration=proration)
    moves = when is When.NOW and proration not in KEEPS_THE_DATE
    assert shown["billing_date_moves"] is moves
    assert ("The billing date moves to" in shown["sentence"]) is moves
    assert (moment(shown["next_billing_date"]) != world.state.get(sold).next_billing_date) is moves


# Seats, carts and bounds.


def test_both_seat_types_are_shown_before_and_after(buyer: FlaskClient):
    shown = previewed(buyer, {"full": 23, "viewer": 2})
    assert shown["seats"] == {"full": {"before": 18, "after": 23}, "viewer": {"before": 4, "after": 2}}
    assert shown["sentence"].startswith("Adding 5 full seats and removing 2 viewer seats costs ")


def test_a_type_that_stays_as_it_is_is_not_shown_as_changed(buyer: FlaskClient):
    assert previewed(buyer, {"full": 18, "viewer": 6})["seats"] == {"viewer": {"before": 4, "after": 6}}


def test_both_carts_are_shown_whole(buyer: FlaskClient):
    carts = previewed(buyer, {"full": 23, "viewer": 2})["cart"]
    units = {
        side: {one["addon_id"]: one["quantity"] for one in cart["addons"]} for side, cart in carts.items()
    }
    assert units == {"before": CART, "after": {**CART, "adn_seat": 8, "adn_viewer": 2}}
    assert {(cart["product_id"], cart["quantity"]) for cart in carts.values()} == {("pdt_team", 1)}


def test_the_bounds_shown_are_the_products(buyer: FlaskClient):
    shown = previewed(buyer, {"full": 23})
    assert (shown["minimum"], shown["maximum"]) == ({"full": 7, "viewer": 2}, {"full": 500})


def test_what_was_shown_is_still_shown_once_it_is_done(buyer: FlaskClient):
    shown = previewed(buyer, {"full": 23}, proration="full_immediately")
    done = buyer.post(CHANGE, json={"token": shown["token"]}).json
    assert done["state"] == "applied"
    assert {name: done[name] for name in AGREED} == {name: shown[name] for name in AGREED}


def test_all_times_of_a_change_are_spelled_alike(buyer: FlaskClient):
    previewed = buyer.post(f"{CHANGE}/preview", json={"seats": {"full": 23}})
    shown = buyer.get(f"{CHANGE}/{previewed.json['change_id']}")
    for answer in (previewed, shown):
        times = re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', answer.text)
        assert len(times) >= 4
        assert [one for one in times if not one.endswith("Z")] == []
