"""What fails outside is told in one line, with the exit code 2, by every command."""

from __future__ import annotations

import contextlib
import errno
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result
from redis.exceptions import ConnectionError as RedisAway
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError, ProgrammingError

from cli import failures
from cli.main import cli
from tests.cli.commands import BECOMES_ANOTHER_PROGRAM, EVERY_COMMAND, NEEDS_NO_DATABASE, PEOPLE, names
from tests.cli.conftest import SEATSYNC
from tests.servers import Databases

# `doctor` shows the fault in its report, and the sweeper waits for the database.
LOOKS_ON = {"doctor", "sweeper"}
ENDS_WITHOUT_DATABASE = [one for one in EVERY_COMMAND if one not in NEEDS_NO_DATABASE | LOOKS_ON]
Run = Callable[..., Result]


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text(PEOPLE, encoding="utf-8")

    def run(command: str, **more: str) -> Result:
        return CliRunner(env={**environment, **more}).invoke(cli, command.split(), catch_exceptions=False)

    return run


def test_every_command_is_listed():
    missing = {name for name in names(cli) if not any(one.startswith(name) for one in EVERY_COMMAND)}
    assert missing == BECOMES_ANOTHER_PROGRAM


@pytest.mark.parametrize("command", ENDS_WITHOUT_DATABASE)
def test_a_database_that_is_away_is_told_in_one_line(run: Run, command: str):
    done = run(command, DATABASE_URL="postgresql://u:s3cret@127.0.0.1:9/db")
    told = done.stderr.splitlines()[-1]
    assert (done.exit_code, told.startswith("The database is unreachable")) == (2, True), done.stderr
    assert "s3cret" not in done.output


@pytest.mark.parametrize("command", [one for one in ENDS_WITHOUT_DATABASE if one not in ("migrate", "up")])
def test_a_database_without_a_schema_is_told_in_one_line(run: Run, postgres: Databases, command: str):
    done = run(command, DATABASE_URL=postgres.create_database("bare"))
    assert (done.exit_code, "seatsync migrate" in done.stderr.splitlines()[-1]) == (2, True), done.stderr


PRINT = ("audit verify", "catalog check", "drift", "keys create backend", "keys list", "budget", "migrate")


@pytest.mark.parametrize("command", PRINT)
def test_output_to_a_full_disk_is_told_in_one_line(
    engine: Engine,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115  closing it fails like any write
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(SystemExit) as ended:
        cli.main(command.split())
    with contextlib.suppress(OSError):
        full.close()
    told = capsys.readouterr().err.splitlines()
    assert (ended.value.code, told[-1].startswith("Cannot write to the output")) == (2, True), told


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "no space", "/data/x"), "/data/x"),
        (OSError(errno.EDQUOT, "quota"), "Free some space"),
        (PermissionError(errno.EACCES, "denied", "/data/x"), "Permission denied"),
        (sqlite3.OperationalError("database or disk is full"), "TMPDIR"),
        (RedisAway("redis://:s3cret@host"), "REDIS_URL"),
        (psycopg.OperationalError("postgres://u:s3cret@host"), "DATABASE_URL"),
        (OperationalError("SELECT 1", {}, psycopg.errors.DiskFull("s3cret")), "disk is full"),
        (OperationalError("SELECT 1", {}, psycopg.errors.QueryCanceled("s3cret")), "busy"),
        (
            ProgrammingError("SELECT 1", {}, psycopg.errors.InsufficientPrivilege("s3cret")),
            "a privilege",
        ),
        (ProgrammingError("SELECT 1", {}, psycopg.ProgrammingError('option "s3cret"')), "an option"),
    ],
)
def test_each_failure_outside_has_its_advice_and_repeats_no_secret(error: Exception, says: str):
    told = failures.explain(error)
    assert told is not None
    assert (says in told, "s3cret" in told, "\n" in told) == (True, False, False), told


@pytest.mark.parametrize("error", [ValueError("ours"), BrokenPipeError(errno.EPIPE, "pipe"), OSError("odd")])
def test_what_is_no_failure_outside_is_not_explained_away(error: Exception):
    assert failures.explain(error) is None


# Ctrl-C, deterministically: it comes while a certain module is imported.

_INTERRUPTING = """
import os, signal, sys

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
"""


@pytest.mark.parametrize("module", ["cli.main", "click", "{command}", "sqlalchemy", "runtime.settings"])
@pytest.mark.parametrize(
    ("command", "command_module"),
    [
        ("keys list", "cli.keys"),
        ("up", "cli.up"),
        ("sweeper", "cli.sweeper"),
        ("catalog check", "cli.catalog.command"),
        ("import members people.csv", "cli.member_import.command"),
        ("demo", "cli.demo.command"),
    ],
)
def test_ctrl_c_while_a_command_starts_ends_it_quietly(
    environment: dict[str, str], tmp_path: Path, command: str, command_module: str, module: str
):
    (tmp_path / "sitecustomize.py").write_text(_INTERRUPTING, encoding="utf-8")
    at = module.format(command=command_module)
    told = subprocess.run(
        [SEATSYNC, *command.split()],
        env={**environment, "PYTHONPATH": str(tmp_path), "INTERRUPT_AT": at},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (told.returncode, told.stdout, told.stderr) == (130, "", "Interrupted.\n")


def test_ctrl_c_before_anything_is_imported_leaves_no_traceback(environment: dict[str, str]):
    started = subprocess.Popen([SEATSYNC, "keys", "list"], env=environment, stderr=subprocess.PIPE, text=True)
    started.send_signal(signal.SIGINT)
    assert "Traceback" not in started.communicate(timeout=60)[1]
