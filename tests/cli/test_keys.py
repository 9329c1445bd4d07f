"""`seatsync keys`: made once, listed without secrets, revoked for good."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from cli.main import cli


@pytest.fixture
def run(engine: Engine, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments, catch_exceptions=False)

    return run


def test_create_prints_the_key_and_nothing_else_on_standard_output(run):
    made = run("keys", "create", "backend", "--scope", "read")
    assert made.exit_code == 0
    assert made.stdout.strip().startswith("ss_")
    assert len(made.stdout.splitlines()) == 1


def test_list_shows_names_and_scopes_but_no_secret(run):
    key = run("keys", "create", "backend").stdout.strip()
    listed = run("keys", "list").stdout
    assert "backend" in listed
    assert "read, claim" in listed
    assert key.split("_", 2)[2] not in listed


def test_revoke_ends_a_key_once(run):
    public_id = run("keys", "create", "backend").stdout.split("_")[1]
    assert run("keys", "revoke", public_id).exit_code == 0
    again = run("keys", "revoke", public_id)
    assert again.exit_code == 1
    assert "no active key" in again.stderr


def test_an_unknown_scope_is_refused_with_those_there_are(run):
    refused = run("keys", "create", "backend", "--scope", "root")
    assert refused.exit_code == 2
    assert "'billing'" in refused.stderr


def test_without_an_environment_the_missing_variables_are_named(monkeypatch: pytest.MonkeyPatch):
    for name in ("DODO_PAYMENTS_API_KEY", "DODO_PAYMENTS_WEBHOOK_KEY", "SEATSYNC_CATALOG"):
        monkeypatch.delenv(name, raising=False)
    refused = CliRunner().invoke(cli, ["keys", "list"])
    assert refused.exit_code == 2
    assert "DODO_PAYMENTS_API_KEY: is not set" in refused.stderr


def test_migrate_may_be_run_twice(run):
    assert run("migrate").exit_code == 0
    assert run("migrate").stdout == "The database is up to date.\n"
