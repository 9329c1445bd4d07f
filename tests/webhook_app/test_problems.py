"""Errors: always a problem document with a stable code, and never more than the caller may know."""

from __future__ import annotations

import logging

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event, text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from domain.errors import Contended, SettingsError
from models import account
from models.database import connect
from runtime.wiring import Runtime
from services.ledger import claims
from tests.webhook_app.setup_helpers import bought

CLAIMS = "/v1/accounts/acme/claims"
ADA = {"member_id": "ada", "role": "member", "email": "ada@example.com"}


def breaks(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The list of accounts raises this from now on."""

    def page(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(account, "page", page)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nothing-here", "not_found"),
        ("GET", "/", "not_found"),
        ("GET", "/v1", "not_found"),
        ("GET", "/v1/accounts/", "not_found"),
        ("GET", "/healthz/", "not_found"),
        ("GET", "//v1//accounts", "not_found"),
        ("GET", "//v1/accounts", "not_found"),
        ("GET", "///healthz", "not_found"),
        ("POST", "/webhooks/nobody", "not_found"),
    ],
)
def test_where_nothing_is_404(client: FlaskClient, method: str, path: str, code: str):
    answer = client.open(path="", method=method, environ_overrides={"PATH_INFO": path, "REQUEST_URI": path})
    assert (answer.status_code, answer.json["code"]) == (404, code)
    assert answer.mimetype == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/webhooks/dodo", {"POST", "OPTIONS"}),
        ("DELETE", "/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("PATCH", "/v1/accounts/acme", {"PUT", "DELETE", "OPTIONS"}),
        ("POST", "/openapi.json", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_an_unsupported_method_is_405_with_the_supported_ones(
    client: FlaskClient, method: str, path: str, allowed: set[str]
):
    answer = client.open(path, method=method)
    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    ("method", "path", "detail"),
    [
        ("GET", "/nothing", "There is nothing at this path."),
        ("PUT", "/v1/accounts/acme/polcy", "There is nothing at this path."),
        ("PUT", "/v1/accounts/acme/seats", "It supports: GET, HEAD, OPTIONS."),
        ("GET", "/webhooks/dodo", "It supports: OPTIONS, POST."),
        ("POST", "/webhooks/other", "The provider 'other' is not configured"),
    ],
)
def test_unknown_paths_and_methods_get_this_apis_own_texts(
    client: FlaskClient, method: str, path: str, detail: str
):
    assert detail in client.open(path, method=method).json["detail"]


@pytest.mark.parametrize("headers", [{"Upgrade": "websocket", "Connection": "Upgrade"}])
def test_no_answer_speaks_in_the_librarys_words(client: FlaskClient, headers: dict[str, str]):
    answer = client.get("/healthz", headers=headers)
    assert (answer.status_code, answer.json["detail"]) == (400, "The request could not be read.")


def test_a_body_that_breaks_off_is_400(client: FlaskClient):
    answer = client.post("/webhooks/dodo", data=b"{", environ_overrides={"CONTENT_LENGTH": "10"})
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")


def test_a_problem_document_has_the_standard_members(client: FlaskClient):
    assert client.get("/v1/accounts/acme/seats").json == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "code": "account_not_found",
        "detail": "Account 'acme' does not exist. Create it with PUT /v1/accounts/ACCOUNT_ID, or wait for "
        "the first webhook of its subscription.",
        "account_id": "acme",
    }


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the password is hunter2"),
        KeyError("hunter2"),
        SettingsError("hunter2"),
        RecursionError(),
    ],
)
def test_the_unexpected_is_500_and_says_nothing_more(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    breaks(monkeypatch, error)
    answer = client.get("/v1/accounts")
    assert (answer.status_code, answer.json) == (
        500,
        {
            "type": "about:blank",
            "title": "Internal Server Error",
            "status": 500,
            "code": "internal_error",
            "detail": "An unexpected error occurred and was logged. Tell the operator of the service if it "
            "happens again.",
        },
    )


def test_the_unexpected_is_logged_with_its_place(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    breaks(monkeypatch, RuntimeError("why it happened"))
    client.get("/v1/accounts")
    assert "why it happened" in caplog.text
    assert "test_problems.py" in caplog.text


def test_without_the_database_503_at_once_and_when_to_try_again(client: FlaskClient, runtime: Runtime):
    runtime.sessions.configure(bind=connect("postgresql://nobody:hunter22@127.0.0.1:9/nothing"))
    answers = [
        client.get("/v1/accounts"),
        client.post(CLAIMS, json=ADA, headers={"Idempotency-Key": "k"}),
        client.get("/v1/accounts/acme/seats"),
    ]
    runtime.sessions.configure(bind=runtime.engine)
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json["code"] for answer in answers} == {"database_unavailable"}
    assert {answer.headers["Retry-After"] for answer in answers} == {"1"}
    assert b"hunter22" not in b"".join(answer.data for answer in answers)


def test_a_lock_held_too_long_is_503_and_the_claim_lands_afterwards(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    impatient = runtime.engine.execution_options()
    event.listen(impatient, "begin", lambda one: one.exec_driver_sql("SET LOCAL lock_timeout = '50ms'"))
    with runtime.sessions.begin() as session:
        session.execute(text("SELECT 1 FROM accounts FOR UPDATE"))
        runtime.sessions.configure(bind=impatient)
        answer = client.post(CLAIMS, json=ADA)
        runtime.sessions.configure(bind=runtime.engine)
    assert (answer.status_code, answer.json["code"]) == (503, "database_unavailable")
    assert client.post(CLAIMS, json=ADA).status_code == 201


def test_no_connection_left_is_503(client: FlaskClient, monkeypatch: pytest.MonkeyPatch):
    breaks(monkeypatch, PoolTimeout("QueuePool limit of size 8 overflow 4 reached"))
    answer = client.get("/v1/accounts")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_two_that_moved_the_same_thing_is_503(client: FlaskClient, monkeypatch: pytest.MonkeyPatch):
    breaks(monkeypatch, Contended("Another call is moving subscription 'sub_1'. Try again."))
    answer = client.get("/v1/accounts")
    assert (answer.status_code, answer.json["code"], answer.headers["Retry-After"]) == (503, "contended", "1")


def test_a_mistake_in_our_own_sql_is_500(client: FlaskClient, runtime: Runtime):
    with runtime.sessions.begin() as session:
        session.execute(text("ALTER TABLE accounts RENAME TO elsewhere"))
    try:
        assert client.get("/v1/accounts").status_code == 500
    finally:
        with runtime.sessions.begin() as session:
            session.execute(text("ALTER TABLE elsewhere RENAME TO accounts"))


def test_the_text_of_a_database_error_is_not_logged(
    client: FlaskClient,
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    bought(runtime)
    caplog.set_level(logging.DEBUG)

    def clash(account, *_: object) -> None:
        for _ in range(2):
            insert = "INSERT INTO assignments (account_id, member_id, email, role, state) VALUES "
            account.session.execute(
                text(insert + "('acme', 'ada', :email, 'member', 'active')"), {"email": ADA["email"]}
            )

    monkeypatch.setattr(claims, "claim_locked", clash)
    assert client.post(CLAIMS, json=ADA).status_code == 500
    assert "IntegrityError" in caplog.text
    assert "views/claims.py" in caplog.text
    assert ADA["email"] not in caplog.text
