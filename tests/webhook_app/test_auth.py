"""Keys: what passes, what does not, and that every route asks for the scope it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import text

from models import api_key
from models.all_tables import TABLES
from models.api_key import Scope
from models.database import connect
from runtime.wiring import Runtime
from tests.conftest import API_KEY
from tests.webhook_app.conftest import OpenDoor, client_with
from tests.webhook_app.setup_helpers import bought, key_with
from webhook_app import auth
from webhook_app.routes import Routes

PUBLIC = {"/webhooks/<provider>", "/healthz", "/readyz", "/metrics", "/openapi.json"}
PATH = "/v1/accounts"


class Call(NamedTuple):
    rule: str
    method: str
    endpoint: str

    @property
    def address(self) -> str:
        """The rule with something in each gap."""
        gaps = {"account_id": "acme", "subscription_id": "sub_1", "member_id": "ada", "inbox_id": "1"}
        filled = self.rule.replace("<path:", "<")
        for name, value in gaps.items():
            filled = filled.replace(f"<{name}>", value)
        return filled


def calls(app: Flask) -> Iterator[Call]:
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield Call(rule.rule, method, rule.endpoint)


def status(client: FlaskClient, call: Call) -> int:
    return client.open(call.address, method=call.method).status_code


# Every route.


def test_every_route_is_public_by_name_or_says_what_scope_it_needs(app: Flask):
    unguarded = {
        call.rule
        for call in calls(app)
        if getattr(app.view_functions[call.endpoint], "needed_scope", None) is None
    }
    assert unguarded == PUBLIC


def test_a_view_that_does_not_say_who_may_call_it_cannot_be_registered():
    with pytest.raises(AttributeError, match="needed_scope"):
        Routes("careless", tag="Careless").get("/v1/secrets")(lambda: "all of them")


def test_without_a_key_only_public_routes_answer(anyone: FlaskClient, app: Flask):
    asked = {call: status(anyone, call) for call in calls(app) if call.rule not in PUBLIC}
    assert set(asked.values()) == {401}


@pytest.mark.parametrize("scope", Scope)
def test_a_key_opens_the_routes_of_its_scope_and_no_other(app: Flask, runtime: Runtime, scope: Scope):
    client = client_with(app, key_with(runtime, scope))
    guarded = [call for call in calls(app) if call.rule not in PUBLIC]
    opened = {call for call in guarded if status(client, call) != 403}
    assert opened == {
        call for call in guarded if auth.needed_scope(app.view_functions[call.endpoint]) is scope
    }


def test_each_scope_opens_something(app: Flask):
    guarded = [call for call in calls(app) if call.rule not in PUBLIC]
    assert {auth.needed_scope(app.view_functions[call.endpoint]) for call in guarded} == set(Scope)


def test_reading_needs_read_and_writing_more(app: Flask):
    needed = {
        call.method: auth.needed_scope(app.view_functions[call.endpoint])
        for call in calls(app)
        if call.rule.startswith("/v1/accounts/")
    }
    assert needed["GET"] is Scope.READ
    assert Scope.READ not in {needed[method] for method in ("PUT", "POST", "DELETE")}


def test_403_names_the_scope_that_is_missing(app: Flask, runtime: Runtime):
    answer = client_with(app, key_with(runtime, Scope.CLAIM)).get(PATH)
    assert (answer.status_code, answer.json["code"], answer.json["needed_scope"]) == (
        403,
        "missing_scope",
        "read",
    )


def test_a_key_without_scopes_opens_nothing(app: Flask, runtime: Runtime):
    client = client_with(app, key_with(runtime))
    assert client.get(PATH).status_code == 403


# Keys.

REFUSED = {
    "none": None,
    "empty": "",
    "no kind": API_KEY,
    "another kind": f"Basic {API_KEY}",
    "no key": "Bearer",
    "only blanks": "Bearer   ",
    "a wrong one": "Bearer not-a-key-at-all",
    "nearly the bootstrap key": f"Bearer {API_KEY}x",
    "two keys": f"Bearer {API_KEY}, Bearer {API_KEY}",
    "another case": f"Bearer {API_KEY.upper()}",
    "an id nobody has": "Bearer ss_000000000000_" + "A" * 43,
    "half a key": "Bearer ss_000000000000",
    "not ASCII": "Bearer ss_é",
    "a megabyte": "Bearer " + "x" * 2**20,
}


@pytest.mark.parametrize("header", REFUSED.values(), ids=REFUSED)
def test_what_is_no_key_is_401_and_told_how_to_send_one(anyone: FlaskClient, header: str | None):
    answer = anyone.get(PATH, headers={} if header is None else {"Authorization": header})
    assert (answer.status_code, answer.json["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_all_that_are_refused_are_told_the_same(anyone: FlaskClient):
    told = {anyone.get(PATH, headers={"Authorization": header or ""}).data for header in REFUSED.values()}
    assert len(told) == 1


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER  {} "])
def test_the_kind_may_be_written_in_any_case(anyone: FlaskClient, form: str):
    assert anyone.get(PATH, headers={"Authorization": form.format(API_KEY)}).status_code == 200


def test_the_key_is_checked_before_anything_else_is_read(anyone: FlaskClient):
    answer = anyone.post(f"{PATH}/acme/claims", data=b"nonsense", headers={"Idempotency-Key": ""})
    assert answer.status_code == 401


def test_a_bootstrap_key_may_hold_any_letter(runtime: Runtime, open_door: OpenDoor):
    key = "schlüssel-für-den-anfang"
    named = runtime.settings.model_copy(update={"bootstrap_key": SecretStr(key)})
    client = open_door(replace(runtime, settings=named), key=key.encode().decode("latin-1"))
    assert client.get(PATH).status_code == 200


def test_without_a_bootstrap_key_only_made_ones_open(runtime: Runtime, open_door: OpenDoor):
    settings = runtime.settings.model_copy(update={"bootstrap_key": None})
    over = replace(runtime, settings=settings)
    assert open_door(over).get(PATH).status_code == 401
    assert open_door(over, key=key_with(runtime, Scope.READ)).get(PATH).status_code == 200


def public_id(key: str) -> str:
    return key.split("_")[1]


def revoke(runtime: Runtime, key: str) -> None:
    with runtime.sessions.begin() as session:
        assert api_key.revoke(session, public_id(key))


def test_the_id_of_one_key_with_the_secret_of_another_is_401(app: Flask, runtime: Runtime):
    one, other = key_with(runtime, Scope.READ), key_with(runtime, Scope.READ)
    mixed = one.replace(public_id(one), public_id(other))
    assert client_with(app, mixed).get(PATH).status_code == 401


def test_a_revoked_key_is_401(app: Flask, runtime: Runtime):
    key = key_with(runtime, Scope.READ)
    revoke(runtime, key)
    assert client_with(app, key).get(PATH).status_code == 401


def test_a_key_in_use_that_is_revoked_is_401_five_seconds_later(
    app: Flask, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    now = [1_000.0]
    monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: now[0]))
    client = client_with(app, key_with(runtime, Scope.READ))
    assert client.get(PATH).status_code == 200
    revoke(runtime, client.environ_base["HTTP_AUTHORIZATION"].removeprefix("Bearer "))
    now[0] += 5.0
    assert client.get(PATH).status_code == 401


def test_without_the_database_a_key_not_seen_before_is_503_and_one_in_use_reads_the_cache(
    app: Flask, runtime: Runtime
):
    bought(runtime)
    seen, unseen = (client_with(app, key_with(runtime, Scope.READ)) for _ in range(2))
    seen.get(f"{PATH}/acme/seats")
    runtime.sessions.configure(bind=connect("postgresql://nobody@127.0.0.1:9/nothing"))
    codes = [client.get(f"{PATH}/acme/seats").status_code for client in (unseen, seen)]
    runtime.sessions.configure(bind=runtime.engine)
    assert codes == [503, 200]


def test_a_new_key_is_known_at_once(app: Flask, runtime: Runtime):
    client = client_with(app, "ss_000000000000_" + "A" * 43)
    assert client.get(PATH).status_code == 401
    assert client_with(app, key_with(runtime, Scope.READ)).get(PATH).status_code == 200


def test_the_secret_of_a_key_is_nowhere_in_the_database(client: FlaskClient, runtime: Runtime):
    key = key_with(runtime, *Scope)
    client_with(client.application, key).put(f"{PATH}/acme", headers={"Idempotency-Key": "k"})
    with runtime.sessions() as session:
        stored = "\n".join(
            row
            for table in TABLES
            for row in session.scalars(text(f"SELECT kept::text FROM {table.__tablename__} AS kept"))
        )
    assert public_id(key) in stored
    for secret in (key.rpartition("_")[2], API_KEY):
        assert secret not in stored
        assert secret.encode().hex() not in stored


def test_the_audit_names_the_key_that_called(app: Flask, runtime: Runtime):
    key = key_with(runtime, Scope.CLAIM)
    client_with(app, key).put(f"{PATH}/acme")
    with runtime.sessions() as session:
        assert session.scalars(text("SELECT actor FROM audit")).all() == [f"key:{public_id(key)}"]
