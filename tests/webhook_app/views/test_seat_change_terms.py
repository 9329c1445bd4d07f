"""When a seat change happens and how it is billed over HTTP, and what cannot be had."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from domain.billing_terms import Proration, When
from domain.catalog.reader import parse
from runtime.wiring import Runtime
from simulator.billing.lifecycle import changed as did
from simulator.world import World
from tests.simulated import CATALOG, CHANGES, sell
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import claimed, rows, run_sql

CHANGE = "/v1/accounts/acme/seat-changes"
CART = {"adn_seat": 3, "adn_pack_10": 1, "adn_viewer": 4, "adn_support": 1}
MOMENTS = {When.NOW: "immediately", When.AT_RENEWAL: "next_billing_date"}


@pytest.fixture
def sold(world: World, service: Runtime) -> str:
    """Eighteen full seats, four viewers and a support contract."""
    return sell(world, service, CART)


@pytest.fixture
def buyer(service: Runtime, sold: str, open_door: OpenDoor) -> FlaskClient:
    return open_door(service)


def preview(client: FlaskClient, seats: dict[str, int], **more: Any) -> Any:
    return client.post(f"{CHANGE}/preview", json={"seats": seats, **more})


def confirm(client: FlaskClient, token: str) -> Any:
    return client.post(CHANGE, json={"token": token})


def told(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json["code"]


def asked(world: World, route: str) -> list[dict[str, Any]]:
    """The bodies of such requests, as the provider got them."""
    writes: Any = world.requests.report(100)["writes"]
    return [json.loads(write["body"]) for write in writes if write["route"] == route]


def terms(body: dict[str, Any]) -> tuple[str, str]:
    return body["effective_at"], body["proration_billing_mode"]


# What is asked for is what is sent.


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("proration", Proration)
@pytest.mark.parametrize("full", [23, 12])
def test_the_terms_asked_for_are_shown_previewed_and_sent(
    buyer: FlaskClient, world: World, when: When, proration: Proration, full: int
):
    shown = preview(buyer, {"full": full}, when=when, proration=proration).json
    assert (shown["when"], shown["proration"]) == (when, proration)
    confirm(buyer, shown["token"])
    previewed, sent = asked(world, f"{CHANGES}/preview"), asked(world, CHANGES)
    assert [terms(body) for body in (*previewed, *sent)] == [(MOMENTS[when], proration.value)] * 2


@pytest.mark.parametrize(
    ("seats", "proration", "guard"),
    [
        ({"full": 23}, "prorated_immediately", "prevent_change"),
        ({"full": 23}, "do_not_bill", "prevent_change"),
        ({"full": 12, "viewer": 5}, "prorated_immediately", "prevent_change"),
        ({"full": 12}, "full_immediately", "prevent_change"),
        ({"full": 12}, "prorated_immediately", None),
    ],
    ids=["more", "more_for_nothing", "more_and_less", "less_for_money", "less"],
)
def test_what_adds_seats_or_costs_money_has_to_be_paid_before_anything_changes(
    buyer: FlaskClient, world: World, seats: dict[str, int], proration: str, guard: str | None
):
    confirm(buyer, preview(buyer, seats, when="now", proration=proration).json["token"])
    (sent,) = asked(world, CHANGES)
    assert sent.get("on_payment_failure") == guard


# What nobody asked for is decided by the catalogue.

SILENT = CATALOG.replace('decrease_when = "now"\n', "")
DEFAULTS = SILENT.replace(
    "[defaults]\n",
    '[defaults]\nproration_increase = "difference_immediately"\nproration_decrease = "do_not_bill"\n'
    'decrease_when = "at_renewal"\n',
)
PRODUCT = (
    DEFAULTS + 'proration_increase = "prorated_immediately_keep_cycle"\n'
    'proration_decrease = "full_immediately"\ndecrease_when = "now"\n'
)
MORE, LESS, BOTH = {"seats": {"full": 23}}, {"seats": {"full": 12}}, {"seats": {"full": 12, "viewer": 5}}
AT_RENEWAL = ("at_renewal", "full_immediately")


@pytest.mark.parametrize(
    ("catalogue", "wish", "terms_shown"),
    [
        (SILENT, MORE, ("now", "prorated_immediately")),
        (SILENT, LESS, AT_RENEWAL),
        (SILENT, {**LESS, "when": "now"}, ("now", "prorated_immediately")),
        (DEFAULTS, MORE, ("now", "difference_immediately")),
        (DEFAULTS, BOTH, ("now", "difference_immediately")),
        (DEFAULTS, {**MORE, "when": "at_renewal"}, AT_RENEWAL),
        (DEFAULTS, LESS, AT_RENEWAL),
        (DEFAULTS, {**LESS, "when": "now"}, ("now", "do_not_bill")),
        (PRODUCT, MORE, ("now", "prorated_immediately_keep_cycle")),
        (PRODUCT, BOTH, ("now", "prorated_immediately_keep_cycle")),
        (PRODUCT, {**MORE, "when": "at_renewal"}, AT_RENEWAL),
        (PRODUCT, LESS, ("now", "full_immediately")),
        (PRODUCT, {**LESS, "when": "at_renewal"}, AT_RENEWAL),
        (DEFAULTS, {**LESS, "proration": "prorated_immediately"}, ("at_renewal", "prorated_immediately")),
        (PRODUCT, {**LESS, "proration": "do_not_bill"}, ("now", "do_not_bill")),
    ],
    ids=[
        "silent_more",
        "silent_less",
        "silent_less_now",
        "default_more",
        "default_more_and_less",
        "default_more_at_renewal",
        "default_less",
        "default_less_now",
        "product_more",
        "product_more_and_less",
        "product_more_at_renewal",
        "product_less",
        "product_less_at_renewal",
        "said_above_default",
        "said_above_product",
    ],
)
@pytest.mark.usefixtures("sold")
def test_the_product_decides_above_the_defaults_and_the_caller_above_both(
    service: Runtime,
    open_door: OpenDoor,
    catalogue: str,
    wish: dict[str, Any],
    terms_shown: tuple[str, str],
):
    client = open_door(replace(service, catalog=parse(catalogue, "test catalogue")))
    shown = preview(client, **wish).json
    assert (shown["when"], shown["proration"]) == terms_shown


# What cannot be had.


def test_a_preview_that_is_too_old_is_refused_however_often_it_is_confirmed(
    buyer: FlaskClient, service: Runtime, world: World
):
    token = preview(buyer, {"full": 23}).json["token"]
    run_sql(service, "UPDATE seat_changes SET expires_at = now()")
    assert [told(confirm(buyer, token)) for _ in range(2)] == [(409, "preview_expired")] * 2
    assert asked(world, CHANGES) == []


@pytest.mark.parametrize(
    ("full", "release"), [(23, "boss"), (12, "guest-1"), (12, "nobody")], ids=["more", "elsewhere", "unknown"]
)
def test_who_sits_on_nothing_that_is_given_back_cannot_be_released(
    buyer: FlaskClient, service: Runtime, full: int, release: str
):
    claimed(service, "boss")
    claimed(service, "guest-1", role="guest")
    answer = preview(buyer, {"full": full}, release=[release])
    assert told(answer) == (409, "release_refused")
    assert answer.json["members"] == [release]


def test_seats_that_the_provider_has_stopped_selling_cannot_be_bought(buyer: FlaskClient, world: World):
    team = world.catalog.product("pdt_team")
    world.catalog.put_product(replace(team, addons=("adn_viewer", "adn_support")))
    answer = preview(buyer, {"full": 23})
    assert told(answer) == (409, "no_way_to_buy")
    assert (answer.json["seat_type"], answer.json["wanted"]) == ("full", 23)


def test_a_cart_that_the_provider_does_not_tell_is_not_changed(
    buyer: FlaskClient, service: Runtime, world: World, sold: str
):
    world.apply(sold, lambda one, _: did(replace(one, absent=frozenset({"addons"}))), silently=True)
    answer = preview(buyer, {"full": 23})
    assert told(answer) == (409, "addons_unknown")
    assert rows(service, "SELECT id FROM seat_changes") == []


def test_a_provider_that_would_make_another_cart_gets_no_token(
    buyer: FlaskClient, service: Runtime, world: World, sold: str
):
    """Whatever is asked for, it would make three seats of it."""
    only = {"addons": [{"addon_id": "adn_seat", "quantity": 3}]}
    world.apply(sold, lambda one, _: did(replace(one, verbatim=only)), silently=True)
    answer = preview(buyer, {"full": 23})
    assert (told(answer), answer.json["retry_helps"]) == ((422, "cart_differs"), False)
    assert rows(service, "SELECT id FROM seat_changes") == []
