"""`/openapi.json`: complete, sound, and all there is. Every other test here is held to it by `contract`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from domain import policies
from domain.notices import NoticeType
from tests.webhook_app.contract import documented, model_of
from webhook_app.auth import needed_scope
from webhook_app.field_descriptions import DESCRIPTIONS

METHODS = {"get", "put", "post", "delete", "patch"}
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


@pytest.fixture
def document(anyone: FlaskClient) -> dict[str, Any]:
    return anyone.get("/openapi.json").json


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def within(value: Any, name: str) -> Iterator[Any]:
    """Every value under this name, however deep."""
    if isinstance(value, dict):
        if name in value:
            yield value[name]
        for inner in value.values():
            yield from within(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from within(inner, name)


def test_it_is_openapi_3_1_and_json(anyone: FlaskClient):
    answer = anyone.get("/openapi.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert re.fullmatch(r"3\.1\.\d", answer.json["openapi"])
    assert {"title", "version"} <= answer.json["info"].keys()


def test_it_lists_every_route_with_its_methods_and_no_other(app: Flask, document: dict[str, Any]):
    served = {
        (documented(rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, method, _ in operations(document)} == served - {("/openapi.json", "get")}


def test_the_routes_of_the_contract_are_all_there_is(document: dict[str, Any]):
    account = "/v1/accounts/{account_id}"
    assert {f"{method} {path}" for path, method, _ in operations(document)} == {
        "post /webhooks/{provider}",
        "get /v1/products/{product_id}/prices",
        f"get {account}/prices",
        f"get {account}/seats",
        "get /v1/subscriptions/{subscription_id}/seats",
        f"put {account}",
        f"delete {account}",
        f"delete {account}/subscriptions/{{subscription_id}}",
        "post /v1/drift/{finding_id}/dismiss",
        f"put {account}/policy",
        f"post {account}/purchases/resume",
        f"post {account}/sync",
        f"get {account}/policy",
        f"put {account}/subscriptions/{{subscription_id}}",
        "get /v1/accounts",
        f"get {account}/can-add",
        f"post {account}/claims",
        f"post {account}/claims/batch",
        f"get {account}/members",
        f"get {account}/leavers",
        f"get {account}/audit",
        f"get {account}/explain",
        f"post {account}/checkout",
        f"post {account}/seat-changes/preview",
        f"post {account}/seat-changes",
        f"get {account}/seat-changes",
        f"get {account}/seat-changes/{{change_id}}",
        f"delete {account}/seat-changes/{{change_id}}",
        f"post {account}/cancellations/preview",
        f"post {account}/cancellations",
        f"get {account}/cancellations",
        f"get {account}/cancellations/{{cancellation_id}}",
        f"delete {account}/cancellations/{{cancellation_id}}",
        f"post {account}/portal-session",
        f"get {account}/members/{{member_id}}",
        f"post {account}/members/{{member_id}}/rename",
        f"post {account}/members/{{member_id}}/reassign",
        f"patch {account}/members/{{member_id}}",
        f"delete {account}/members/{{member_id}}",
        "get /v1/drift",
        "get /v1/inbox",
        "post /v1/inbox/{inbox_id}/replay",
        "post /v1/notice-endpoints",
        "get /v1/notice-endpoints",
        "delete /v1/notice-endpoints/{endpoint_id}",
        "post /v1/notice-endpoints/{endpoint_id}/rotate",
        "post /v1/notice-endpoints/{endpoint_id}/enable",
        "get /v1/notices",
        "post /v1/notices/{notice_id}/resend",
        "get /healthz",
        "get /readyz",
        "get /metrics",
    }


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/openapi",
        "/openapi/",
        "/swagger",
        "/redoc",
        "/static/x",
        "/openapi/openapi.json",
        "/openapi.yaml",
    ],
)
def test_there_are_no_pages(anyone: FlaskClient, path: str):
    assert anyone.get(path).status_code == 404


def test_what_needs_a_key_says_so_and_nothing_else_does(document: dict[str, Any]):
    assert document["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    locked = {path for path, _, operation in operations(document) if "security" in operation}
    assert locked == {path for path in document["paths"] if path.startswith("/v1/")}


def test_each_call_names_the_scope_that_it_needs(app: Flask, document: dict[str, Any]):
    views = {
        (documented(rule.rule), method.lower()): app.view_functions[rule.endpoint]
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }
    for path, method, operation in operations(document):
        if (scope := needed_scope(views[path, method])) is not None:
            assert operation["security"] == [{"bearer": [scope.value]}]
            assert operation["description"].endswith(f"Needs a key with the scope `{scope.value}`.")


def test_every_field_and_every_parameter_is_described(document: dict[str, Any]):
    """Those that mean the same everywhere are described in `webhook_app.field_descriptions`."""
    fields = {
        f"{schema}.{name}"
        for schema, described in document["components"]["schemas"].items()
        for name, field in described.get("properties", {}).items()
        if not field.get("description")
    }
    parameters = {
        one["name"]
        for _, _, operation in operations(document)
        for one in operation.get("parameters", [])
        if not one.get("description")
    }
    assert (fields, parameters) == (set(), set())


def test_no_description_is_of_a_field_that_is_not_there(document: dict[str, Any]):
    fields = {
        name
        for described in document["components"]["schemas"].values()
        for name in described.get("properties", {})
    }
    parameters = {
        one["name"] for _, _, operation in operations(document) for one in operation.get("parameters", [])
    }
    assert DESCRIPTIONS.keys() - fields - parameters == set()


def test_waiting_times_and_etags_are_described_where_they_are_sent(document: dict[str, Any]):
    for path, _, operation in operations(document):
        answers = operation["responses"]
        assert "503" not in answers or "Retry-After" in answers["503"]["headers"], path
        assert "304" not in answers or "ETag" in answers["200"]["headers"], path
        assert "401" not in answers or "headers" in answers["401"], path


def test_what_the_web_server_refuses_before_any_call_is_described(document: dict[str, Any]):
    assert [
        path for path, _, one in operations(document) if not {"414", "431"} <= one["responses"].keys()
    ] == []


def test_policies_and_addresses_have_their_words_and_formats(document: dict[str, Any]):
    schemas = document["components"]["schemas"]
    assert schemas["SeatsDocument"]["properties"]["policy"]["enum"] == list(policies.names())
    assert schemas["CheckoutOpened"]["properties"]["checkout_url"]["format"] == "uri"


def test_every_notice_is_described_as_a_webhook(document: dict[str, Any]):
    assert document["webhooks"].keys() == {kind.value for kind in NoticeType}
    bodies = [
        one["post"]["requestBody"]["content"]["application/json"]["schema"]
        for one in document["webhooks"].values()
    ]
    assert [one["properties"]["type"]["const"] for one in bodies] == list(document["webhooks"])


def test_licence_contact_and_server_are_stated(document: dict[str, Any]):
    assert document["info"]["license"] == {"name": "MIT", "identifier": "MIT"}
    assert document["info"]["contact"]["name"]
    assert document["servers"][0]["url"] == "/"


def test_every_reference_leads_somewhere(document: dict[str, Any]):
    schemas = document["components"]["schemas"]
    assert {f"#/components/schemas/{name}" for name in schemas} == set(within(document, "$ref"))


def test_every_gap_in_a_path_is_described(document: dict[str, Any]):
    for path, _, operation in operations(document):
        described = [one["name"] for one in operation.get("parameters", []) if one["in"] == "path"]
        assert described == re.findall(r"{(\w+)}", path), path


def test_operations_have_short_names_of_their_own(document: dict[str, Any]):
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z_]{5,20}", name) for name in names)
    assert {"show", "preview", "confirm", "cancel", "events", "alive"}.isdisjoint(names)


def test_every_operation_has_a_summary_and_a_tag(document: dict[str, Any]):
    assert all(operation["summary"] and operation["tags"] for _, _, operation in operations(document))


def test_every_error_is_a_problem_document(document: dict[str, Any]):
    errors = [
        described["content"]
        for _, _, operation in operations(document)
        for status, described in operation["responses"].items()
        if status >= "400"
    ]
    assert errors == [PROBLEM] * len(errors)


def test_every_call_with_a_key_may_be_refused_for_it(document: dict[str, Any]):
    for path, _, operation in operations(document):
        if path.startswith("/v1/"):
            assert {"401", "403", "422", "503"} <= operation["responses"].keys()


def test_every_writing_call_takes_an_idempotency_key(document: dict[str, Any]):
    taking = {
        f"{method} {path}"
        for path, method, operation in operations(document)
        if any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", []))
    }
    assert taking == {
        f"{method} {path}"
        for path, method, _ in operations(document)
        if path.startswith("/v1/") and method != "get" and not path.endswith("/portal-session")
    }


def test_response_schemas_allow_no_further_fields(document: dict[str, Any]):
    shown = set(within([operation["responses"] for _, _, operation in operations(document)], "$ref"))
    models = [model_of(reference) for reference in shown - {"#/components/schemas/Problem"}]
    assert {model.model_config["extra"] for model in models} == {"forbid"}


def test_nothing_but_known_methods(document: dict[str, Any]):
    assert {method for _, method, _ in operations(document)} <= METHODS


def test_every_call_that_takes_a_body_says_what_another_content_type_is_answered(document: dict[str, Any]):
    takes_a_body = [one for _, _, one in operations(document) if "requestBody" in one]
    assert takes_a_body
    assert [one["operationId"] for one in takes_a_body if "415" not in one["responses"]] == []
