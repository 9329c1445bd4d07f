from __future__ import annotations

import pytest


def test_a_cancellation_can_be_scheduled_and_taken_back(control, provider):
    made = control.create()
    leaving = provider.patch(made, cancel_at_next_billing_date=True, cancellation_feedback="unused").json()
    staying = provider.patch(made, cancel_at_next_billing_date=False).json()
    assert (leaving["cancel_at_next_billing_date"], leaving["status"]) == (True, "active")
    assert (staying["cancel_at_next_billing_date"], staying["cancellation_feedback"]) == (False, None)


@pytest.mark.parametrize(
    ("before", "wish", "after"),
    [("active", "paused", "paused"), ("paused", "active", "active"), ("active", "cancelled", "cancelled")],
)
def test_a_status_can_be_set(control, provider, before, wish, after):
    made = control.create(status=before)
    assert provider.patch(made, status=wish).json()["status"] == after


@pytest.mark.parametrize("fields", [{"status": "cancelled"}, {"cancel_at_next_billing_date": True}])
def test_a_cancellation_by_the_api_shows_the_key_as_its_actor(control, provider, fields):
    after = provider.patch(control.create(), **fields).json()
    assert after["cancelled_by"]["actor_type"] == "api_key"


@pytest.mark.parametrize(
    ("before", "fields"),
    [
        ("active", {"status": "paused", "metadata": {}}),
        ("paused", {"status": "active", "tax_id": "X"}),
        ("active", {"pause": True}),
        ("active", {"status": "on_hold"}),
        ("active", {"next_billing_date": "2020-01-01T00:00:00Z"}),
        ("active", {"subscription_period_count": 1}),
        ("active", {"metadata": {"nested": {}}}),
    ],
)
def test_what_cannot_be_set_is_unprocessable(control, provider, before, fields):
    made = control.create(status=before)
    answer = provider.patch(made, **fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_REQUEST_BODY")


@pytest.mark.parametrize(("status", "wish"), [("cancelled", "paused"), ("on_hold", "active")])
def test_only_active_ones_are_paused_and_only_paused_ones_resumed(control, provider, status, wish):
    answer = provider.patch(control.create(status=status), status=wish)
    assert (answer.status_code, answer.json()["code"]) == (422, "SUBSCRIPTION_INACTIVE")


def test_seats_do_not_change_through_a_patch(control, provider):
    made = control.create(quantity=2)
    assert provider.patch(made, quantity=9, addons=[]).json()["quantity"] == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"account_id": "acme", "size": 3, "beta": True}},
        {"tax_id": "PT509999999"},
        {"customer_business_name": None},
        {"next_billing_date": "2040-01-01T00:00:00.000000Z"},
        {"subscription_period_count": 30},
    ],
)
def test_other_fields_are_taken_over(control, provider, fields):
    after = provider.patch(control.create(), **fields).json()
    assert {name: after[name] for name in fields} == fields


def test_a_pause_moves_the_next_billing_date(control, provider):
    made = control.create(status="paused", paused_at="2026-01-01T00:00:00Z")
    resumed = provider.patch(made, status="active").json()
    assert resumed["next_billing_date"] > made["next_billing_date"]
    assert resumed["paused_at"] is None
