"""`seatsync migrate` brings a catalogue that was replaced back into force, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import cli
from models import generation, ledger
from models.session import Sessions
from runtime.settings import Settings
from runtime.wiring import read_catalog
from tests.factories import CATALOG_TEXT, a_cause

NEWER = f"{CATALOG_TEXT}\n[free]\nincluded = {{ full = 1 }}\n"


@pytest.fixture
def migrated(environment: dict[str, str], sessions: Sessions, catalog_file: Path):
    """What the command prints with such a catalogue, and whether a process with it may evaluate then."""

    def migrate(text: str) -> tuple[str, bool]:
        catalog_file.write_text(text, encoding="utf-8")
        done = CliRunner(env=environment).invoke(cli, ["migrate"], catch_exceptions=False)
        with sessions() as session:
            return done.stdout, may_evaluate(session)

    def may_evaluate(session) -> bool:
        return not generation.state_of(session, read_catalog(Settings.from_env(environment))).was_replaced

    return migrate


def evaluated(sessions: Sessions, environment: dict[str, str], path: Path, *texts: str) -> None:
    """Processes with these catalogues have run, one after the other."""
    for number, text in enumerate(texts):
        path.write_text(text, encoding="utf-8")
        catalog = read_catalog(Settings.from_env(environment))
        with sessions.begin() as session:
            ledger.open_account(session, f"account-{number}", catalog, a_cause())


def test_a_catalogue_that_was_replaced_is_in_force_again(
    migrated, sessions: Sessions, environment: dict[str, str], catalog_file: Path
):
    evaluated(sessions, environment, catalog_file, CATALOG_TEXT, NEWER)
    stdout, may_evaluate = migrated(CATALOG_TEXT)
    assert "in force before and is again" in stdout
    assert may_evaluate


def test_a_catalogue_that_is_new_replaces_nobody_before_a_process_starts_with_it(
    migrated, sessions: Sessions, environment: dict[str, str], catalog_file: Path
):
    evaluated(sessions, environment, catalog_file, CATALOG_TEXT)
    assert migrated(NEWER) == ("The database is up to date.\n", True)
    assert migrated(CATALOG_TEXT) == ("The database is up to date.\n", True)
