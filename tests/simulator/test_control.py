from __future__ import annotations

import pytest


def test_any_field_can_be_overridden(control, provider):
    fields = {
        "subscription_id": "sub_mine",
        "currency": "JPY",
        "recurring_pre_tax_amount": 5,
        "metadata": {"account_id": "acme"},
        "tax_id": "T1",
    }
    shown = provider.retrieve(control.create(**fields))
    assert {name: shown[name] for name in fields} == fields


def test_part_of_the_customer_can_be_overridden(control, provider):
    shown = provider.retrieve(control.create(customer={"email": "a@b.example"}))
    assert shown["customer"]["email"] == "a@b.example"
    assert shown["customer"]["customer_id"].startswith("cus_")


def test_a_field_can_be_shown_wrong(control, provider):
    made = control.create(verbatim={"addons": None, "quantity": "three", "new_field": 1})
    shown = provider.retrieve(made)
    assert (shown["addons"], shown["quantity"], shown["new_field"]) == (None, "three", 1)
    assert "addons" not in provider.page(0)[0]


def test_a_field_can_be_left_out(control, provider):
    assert "addons" not in provider.retrieve(control.create(absent=["addons"]))


def test_a_field_nobody_knows_is_refused(control):
    answer = control.session.post(f"{control.url}/subscriptions", json={"seats": 3})
    assert (answer.status_code, answer.json()["code"]) == (422, "UNKNOWN_FIELD")


def test_a_new_subscription_is_announced_as_active_and_renewed(control, receiver):
    control.create(silently=False)
    types = sorted(delivery.type for delivery in receiver.wait_for(3))
    assert types == ["subscription.active", "subscription.renewed", "subscription.updated"]


def test_a_pending_subscription_is_not_announced(control):
    control.create(status="pending", silently=False)
    assert control.call("GET", "/messages")["counts"] == {}


def test_a_cart_keeps_what_is_not_named(control):
    made = control.create(addons=[{"addon_id": "adn_seat", "quantity": 3}])
    after = control.act(made, "cart", quantity=4)
    assert (after["quantity"], after["addons"]) == (4, made["addons"])
    assert after["recurring_pre_tax_amount"] == 4 * 9900 + 3 * 1500


def test_a_cart_may_hold_what_is_not_on_sale(control):
    addons = [{"addon_id": "adn_unheard_of", "quantity": -1}] * 2
    assert control.act(control.create(), "cart", addons=addons)["addons"] == addons


@pytest.mark.parametrize(
    ("before", "action", "after"),
    [
        ("active", "hold", "on_hold"),
        ("on_hold", "recover", "active"),
        ("active", "past-due", "past_due"),
        ("past_due", "renew", "active"),
        ("active", "pause", "paused"),
        ("paused", "unpause", "active"),
        ("active", "cancel", "cancelled"),
        ("active", "expire", "expired"),
        ("pending", "fail", "failed"),
        ("pending", "activate", "active"),
        ("on_hold", "update-payment-method", "active"),
        ("active", "cancel-at-period-end", "active"),
    ],
)
def test_an_action_leads_to_its_status(control, before, action, after):
    assert control.act(control.create(status=before), action)["status"] == after


def test_a_status_can_be_set_by_name(control):
    assert control.act(control.create(), "status", status="frozen")["status"] == "frozen"


def test_an_unknown_action_names_the_known_ones(control):
    made = control.create()
    answer = control.session.post(f"{control.url}/subscriptions/{made['subscription_id']}/explode")
    assert answer.status_code == 404
    assert "cancel-at-period-end" in answer.json()["message"]


def test_a_field_can_be_changed_behind_everyones_back(control, provider):
    made = control.create()
    path = f"/subscriptions/{made['subscription_id']}"
    control.call("PATCH", path, metadata={"account_id": "other"}, silently=True)
    assert provider.retrieve(made)["metadata"] == {"account_id": "other"}
    assert control.call("GET", "/messages")["counts"] == {}


def test_a_subscription_can_be_forgotten(control, provider):
    made = control.create()
    control.call("DELETE", f"/subscriptions/{made['subscription_id']}")
    assert provider.call("GET", f"/subscriptions/{made['subscription_id']}").status_code == 404
    assert provider.page(0) == []


def test_many_can_be_made_at_once(control):
    made = control.call("POST", "/subscriptions/bulk", count=3, account_prefix="team")
    dump = control.call("GET", "/subscriptions")
    assert made["count"] == dump["total"] == 3
    assert {item["metadata"]["account_id"] for item in dump["items"]} == {"team-0", "team-1", "team-2"}


def test_the_catalogue_can_grow(control, sdk):
    control.call("POST", "/addons", id="adn_pack_25", name="Pack of 25", price=25000)
    control.call("POST", "/products", product_id="pdt_big", name="Big", price=1, addons=["adn_pack_25"])
    assert sdk.addons.retrieve("adn_pack_25").name == "Pack of 25"
    assert sdk.products.retrieve("pdt_big").addons == ["adn_pack_25"]


def test_requests_are_counted_by_route_and_caller(control, provider):
    for _ in range(2):
        provider.retrieve({"subscription_id": "sub_nobody"})
    provider.call("GET", "/products", headers={"User-Agent": "worker-7"})
    report = control.call("GET", "/requests")
    assert report["routes"] == {"GET /subscriptions/<subscription_id>": 2, "GET /products": 1}
    assert report["callers"]["worker-7"] == 1
    assert report["requests"][-1]["path"] == "/products"


def test_the_request_log_can_be_emptied(control, provider):
    provider.call("GET", "/products")
    control.call("DELETE", "/requests")
    assert control.call("GET", "/requests")["total"] == 0


def test_a_reset_starts_over(control, provider):
    control.create()
    control.turn(drop_probability=0.5)
    control.call("POST", "/reset")
    assert control.call("GET", "/subscriptions")["total"] == 0
    assert control.call("GET", "/knobs")["drop_probability"] == 0


def test_the_same_seed_gives_the_same_ids(control):
    first = control.create()
    control.call("POST", "/reset")
    assert control.create()["subscription_id"] == first["subscription_id"]


@pytest.mark.parametrize(
    "knobs", [{"dropp": 1}, {"drop_probability": 2}, {"speed": 0}, {"webhook_url": "ftp://x"}]
)
def test_a_knob_that_makes_no_sense_is_refused(control, knobs):
    answer = control.session.patch(f"{control.url}/knobs", json=knobs)
    assert answer.status_code == 422
    assert answer.json()["code"] in {"UNKNOWN_KNOB", "INVALID_KNOB"}
