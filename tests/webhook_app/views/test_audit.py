"""The audit as JSON and as CSV: all of it, in its order, safe to open, and of one piece."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections import deque
from collections.abc import Iterator
from hashlib import sha256
from io import StringIO
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.api_key import Scope
from models.database import Sessions
from runtime.wiring import Runtime
from services.reports.audit_export import Format, export
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import bought, claimed, key_with, opened, rows, run_sql

AUDIT = "/v1/accounts/acme/audit"


@pytest.fixture(autouse=True)
def acme(runtime: Runtime) -> None:
    """Bought, and two members seated; another account beside it."""
    bought(runtime, seats=1)
    opened(runtime, "other")
    claimed(runtime, "ada", "bob")


def listed(client: FlaskClient, **query: str) -> list[dict[str, Any]]:
    return client.get(AUDIT, query_string=query).json["rows"]


def as_csv(client: FlaskClient) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(client.get(f"{AUDIT}?format=csv").text)))


def written(runtime: Runtime, count: int) -> None:
    """So many rows more, by somebody who does not go through the ledger."""
    run_sql(
        runtime,
        "INSERT INTO audit (account_id, actor, source, reason, before, after) "
        "SELECT account_id, actor, source, reason, after, after FROM audit, generate_series(1, "
        f"{count}) WHERE id = (SELECT max(id) FROM audit)",
    )


def test_everything_is_said_about_a_row(client: FlaskClient):
    row = listed(client)[1]
    assert {name: row[name] for name in row if name not in ("id", "at", "before", "after", "hash")} == {
        "account_id": "acme",
        "actor": "key:test",
        "source": "test",
        "reason": "a test",
        "event_id": None,
        "fence": None,
        "member_id": "ada",
        "subscription_id": None,
        "subject_before": None,
        "subject_after": {
            **row["subject_after"],
            "member_id": "ada",
            "state": "active",
            "role": "member",
            "seat_type": "full",
        },
        "previous": listed(client)[0]["hash"],
    }
    assert (row["before"]["seats"]["full"]["active"], row["after"]["seats"]["full"]["active"]) == (0, 1)


def test_rows_come_in_the_order_in_which_they_were_written(client: FlaskClient):
    assert [row["member_id"] for row in listed(client)] == [None, "ada", "bob"]


def test_it_says_of_whom_and_of_which_time_it_is(client: FlaskClient):
    document = client.get(AUDIT, query_string={"from": "2026-01-01T01:00:00+01:00"}).json
    assert (document["account_id"], document["from"], document["to"]) == (
        "acme",
        "2026-01-01T00:00:00Z",
        None,
    )


def test_json_has_a_line_for_each_row(client: FlaskClient):
    lines = client.get(AUDIT).text.splitlines()
    assert [json.loads(line.rstrip(","))["member_id"] for line in lines[1:-1]] == [None, "ada", "bob"]


def test_from_is_part_of_the_time_and_to_is_not(client: FlaskClient):
    first, second, third = (row["at"] for row in listed(client))
    assert [row["at"] for row in listed(client, **{"from": second})] == [second, third]
    assert [row["at"] for row in listed(client, to=second)] == [first]
    assert listed(client, **{"from": second, "to": second}) == []


def test_csv_tells_the_same_as_json(client: FlaskClient):
    told = [
        {
            name: json.dumps(value) if isinstance(value, dict) else "" if value is None else str(value)
            for name, value in row.items()
        }
        for row in listed(client)
    ]
    assert as_csv(client) == told


def test_csv_is_as_its_standard_says(client: FlaskClient, runtime: Runtime):
    claimed(runtime, 'é,"x"')
    answer = client.get(f"{AUDIT}?format=csv")
    assert answer.content_type == "text/csv; charset=utf-8"
    assert answer.data.count(b"\r\n") == 5
    assert '"é,""x"""' in answer.data.decode()


@pytest.mark.parametrize("member_id", ["=1+1", "+1", "-1", "@SUM(A1)", "'quoted"])
def test_no_cell_is_a_formula_and_none_is_ambiguous(client: FlaskClient, runtime: Runtime, member_id: str):
    claimed(runtime, member_id)
    assert as_csv(client)[-1]["member_id"] == f"'{member_id}"
    assert listed(client)[-1]["member_id"] == member_id


def test_an_exported_row_proves_itself(client: FlaskClient):
    order = (
        *("previous", "id", "at", "account_id", "actor", "source", "reason", "event_id", "fence"),
        *("member_id", "subscription_id", "before", "after", "subject_before", "subject_after"),
    )
    for row in listed(client):
        form = json.dumps([row[name] for name in order], ensure_ascii=False)
        assert sha256(form.encode()).hexdigest() == row["hash"]


def test_more_rows_than_one_slice_are_all_there_once(client: FlaskClient, runtime: Runtime):
    written(runtime, 1200)
    kept = rows(runtime, "SELECT id FROM audit WHERE account_id = 'acme' ORDER BY id")
    assert [row["id"] for row in listed(client)] == kept
    assert [int(row["id"]) for row in as_csv(client)] == kept


def test_what_is_written_meanwhile_is_left_out(runtime: Runtime):
    pieces = exported(runtime.sessions, Format.CSV)
    header = next(pieces)
    claimed(runtime, "late")
    assert len([header, *pieces]) == 2
    assert b"late" not in b"".join(pieces)


def test_no_connection_is_held_while_the_reader_takes_his_time(runtime: Runtime):
    written(runtime, 600)
    pieces = exported(runtime.sessions, Format.CSV)
    next(pieces), next(pieces)
    assert runtime.engine.pool.checkedout() == 0


@pytest.mark.parametrize("form", Format)
def test_memory_does_not_grow_with_the_rows(runtime: Runtime, form: Format):
    written(runtime, 1_000)
    few = most_memory(runtime.sessions, form)
    written(runtime, 1_000)
    assert most_memory(runtime.sessions, form) < 1.2 * few


def most_memory(sessions: Sessions, form: Format) -> int:
    """The most bytes that were in use at once while the file was made."""
    tracemalloc.start()
    try:
        deque(exported(sessions, form), maxlen=0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def exported(sessions: Sessions, form: Format) -> Iterator[bytes]:
    return export(sessions, "acme", form, since=None, until=None)


def test_it_knows_nobody_by_name_or_address(client: FlaskClient, runtime: Runtime):
    claimed(runtime, "eve", email="eve@example.com", name="Eve Doe")
    assert "example.com" not in client.get(AUDIT).text + client.get(f"{AUDIT}?format=csv").text
    assert "Doe" not in client.get(AUDIT).text


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("from=yesterday", "from"),
        ("from=1700000000", "from"),
        ("to=2026-11-22", "to"),
        ("to=2026-11-22T12:00:00", "to"),
        ("to=2026-11-22T12:00:00+01:00", "to"),
        ("format=xml", "format"),
        ("since=2026-11-22T12:00:00Z", "since"),
    ],
)
def test_a_bad_question_is_422_and_says_where(client: FlaskClient, query: str, where: str):
    answer = client.get(f"{AUDIT}?{query}")
    assert (answer.status_code, answer.json["errors"][0]["where"]) == (422, where)


@pytest.mark.parametrize("query", ["", "?format=csv"])
def test_an_unknown_account_is_404(client: FlaskClient, query: str):
    answer = client.get(f"/v1/accounts/nobody/audit{query}")
    assert (answer.status_code, answer.json["code"]) == (404, "account_not_found")


def test_a_key_that_may_not_read_is_refused(open_door: OpenDoor, runtime: Runtime):
    may_claim = open_door(key=key_with(runtime, Scope.CLAIM))
    assert may_claim.get(AUDIT).status_code == 403
