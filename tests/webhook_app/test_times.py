"""Every time is spelled in one way, whatever document it stands in."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient

from domain.drift import in_words
from runtime.wiring import Runtime
from tests.webhook_app.setup_helpers import bought, claimed

OTHERWISE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?!\.?\d|Z)")


@pytest.fixture(autouse=True)
def an_account_over_its_limit(client: FlaskClient, runtime: Runtime) -> None:
    """Two members too many, with a deadline and an invitation, of which an endpoint is told."""
    client.post("/v1/notice-endpoints", json={"url": "https://93.184.216.34/notices"})
    bought(runtime)
    client.put("/v1/accounts/acme/policy", json={"policy": "grace", "suspend_after_grace": True})
    claimed(runtime, *(f"member-{number}" for number in range(6)))
    claimed(runtime, "invited", hold=True, email="invited@example.com")


@pytest.mark.parametrize(
    "path",
    [
        "accounts",
        "accounts/acme/seats",
        "accounts/acme/members",
        "accounts/acme/members/invited",
        "accounts/acme/explain",
        "accounts/acme/leavers",
        "accounts/acme/seat-changes",
        "notices",
        "notice-endpoints",
        "drift",
        "inbox",
    ],
)
def test_the_times_of_a_document_end_in_z(client: FlaskClient, path: str):
    answer = client.get(f"/v1/{path}")
    assert answer.status_code == 200
    assert OTHERWISE.findall(answer.text) == []


def test_the_times_of_an_audit_end_in_z_but_for_those_that_are_hashed(client: FlaskClient):
    document = client.get("/v1/accounts/acme/audit?from=2026-01-01T00:00:00Z").json
    for row in document["rows"]:
        for hashed in ("before", "after", "subject_before", "subject_after"):
            del row[hashed]
    assert OTHERWISE.findall(str(document)) == []


def test_the_times_of_a_notice_end_in_z(client: FlaskClient):
    found = client.get("/v1/notices").json["notices"]
    (started,) = [one["data"] for one in found if one["type"] == "seat.grace_started"]
    assert started["deadline"].endswith("Z")
    assert started["suspends_at"].endswith("Z")


def test_the_times_in_a_drift_finding_end_in_z():
    assert in_words(datetime(2026, 12, 1, 9, 30, tzinfo=UTC)) == "2026-12-01T09:30:00Z"
