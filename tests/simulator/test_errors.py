from __future__ import annotations

import pytest
import requests


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "test-key"}])
def test_without_the_key_nothing_is_answered(simulator, headers):
    answer = requests.get(f"{simulator.url}/subscriptions", headers=headers, timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/subscriptions/sub_nobody", 404, "NOT_FOUND"),
        ("PATCH", "/subscriptions/sub_nobody", 404, "NOT_FOUND"),
        ("GET", "/products/pdt_none", 404, "NOT_FOUND"),
        ("GET", "/addons/adn_none", 404, "NOT_FOUND"),
        ("GET", "/nothing/here", 404, "NOT_FOUND"),
        ("POST", "/customers/cus_1/customer-portal/session", 404, "NOT_FOUND"),
        ("DELETE", "/subscriptions", 405, "METHOD_NOT_ALLOWED"),
    ],
)
def test_every_error_has_a_code_and_a_message(provider, method, path, status, code):
    answer = provider.call(method, path, json={})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"code", "message"}
    assert answer.headers["Content-Type"] == "application/json"


def test_a_body_that_is_not_json_is_a_bad_request(control, provider):
    made = control.create()
    answer = provider.call("PATCH", f"/subscriptions/{made['subscription_id']}", data="{")
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST_BODY")
