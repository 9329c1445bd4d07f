"""`seatsync budget`: what all processes together have used, told without a write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import redis
from click.testing import CliRunner, Result

from cli.main import cli
from providers.base import Priority
from providers.rate_limit.budget import DEFAULT_RATE, Budget, parse_rate
from runtime.settings import Settings
from runtime.wiring import namespace_of
from tests.providers.stub import closed_port


@pytest.fixture
def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["budget", *arguments], catch_exceptions=False)

    return run


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def worker(client: redis.Redis, environment: dict[str, str]) -> Budget:
    """The budget as a process of the service has it."""
    prefix = namespace_of(Settings.from_env(environment))
    return Budget(parse_rate(DEFAULT_RATE), client, name="dodo", prefix=lambda: prefix)


def test_it_shows_what_was_used_and_what_is_kept_free(run, worker: Budget):
    worker.acquire(Priority.WEBHOOK)
    shown = run()
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[1] == (
        "60 s: 1 of 240 used; interactive 0, 24 reserved; webhook 1, 47 reserved; reconcile 0, 12 reserved"
    )


def test_it_shows_who_is_paused_and_for_how_long(run, worker: Budget):
    worker.note_remaining(remaining=5, limit=100, resets_in=30)
    assert re.search("webhook and reconcile are paused for (29|30) seconds", run().stdout)


def test_on_a_terminal_it_is_a_table(run, worker: Budget, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "┃" in run().stdout


def test_a_program_gets_the_same_as_json(run, worker: Budget):
    worker.acquire(Priority.INTERACTIVE)
    worker.note_refusal(30)
    document = json.loads(run("--json").stdout)
    assert document["windows"][1] == {
        "seconds": 60,
        "limit": 240,
        "used": 1,
        "used_by": {"interactive": 1, "webhook": 0, "reconcile": 0},
        "kept_free_for": {"interactive": 23, "webhook": 48, "reconcile": 12},
    }
    assert document["pauses"] == {"interactive": pytest.approx(30, abs=5)}


def test_to_look_writes_nothing(run, client: redis.Redis):
    assert run().exit_code == 0
    assert client.dbsize() == 0


def test_without_redis_it_says_so(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REDIS_URL", f"redis://:not-to-be-seen@127.0.0.1:{closed_port()}/0")
    refused = run()
    assert refused.exit_code == 2
    assert "Redis does not respond" in refused.stderr
    assert "not-to-be-seen" not in refused.stderr
