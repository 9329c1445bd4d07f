"""What the provider's guide to seat-based billing recommends about prices and plans. Each point is played
from the first price to the last seat over HTTP; the tests have the numbers of the points in their names.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from domain.catalog.reader import parse
from runtime.wiring import Runtime
from services.sync.on_demand import sync_subscription
from simulator.billing.catalog import Addon, Product
from simulator.billing.charge import Result
from simulator.checkout_operations import pay
from simulator.server import Simulator
from simulator.world import World
from tests.simulated import with_simulator
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import claimed

CHANGE = "/v1/accounts/acme/seat-changes"
ROLES = """
[defaults]
decrease_when = "now"

[roles]
member = "full"
guest = "free"
"""


class Shop:
    """A merchant with products and add-ons at the provider and in the catalogue, and the account `acme`."""

    def __init__(self, world: World, service: Runtime, open_door: OpenDoor) -> None:
        self.world, self._service, self._open_door = world, service, open_door
        self._catalog = ROLES
        self.service = service

    def sells(self, product: Product, seats: str, *addons: tuple[Addon, str]) -> None:
        """A product with what the catalogue says of it, and add-ons with the seats of one unit."""
        self.world.catalog.put_product(replace(product, addons=tuple(addon.id for addon, _ in addons)))
        self._catalog += f'\n[products.{product.product_id}]\nname = "{product.name}"\n{seats}\n'
        for addon, size in addons:
            self.world.catalog.put_addon(addon)
            self._catalog += f"addons.{addon.id} = {{ {size} }}\n"

    def opens(self) -> FlaskClient:
        self.service = replace(self._service, catalog=parse(self._catalog, "the shop's catalogue"))
        client = self._open_door(self.service)
        assert client.put("/v1/accounts/acme").status_code in {200, 201}
        return client

    def is_paid(self, checkout: Any) -> None:
        """The customer pays at the checkout, and the webhook arrives."""
        session = pay(self.world, checkout["session_id"], Result.SUCCEEDED)
        assert session.subscription_id is not None
        sync_subscription(self.service, session.subscription_id, patience=5)


@pytest.fixture
def shop(runtime: Runtime, simulator: Simulator, world: World, open_door: OpenDoor) -> Shop:
    return Shop(world, with_simulator(runtime, simulator.url), open_door)


def seat(price: int, addon_id: str = "adn_seat", name: str = "Additional team seat") -> Addon:
    return Addon(id=addon_id, name=name, price=price)


def plan(product_id: str, name: str, price: int, **more: Any) -> Product:
    return Product(product_id=product_id, name=name, price=price, **more)


def price(client: FlaskClient, product_id: str, seats: str) -> str:
    answer = client.get(f"/v1/products/{product_id}/prices?seats={seats}")
    assert answer.status_code == 200, answer.text
    return str(answer.json["price"]["text"])


def bought(shop: Shop, client: FlaskClient, product_id: str, **seats: int) -> dict[str, int]:
    """Bought at the checkout and paid; the seats that the account has then."""
    wish = {"product_id": product_id, "seats": seats, "customer": {"email": "ada@example.com"}}
    answer = client.post("/v1/accounts/acme/checkout", json=wish)
    assert answer.status_code == 201, answer.text
    shop.is_paid(answer.json)
    return purchased(client)


def purchased(client: FlaskClient) -> dict[str, int]:
    seats = client.get("/v1/accounts/acme/seats").json["seats"]
    return {name: one["purchased"] for name, one in seats.items()}


def previewed(client: FlaskClient, **wish: Any) -> Any:
    answer = client.post(f"{CHANGE}/preview", json=wish)
    assert answer.status_code == 200, answer.text
    return answer.json


def changed(client: FlaskClient, **wish: Any) -> dict[str, int]:
    """Previewed and confirmed; the seats that the account has then."""
    answer = client.post(CHANGE, json={"token": previewed(client, **wish)["token"]})
    assert (answer.status_code, answer.json["state"]) == (200, "applied"), answer.text
    return purchased(client)


def test_g1_a_base_plan_with_included_seats_and_a_seat_addon(shop: Shop):
    """99 a month with 5 seats, 10 more at 15: 249 for 15 seats."""
    shop.sells(plan("pdt_base", "Base", 9900), "included = { full = 5 }", (seat(1500), "full = 1"))
    client = shop.opens()
    assert price(client, "pdt_base", "full:15") == "249.00 EUR"
    assert bought(shop, client, "pdt_base", full=15) == {"full": 15}


def test_g2_a_base_price_and_an_addon_per_seat(shop: Shop):
    """49 with 3 seats, 10 each further: 8 seats are 99."""
    shop.sells(plan("pdt_base", "Base", 4900), "included = { full = 3 }", (seat(1000), "full = 1"))
    client = shop.opens()
    assert price(client, "pdt_base", "full:8") == "99.00 EUR"
    assert bought(shop, client, "pdt_base", full=8) == {"full": 8}


def test_g3_a_price_per_seat_and_nothing_else(shop: Shop):
    """12 each, base price 0."""
    shop.sells(plan("pdt_seats", "Per seat", 0), "", (seat(1200), "full = 1"))
    client = shop.opens()
    assert price(client, "pdt_seats", "full:7") == "84.00 EUR"
    assert bought(shop, client, "pdt_seats", full=7) == {"full": 7}


def test_g4_tiers_are_products_of_their_own_and_moving_up_becomes_worth_it(shop: Shop):
    """0 + 15, 99 + 10, 499 + 7 a seat."""
    tiers = {"free": (0, 1500), "team": (9900, 1000), "business": (49900, 700)}
    for name, (base, per_seat) in tiers.items():
        addon = seat(per_seat, f"adn_seat_{name}")
        shop.sells(plan(f"pdt_{name}", name, base), "", (addon, "full = 1"))
    client = shop.opens()
    for_thirty = {name: price(client, f"pdt_{name}", "full:30") for name in tiers}
    assert for_thirty == {"free": "450.00 EUR", "team": "399.00 EUR", "business": "709.00 EUR"}
    assert bought(shop, client, "pdt_free", full=30) == {"full": 30}
    up = client.get("/v1/accounts/acme/prices?product_id=pdt_team").json
    assert up["difference"]["text"] == "-51.00 EUR"
    assert changed(client, product_id="pdt_team") == {"full": 30}


def test_g5_packs_are_several_addons(shop: Shop):
    """5 for 50, 10 for 80, 25 for 175."""
    sizes = {5: 5000, 10: 8000, 25: 17500}
    packs = [(seat(cents, f"adn_{size}", f"{size} seats"), f"full = {size}") for size, cents in sizes.items()]
    shop.sells(plan("pdt_packs", "Packs", 0), "", *packs)
    client = shop.opens()
    assert price(client, "pdt_packs", "full:40") == "305.00 EUR"
    assert bought(shop, client, "pdt_packs", full=40) == {"full": 40}
    assert changed(client, seats={"full": 15}) == {"full": 15}


def test_g6_and_g19_price_per_seat_included_seats_bounds_and_period_are_shown(shop: Shop):
    terms = "included = { full = 5 }\nminimum = { full = 5 }\nmaximum = { full = 50 }"
    shop.sells(plan("pdt_base", "Base", 9900), terms, (seat(1500), "full = 1"))
    shown = shop.opens().get("/v1/products/pdt_base/prices?seats=full:6").json
    base, further = shown["lines"]
    assert (base["amount"]["text"], base["seats"]) == ("99.00 EUR", {"full": 5})
    assert (further["unit_price"]["text"], further["seats"]) == ("15.00 EUR", {"full": 1})
    assert (shown["minimum"], shown["maximum"]) == ({"full": 5}, {"full": 50})
    assert shown["billing_period"] == {"interval": "Month", "count": 1}


def test_g7_an_addon_is_shown_by_its_name_and_one_in_another_currency_is_not_sold(shop: Shop):
    dollars = replace(seat(1000, "adn_dollars"), currency="USD")
    addons = [(seat(1500), "full = 1"), (dollars, "full = 1")]
    shop.sells(plan("pdt_base", "Base", 9900), "included = { full = 5 }", *addons)
    shown = shop.opens().get("/v1/products/pdt_base/prices?seats=full:7").json
    assert [one["name"] for one in shown["lines"]] == ["Base", "Additional team seat"]
    assert shown["price"]["text"] == "129.00 EUR"


def test_g9_and_g10_totals_are_changed_and_all_extra_seats_are_removed(shop: Shop):
    shop.sells(plan("pdt_base", "Base", 9900), "included = { full = 5 }", (seat(1500), "full = 1"))
    client = shop.opens()
    bought(shop, client, "pdt_base", full=15)
    assert changed(client, seats={"full": 20}) == {"full": 20}
    assert changed(client, seats={"full": 8}) == {"full": 8}
    fewest = previewed(client, seats={"full": 5})
    assert fewest["cart"]["after"]["addons"] == []
    assert changed(client, seats={"full": 5}) == {"full": 5}


def halfway(shop: Shop, seats: int) -> FlaskClient:
    """Seats at 10 a month, with 15 of 30 days left, where nothing is taxed."""
    shop.sells(plan("pdt_seats", "Per seat", 0), "", (seat(1000), "full = 1"))
    client = shop.opens()
    start = datetime.now(UTC) - timedelta(days=15, hours=1)
    wanted = {
        "product_id": "pdt_seats",
        "addons": [{"addon_id": "adn_seat", "quantity": seats}],
        "metadata": {"account_id": "acme"},
        "billing": {"country": "US"},
        "previous_billing_date": start,
        "next_billing_date": start + timedelta(days=30),
    }
    made = shop.world.open(wanted, silently=True)
    sync_subscription(shop.service, made.subscription_id, patience=5)
    return client


def test_g11_and_g12_five_seats_with_fifteen_of_thirty_days_left_cost_25_today(shop: Shop):
    client = halfway(shop, seats=5)
    shown = previewed(client, seats={"full": 10}, proration="prorated_immediately_keep_cycle")
    assert shown["charged_now"]["text"] == "25.00 EUR"
    assert shown["prorated_days"] == {"days": 15, "of": 30}
    assert shown["sentence"].startswith(
        "Adding 5 full seats costs 25.00 EUR today, for 15 of 30 days; then 100.00"
    )


@pytest.mark.parametrize(
    ("mode", "more", "fewer"),
    [
        ("prorated_immediately_keep_cycle", "25.00 EUR", "20.00 EUR"),
        ("difference_immediately", "50.00 EUR", "40.00 EUR"),
        ("full_immediately", "100.00 EUR", None),
    ],
)
def test_g11_each_mode_charges_and_credits_what_it_says(shop: Shop, mode: str, more: str, fewer: str | None):
    client = halfway(shop, seats=5)
    assert previewed(client, seats={"full": 10}, proration=mode)["charged_now"]["text"] == more
    credit = previewed(client, seats={"full": 1}, proration=mode, when="now")["credit"]
    assert (credit and credit["text"]) == fewer


def test_g16_seat_types_have_prices_of_their_own(shop: Shop):
    """Full 20, view-only 5, guests for nothing."""
    viewer = seat(500, "adn_viewer", "View-only seat")
    shop.sells(plan("pdt_seats", "Per seat", 0), "", (seat(2000), "full = 1"), (viewer, "viewer = 1"))
    client = shop.opens()
    assert price(client, "pdt_seats", "full:3,viewer:4") == "80.00 EUR"
    assert bought(shop, client, "pdt_seats", full=3, viewer=4) == {"full": 3, "viewer": 4}
    claimed(shop.service, "a guest", role="guest")
    assert client.get("/v1/accounts/acme/seats").json["seats"]["viewer"]["used"] == 0


def test_g17_seats_cost_less_by_the_year_and_a_customer_can_change_to_that(shop: Shop):
    """15 a month, or 12 on an annual plan."""
    shop.sells(plan("pdt_month", "Monthly", 0), "", (seat(1500), "full = 1"))
    yearly = plan("pdt_year", "Yearly", 0, payment_frequency_interval="Year")
    shop.sells(yearly, "", (seat(12 * 1200, "adn_seat_year"), "full = 1"))
    client = shop.opens()
    assert (price(client, "pdt_month", "full:10"), price(client, "pdt_year", "full:10")) == (
        "150.00 EUR",
        "1440.00 EUR",
    )
    bought(shop, client, "pdt_month", full=10)
    sentence = previewed(client, product_id="pdt_year")["sentence"]
    assert sentence.startswith("Changing from Monthly to Yearly costs ")
    assert "then 1440.00 EUR a year before tax" in sentence
    assert "instead of 150.00 EUR a month." in sentence
    assert changed(client, product_id="pdt_year") == {"full": 10}


@pytest.mark.parametrize("minimum", [5, 25])
def test_g18_the_minimum_of_a_plan_is_checked_with_a_clear_error(shop: Shop, minimum: int):
    shop.sells(plan("pdt_one", "One", 0), "minimum = { full = 1 }", (seat(1500), "full = 1"))
    shop.sells(
        plan("pdt_more", "More", 0), f"minimum = {{ full = {minimum} }}", (seat(1000, "adn_more"), "full = 1")
    )
    client = shop.opens()
    bought(shop, client, "pdt_one", full=4)
    says = f"More cannot be bought with 4 full seats: its minimum is {minimum} full seats."
    refusals = [
        client.get("/v1/products/pdt_more/prices?seats=full:4"),
        client.get("/v1/accounts/acme/prices?product_id=pdt_more"),
        client.post(f"{CHANGE}/preview", json={"product_id": "pdt_more"}),
    ]
    assert [(one.status_code, one.json["code"], one.json["detail"]) for one in refusals] == [
        (409, "below_minimum", says)
    ] * 3
    assert changed(client, product_id="pdt_more", seats={"full": minimum}) == {"full": minimum}


def test_g21_the_cost_is_shown_while_the_number_is_adjusted_and_confirmed_once(shop: Shop):
    shop.sells(plan("pdt_base", "Base", 9900), "included = { full = 5 }", (seat(1500), "full = 1"))
    client = shop.opens()
    bought(shop, client, "pdt_base", full=5)
    shown = [client.get(f"/v1/accounts/acme/prices?seats=full:{full}").json for full in (6, 7, 8)]
    assert [one["difference"]["text"] for one in shown] == ["15.00 EUR", "30.00 EUR", "45.00 EUR"]
    assert purchased(client) == {"full": 5}
    binding = previewed(client, seats={"full": 8})
    assert binding["renewal"] == shown[-1]["price"]
    for _ in range(2):
        assert client.post(CHANGE, json={"token": binding["token"]}).json["state"] == "applied"
    assert purchased(client) == {"full": 8}


def test_g23_a_charge_within_a_period_is_broken_down(shop: Shop):
    client = halfway(shop, seats=5)
    shown = previewed(client, seats={"full": 10}, proration="prorated_immediately_keep_cycle")
    lines = [
        (one["name"], one["quantity"], one["unit_price"]["text"], one["share"]) for one in shown["lines"]
    ]
    assert ("Additional team seat", 10, "10.00 EUR", 0.5) in lines
    assert ("Additional team seat", 5, "10.00 EUR", -0.5) in lines
    assert "for 15 of 30 days" in shown["sentence"]
