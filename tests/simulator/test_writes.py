"""Writes whose response is lost: whether they took effect, and the request log."""

from __future__ import annotations

import hashlib
import json

import dodopayments
import pytest
import requests

ROUTE = "POST /subscriptions/<subscription_id>/change-plan"
SEATS = [{"addon_id": "adn_seat", "quantity": 3}]


def change(provider, made, **options):
    path = f"/subscriptions/{made['subscription_id']}/change-plan"
    body = {"product_id": "pdt_team", "quantity": 1, "proration_billing_mode": "do_not_bill", "addons": SEATS}
    return provider.call("POST", path, json=body, **options)


@pytest.mark.parametrize(
    ("knob", "addons", "applied"),
    [("api_cut_probability", SEATS, {ROUTE: 1}), ("api_cut_before_probability", [], {})],
)
def test_a_cut_loses_the_answer_after_the_work_or_before_it(control, provider, knob, addons, applied):
    made = control.create()
    control.turn(**{knob: 1})
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        change(provider, made)
    control.turn(**{knob: 0})
    assert provider.retrieve(made)["addons"] == addons
    assert control.call("GET", "/requests")["applied"] == applied


@pytest.mark.parametrize("knob", ["api_cut_probability", "api_cut_before_probability"])
def test_the_sdk_sees_a_cut_as_a_lost_connection(control, sdk, knob):
    made = control.create()
    control.turn(**{knob: 1})
    with pytest.raises(dodopayments.APIConnectionError):
        sdk.subscriptions.update(made["subscription_id"], tax_id="X")


def test_an_answer_without_a_body_is_lost_too(control, provider):
    made = control.create()
    provider.change_plan(made, effective_at="next_billing_date")
    control.turn(api_cut_probability=1)
    with pytest.raises(requests.ConnectionError):
        provider.call("DELETE", f"/subscriptions/{made['subscription_id']}/change-plan/scheduled")
    assert control.call("GET", f"/subscriptions/{made['subscription_id']}")["scheduled_change"] is None


def test_a_cut_before_the_work_can_be_kept_to_some_routes(control, provider):
    control.turn(api_cut_before_probability=1, api_fault_routes=[ROUTE])
    made = control.create()
    assert provider.patch(made, tax_id="X").ok
    with pytest.raises(requests.ConnectionError):
        change(provider, made)


def test_what_is_cut_before_the_work_meets_no_second_fault(control, provider):
    control.turn(api_cut_before_probability=1, api_cut_probability=1)
    with pytest.raises(requests.ConnectionError):
        change(provider, control.create())
    assert control.call("GET", "/requests")["faults"] == {"cut_before": 1}


def test_every_write_is_logged_with_its_body(control, provider):
    made = control.create()
    sent = change(provider, made).request.body
    (write,) = control.call("GET", "/requests")["writes"]
    assert (write["route"], write["status"], write["is_applied"]) == (ROUTE, 200, True)
    assert write["path"] == f"/subscriptions/{made['subscription_id']}/change-plan"
    assert json.loads(write["body"])["addons"] == SEATS
    assert write["digest"] == hashlib.sha256(sent).hexdigest()


def test_a_write_is_in_the_log_while_its_answer_hangs(control, provider):
    control.turn(api_hang_probability=1, api_hang_seconds=5)
    with pytest.raises(requests.ReadTimeout):
        change(provider, control.create(), timeout=0.2)
    assert control.call("GET", "/requests")["applied"] == {ROUTE: 1}


def test_a_write_that_was_refused_was_not_applied(control, provider):
    provider.change_plan(control.create(status="paused"))
    log = control.call("GET", "/requests")
    assert (log["applied"], log["writes"][0]["is_applied"]) == ({}, False)


def test_reads_are_no_writes(control, provider):
    provider.retrieve(control.create())
    assert control.call("GET", "/requests")["writes"] == []
