"""One database, one mode, one business: a process that is set to another does not start."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, select

from cli.main import cli
from models.installation import Installation
from models.session import Sessions, connect, sessions_of
from runtime.installation import check, claim, reassign
from runtime.settings import Settings
from seats.errors import SettingsError
from tests.conftest import SECRET
from tests.providers.stub import closed_port

LIVE = {"DODO_PAYMENTS_ENVIRONMENT": "live_mode"}
OURS, THEIRS = {"DODO_PAYMENTS_BUSINESS_ID": "bus_1"}, {"DODO_PAYMENTS_BUSINESS_ID": "bus_2"}
OTHERS = [({}, LIVE), (LIVE, {}), (OURS, THEIRS), ({**OURS, **LIVE}, {**THEIRS, **LIVE})]


@pytest.fixture
def of(environment: dict[str, str], engine: Engine):
    return lambda **more: Settings.from_env({**environment, **more})


@pytest.mark.parametrize(("first", "second"), OTHERS)
def test_a_database_of_another_mode_or_business_is_refused(of, sessions: Sessions, first: dict, second: dict):
    claim(sessions, of(**first))
    for start in (claim, check):
        with pytest.raises(SettingsError, match=r"The database belongs to .* DODO_PAYMENTS_"):
            start(sessions, of(**second))


@pytest.mark.parametrize(("first", "second"), [({}, {}), (OURS, {}), ({}, OURS), (LIVE, LIVE), (OURS, OURS)])
def test_what_contradicts_nothing_starts(of, sessions: Sessions, first: dict, second: dict):
    claim(sessions, of(**first))
    claim(sessions, of(**second))


def test_the_business_is_remembered_by_those_who_do_not_name_it(of, sessions: Sessions):
    for more in (OURS, {}):
        claim(sessions, of(**more))
    with pytest.raises(SettingsError):
        claim(sessions, of(**THEIRS))


def test_a_command_claims_nothing(of, sessions: Sessions):
    check(sessions, of())
    with sessions() as session:
        found = session.scalar(select(Installation))
    assert found is None or found.environment is None


def test_reassigned_the_database_belongs_to_the_other_side(of, sessions: Sessions):
    claim(sessions, of(**OURS))
    with sessions.begin() as session:
        reassign(session, of(**LIVE))
    claim(sessions, of(**LIVE))
    with pytest.raises(SettingsError):
        claim(sessions, of())


def test_a_database_that_is_away_is_not_checked(of):
    engine = connect(f"postgresql+psycopg://nobody@127.0.0.1:{closed_port()}/x")
    for start in (claim, check):
        start(sessions_of(engine), of())


@pytest.mark.parametrize("command", [["sweeper"], ["drift"], ["sync", "--all"], ["backfill"], ["migrate"]])
def test_commands_say_what_is_wrong_and_what_to_do(
    of, sessions: Sessions, environment: dict[str, str], command: list[str]
):
    claim(sessions, of())
    done = CliRunner(env={**environment, **LIVE}).invoke(cli, command)
    assert done.exit_code == 2
    assert "The database belongs to test_mode, and DODO_PAYMENTS_ENVIRONMENT is live_mode." in done.stderr
    assert "seatsync migrate --reassign" in done.stderr
    assert SECRET not in done.output


def test_migrate_reassigns_the_database(of, sessions: Sessions, environment: dict[str, str]):
    claim(sessions, of())
    done = CliRunner(env={**environment, **LIVE}).invoke(cli, ["migrate", "--reassign"])
    assert done.exit_code == 0, done.output
    claim(sessions, of(**LIVE))
