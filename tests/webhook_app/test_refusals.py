"""Deliveries that anybody can send write no line each into the log."""

from __future__ import annotations

import logging

import pytest
from flask.testing import FlaskClient

from runtime.refusal_log import RefusalLog
from runtime.wiring import Runtime
from tests.webhook_app.conftest import RecordedWakeUps
from webhook_app.app import create_app


@pytest.fixture
def client(runtime: Runtime) -> FlaskClient:
    return create_app(runtime, RecordedWakeUps()).test_client()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,x"},
        {"webhook-id": "msg_1", "webhook-timestamp": "soon", "webhook-signature": "v1,x"},
        {"webhook-id": "", "webhook-timestamp": "1", "webhook-signature": ""},
    ],
)
def test_many_refusals_of_one_kind_are_one_line(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
):
    with caplog.at_level(logging.WARNING):
        codes = {client.post("/webhooks/dodo", data=b"{}", headers=headers).status_code for _ in range(50)}
    assert (codes, [record.message for record in caplog.records]) == ({401}, ["delivery refused"])


def test_each_reason_has_its_line_and_the_next_says_how_many_there_were(caplog: pytest.LogCaptureFixture):
    now = 100.0
    refusals = RefusalLog("delivery refused", lambda: now)
    with caplog.at_level(logging.WARNING):
        for reason in ("too old", "too old", "missing header", "too old"):
            refusals.note(reason)
        now += 59.0
        refusals.note("too old")
        now += 1.0
        refusals.note("too old")
        refusals.note("too old")
    lines = [(vars(record)["reason"], vars(record)["count"]) for record in caplog.records]
    assert lines == [("too old", 1), ("missing header", 1), ("too old", 4)]
