"""Seat changes to another product over HTTP: what is carried over, what is lost, and what cannot be had."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from domain.catalog.reader import parse
from runtime.wiring import Runtime
from services.sync.on_demand import sync_subscription
from simulator.billing.lifecycle import cancel_later
from simulator.control import actions
from simulator.control.actions import Options
from simulator.server import Simulator
from simulator.world import World
from tests.plans import PLANS, with_plans
from tests.simulated import CHANGES, sell, sell_second_subscription, units
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import claimed

CHANGE = "/v1/accounts/acme/seat-changes"
CART = {"adn_seat": 3, "adn_pack_10": 1, "adn_viewer": 4, "adn_support": 1}
CONTRACT = """
[contracts.more]
account = "acme"
seats = { full = 100 }
"""
UNLIMITED_CONTRACT = CONTRACT.replace("100", '"unlimited"')


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


def preview(client: FlaskClient, product_id: str, seats: dict[str, int] | None = None, **more: Any) -> Any:
    wish = {"product_id": product_id, **({} if seats is None else {"seats": seats}), **more}
    return client.post(f"{CHANGE}/preview", json=wish)


def previewed(client: FlaskClient, product_id: str, seats: dict[str, int] | None = None, **more: Any) -> Any:
    answer = preview(client, product_id, seats, **more)
    assert answer.status_code == 200, answer.text
    return answer.json


def confirmed(client: FlaskClient, shown: Any) -> str:
    answer = client.post(CHANGE, json={"token": shown["token"]})
    assert answer.status_code == 200, answer.text
    return str(answer.json["state"])


def told(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json["code"]


def cart_after(shown: Any) -> tuple[str, dict[str, int]]:
    cart = shown["cart"]["after"]
    return cart["product_id"], {one["addon_id"]: one["quantity"] for one in cart["addons"]}


def provided(world: World, subscription_id: str) -> tuple[str, dict[str, int]]:
    return world.state.get(subscription_id).product_id, dict(units(world, subscription_id))


def purchased(client: FlaskClient) -> dict[str, int | str]:
    seats = client.get("/v1/accounts/acme/seats").json["seats"]
    return {name: one["purchased"] for name, one in seats.items()}


def sent(world: World) -> list[dict[str, Any]]:
    writes: Any = world.requests.report(100)["writes"]
    return [json.loads(write["body"]) for write in writes if write["route"] == CHANGES]


# Seats are carried over.


def test_seats_are_carried_over_into_the_addons_of_the_new_product(
    buyer: FlaskClient, world: World, sold: str
):
    shown = previewed(buyer, "pdt_yearly")
    cart = ("pdt_yearly", {"adn_seat_yearly": 13, "adn_viewer_yearly": 4, "adn_support": 1})
    assert (cart_after(shown), shown["seats"]) == (cart, {})
    assert confirmed(buyer, shown) == "applied"
    assert provided(world, sold) == cart
    assert purchased(buyer) == {"full": 18, "viewer": 4}


@pytest.mark.parametrize("when", ["now", "at_renewal"])
def test_a_change_of_our_own_to_another_product_is_no_drift(
    buyer: FlaskClient, world: World, sold: str, when: str
):
    confirmed(buyer, previewed(buyer, "pdt_yearly", when=when))
    if when == "at_renewal":
        world.apply(sold, actions.renew(world, Options()), silently=True)
        buyer.post("/v1/accounts/acme/sync")
    assert buyer.get("/v1/drift").json["findings"] == []
    assert provided(world, sold)[0] == "pdt_yearly"


def test_the_audit_names_who_changed_the_product(buyer: FlaskClient):
    shown = previewed(buyer, "pdt_yearly", {"full": 20})
    confirmed(buyer, shown)
    rows = buyer.get("/v1/accounts/acme/audit?from=2026-01-01T00:00:00Z").json["rows"]
    assert rows[-1]["reason"] == f"seat change {shown['change_id']}"
    assert rows[-1]["actor"] == "key:bootstrap"


def test_the_scheduled_product_is_shown_with_its_seats(buyer: FlaskClient):
    confirmed(buyer, previewed(buyer, "pdt_company", when="at_renewal"))
    (one,) = buyer.get("/v1/accounts/acme/seats").json["subscriptions"]
    assert one["scheduled_change"]["seats"] == {"full": "unlimited", "viewer": 4}


def test_an_invitation_is_released_with_the_seat_type_that_is_lost(buyer: FlaskClient, service: Runtime):
    claimed(service, "guest-1", role="guest", hold=True)
    shown = previewed(buyer, "pdt_solo", {"full": 8}, release="suggested", when="now")
    assert shown["release"] == ["guest-1"]
    confirmed(buyer, shown)
    gone = buyer.get("/v1/accounts/acme/members/guest-1")
    assert (told(gone), gone.json["released_at"] is not None) == ((404, "member_not_found"), True)


def test_members_can_be_given_another_role_before_their_seat_type_is_lost(
    buyer: FlaskClient, service: Runtime
):
    claimed(service, "guest-1", role="guest")
    assert told(preview(buyer, "pdt_solo", {"full": 8})) == (409, "seats_in_use")
    assert buyer.patch("/v1/accounts/acme/members/guest-1", json={"role": "member"}).status_code == 200
    assert confirmed(buyer, previewed(buyer, "pdt_solo", {"full": 8}, when="now")) == "applied"


def test_the_new_products_policy_holds_after_the_change(buyer: FlaskClient, service: Runtime):
    """Solo is soft: a claim beyond the limit is granted there."""
    confirmed(buyer, previewed(buyer, "pdt_solo", {"full": 3}, when="now"))
    claims = [
        buyer.post("/v1/accounts/acme/claims", json={"member_id": f"member-{number}", "role": "member"})
        for number in range(4)
    ]
    assert [one.status_code for one in claims] == [201] * 4
    assert buyer.get("/v1/accounts/acme/seats").json["seats"]["full"]["overage"] == 1


def test_seats_can_change_along_with_the_product(buyer: FlaskClient):
    shown = previewed(buyer, "pdt_yearly", {"full": 20, "viewer": 1})
    assert cart_after(shown)[1] == {"adn_seat_yearly": 15, "adn_viewer_yearly": 1, "adn_support": 1}
    assert shown["seats"] == {"full": {"before": 18, "after": 20}, "viewer": {"before": 4, "after": 1}}


def test_seats_that_the_new_product_includes_need_no_addon(world: World, service: Runtime, open_door):
    sell(world, service, {"adn_seat": 25})
    shown = previewed(open_door(service), "pdt_business")
    assert cart_after(shown) == ("pdt_business", {"adn_seat_business": 20})


def test_a_product_that_includes_more_seats_gives_all_of_them(world: World, service: Runtime, open_door):
    solo = world.open({"product_id": "pdt_solo", "metadata": {"account_id": "acme"}}, silently=True)
    sync_subscription(service, solo.subscription_id, patience=5)
    shown = previewed(open_door(service), "pdt_yearly")
    assert (cart_after(shown), shown["seats"]) == (("pdt_yearly", {}), {"full": {"before": 3, "after": 5}})


def test_the_way_back_restores_the_cart(buyer: FlaskClient, world: World, sold: str):
    confirmed(buyer, previewed(buyer, "pdt_yearly"))
    confirmed(buyer, previewed(buyer, "pdt_team"))
    assert provided(world, sold) == ("pdt_team", CART)


def test_the_same_product_is_a_plain_seat_change(buyer: FlaskClient):
    shown = previewed(buyer, "pdt_team", {"full": 20})
    assert cart_after(shown) == ("pdt_team", {**CART, "adn_seat": 5})
    assert shown["sentence"].startswith("Adding 2 full seats costs")


def test_the_same_product_without_seats_changes_nothing(buyer: FlaskClient):
    answer = preview(buyer, "pdt_team")
    assert told(answer) == (409, "nothing_to_change")
    assert "has this product already" in answer.json["detail"]


def test_a_request_for_nothing_is_refused(buyer: FlaskClient):
    answer = buyer.post(f"{CHANGE}/preview", json={})
    assert told(answer) == (422, "invalid_request")
    assert "must have seats, or a product_id to change to" in answer.json["detail"]


# What is shown.


def test_both_products_are_shown_with_their_policies_and_the_bounds_of_the_new_one(buyer: FlaskClient):
    shown = previewed(buyer, "pdt_solo", {"full": 8, "viewer": 0})
    assert shown["product"] == {
        "before": {"product_id": "pdt_team", "name": "Team Pro", "policy": "strict"},
        "after": {"product_id": "pdt_solo", "name": "Solo", "policy": "soft"},
    }
    assert (shown["minimum"], shown["maximum"]) == ({}, {"full": 8})


def test_the_sentence_names_both_products_both_prices_and_both_periods(buyer: FlaskClient):
    shown = previewed(buyer, "pdt_yearly", {"full": 20}, proration="full_immediately")
    start = shown["sentence"].split(" today;")[0]
    assert start.startswith("Changing from Team Pro to Team Yearly and adding 2 full seats costs ")
    assert "then 3312.00 EUR a year before tax from " in shown["sentence"]
    assert ", instead of 330.00 EUR a month." in shown["sentence"]


def test_lost_seat_types_and_dropped_addons_are_named(buyer: FlaskClient):
    shown = previewed(buyer, "pdt_solo", {"full": 8})
    assert shown["lost_seat_types"] == ["viewer"]
    assert shown["dropped_addons"] == ["adn_support"]
    assert shown["seats"] == {"full": {"before": 18, "after": 8}, "viewer": {"before": 4, "after": 0}}
    assert "Solo has no viewer seats." in shown["sentence"]
    assert "1 add-on that gives no seats is not sold with it and ends." in shown["sentence"]


# Who would have to leave.


def test_members_on_lost_seats_are_named_and_can_be_released(
    buyer: FlaskClient, service: Runtime, world: World, sold: str
):
    claimed(service, "guest-1", "guest-2", role="guest")
    claimed(service, "boss")
    refused = preview(buyer, "pdt_solo", {"full": 8})
    assert told(refused) == (409, "seats_in_use")
    assert refused.json["detail"].startswith("Solo has no viewer seats. The change would leave 2 members")
    assert refused.json["lost_seat_types"] == ["viewer"]
    assert {one["member_id"] for one in refused.json["leavers"]} == {"guest-1", "guest-2"}
    shown = previewed(buyer, "pdt_solo", {"full": 8}, release="suggested", when="now")
    assert sorted(shown["release"]) == ["guest-1", "guest-2"]
    assert confirmed(buyer, shown) == "applied"
    used = buyer.get("/v1/accounts/acme/seats").json["seats"]
    assert (used["full"]["used"], used["viewer"]["used"]) == (1, 0)
    assert provided(world, sold) == ("pdt_solo", {"adn_seat": 5})


def test_members_beyond_the_new_maximum_are_named_in_the_usual_order(buyer: FlaskClient, service: Runtime):
    claimed(service, *(f"member-{number}" for number in range(10)))
    refused = preview(buyer, "pdt_solo", {"full": 8})
    assert told(refused) == (409, "seats_in_use")
    assert refused.json["total"] == 2
    usual = buyer.get("/v1/accounts/acme/leavers?type=full&to=8").json["seat_types"]["full"]["leavers"]
    assert [one["member_id"] for one in refused.json["leavers"]] == [one["member_id"] for one in usual]


def test_a_change_at_the_renewal_that_members_outgrow_is_not_sent(
    buyer: FlaskClient, service: Runtime, world: World
):
    shown = previewed(buyer, "pdt_solo", {"full": 8})
    claimed(service, "guest-1", role="guest")
    answer = buyer.post(CHANGE, json={"token": shown["token"]})
    assert told(answer) == (409, "seats_in_use")
    assert sent(world) == []


# Now or at the renewal.


@pytest.mark.parametrize(
    ("product_and_seats", "when"),
    [
        (("pdt_yearly", None), "now"),
        (("pdt_business", {"full": 25}), "now"),
        (("pdt_solo", {"full": 8}), "at_renewal"),
        (("pdt_yearly", {"full": 17}), "at_renewal"),
        (("pdt_yearly", {"full": 17, "viewer": 5}), "at_renewal"),
    ],
)
def test_a_product_that_takes_no_seats_comes_now_by_default(
    service: Runtime, sold: str, open_door: OpenDoor, product_and_seats: Any, when: str
):
    text = PLANS.replace('decrease_when = "now"\n', "")
    client = open_door(replace(service, catalog=parse(text, "test catalogue")))
    assert previewed(client, *product_and_seats)["when"] == when


def test_a_product_at_the_renewal_comes_then_with_its_own_period(buyer: FlaskClient, world: World, sold: str):
    shown = previewed(buyer, "pdt_yearly", when="at_renewal")
    assert confirmed(buyer, shown) == "scheduled"
    assert provided(world, sold) == ("pdt_team", CART)
    world.apply(sold, actions.renew(world, Options()), silently=True)
    buyer.post("/v1/accounts/acme/sync")
    assert provided(world, sold) == cart_after(shown)
    assert buyer.get(f"{CHANGE}/{shown['change_id']}").json["state"] == "applied"
    assert purchased(buyer) == {"full": 18, "viewer": 4}


def test_a_product_at_the_renewal_can_be_cancelled(buyer: FlaskClient, world: World, sold: str):
    shown = previewed(buyer, "pdt_yearly", when="at_renewal")
    confirmed(buyer, shown)
    assert buyer.delete(f"{CHANGE}/{shown['change_id']}").json["state"] == "cancelled"
    world.apply(sold, actions.renew(world, Options()), silently=True)
    assert provided(world, sold) == ("pdt_team", CART)


def test_a_second_change_is_refused_while_one_is_scheduled(buyer: FlaskClient):
    confirmed(buyer, previewed(buyer, "pdt_yearly", when="at_renewal"))
    answer = preview(buyer, "pdt_business", {"full": 25})
    assert told(answer) == (409, "change_scheduled")
    assert answer.json["detail"].endswith("Cancel the scheduled change first, then preview again.")


def test_a_subscription_that_is_to_end_cannot_change_its_product(buyer: FlaskClient, world: World, sold: str):
    world.apply(sold, cancel_later, silently=True)
    assert preview(buyer, "pdt_yearly").status_code == 409


@pytest.mark.parametrize(
    ("product_and_seats", "when", "guard"),
    [
        (("pdt_yearly", None), "now", "prevent_change"),
        (("pdt_yearly", None), "at_renewal", "prevent_change"),
        (("pdt_business", {"full": 25}), "at_renewal", "prevent_change"),
        (("pdt_solo", {"full": 8}), "at_renewal", None),
    ],
    ids=["charged now", "another period", "dearer", "cheaper"],
)
def test_a_product_that_costs_more_has_to_be_paid_before_anything_changes(
    buyer: FlaskClient, world: World, product_and_seats: Any, when: str, guard: str | None
):
    confirmed(buyer, previewed(buyer, *product_and_seats, when=when))
    (body,) = sent(world)
    assert (body["product_id"], body.get("on_payment_failure")) == (product_and_seats[0], guard)


# Seats from elsewhere.


def selling(service: Runtime, open_door: OpenDoor, sold: str, extra: str) -> FlaskClient:
    dealing = replace(service, catalog=parse(PLANS + extra, "test catalogue"))
    sync_subscription(dealing, sold, patience=5)
    return open_door(dealing)


def test_seats_of_a_contract_stay_outside_the_cart(service: Runtime, open_door: OpenDoor, sold: str):
    client = selling(service, open_door, sold, CONTRACT)
    shown = previewed(client, "pdt_yearly", {"full": 120})
    assert cart_after(shown)[1]["adn_seat_yearly"] == 15
    assert shown["seats"] == {"full": {"before": 118, "after": 120}}


def test_people_with_seats_of_a_contract_need_not_leave(service: Runtime, open_door: OpenDoor, sold: str):
    client = selling(service, open_door, sold, CONTRACT)
    claimed(service, *(f"member-{number}" for number in range(12)))
    shown = previewed(client, "pdt_solo", {"full": 108})
    assert (shown["seats"]["full"], shown["release"]) == ({"before": 118, "after": 108}, [])


def test_unlimited_seats_of_a_contract_are_no_obstacle(service: Runtime, open_door: OpenDoor, sold: str):
    client = selling(service, open_door, sold, UNLIMITED_CONTRACT)
    shown = previewed(client, "pdt_yearly")
    assert (cart_after(shown)[1]["adn_seat_yearly"], shown["seats"]) == (13, {})


def test_seats_of_a_second_subscription_are_left_to_it(
    service: Runtime, world: World, open_door: OpenDoor, sold: str
):
    second = sell_second_subscription(world, service, sold)
    client = open_door(service)
    assert told(preview(client, "pdt_yearly")) == (409, "no_subscription_to_change")
    shown = previewed(client, "pdt_yearly", {"full": 25}, subscription_id=sold)
    assert cart_after(shown)[1]["adn_seat_yearly"] == 15
    assert confirmed(client, shown) == "applied"
    assert (purchased(client)["full"], provided(world, second)) == (25, ("pdt_team", {}))


# Unlimited seats.


def test_unlimited_seats_can_be_bought_and_given_up(
    buyer: FlaskClient, service: Runtime, world: World, sold: str
):
    up = previewed(buyer, "pdt_company")
    assert cart_after(up) == ("pdt_company", {"adn_viewer": 4, "adn_support": 1})
    assert up["seats"] == {"full": {"before": 18, "after": "unlimited"}}
    assert "having unlimited full seats instead of 18" in up["sentence"]
    assert confirmed(buyer, up) == "applied"
    assert purchased(buyer)["full"] == "unlimited"
    refused = preview(buyer, "pdt_team")
    assert told(refused) == (409, "no_way_to_buy")
    assert '"seats": {"full": 25}' in refused.json["detail"]
    claimed(service, *(f"member-{number}" for number in range(30)))
    too_few = preview(buyer, "pdt_team", {"full": 25})
    assert (told(too_few), too_few.json["total"]) == ((409, "seats_in_use"), 5)
    down = previewed(buyer, "pdt_team", {"full": 30}, when="now")
    assert down["seats"] == {"full": {"before": "unlimited", "after": 30}}
    assert confirmed(buyer, down) == "applied"
    assert purchased(buyer) == {"full": 30, "viewer": 4}


# What cannot be had.


@pytest.mark.parametrize(
    ("product_id", "seats", "refusal", "says"),
    [
        ("pdt_business", None, (409, "below_minimum"), "its minimum is 25 full seats"),
        ("pdt_business", {"full": 24}, (409, "below_minimum"), "its minimum is 25 full seats"),
        ("pdt_yearly", {"full": 4}, (409, "below_minimum"), "it includes 5"),
        ("pdt_solo", None, (409, "above_maximum"), "its maximum is 8"),
        ("pdt_solo", {"full": 8, "viewer": 1}, (422, "unknown_seat_type"), "Solo sells no 'viewer' seats"),
        ("pdt_yearly", {"guest": 1}, (422, "unknown_seat_type"), "it sells full, viewer"),
        ("pdt_none", None, (404, "product_not_found"), "add its section to the catalogue"),
        ("pdt_nowhere", None, (409, "product_not_sold"), "the provider does not know it"),
        ("pdt_once", None, (409, "product_not_sold"), "for a single payment and not by subscription"),
        ("pdt_old", None, (409, "product_not_sold"), "is archived at the provider"),
        ("pdt_dollars", None, (409, "currency_differs"), "is sold in USD, and the present product in EUR"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(
    buyer: FlaskClient, product_id: str, seats: Any, refusal: tuple[int, str], says: str
):
    answer = preview(buyer, product_id, seats)
    assert told(answer) == refusal
    assert says in answer.json["detail"]
    assert answer.json["retry_helps"] is False


def test_seats_of_a_lost_type_may_be_named_as_none(buyer: FlaskClient):
    assert previewed(buyer, "pdt_solo", {"full": 8, "viewer": 0})["lost_seat_types"] == ["viewer"]


def test_a_preview_is_void_once_the_product_has_changed(buyer: FlaskClient):
    early = previewed(buyer, "pdt_yearly")
    confirmed(buyer, previewed(buyer, "pdt_business", {"full": 25}))
    assert told(buyer.post(CHANGE, json={"token": early["token"]})) == (409, "subscription_changed")


# The days of a proration.


@pytest.fixture
def ten_days_in(world: World, service: Runtime, open_door: OpenDoor) -> FlaskClient:
    """Eight full seats, ten days into a period of thirty."""
    start = datetime.now(UTC) - timedelta(days=10, hours=1)
    period = {"previous_billing_date": start, "next_billing_date": start + timedelta(days=30)}
    seats = [{"addon_id": "adn_seat", "quantity": 3}]
    wanted = {"metadata": {"account_id": "acme"}, "addons": seats, **period}
    sync_subscription(service, world.open(wanted, silently=True).subscription_id, patience=5)
    return open_door(service)


@pytest.mark.parametrize(
    ("proration", "days", "words"),
    [
        ("prorated_immediately_keep_cycle", {"days": 20, "of": 30}, "today, for 20 of 30 days;"),
        (
            "prorated_immediately",
            {"days": 20, "of": 30},
            "today, for a new period less 20 unused days of 30;",
        ),
        ("difference_immediately", None, "today;"),
        ("full_immediately", None, "today;"),
        ("do_not_bill", None, "today;"),
    ],
)
@pytest.mark.parametrize("wish", [{"seats": {"full": 20}}, {"product_id": "pdt_yearly"}])
def test_a_preview_says_for_how_many_days_of_the_period_it_charges(
    ten_days_in: FlaskClient, proration: str, days: Any, words: str, wish: Any
):
    asked = {**wish, "when": "now", "proration": proration}
    shown = ten_days_in.post(f"{CHANGE}/preview", json=asked).json
    assert shown["prorated_days"] == days
    assert words in shown["sentence"]


def test_the_lines_of_the_provider_are_shown(buyer: FlaskClient):
    shown = previewed(buyer, "pdt_yearly", proration="difference_immediately", when="now")
    lines = [(one["kind"], one["name"], one["quantity"], one["share"]) for one in shown["lines"]]
    assert lines == [
        ("product", "Team Yearly", 1, 1.0),
        ("addon", "Extra seat for a year", 13, 1.0),
        ("addon", "Priority support", 1, 1.0),
        ("addon", "Viewer seat for a year", 4, 1.0),
        ("product", "Team Pro", 1, -1.0),
        ("addon", "Extra seat", 3, -1.0),
        ("addon", "Pack of ten seats", 1, -1.0),
        ("addon", "Viewer seat", 4, -1.0),
        ("addon", "Priority support", 1, -1.0),
    ]
    assert shown["lines"][0]["unit_price"] == {"amount": 95000, "currency": "EUR", "text": "950.00 EUR"}
    assert (shown["lines"][0]["tax"]["amount"], shown["lines"][0]["tax_inclusive"]) == (21850, False)
