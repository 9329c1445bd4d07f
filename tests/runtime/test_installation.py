"""One database, one mode, one business: a process that is set to another does not start."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, create_engine, select, text

from cli.main import cli
from domain.errors import ForeignDatabase, SettingsError
from models.database import Sessions, connect, session_factory
from models.driver import committed_first_row
from models.installation import Installation
from runtime.installation import bind, check, reassign
from runtime.settings import Settings
from tests.conftest import SECRET
from tests.providers.stub import closed_port
from tests.servers import Databases

LIVE = {"DODO_PAYMENTS_ENVIRONMENT": "live_mode"}
OURS, THEIRS = {"DODO_PAYMENTS_BUSINESS_ID": "bus_1"}, {"DODO_PAYMENTS_BUSINESS_ID": "bus_2"}
OTHERS = [({}, LIVE), (LIVE, {}), (OURS, THEIRS), ({**OURS, **LIVE}, {**THEIRS, **LIVE})]


@pytest.fixture
def of(environment: dict[str, str], engine: Engine):
    return lambda **more: Settings.from_env({**environment, **more})


@pytest.mark.parametrize(("first", "second"), OTHERS)
def test_a_database_of_another_mode_or_business_is_refused(of, sessions: Sessions, first: dict, second: dict):
    bind(sessions, of(**first))
    for start in (bind, check):
        with pytest.raises(SettingsError, match=r"The database belongs to .* DODO_PAYMENTS_"):
            start(sessions, of(**second))


@pytest.mark.parametrize(("first", "second"), [({}, {}), (OURS, {}), ({}, OURS), (LIVE, LIVE), (OURS, OURS)])
def test_matching_settings_start(of, sessions: Sessions, first: dict, second: dict):
    bind(sessions, of(**first))
    bind(sessions, of(**second))


def test_a_process_without_a_business_id_keeps_the_stored_one(of, sessions: Sessions):
    for more in (OURS, {}):
        bind(sessions, of(**more))
    with pytest.raises(SettingsError):
        bind(sessions, of(**THEIRS))


def test_a_command_claims_nothing(of, sessions: Sessions):
    check(sessions, of())
    with sessions() as session:
        found = session.scalar(select(Installation))
    assert found is None or found.environment is None


def test_a_reassigned_database_belongs_to_the_new_settings(of, sessions: Sessions):
    bind(sessions, of(**OURS))
    with sessions.begin() as session:
        reassign(session, of(**LIVE))
    bind(sessions, of(**LIVE))
    with pytest.raises(SettingsError):
        bind(sessions, of())


NOWHERE = f"postgresql+psycopg://nobody@127.0.0.1:{closed_port()}/x"


def test_a_database_that_is_away_keeps_no_process_from_starting(of):
    for start in (bind, check):
        start(session_factory(connect(NOWHERE)), of())


class Away:
    """An engine whose database is away until it is at another engine's address."""

    def __init__(self) -> None:
        self._url = NOWHERE.replace("+psycopg", "")
        self.engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(self._url))
        self.sessions = session_factory(self.engine)

    def is_at(self, engine: Engine) -> None:
        self._url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self.engine.dispose()


@pytest.fixture
def away() -> Iterator[Away]:
    late = Away()
    yield late
    late.engine.dispose()


@pytest.fixture
def claimed_while_away(away: Away, engine: Engine) -> Callable[[Settings], Sessions]:
    """The sessions of a process that started while its database was away, which is there now."""

    def claimed(settings: Settings) -> Sessions:
        bind(away.sessions, settings)
        away.is_at(engine)
        return away.sessions

    return claimed


@pytest.mark.parametrize(("first", "second"), OTHERS)
def test_a_database_that_was_away_is_checked_before_anything_is_done_in_it(
    of, claimed_while_away, sessions: Sessions, first: dict, second: dict
):
    bind(sessions, of(**first))
    late = claimed_while_away(of(**second))
    for _ in range(2):
        with pytest.raises(ForeignDatabase, match="The database belongs to"), late.begin() as session:
            session.execute(text("DELETE FROM installation"))
    check(sessions, of(**first))


def test_it_is_checked_in_autocommit_mode_too(of, claimed_while_away, sessions: Sessions):
    bind(sessions, of(**LIVE))
    with claimed_while_away(of())() as session, pytest.raises(ForeignDatabase):
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})


def test_it_is_checked_for_statements_through_the_driver_too(
    of, claimed_while_away, away: Away, sessions: Sessions
):
    bind(sessions, of(**LIVE))
    claimed_while_away(of())
    with pytest.raises(ForeignDatabase):
        committed_first_row(away.engine, "SELECT 1", {})


def test_a_database_that_was_away_and_is_ours_is_used(of, claimed_while_away, sessions: Sessions):
    bind(sessions, of())
    late = claimed_while_away(of())
    with late.begin() as session:
        assert session.scalar(text("SELECT count(*) FROM installation")) == 1


def test_a_database_that_was_away_and_is_not_migrated_is_checked_once_it_is(
    of, away: Away, engine: Engine, sessions: Sessions, postgres: Databases
):
    bind(away.sessions, of())
    away.is_at(connect(postgres.create_database("bare")))
    with away.sessions.begin() as session:
        assert session.scalar(text("SELECT 1")) == 1
    bind(sessions, of(**LIVE))
    away.is_at(engine)
    with pytest.raises(ForeignDatabase), away.sessions.begin() as session:
        session.execute(text("SELECT 1"))


@pytest.mark.parametrize(
    "command", [["sweeper"], ["drift"], ["sync", "--all"], ["backfill"], ["replay", "--all"], ["migrate"]]
)
def test_commands_say_what_is_wrong_and_what_to_do(
    of, sessions: Sessions, environment: dict[str, str], command: list[str]
):
    bind(sessions, of())
    done = CliRunner(env={**environment, **LIVE}).invoke(cli, command)
    assert done.exit_code == 2
    assert "The database belongs to test_mode, and DODO_PAYMENTS_ENVIRONMENT is live_mode." in done.stderr
    assert "seatsync migrate --reassign" in done.stderr
    assert SECRET not in done.output


def test_migrate_reassigns_the_database(of, sessions: Sessions, environment: dict[str, str]):
    bind(sessions, of())
    done = CliRunner(env={**environment, **LIVE}).invoke(cli, ["migrate", "--reassign"])
    assert done.exit_code == 0, done.output
    bind(sessions, of(**LIVE))
