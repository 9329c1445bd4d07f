"""Automatic purchases that have stopped are turned on again by a person."""

from __future__ import annotations

from flask.testing import FlaskClient

from models.api_key import Scope
from runtime.wiring import Runtime
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import key_with, opened, rows

RESUME = "/v1/accounts/acme/purchases/resume"


def test_a_person_turns_purchases_on_again(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme")
    answer = client.post(RESUME)
    assert (answer.status_code, answer.json) == (200, {"account_id": "acme", "failures_forgiven": 0})
    assert rows(runtime, "SELECT reason FROM purchase_resets") == ["key:bootstrap"]


def test_once_more_is_as_good_as_once(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme")
    assert [client.post(RESUME).status_code for _ in range(2)] == [200, 200]
    assert rows(runtime, "SELECT count(*) FROM purchase_resets") == [1]


def test_an_account_nobody_knows_is_404(client: FlaskClient):
    assert client.post(RESUME).json["code"] == "account_not_found"


def test_it_takes_the_scope_that_spends_money(runtime: Runtime, open_door: OpenDoor):
    opened(runtime, "acme")
    assert open_door(key=key_with(runtime, Scope.CLAIM)).post(RESUME).status_code == 403
    assert open_door(key=key_with(runtime, Scope.BILLING)).post(RESUME).status_code == 200
