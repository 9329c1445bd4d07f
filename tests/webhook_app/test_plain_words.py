"""A request that is refused is refused in words that its sender can use, never in a library's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from runtime.wiring import Runtime
from tests.webhook_app.setup_helpers import opened, rows

LIBRARY = re.compile(
    r"Input should|String should|should be a valid|Extra inputs|Field required|Value error|instance of"
    r"|validation error|pydantic|constrained|function-|literal\[|list\[|\[type=|\^|\\|is not valid"
    r"|greater than|less than"
)
JUNK: tuple[Any, ...] = (
    None, True, -1, 2**70, 1.5, "", " ", "x" * 3_000, "a\0b", "unlimited", [], [1, None, {}], [["x"]],
    {}, {"a": -1}, {"full": "x"}, {"": 1}, {"x": None}, {"x": "nonsense"},
)  # fmt: skip


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), re.sub(r"{(inbox|notice)_id}", "7", path), operation


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def details(answer: Any) -> str:
    return str(answer.json["detail"]) if answer.status_code == 422 else ""


def test_every_field_of_every_body_is_refused_in_plain_words(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme")
    document = client.get("/openapi.json").json
    said = set()
    for method, path, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        url = re.sub(r"{\w+}", "acme", path)
        fields = resolved(document, content["schema"])["properties"]
        said |= {details(client.open(url, method=method, json=junk)) for junk in (*JUNK, {"x[y": 1})}
        for name in fields:
            said |= {details(client.open(url, method=method, json={name: junk})) for junk in JUNK}
    assert len(said) > 50
    assert [one for one in said if LIBRARY.search(one)] == []


def test_every_parameter_of_every_query_is_refused_in_plain_words(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme")
    said = set()
    for method, path, operation in operations(client.get("/openapi.json").json):
        url = re.sub(r"{\w+}", "acme", path)
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "query":
                for value in ("", "x", "-1", "1_000", "9" * 30, "2026-01-01", "a%00b", "x" * 3_000):
                    said.add(details(client.open(f"{url}?{parameter['name']}={value}", method=method)))
    assert len(said) > 20
    assert [one for one in said if LIBRARY.search(one)] == []


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"seats": {}}, [("body", "must have seats, or a product_id to change to")]),
        ({"seats": {"full": "5"}}, [("seats.full", "must be a whole number, in digits")]),
        ({"seats": {"full": -1}}, [("seats.full", "must be at least 0")]),
        ({"seats": {"full": 5}, "when": "later"}, [("when", "must be 'now' or 'at_renewal'")]),
        ({"seats": {"full": 5}, "release": "all"}, [("release", "must be a list, or must be 'suggested'")]),
        ({"seats": {"full": 5}, "release": ["a", 5]}, [("release.1", "must be text")]),
        ({"seats": {"full": 5}, "a[b": 1}, [("a[b", "is not known here")]),
        ({}, [("body", "must have seats, or a product_id to change to")]),
        ([], [("body", "must be an object")]),
    ],
)
def test_each_faulty_place_is_reported_once(client: FlaskClient, body: Any, errors: list[tuple[str, str]]):
    answer = client.post("/v1/accounts/acme/seat-changes/preview", json=body)
    assert answer.status_code == 422
    assert [(one["where"], one["problem"]) for one in answer.json["errors"]] == errors


@pytest.mark.parametrize("moment", [0, 1_700_000_000, 1.5, "1700000000", "2026-11-22", True])
def test_a_number_or_a_day_is_no_time(client: FlaskClient, moment: object):
    answer = client.patch("/v1/accounts/acme/members/ada", json={"last_active_at": moment})
    assert (answer.status_code, answer.json["errors"][0]["where"]) == (422, "last_active_at")


# Queries.


@pytest.mark.parametrize("number", ["1_000", "+1", "%201", "1.0", "1e2", "0x1", "%D9%A1", "1%00"])
@pytest.mark.parametrize(
    "path", ["/v1/accounts?limit=", "/v1/accounts/acme/can-add?role=member&count=", "/v1/notices?cursor="]
)
def test_a_number_in_a_query_is_written_in_digits(client: FlaskClient, path: str, number: str):
    answer = client.get(path + number)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["problem"] == "must be a whole number, in digits"


@pytest.mark.parametrize("number", ["1_000", "+1", "%201"])
@pytest.mark.parametrize("path", ["/v1/inbox/{}/replay", "/v1/notices/{}/resend"])
def test_a_number_in_a_path_is_written_in_digits(client: FlaskClient, path: str, number: str):
    assert client.post(path.format(number)).status_code == 422


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/v1/accounts/acme/can-add?role=member&role=viewer", "role"),
        ("/v1/accounts/acme/can-add?role=member&role=member", "role"),
        ("/v1/accounts/acme/can-add?role=member&r%6Fle=viewer", "role"),
        ("/v1/accounts?limit=1&limit=", "limit"),
        ("/v1/accounts/acme/seats?at=x&at=y", "at"),
    ],
)
def test_a_parameter_given_twice_is_refused(client: FlaskClient, path: str, where: str):
    answer = client.get(path)
    assert (answer.status_code, answer.json["detail"]) == (422, f"{where}: is given more than once")


@pytest.mark.parametrize("text", ["%FF", "%C3", "member%E2%82", "%ED%A0%80"])
@pytest.mark.parametrize("place", ["role={}", "role=member&{}=1"])
def test_text_that_is_not_utf_8_is_refused(client: FlaskClient, place: str, text: str):
    answer = client.get(f"/v1/accounts/acme/can-add?{place.format(text)}")
    assert (answer.status_code, answer.json["detail"].partition(": ")[2]) == (422, "is not UTF-8")


@pytest.mark.parametrize("query", ["role=%", "role=100%", "role=%zz", "role=member&%2=1"])
def test_a_percent_sign_that_begins_no_escape_is_refused(client: FlaskClient, query: str):
    answer = client.get(f"/v1/accounts/acme/can-add?{query}")
    assert (answer.status_code, answer.json["errors"][0]["where"]) == (422, "query")


def test_an_unknown_query_parameter_is_refused_by_every_call_that_needs_a_key(
    client: FlaskClient, runtime: Runtime
):
    opened(runtime, "acme")
    document = client.get("/openapi.json").json
    for method, path, _ in operations(document):
        if not path.startswith("/v1/"):
            continue
        url = re.sub(r"{\w+}", "7", path)
        answer = client.open(f"{url}?dry_run=true", method=method, json={})
        assert answer.status_code == 422, (method, path)
        assert {"where": "dry_run", "problem": "is not known here"} in answer.json["errors"]
    assert rows(runtime, "SELECT id FROM accounts") == ["acme"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_health_checks_accept_any_query_parameter(client: FlaskClient, path: str):
    assert client.get(f"{path}?t=1").status_code == 200


def test_a_parameter_without_a_name_is_refused(client: FlaskClient):
    answer = client.get("/v1/accounts?=1")
    assert (answer.status_code, answer.json["detail"]) == (422, "query: has a parameter without a name")


def test_raw_bytes_in_a_query_are_read_as_utf_8_too(client: FlaskClient):
    answer = client.get("/v1/accounts/acme/can-add", environ_overrides={"QUERY_STRING": "role=\xff"})
    assert (answer.status_code, answer.json["detail"]) == (422, "role: is not UTF-8")


def test_thousands_of_parameters_are_refused(client: FlaskClient):
    answer = client.get("/v1/accounts?" + "&".join(f"a{number}=1" for number in range(2_000)))
    assert answer.status_code == 422


def test_an_audit_that_ends_before_it_begins_is_refused(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme")
    answer = client.get("/v1/accounts/acme/audit?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z")
    assert (answer.status_code, answer.json["detail"]) == (422, "to: must not be before `from`")
