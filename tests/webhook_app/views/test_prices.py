"""Prices while the number is chosen: the cart it would be, its list price, and how old that is."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient

from domain.catalog.reader import parse
from models.api_key import Scope
from runtime.wiring import Runtime
from services.sync.on_demand import sync_subscription
from simulator.billing import lifecycle
from simulator.billing.catalog import Addon, Product
from simulator.server import Simulator
from simulator.world import World
from tests.plans import PLANS, with_plans
from tests.simulated import applied_writes, sell
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import key_with, opened

ACCOUNT = "/v1/accounts/acme/prices"
TEAM = "/v1/products/pdt_team/prices"
CART = {"adn_seat": 3, "adn_pack_10": 1, "adn_viewer": 4, "adn_support": 1}
EUR = {"currency": "EUR"}


@pytest.fixture
def service(runtime: Runtime, simulator: Simulator, world: World) -> Runtime:
    return with_plans(runtime, simulator.url, world)


@pytest.fixture
def sold(world: World, service: Runtime) -> str:
    """Team Pro by the month, with eighteen full seats, four viewers and support."""
    return sell(world, service, CART)


@pytest.fixture
def buyer(service: Runtime, sold: str, open_door: OpenDoor) -> FlaskClient:
    return open_door(service)


@pytest.fixture
def newcomer(service: Runtime, open_door: OpenDoor) -> FlaskClient:
    """Nothing is sold yet."""
    opened(service, "acme")
    return open_door(service)


def prices(client: FlaskClient, url: str) -> Any:
    answer = client.get(url)
    assert answer.status_code == 200, answer.text
    return answer.json


def told(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json["code"]


def addons(cart: Any) -> dict[str, int]:
    return {one["addon_id"]: one["quantity"] for one in cart["addons"]}


def reads(world: World) -> int:
    """How often the provider was asked for products and add-ons."""
    routes: Any = world.requests.report(0)["routes"]
    return sum(number for route, number in routes.items() if "product" in route or "addon" in route)


# Before any purchase.


def test_fifteen_seats_of_a_plan_with_five_included_cost_what_the_guide_computes(
    newcomer: FlaskClient, world: World
):
    """99 a month with five seats, ten more at 15: 249."""
    team = world.catalog.product("pdt_team")
    world.catalog.put_product(replace(team, addons=("adn_seat",)))
    shown = prices(newcomer, f"{TEAM}?seats=full:15")
    assert shown["price"] == {"amount": 24900, "text": "249.00 EUR", **EUR}
    assert addons(shown["cart"]) == {"adn_seat": 10}
    assert shown["seats"] == {"full": {"before": 0, "after": 15}}
    assert shown["binding"] is False


def test_without_seats_the_plan_costs_its_base_price(newcomer: FlaskClient):
    shown = prices(newcomer, TEAM)
    assert (shown["price"]["amount"], addons(shown["cart"])) == (9900, {})
    assert shown["seats"] == {"full": {"before": 0, "after": 5}}


def test_each_line_has_its_price_and_its_seats(newcomer: FlaskClient):
    shown = prices(newcomer, f"{TEAM}?seats=full:16,viewer:2")
    lines = [(one["kind"], one["name"], one["amount"]["amount"], one["seats"]) for one in shown["lines"]]
    assert lines == [
        ("product", "Team Pro", 9900, {"full": 5}),
        ("addon", "Pack of ten seats", 12000, {"full": 10}),
        ("addon", "Extra seat", 1500, {"full": 1}),
        ("addon", "Viewer seat", 800, {"viewer": 2}),
    ]
    assert sum(amount for _, _, amount, _ in lines) == shown["price"]["amount"]
    assert shown["lines"][0]["unit_price"] == {"amount": 9900, "text": "99.00 EUR", **EUR}


def test_a_pack_that_costs_less_than_single_seats_gives_more_seats_and_says_so(newcomer: FlaskClient):
    shown = prices(newcomer, f"{TEAM}?seats=full:14")
    assert addons(shown["cart"]) == {"adn_pack_10": 1}
    assert shown["seats"] == {"full": {"before": 0, "after": 15}}


@pytest.fixture
def packs(newcomer: FlaskClient, service: Runtime, world: World, open_door: OpenDoor) -> FlaskClient:
    """Seats in packs: 5 for 50, 10 for 80, 25 for 175."""
    sizes = {5: 5000, 10: 8000, 25: 17500}
    for size, price in sizes.items():
        world.catalog.put_addon(Addon(id=f"adn_{size}", name=f"{size} seats", price=price))
    ids = tuple(f"adn_{size}" for size in sizes)
    world.catalog.put_product(Product(product_id="pdt_packs", name="Packs", price=0, addons=ids))
    lines = "\n".join(f"addons.adn_{size} = {{ full = {size} }}" for size in sizes)
    catalog = parse(f'{PLANS}\n[products.pdt_packs]\nname = "Packs"\n{lines}\n', "test catalogue")
    return open_door(replace(service, catalog=catalog))


@pytest.mark.parametrize(
    ("seats", "cheapest"), [(5, 5000), (10, 8000), (15, 13000), (25, 17500), (35, 25500), (13, 13000)]
)
def test_packs_of_several_sizes_are_combined_as_cheaply_as_can_be(
    packs: FlaskClient, seats: int, cheapest: int
):
    shown = prices(packs, f"/v1/products/pdt_packs/prices?seats=full:{seats}")
    assert shown["price"]["amount"] == cheapest


def test_a_plan_by_the_year_says_so(newcomer: FlaskClient):
    shown = prices(newcomer, "/v1/products/pdt_yearly/prices?seats=full:10")
    assert shown["billing_period"] == {"interval": "Year", "count": 1}
    assert shown["sentence"].startswith(
        "10 full seats in Team Yearly: 1670.00 EUR a year before tax. Estimated"
    )


@pytest.mark.parametrize(
    ("is_included", "word", "words"),
    [(True, "included", "a month with tax"), (False, "excluded", "before tax")],
)
def test_the_price_says_whether_the_tax_is_in_it(
    newcomer: FlaskClient, world: World, is_included: bool, word: str, words: str
):
    world.catalog.put_product(replace(world.catalog.product("pdt_team"), tax_inclusive=is_included))
    shown = prices(newcomer, TEAM)
    assert shown["tax"] == word
    assert words in shown["sentence"]


def test_prices_are_whole_numbers_of_the_currencys_smallest_unit(newcomer: FlaskClient, world: World):
    team = world.catalog.product("pdt_team")
    world.catalog.put_product(replace(team, price=5400, currency="JPY", addons=()))
    price = prices(newcomer, TEAM)["price"]
    assert price == {"amount": 5400, "currency": "JPY", "text": "5400 JPY"}


@pytest.mark.parametrize(
    ("product_id", "seats", "refusal", "says"),
    [
        ("pdt_team", "full:3", (409, "below_minimum"), "it includes 5"),
        ("pdt_business", "full:24", (409, "below_minimum"), "its minimum is 25 full seats"),
        ("pdt_team", "full:501", (409, "above_maximum"), "its maximum is 500"),
        ("pdt_team", "guest:1", (422, "unknown_seat_type"), "it sells full, viewer"),
        ("pdt_company", "full:3", (409, "no_way_to_buy"), "has unlimited full seats"),
        ("pdt_none", "full:3", (404, "product_not_found"), "add its section to the catalogue"),
        ("pdt_nowhere", "full:5", (409, "product_not_sold"), "does not know it"),
        ("pdt_old", "full:5", (409, "product_not_sold"), "is archived"),
        ("pdt_once", "full:5", (409, "product_not_sold"), "single payment"),
    ],
)
def test_a_number_that_cannot_be_bought_is_refused_with_the_reason(
    newcomer: FlaskClient, product_id: str, seats: str, refusal: tuple[int, str], says: str
):
    answer = newcomer.get(f"/v1/products/{product_id}/prices?seats={seats}")
    assert told(answer) == refusal
    assert says in answer.json["detail"]


@pytest.mark.parametrize(
    ("seats", "problem"),
    [
        ("", "must be seat types with whole numbers, such as full:12,viewer:3"),
        ("12", "must be seat types with whole numbers, such as full:12,viewer:3"),
        ("full:-1", "must be seat types with whole numbers, such as full:12,viewer:3"),
        ("full:1.5", "must be seat types with whole numbers, such as full:12,viewer:3"),
        ("full:1_000", "must be seat types with whole numbers, such as full:12,viewer:3"),
        ("full:1,", "must be seat types with whole numbers, such as full:12,viewer:3"),
        ("full:1,full:2", "names a seat type more than once"),
        ("full:1000001", "must ask for at most 1000000 seats of a type"),
    ],
)
def test_seats_that_cannot_be_read_are_refused_with_an_example(
    newcomer: FlaskClient, seats: str, problem: str
):
    answer = newcomer.get(f"{TEAM}?seats={seats}")
    assert told(answer) == (422, "invalid_request")
    assert answer.json["errors"] == [{"where": "seats", "problem": problem}]


# Of an account.


def test_an_account_sees_the_price_now_with_the_wanted_seats_and_the_difference(buyer: FlaskClient):
    shown = prices(buyer, f"{ACCOUNT}?seats=full:20")
    amounts = {name: shown[name]["amount"] for name in ("price_now", "price", "difference")}
    assert amounts == {"price_now": 33000, "price": 36000, "difference": 3000}
    assert shown["seats"] == {"full": {"before": 18, "after": 20}, "viewer": {"before": 4, "after": 4}}
    assert (addons(shown["cart_now"]), addons(shown["cart"])) == (CART, {**CART, "adn_seat": 5})
    assert ": 360.00 EUR a month before tax, 30.00 EUR more than now." in shown["sentence"]


def test_without_seats_an_account_sees_the_price_now(buyer: FlaskClient):
    shown = prices(buyer, ACCOUNT)
    assert (shown["price"], shown["difference"]["amount"]) == (shown["price_now"], 0)
    assert shown["cart"] == shown["cart_now"]


def test_the_estimate_is_the_renewal_that_the_preview_states(buyer: FlaskClient):
    for full in (5, 17, 23, 40):
        shown = prices(buyer, f"{ACCOUNT}?seats=full:{full}")
        previewed = buyer.post("/v1/accounts/acme/seat-changes/preview", json={"seats": {"full": full}}).json
        assert (shown["price"], shown["cart"]) == (previewed["renewal"], previewed["cart"]["after"])


def test_another_plan_can_be_priced_as_well(buyer: FlaskClient):
    shown = prices(buyer, f"{ACCOUNT}?product_id=pdt_yearly")
    assert shown["cart"]["product_id"] == "pdt_yearly"
    assert shown["seats"]["full"] == {"before": 18, "after": 18}
    assert (shown["price_now"]["amount"], shown["difference"]) == (33000, None)
    assert prices(buyer, f"{ACCOUNT}?product_id=pdt_business&seats=full:25")["difference"]["amount"] == 34000


def test_a_price_is_asked_of_the_provider_once_and_changes_nothing_there(buyer: FlaskClient, world: World):
    before = reads(world)
    for full in range(5, 30):
        prices(buyer, f"{ACCOUNT}?seats=full:{full}")
    assert reads(world) == before + 3
    assert applied_writes(world) == 0


def test_the_age_of_the_prices_is_stated(buyer: FlaskClient, service: Runtime):
    first = prices(buyer, ACCOUNT)
    kept = orjson.loads(service.cache.price_list_of("pdt_team"))
    read_at = datetime.fromisoformat(kept["read_at"]) - timedelta(minutes=2)
    service.cache.keep_price_list("pdt_team", orjson.dumps({**kept, "read_at": read_at}))
    second = prices(buyer, ACCOUNT)
    assert datetime.fromisoformat(second["prices_read_at"]) == read_at
    assert (first["prices_age_seconds"], second["prices_age_seconds"] >= 120) == (0, True)
    assert second["verified_at"] is not None


def test_prices_are_read_anew_once_they_are_old(
    buyer: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
):
    prices(buyer, ACCOUNT)
    make_all_prices_old(monkeypatch)
    world.catalog.put_product(replace(world.catalog.product("pdt_team"), price=10000))
    assert prices(buyer, ACCOUNT)["price"]["amount"] == 33100


def test_old_prices_are_shown_with_their_age_while_the_provider_is_away(
    buyer: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
):
    first = prices(buyer, ACCOUNT)
    make_all_prices_old(monkeypatch)
    world.board.turn({"api_500_probability": 1.0})
    assert prices(buyer, ACCOUNT)["prices_read_at"] == first["prices_read_at"]
    asked = reads(world)
    assert prices(buyer, ACCOUNT)["prices_read_at"] == first["prices_read_at"]
    assert reads(world) == asked


def make_all_prices_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.purchases.price_list.FRESH_FOR", timedelta())


def test_without_any_prices_the_provider_must_answer(buyer: FlaskClient, world: World):
    world.board.turn({"api_500_probability": 1.0})
    assert buyer.get(ACCOUNT).status_code == 503


@pytest.mark.parametrize("kept", [b"not JSON", b"{}", b'{"offer": {}, "read_at": "2026-01-01T00:00:00Z"}'])
def test_cached_prices_that_cannot_be_read_are_replaced(buyer: FlaskClient, service: Runtime, kept: bytes):
    service.cache.keep_price_list("pdt_team", kept)
    assert prices(buyer, ACCOUNT)["price"]["amount"] == 33000
    assert service.cache.price_list_of("pdt_team") != kept


def test_an_addon_that_is_no_longer_sold_leaves_the_price_unknown(buyer: FlaskClient, world: World):
    world.catalog.put_addon(replace(world.catalog.addon("adn_support"), archived=True))
    shown = prices(buyer, ACCOUNT)
    assert (shown["price"], shown["price_now"], shown["difference"]) == (None, None, None)
    unknown = [one["id"] for one in shown["lines"] if one["amount"] is None]
    assert unknown == ["adn_support"]
    assert "is not known" in shown["sentence"]


def test_an_account_without_a_subscription_is_sent_to_the_checkout(newcomer: FlaskClient):
    answer = newcomer.get(f"{ACCOUNT}?seats=full:12")
    assert told(answer) == (409, "no_subscription_to_change")
    assert "buy by checkout first" in answer.json["detail"]


def test_a_subscription_that_has_ended_has_no_prices(
    buyer: FlaskClient, service: Runtime, world: World, sold: str
):
    world.apply(sold, lifecycle.cancel, silently=True)
    sync_subscription(service, sold, patience=5)
    answer = buyer.get(f"{ACCOUNT}?subscription_id={sold}")
    assert told(answer) == (409, "subscription_not_active")


def test_an_account_with_two_subscriptions_names_one(
    buyer: FlaskClient, service: Runtime, world: World, sold: str
):
    second = world.open({"product_id": "pdt_solo", "metadata": {"account_id": "acme"}}, silently=True)
    sync_subscription(service, second.subscription_id, patience=5)
    service_link = buyer.put(f"/v1/accounts/acme/subscriptions/{second.subscription_id}")
    assert service_link.status_code == 200, service_link.text
    assert told(buyer.get(ACCOUNT)) == (409, "no_subscription_to_change")
    to_another = buyer.get(f"{ACCOUNT}?product_id=pdt_yearly&seats=viewer:6")
    assert told(to_another) == (409, "no_subscription_to_change")
    assert prices(buyer, f"{ACCOUNT}?subscription_id={sold}")["price"]["amount"] == 33000


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ("seats=full:4", (409, "below_minimum")),
        ("seats=full:501", (409, "above_maximum")),
        ("seats=guest:1", (422, "unknown_seat_type")),
        ("product_id=pdt_solo", (409, "above_maximum")),
        ("product_id=pdt_dollars", (409, "currency_differs")),
        ("product_id=pdt_old", (409, "product_not_sold")),
        ("product_id=pdt_none", (404, "product_not_found")),
        ("subscription_id=sub_none", (409, "no_subscription_to_change")),
        ("seats=full:12&seats=full:13", (422, "invalid_request")),
        ("seat=full:12", (422, "invalid_request")),
    ],
)
def test_what_an_account_cannot_have_is_refused(buyer: FlaskClient, query: str, refusal: tuple[int, str]):
    assert told(buyer.get(f"{ACCOUNT}?{query}")) == refusal


@pytest.mark.parametrize("url", [ACCOUNT, TEAM])
def test_prices_need_a_key_that_may_read(service: Runtime, open_door: OpenDoor, url: str):
    assert open_door(service, key=key_with(service, Scope.CLAIM)).get(url).status_code == 403


def test_an_unknown_account_is_said_to_be_unknown(newcomer: FlaskClient):
    assert told(newcomer.get("/v1/accounts/nobody/prices")) == (404, "account_not_found")
