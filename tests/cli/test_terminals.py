"""What a command prints is whole and harmless, whatever it is printed to."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from cli.main import cli
from cli.up import without_hints
from models import api_key
from models.api_key import Scope
from models.database import Sessions
from tests.cli.conftest import SEATSYNC

LONG = "the backend of the application that sells seats to teams, second region"
NAMES = [LONG, "Zoë 日本", "[bold]x[/bold] [/]", "red\x1b[31m", "two\nlines\ttabs", "\x9b2J", "\u202egnp.exe"]


@pytest.fixture
def run(engine: Engine, environment: dict[str, str]) -> Callable[..., Result]:
    def run(*arguments: str, **more: str) -> Result:
        return CliRunner(env={**environment, **more}).invoke(cli, arguments, catch_exceptions=False)

    return run


@pytest.fixture
def ids(sessions: Sessions) -> list[str]:
    """The ids of keys with all sorts of names, made before names were checked."""
    with sessions.begin() as session:
        return [api_key.create(session, name, list(Scope)).split("_")[1] for name in NAMES]


@pytest.mark.parametrize("columns", ["20", "60", "80", "200"])
def test_every_key_has_one_whole_line_however_narrow_the_terminal(run, ids: list[str], columns: str):
    listed = run("keys", "list", COLUMNS=columns).stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["id", *ids]
    assert LONG in listed[1]
    assert all("read, claim, billing, admin" in line for line in listed[1:])


def test_nothing_in_a_name_reaches_the_terminal_as_more_than_text(run, ids: list[str]):
    listed = run("keys", "list").stdout
    assert [sign for sign in listed if not sign.isprintable() and sign != "\n"] == []
    assert "[bold]x[/bold] [/]" in listed
    assert "Zoë 日本" in listed


@pytest.mark.parametrize(("encoding", "shown_in"), [("latin-1", "latin-1"), ("ascii", "utf-8")])
def test_a_terminal_of_another_encoding_shows_every_key(
    environment: dict[str, str], ids: list[str], encoding: str, shown_in: str
):
    told = subprocess.run(
        [SEATSYNC, "keys", "list"],
        env={**environment, "PYTHONIOENCODING": encoding, "COLUMNS": "60"},
        capture_output=True,
        check=False,
    )
    lines = told.stdout.decode(shown_in).splitlines()
    assert (told.returncode, [line.split()[0] for line in lines]) == (0, ["id", *ids]), told.stderr


@pytest.mark.parametrize("name", ["", "  ", "a\x1b[31m", "a\nb", "a\u202eb", "a" * 101, "\udcff"])
def test_a_key_gets_no_name_that_cannot_be_shown(run, name: str):
    refused = run("keys", "create", name)
    assert (refused.exit_code, "NAME must be 1 to 100 printable characters" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [["explain"], ["keys", "revoke"], ["members", "erase", "--yes"], ["audit", "verify"], ["sync"]],
)
def test_an_argument_that_is_no_text_is_told(run, arguments: list[str]):
    refused = run(*arguments, "\udcff")
    assert (refused.exit_code, refused.stdout) == (2, "")


def test_hints_of_celery_that_mislead_are_not_passed_on():
    said: list[tuple[str, str]] = []
    write = without_hints(lambda name, line: said.append((name, line)))
    for line in ("worker: Hitting Ctrl+C again will terminate all running tasks!", "", "subscription synced"):
        write("worker", line)
    assert said == [("worker", "subscription synced")]
