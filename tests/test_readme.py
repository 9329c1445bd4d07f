"""The README's examples work as they stand."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from standardwebhooks import Webhook

from models import ledger, schedule
from models.seat_cache import SeatCache
from runtime.wiring import Runtime
from seats.catalog_file import parse
from tests.conftest import API_KEY, SECRET
from tests.factories import a_cause, a_snapshot
from webhook_app.app import create_app
from webhook_app.schemas import SeatsDocument

HOUSE = Path(__file__).parent.parent
README = (HOUSE / "README.md").read_text(encoding="utf-8")
EXAMPLE = HOUSE / "catalog.example.toml"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(script: str) -> list[list[str]]:
    """The calls of curl in it, word by word."""
    script = re.sub(r"\\\n\s*", "", script)
    return [shlex.split(line) for line in script.splitlines() if line.startswith("curl")]


class Unheard:
    def ring(self, subscription_id: str, delay: float = 0.0) -> None:
        pass


@pytest.fixture
def client(runtime: Runtime) -> Iterator[FlaskClient]:
    """A service with the example catalogue, and an account `acme` that has bought."""
    values = {name: getattr(runtime, name) for name in Runtime.__slots__}
    values["catalog"] = parse(EXAMPLE.read_text(encoding="utf-8"), EXAMPLE.name)
    values["cache"] = SeatCache(runtime.redis)
    taught = Runtime(**values)
    with taught.sessions.begin() as session:
        schedule.raise_hint(session, "sub_1")
        lease = schedule.lease(session, "sub_1", timedelta(seconds=10))
        ledger.apply(session, lease, a_snapshot(seats=10), taught.catalog, a_cause())
    return create_app(taught, Unheard()).test_client()


def perform(client: FlaskClient, command: list[str]):
    """What curl would do with these arguments."""
    method, headers, body, url = "GET", {}, None, ""
    words = iter(command[1:])
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value.replace("$KEY", API_KEY)
        elif word == "-d":
            body = next(words)
        elif word != "-s":
            url = word.removeprefix("$URL")
    return client.open(url, method=method, headers=headers, data=body)


def test_every_curl_example_is_answered_with_success(client: FlaskClient):
    answers = [perform(client, command) for command in commands(blocks("bash")[0])]
    assert [answer.status_code for answer in answers] == [
        *(200, 200, 200, 201, 201, 200, 200, 200, 200),
        *(200, 200, 200, 200, 200, 200, 200, 200, 201, 200),
    ]


def test_the_shown_seats_document_is_one(client: FlaskClient):
    SeatsDocument.model_validate(json.loads(blocks("json")[0]))


def test_the_shown_piece_of_catalogue_is_part_of_a_valid_one():
    parse(blocks("toml")[0], "README")


def test_the_example_catalogue_is_valid():
    parse(EXAMPLE.read_text(encoding="utf-8"), EXAMPLE.name)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!http|#)[^)]+)\)", README))))
def test_every_link_leads_somewhere(target: str):
    assert (HOUSE / target).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make (\w+)", README))))
def test_every_make_target_exists(target: str):
    assert re.search(rf"^{target}:", (HOUSE / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_shown_receiver_takes_what_is_signed_and_nothing_else(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NOTICES_SECRET", SECRET)
    shown: dict[str, Any] = {"__name__": __name__}
    exec(blocks("python")[0], shown)
    receiver, now, body = (
        shown["app"].test_client(),
        datetime.now(UTC),
        '{"type": "t", "timestamp": "", "data": {}}',
    )
    signed = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", now, body),
    }
    assert receiver.post("/notices", data=body, headers=signed).status_code == 204
    assert receiver.post("/notices", data=body + " ", headers=signed).status_code == 500
