"""What Dodo Payments has on sale, and what our key may do there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from dodopayments.types import AddonResponse, Product, ProductListResponse
from pydantic import TypeAdapter

from domain.catalog_comparison import AddonOnSale, ProductOnSale
from domain.provider_errors import PermanentError, TransientError
from providers.base import Priority
from providers.dodo.provider import Dodo, build
from providers.signature import Verifier
from simulator.server import Simulator
from tests.conftest import PROVIDER_KEY, SECRET
from tests.providers.stub import Stub, reply
from tests.simulator.driver import Control


@pytest.fixture
def control(simulator: Simulator) -> Iterator[Control]:
    simulator.world.reset()
    with requests.Session() as session:
        control = Control(session, simulator.control_url)
        control.turn(rate_limits=[])
        control.call("DELETE", "/requests")
        yield control


def dodo_at(url: str, key: str = PROVIDER_KEY) -> Dodo:
    return build(base_url=url, api_key=key, secrets=[SECRET], rate="100000/second")


@pytest.fixture
def dodo(simulator: Simulator, control: Control) -> Iterator[Dodo]:
    made = dodo_at(simulator.url)
    yield made
    made.close()


@pytest.fixture
def stubbed(client) -> Dodo:
    return Dodo(Verifier([SECRET]), client)


def asked(control: Control) -> list[str]:
    requests = control.call("GET", "/requests")["requests"]
    return [f"{one['method']} {one['path']}?{one['query']}" for one in requests]


# Products.


def test_a_product_shows_its_name_its_price_and_the_addons_offered_with_it(dodo: Dodo):
    assert dodo.product("pdt_team") == ProductOnSale(
        product_id="pdt_team",
        name="Team Pro",
        currency="EUR",
        price=9900,
        addons=("adn_seat", "adn_pack_10", "adn_viewer", "adn_support"),
        tax_inclusive=False,
        billing_interval="Month",
        billing_count=1,
    )


@pytest.mark.parametrize("product_id", ["pdt_none", "..", "", "a/../pdt_team"])
def test_a_product_that_does_not_exist_is_none(dodo: Dodo, product_id: str):
    assert dodo.product(product_id) is None


def test_a_product_without_addons_offers_none(dodo: Dodo):
    assert dodo.product("pdt_per_user").addons == ()


def test_a_listed_product_has_a_currency_and_unknown_addons(dodo: Dodo):
    listed = {product.product_id: product for product in dodo.products()}
    assert listed["pdt_team"] == ProductOnSale(product_id="pdt_team", name="Team Pro", currency="EUR")


def test_archived_products_are_a_list_of_their_own(dodo: Dodo, control: Control):
    control.call("POST", "/products", product_id="pdt_old", name="Old", price=1, archived=True)
    assert "pdt_old" not in [product.product_id for product in dodo.products()]
    assert [product.product_id for product in dodo.products(archived=True)] == ["pdt_old"]


def test_a_product_that_is_sold_once_is_told_from_others(dodo: Dodo, control: Control):
    control.call("POST", "/products", product_id="pdt_once", name="Once", price=1, is_recurring=False)
    assert {product.product_id: product.is_recurring for product in dodo.products()}["pdt_once"] is False
    assert dodo.product("pdt_once").is_recurring is False
    assert dodo.product("pdt_once").currency == "EUR"


def test_all_pages_of_products_are_walked_from_zero(dodo: Dodo, control: Control):
    for number in range(150):
        control.call("POST", "/products", product_id=f"pdt_{number:03}", name="One", price=1)
    ids = [product.product_id for product in dodo.products()]
    assert (len(ids), len(set(ids))) == (152, 152)
    assert asked(control) == [
        f"GET /products?page_number={number}&page_size=100&archived=false" for number in (0, 1)
    ]


# Add-ons.


def test_an_addon_shows_its_name_and_its_price(dodo: Dodo):
    seat = AddonOnSale(addon_id="adn_seat", name="Extra seat", currency="EUR", price=1500)
    assert dodo.addon("adn_seat") == seat
    assert seat in list(dodo.addons())


def test_an_addon_that_does_not_exist_is_none(dodo: Dodo):
    assert dodo.addon("adn_none") is None


def test_archived_addons_are_a_list_of_their_own(dodo: Dodo, control: Control):
    control.call("POST", "/addons", id="adn_old", name="Old", price=1, currency="USD", archived=True)
    assert "adn_old" not in [addon.addon_id for addon in dodo.addons()]
    old = AddonOnSale(addon_id="adn_old", name="Old", currency="USD", price=1)
    assert list(dodo.addons(archived=True)) == [old]


# Untrusted answers.

PRODUCT = {
    "product_id": "pdt_1",
    "name": "One",
    "is_recurring": True,
    "price": {"type": "recurring_price", "currency": "EUR"},
    "addons": ["adn_1"],
}


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"name": None}, {"name": None}),
        ({"name": "new\nline"}, {"name": None}),
        ({"price": "free"}, {"currency": None}),
        ({"price": {"currency": 978}}, {"currency": None}),
        ({"addons": None}, {"addons": ()}),
        ({"addons": "adn_1"}, {"addons": ()}),
        ({"addons": ["adn_1", 7, "a\x1b[2J"]}, {"addons": ("adn_1",)}),
        ({"is_recurring": None}, {"is_recurring": True}),
        ({"a_new_field": {}}, {}),
    ],
)
def test_of_an_odd_product_only_what_is_odd_is_lost(stubbed: Dodo, stub: Stub, changes, shown):
    stub.replies = [reply(body={**PRODUCT, **changes})]
    usual = {"product_id": "pdt_1", "name": "One", "currency": "EUR", "addons": ("adn_1",)}
    assert stubbed.product("pdt_1") == ProductOnSale(**{**usual, **shown})


@pytest.mark.parametrize("answer", [{}, {"product_id": "pdt_2"}, {"id": "adn_2"}, {"product_id": 7, "id": 7}])
def test_an_answer_about_something_else_is_transient(stubbed: Dodo, stub: Stub, answer):
    stub.replies = [reply(body=answer)]
    with pytest.raises(TransientError, match="a different product"):
        stubbed.product("pdt_1")
    with pytest.raises(TransientError, match="a different add-on"):
        stubbed.addon("adn_1")


def test_an_odd_item_does_not_stop_a_list(stubbed: Dodo, stub: Stub):
    stub.replies = [reply(body={"items": [None, 7, {}, {"id": "adn_1"}, {"product_id": "pdt_1"}]})]
    assert [addon.addon_id for addon in stubbed.addons()] == ["adn_1"]
    assert [product.product_id for product in stubbed.products()] == ["pdt_1"]


def test_a_listed_product_may_show_its_currency_within_its_price(stubbed: Dodo, stub: Stub):
    item = {"product_id": "pdt_1", "currency": None, "price": 9900, "price_detail": {"currency": "EUR"}}
    stub.replies = [reply(body={"items": [item]})]
    assert [product.currency for product in stubbed.products()] == ["EUR"]


def test_a_list_that_never_ends_is_noticed(stubbed: Dodo, stub: Stub):
    stub.replies = [reply(body={"items": [{"id": f"adn_{number}"} for number in range(100)]})]
    with pytest.raises(TransientError, match="addons twice"):
        list(stubbed.addons())


@pytest.mark.parametrize("wanted", [Product, ProductListResponse, AddonResponse])
def test_the_fields_read_here_are_those_of_the_official_sdk(wanted):
    fields = set(TypeAdapter(wanted).json_schema()["properties"])
    read = {"id", "name", "currency"} if wanted is AddonResponse else {"product_id", "name", "is_recurring"}
    assert read <= fields


# The key.


def test_the_key_of_this_mode_may_read(dodo: Dodo, control: Control):
    assert dodo.may_read()
    assert asked(control) == ["GET /subscriptions?page_number=0&page_size=1"]


def test_another_key_may_not_read(simulator: Simulator, control: Control):
    stranger = dodo_at(simulator.url, "the-key-of-live-mode")
    assert not stranger.may_read()
    stranger.close()


def test_a_key_with_write_access_may_write(dodo: Dodo):
    assert dodo.may_write()


def test_a_key_without_write_access_may_read_and_not_write(dodo: Dodo, control: Control):
    control.turn(key_is_read_only=True)
    assert (dodo.may_read(), dodo.may_write()) == (True, False)


def test_asking_whether_the_key_may_write_touches_no_subscription(dodo: Dodo, control: Control):
    made = control.create()
    assert dodo.may_write()
    (request,) = asked(control)
    assert request.startswith("DELETE /subscriptions/no-subscription-")
    assert control.call("GET", f"/subscriptions/{made['subscription_id']}") == made


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_the_key_is_no_write_access(stubbed: Dodo, stub: Stub, status: int):
    stub.replies = [reply(status, {"code": "UNAUTHORIZED"})]
    assert not stubbed.may_write()


@pytest.mark.parametrize(
    ("status", "error"), [(500, TransientError), (429, TransientError), (409, PermanentError)]
)
def test_another_answer_does_not_tell_what_the_key_may_do(stubbed: Dodo, stub: Stub, status: int, error):
    stub.replies = [reply(status, {"code": "OTHER"})]
    with pytest.raises(error):
        stubbed.may_write()
    with pytest.raises(error):
        stubbed.may_read()


def test_people_wait_for_these_answers_so_they_go_first(stubbed: Dodo, stub: Stub, monkeypatch):
    callers = []
    monkeypatch.setattr(stubbed._client._budget, "acquire", callers.append)
    stub.replies = [reply(body={"items": []})]
    stubbed.may_read()
    stubbed.may_write()
    assert [*stubbed.products(), *stubbed.addons()] == []
    assert set(callers) == {Priority.INTERACTIVE}
