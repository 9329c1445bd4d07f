"""API keys with and without write access."""

from __future__ import annotations

import pytest


@pytest.fixture
def read_only(control):
    control.turn(key_is_read_only=True)


@pytest.mark.usefixtures("read_only")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", ""),
        ("POST", "/change-plan"),
        ("DELETE", "/change-plan/scheduled"),
    ],
)
def test_a_key_without_write_access_may_change_nothing(control, provider, method, path):
    made = control.create()
    answer = provider.call(method, f"/subscriptions/{made['subscription_id']}{path}", json={})
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")
    assert provider.retrieve(made)["subscription_id"] == made["subscription_id"]


@pytest.mark.usefixtures("read_only")
@pytest.mark.parametrize("path", ["/subscriptions", "/products", "/products/pdt_team", "/addons"])
def test_a_key_without_write_access_may_read_everything(provider, path):
    assert provider.call("GET", path).status_code == 200


def test_a_key_with_write_access_may_write(control, provider):
    assert provider.patch(control.create(), metadata={"seen": True}).status_code == 200
