from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests


@pytest.mark.parametrize(("knob", "status"), [("api_500_probability", 500), ("api_429_probability", 429)])
def test_an_error_instead_of_an_answer(control, provider, knob, status):
    control.turn(**{knob: 1}, retry_after="7")
    answer = provider.call("GET", "/products")
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "7")
    assert set(answer.json()) == {"code", "message"}


def test_an_answer_that_is_not_json(control, provider):
    control.turn(api_malformed_probability=1)
    with pytest.raises(requests.JSONDecodeError):
        provider.call("GET", "/products").json()


def test_a_connection_cut_in_the_middle_of_the_answer(control, provider):
    control.turn(api_cut_probability=1)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        provider.call("GET", "/products")


def test_a_change_whose_answer_never_came_did_happen(control, provider):
    control.turn(api_hang_probability=1, api_hang_seconds=5)
    made = control.create()
    with pytest.raises(requests.ReadTimeout):
        provider.call("PATCH", f"/subscriptions/{made['subscription_id']}", json={"tax_id": "X"}, timeout=0.1)
    control.turn(api_hang_probability=0)
    assert provider.retrieve(made)["tax_id"] == "X"


def test_a_slow_answer(control, provider):
    control.turn(api_latency_seconds=0.1)
    started = time.monotonic()
    provider.call("GET", "/products")
    assert time.monotonic() - started >= 0.1


def test_a_late_answer_is_an_old_one(control, provider):
    made = control.create()
    control.turn(api_latency_seconds=1)
    with ThreadPoolExecutor() as threads:
        late = threads.submit(provider.retrieve, made)
        time.sleep(0.5)
        control.act(made, "pause")
        assert late.result()["status"] == "active"


def test_a_body_that_drips(control, provider):
    control.turn(api_slow_body_probability=1, api_slow_body_seconds=0.2)
    started = time.monotonic()
    assert provider.call("GET", "/products").json()["items"]
    assert time.monotonic() - started >= 0.15


def test_faults_can_be_kept_to_some_routes(control, provider):
    control.turn(api_500_probability=1, api_fault_routes=["GET /addons/*"])
    assert provider.call("GET", "/products").status_code == 200
    assert provider.call("GET", "/addons/adn_seat").status_code == 500


def test_the_control_api_has_no_faults(control):
    control.turn(api_500_probability=1)
    assert control.call("GET", "/knobs")["api_500_probability"] == 1


def test_faults_are_counted(control, provider):
    control.turn(api_malformed_probability=1)
    provider.call("GET", "/products")
    assert control.call("GET", "/requests")["faults"] == {"malformed": 1}
