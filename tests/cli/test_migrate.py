"""`seatsync migrate` names what a person has to decide, and brings a catalogue back into force."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from cli.main import cli
from domain.catalog.model import Catalog
from models import generation
from models.database import Sessions
from runtime.settings import Settings
from runtime.wiring import read_catalog
from services.ledger import accounts, claims
from services.ledger.claims import ClaimRequest
from tests.factories import CATALOG_TEXT, a_cause

NEWER = f"{CATALOG_TEXT}\n[free]\nincluded = {{ full = 1 }}\n"


@pytest.fixture
def migrated(environment: dict[str, str], sessions: Sessions, catalog_file: Path):
    """What the command prints with such a catalogue, and whether a process with it may evaluate then."""

    def migrate(content: str) -> tuple[str, bool]:
        catalog_file.write_text(content, encoding="utf-8")
        done = CliRunner(env=environment).invoke(cli, ["migrate"], catch_exceptions=False)
        with sessions() as session:
            return done.stdout, may_evaluate(session)

    def may_evaluate(session) -> bool:
        return not generation.state_of(session, read_catalog(Settings.from_env(environment))).was_replaced

    return migrate


def evaluated(sessions: Sessions, environment: dict[str, str], path: Path, *contents: str) -> None:
    """Processes with these catalogues have run, one after the other."""
    for number, content in enumerate(contents):
        path.write_text(content, encoding="utf-8")
        catalog = read_catalog(Settings.from_env(environment))
        with sessions.begin() as session:
            accounts.open_account(session, f"account-{number}", catalog, a_cause())


def test_a_catalogue_that_was_replaced_is_in_force_again(
    migrated, sessions: Sessions, environment: dict[str, str], catalog_file: Path
):
    evaluated(sessions, environment, catalog_file, CATALOG_TEXT, NEWER)
    stdout, may_evaluate = migrated(CATALOG_TEXT)
    assert "replaced before and is in force again" in stdout
    assert may_evaluate


def test_a_catalogue_that_is_new_replaces_nobody_before_a_process_starts_with_it(
    migrated, sessions: Sessions, environment: dict[str, str], catalog_file: Path
):
    evaluated(sessions, environment, catalog_file, CATALOG_TEXT)
    assert migrated(NEWER) == ("The database is up to date.\n", True)
    assert migrated(CATALOG_TEXT) == ("The database is up to date.\n", True)


def test_members_who_share_an_address_are_named_without_it(
    environment: dict[str, str], sessions: Sessions, catalog: Catalog
):
    shared = (
        "UPDATE assignments SET email_key = 'ada@example.com', email_shared = true WHERE member_id = 'ida'"
    )
    with sessions.begin() as session:
        accounts.open_account(session, "acme", catalog, a_cause())
        for member_id in ("ada", "ida"):
            wish = ClaimRequest(member_id=member_id, role="client", email=f"{member_id}@example.com")
            claims.claim(session, "acme", wish, catalog, a_cause())
        session.execute(text(shared))
    done = CliRunner(env=environment).invoke(cli, ["migrate"], catch_exceptions=False)
    assert "  acme: ida has the address of ada\n" in done.stdout
    assert "@" not in done.stdout
