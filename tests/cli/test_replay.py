"""`seatsync replay`: dead letters get another chance, one by one or by their reason."""

from __future__ import annotations

import orjson
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from cli.main import cli
from models import inbox
from models.database import Sessions
from models.inbox import InboxState
from tests.factories import an_arrival

READABLE = orjson.dumps({"type": "subscription.active", "data": {"subscription_id": "sub_1"}})


@pytest.fixture
def run(engine: Engine, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["replay", *arguments], catch_exceptions=False)

    return run


def dead(sessions: Sessions, event_id: str, reason: str, body: bytes = READABLE) -> None:
    with sessions.begin() as session:
        arrival = an_arrival(event_id, state=InboxState.DEAD, reason=reason, body=body)
        inbox.store(session, arrival)


def states(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return list(session.scalars(text("SELECT state FROM inbox ORDER BY id")))


def test_all_are_replayed(run, sessions: Sessions):
    dead(sessions, "msg_1", "gave up after 100 attempts")
    dead(sessions, "msg_2", "no usable `type`")
    done = run("--all")
    assert (done.exit_code, done.stdout) == (0, "Replayed: 2. Still dead: 0.\n")
    assert states(sessions) == ["pending", "pending"]


def test_those_of_one_reason_are_replayed(run, sessions: Sessions):
    dead(sessions, "msg_1", "gave up after 100 attempts")
    dead(sessions, "msg_2", "no usable `type`")
    assert run("--all", "--reason", "gave up").exit_code == 0
    assert states(sessions) == ["pending", "dead"]


def test_one_is_replayed_by_its_id(run, sessions: Sessions):
    dead(sessions, "msg_1", "gave up after 100 attempts")
    dead(sessions, "msg_2", "gave up after 100 attempts")
    with sessions() as session:
        wanted = session.scalar(text("SELECT max(id) FROM inbox"))
    assert run(str(wanted)).exit_code == 0
    assert states(sessions) == ["dead", "pending"]


def test_what_still_cannot_be_read_is_named_and_makes_the_exit_code_1(run, sessions: Sessions):
    dead(sessions, "msg_1", "the body is not JSON", body=b"{")
    told = run("--all")
    assert (told.exit_code, told.stdout) == (1, "Replayed: 0. Still dead: 1.\n")
    assert "still cannot be read: the body is not JSON" in told.stderr


@pytest.mark.parametrize("arguments", [(), ("7", "--all"), ("--reason", "x"), ("7", "--reason", "x")])
def test_what_is_meant_has_to_be_clear(run, arguments: tuple[str, ...]):
    assert run(*arguments).exit_code == 2


def test_an_id_that_does_not_exist_is_told(run):
    told = run("7")
    assert (told.exit_code, told.stderr) == (2, "There is no inbox event 7.\n")
