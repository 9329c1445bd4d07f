"""`seatsync audit`: proves the history, and hands out a copy of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from cli.main import cli
from runtime.wiring import Runtime
from tests.conftest import API_KEY
from tests.webhook_app.conftest import RecordedWakeUps
from tests.webhook_app.setup_helpers import bought, claimed, opened, rows
from webhook_app.app import create_app

Run = Callable[..., Result]


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def run(*arguments: str, **more: str) -> Result:
        told = CliRunner(env={**environment, **more})
        return told.invoke(cli, ["audit", *arguments], catch_exceptions=False)

    return run


@pytest.fixture(autouse=True)
def acme(runtime: Runtime) -> None:
    """Bought, and two members seated; another account beside it."""
    bought(runtime, seats=1)
    opened(runtime, "other")
    claimed(runtime, "ada", "=1+1")


def tampered(runtime: Runtime, statement: str) -> None:
    with runtime.sessions.begin() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(statement))


def test_what_was_written_verifies(run: Run):
    done = run("verify")
    assert (done.exit_code, done.stdout) == (0, "4 rows of 2 accounts: unchanged.\n")


def test_how_far_it_is_is_shown_beside_the_answer(run: Run):
    assert "checking accounts: 100 % of 2" in run("verify").stderr


def test_a_changed_row_is_told_with_its_account_and_why(run: Run, runtime: Runtime):
    (second,) = rows(runtime, "SELECT id FROM audit WHERE member_id = 'ada'")
    tampered(runtime, "UPDATE audit SET actor = 'nobody' WHERE member_id = 'ada'")
    done = run("verify")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        f"acme: row {second}: the row was modified: its hash does not match its content",
        "4 rows of 2 accounts: 1 broken.",
    ]


def test_missing_rows_are_told(run: Run, runtime: Runtime):
    (newest,) = rows(runtime, "SELECT max(id) FROM audit")
    tampered(runtime, "DELETE FROM audit WHERE account_id = 'acme'")
    assert f"acme: no rows: all its rows are missing, up to row {newest}" in run("verify").stdout


def test_one_account_is_verified_alone(run: Run, runtime: Runtime):
    tampered(runtime, "UPDATE audit SET actor = 'nobody' WHERE account_id = 'other'")
    assert run("verify", "acme").stdout == "3 rows of 1 account: unchanged.\n"
    assert run("verify", "other").exit_code == 1


@pytest.mark.parametrize("command", ["verify", "export"])
def test_an_unknown_account_ends_with_two(run: Run, command: str):
    done = run(command, "nobody")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Account 'nobody' does not exist" in done.stderr


@pytest.mark.parametrize("command", [["verify"], ["verify", "acme"], ["export", "acme"]])
def test_a_database_that_is_away_ends_with_two(run: Run, command: list[str]):
    done = run(*command, DATABASE_URL="postgresql://nobody@127.0.0.1:9/none")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "The database is unreachable" in done.stderr


@pytest.mark.parametrize("form", ["json", "csv"])
def test_the_export_is_what_the_door_gives(run: Run, runtime: Runtime, form: str):
    client = create_app(runtime, RecordedWakeUps()).test_client()
    given = client.get(
        f"/v1/accounts/acme/audit?format={form}&from=2026-01-01T00:00:00Z",
        headers={"Authorization": f"Bearer {API_KEY}"},
    )
    done = run("export", "acme", "--format", form, "--from", "2026-01-01T00:00:00Z")
    assert (done.exit_code, done.stdout_bytes) == (0, given.data)
    assert b"ada" in given.data


def test_the_export_keeps_to_the_times_it_was_given(run: Run, runtime: Runtime):
    (second,) = rows(runtime, "SELECT at FROM audit WHERE member_id = 'ada'")
    exported = run("export", "acme", "--format", "csv", "--to", second.isoformat()).stdout
    assert len(exported.splitlines()) == 2


@pytest.mark.parametrize("moment", ["yesterday", "2026-11-22", "2026-11-22T12:00:00"])
def test_a_time_without_an_offset_is_refused(run: Run, moment: str):
    done = run("export", "acme", "--from", moment)
    assert (done.exit_code, "with an offset" in done.stderr) == (2, True)
