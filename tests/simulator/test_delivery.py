from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest
from standardwebhooks import Webhook

from simulator.webhooks.delivery import RETRY_DELAYS
from tests.waiting import wait_until

NEW_SECRET = "whsec_" + "bmV3LXNlY3JldC1uZXctc2VjcmV0LW5ldy1zZWNyZXQ="


def update(control, **fields):
    """A subscription with a single `subscription.updated` event."""
    made = control.create(**fields)
    control.act(made, "touch")
    return made


def wait_for_state(control, state, count=1):
    def counts():
        return control.call("GET", "/messages")["counts"]

    wait_until(
        lambda: counts().get(state, 0) >= count, f"{count} messages are {state}", lambda: str(counts())
    )


def test_a_delivery_is_signed(control, receiver):
    update(control)
    delivery = receiver.wait_for(1)[0]
    delivery.verify()
    assert delivery.headers["content-type"] == "application/json"


def test_the_retry_schedule_is_the_documented_one(control, receiver):
    speed = 100_000
    control.turn(speed=speed)
    receiver.answers = [500] * 8
    update(control)
    arrived = [delivery.arrived for delivery in receiver.wait_for(8)]
    wait_for_state(control, "failed")
    for (before, after), delay in zip(pairwise(arrived), RETRY_DELAYS, strict=True):
        assert delay / speed <= after - before < delay / speed + 0.5


def test_a_retry_keeps_its_id_and_carries_a_fresh_timestamp(control, receiver):
    control.turn(speed=4)
    receiver.answers = [503]
    update(control)
    first, second = receiver.wait_for(2)
    second.verify()
    assert first.webhook_id == second.webhook_id
    assert int(second.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])


@pytest.mark.parametrize("status", [301, 400, 410, 429, 500])
def test_every_answer_but_2xx_is_a_failure(control, receiver, status):
    control.turn(speed=1000)
    receiver.answers = [status]
    update(control)
    receiver.wait_for(2)
    wait_for_state(control, "delivered")


def test_silence_is_a_failure(control, receiver):
    control.turn(speed=1000, delivery_timeout_seconds=0.05)
    silences = iter([0.2])
    receiver.on_delivery = lambda _delivery: time.sleep(next(silences, 0))
    update(control)
    receiver.wait_for(2)
    attempts = control.call("GET", "/messages")["messages"][0]["attempts"]
    assert attempts[0]["status"] is None
    assert "timed out" in attempts[0]["error"]


def test_a_receiver_that_is_away_is_tried_again(control, receiver):
    control.turn(speed=100, webhook_url="http://127.0.0.1:1/")
    update(control)
    time.sleep(0.02)
    control.turn(webhook_url=receiver.url)
    assert len(receiver.wait_for(1)) == 1


def test_the_body_is_read_at_each_attempt(control, receiver):
    control.turn(speed=10)
    receiver.answers = [500]
    made = update(control)
    receiver.wait_for(1)
    control.act(made, "pause", silently=True)
    first, second = receiver.wait_for(2)
    assert (first.data["status"], second.data["status"]) == ("active", "paused")
    assert first.json["timestamp"] == second.json["timestamp"]


def test_the_body_can_be_frozen_at_the_event(control, receiver):
    control.turn(speed=10, body="at_event")
    receiver.answers = [500]
    made = update(control)
    receiver.wait_for(1)
    control.act(made, "pause", silently=True)
    assert receiver.wait_for(2)[1].data["status"] == "active"


def test_silently_tells_nobody(control, receiver, provider):
    made = control.create()
    control.act(made, "hold", silently=True)
    assert provider.retrieve(made)["status"] == "on_hold"
    assert control.call("GET", "/messages")["counts"] == {}


def test_the_drop_knob_loses_messages(control, receiver):
    control.turn(drop_probability=1)
    update(control)
    assert control.call("GET", "/messages")["counts"] == {"dropped": 1}
    assert receiver.deliveries == []


def test_the_repeat_knob_sends_copies_under_one_id(control, receiver):
    control.turn(repeat_probability=1, repeat_copies=2)
    update(control)
    assert len({delivery.webhook_id for delivery in receiver.wait_for(3)}) == 1


def test_the_reorder_knob_shuffles(control, receiver):
    control.turn(reorder_window_seconds=0.3)
    made = control.create()
    for _ in range(20):
        control.act(made, "touch")
    times = [delivery.json["timestamp"] for delivery in receiver.wait_for(20)]
    assert times != sorted(times)


def test_the_latency_knob_delays(control, receiver):
    control.turn(delivery_latency_seconds=0.2)
    started = time.monotonic()
    update(control)
    assert receiver.wait_for(1)[0].arrived - started >= 0.2


def test_a_disabled_endpoint_gets_nothing_until_it_is_replayed(control, receiver):
    control.turn(webhooks_enabled=False)
    update(control)
    assert control.call("GET", "/messages")["counts"] == {"stopped": 1}
    control.turn(webhooks_enabled=True)
    assert control.call("POST", "/messages/replay", state="stopped") == {"replayed": 1}
    receiver.wait_for(1)


def test_a_replay_keeps_the_id(control, receiver):
    update(control)
    webhook_id = receiver.wait_for(1)[0].webhook_id
    control.call("POST", f"/messages/{webhook_id}/replay")
    assert receiver.wait_for(2)[1].webhook_id == webhook_id


def test_both_secrets_sign_during_a_rotation(control, receiver):
    control.call("POST", "/secret/rotate", secret=NEW_SECRET)
    update(control)
    delivery = receiver.wait_for(1)[0]
    delivery.verify()
    delivery.verify(NEW_SECRET)


def test_the_old_secret_is_forgotten_after_a_day(control, receiver):
    control.turn(speed=24 * 3600 * 1000)
    secret = control.call("POST", "/secret/rotate")["secret"]
    time.sleep(0.005)
    update(control)
    delivery = receiver.wait_for(1)[0]
    assert len(delivery.headers["webhook-signature"].split()) == 1
    Webhook(secret).verify(delivery.body, delivery.headers)


def test_deliveries_run_side_by_side(control, receiver):
    all_are_there = threading.Barrier(8)
    receiver.on_delivery = lambda _delivery: all_are_there.wait(20)
    made = control.create()
    for _ in range(8):
        control.act(made, "touch")
    receiver.wait_for(8)
    assert not all_are_there.broken


def test_attempts_are_listed_with_status_and_time(control, receiver):
    made = update(control)
    receiver.wait_for(1)
    wait_for_state(control, "delivered")
    listed = control.call("GET", f"/messages?subscription_id={made['subscription_id']}")["messages"]
    assert listed[0]["state"] == "delivered"
    assert listed[0]["attempts"][0]["status"] == 200
