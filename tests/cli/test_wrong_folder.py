"""A command in another folder never works on a database that it made up itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import cli
from runtime.servers import existing_servers, running_servers
from runtime.settings import Settings
from tests.cli.commands import EVERY_COMMAND, MAY_CREATE_SERVERS, NEEDS_NO_DATABASE, NEEDS_NO_SERVER, PEOPLE

Run = Callable[..., Result]
USES_SERVERS = [one for one in EVERY_COMMAND if one not in MAY_CREATE_SERVERS | NEEDS_NO_SERVER]


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text(PEOPLE, encoding="utf-8")

    def run(command: str, **more: str | None) -> Result:
        told = CliRunner(env={**environment, **more})
        return told.invoke(cli, command.split(), catch_exceptions=False)

    return run


@pytest.mark.parametrize("command", USES_SERVERS)
def test_without_an_address_and_without_embedded_servers_nothing_is_started(
    run: Run, tmp_path: Path, command: str
):
    done = run(command, DATABASE_URL=None, REDIS_URL=None)
    assert (done.exit_code, done.stdout) == (2, "")
    for needed in ("there is no embedded server in", str(tmp_path / "home"), "SEATSYNC_HOME", "seatsync up"):
        assert needed in done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("command", [one for one in USES_SERVERS if one not in NEEDS_NO_DATABASE])
@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_an_empty_address_is_a_mistake(run: Run, tmp_path: Path, command: str, name: str):
    done = run(command, **{name: ""})
    assert (done.exit_code, f"{name}: is empty" in done.stderr) == (2, True)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("command", ["up", "migrate"])
def test_even_who_may_create_servers_takes_no_empty_address_for_an_unset_one(
    run: Run, tmp_path: Path, command: str
):
    done = run(command, DATABASE_URL="")
    assert (done.exit_code, "DATABASE_URL: is empty" in done.stderr) == (2, True)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("command", ["keys list", "members erase nobody --yes", "catalog diff"])
def test_a_command_that_needs_the_database_alone_asks_for_no_redis(run: Run, engine: object, command: str):
    done = run(command, REDIS_URL=None)
    assert (done.exit_code, "REDIS_URL" in done.output) == (1 if "erase" in command else 0, False)


@pytest.mark.long(seconds=10)
def test_servers_that_exist_are_used_and_named(run: Run, tmp_path: Path):
    unset = {"DATABASE_URL": None, "REDIS_URL": None}
    made = run("migrate", **unset)
    assert made.stdout == "The database is up to date.\n"
    listed = run("keys list", **unset)
    named = f"Using the embedded database in {tmp_path / 'home' / 'postgres'}.\n"
    assert (listed.exit_code, made.stderr, listed.stderr) == (0, named, named)


def test_processes_of_a_process_manager_create_no_servers_either(settings: Settings, tmp_path: Path):
    without = settings.model_copy(update={"database_url": None, "home": tmp_path / "elsewhere"})
    with pytest.raises(Exception, match="there is no embedded server"), existing_servers(without):
        pass
    assert running_servers is not existing_servers


def test_a_variable_that_looks_like_a_setting_is_named(run: Run, engine: object):
    done = run("keys list", SEATSYNC_CATALOGUE="x.toml", SEATSYNC_DATABASE_URL="x", SEATSYNC_ZZZZ="1")
    assert (
        "SEATSYNC_CATALOGUE is not a setting and has no effect; did you mean SEATSYNC_CATALOG?" in done.stderr
    )
    assert "did you mean DATABASE_URL?" in done.stderr
    assert "SEATSYNC_ZZZZ is not a setting and has no effect." in done.stderr
    assert "not a setting" not in done.stdout
