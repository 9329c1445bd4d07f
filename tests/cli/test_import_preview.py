"""A dry run says what the import would do, holds nobody up and leaves no trace."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, text

from models.assignment import AssignmentState
from models.database import Sessions
from runtime.settings import Settings
from runtime.wiring import read_catalog
from services.ledger import claims, members
from services.ledger.claims import ClaimRequest
from services.ledger.members import MemberUpdate
from tests.cli.test_import_members import FREE, HEADER, Importer
from tests.factories import a_cause

POLICIES = ["strict", "soft", "grace", "auto_expand"]


@pytest.fixture
def importer(environment: dict[str, str], sessions: Sessions, tmp_path: Path, catalog_file: Path) -> Importer:
    catalog_file.write_text(catalog_file.read_text(encoding="utf-8") + FREE, encoding="utf-8")
    importer = Importer(environment, sessions, tmp_path, read_catalog(Settings.from_env(environment)))
    importer.open_accounts("acme")
    return importer


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[str]]:
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield asked
    event.remove(Engine, "before_cursor_execute", note)


def guests(count: int) -> list[str]:
    return [f"acme,guest-{number},{'member' if number % 3 else 'client'}" for number in range(count)]


def trace(importer: Importer) -> list[object]:
    """Whatever a transaction leaves, even one that is rolled back."""
    counted = (
        "SELECT (SELECT last_value FROM audit_id_seq)::text || (SELECT last_value FROM assignments_id_seq)"
        " || (SELECT json_agg(accounts)::text FROM accounts)"
    )
    with importer.sessions() as session:
        return list(session.scalars(text(counted)))


def test_a_dry_run_waits_for_nobody_who_has_the_account(importer: Importer):
    with importer.sessions.begin() as session:
        session.execute(text("SELECT FROM accounts FOR UPDATE"))
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        done = importer.run(importer.file(*guests(20)), "--dry-run", "--create-accounts")
    assert (done.code, done.last_line.split(": ")[1]) == (1, "12 added, 0 updated, 0 unchanged, 8 rejected.")


def test_a_dry_run_burns_no_ids_and_changes_no_row(importer: Importer):
    before = trace(importer)
    importer.run(importer.file(*guests(20), "fresh,eve,admin"), "--dry-run", "--create-accounts")
    assert trace(importer) == before


def test_a_dry_run_asks_the_database_as_often_for_many_rows_as_for_few(
    importer: Importer, statements: list[str]
):
    asked = []
    for count in (5, 500):
        path = importer.file(*guests(count), name=f"{count}.csv")
        statements.clear()
        importer.run(path, "--dry-run")
        asked.append(len(statements))
    assert asked[0] == asked[1]


def test_people_claim_while_4000_rows_are_tried(importer: Importer):
    path, granted, is_over = importer.file(*guests(4000)), [], threading.Event()

    def claim_and_release() -> None:
        while not is_over.is_set():
            importer.claim_and_release()
            granted.append(1)

    visitor = threading.Thread(target=claim_and_release)
    visitor.start()
    done = importer.run(path, "--dry-run")
    is_over.set()
    visitor.join()
    assert done.last_line.split(": ")[1].split(" added")[0] in {
        "1338",
        "1339",
    }  # all guests, and the free seats
    assert granted
    importer.check()


# What it says is what the import does.


def furnish(importer: Importer, chance: random.Random) -> None:
    """Some members, invitations and suspended ones, more or less as the file will have them."""
    for number in range(6):
        wish = ClaimRequest(
            member_id=f"m{number}",
            role=chance.choice(["member", "client"]),
            email=chance.choice([None, f"p{chance.randrange(8)}@example.com"]),
            hold=chance.random() < 0.5,
        )
        with importer.sessions() as session:
            try:
                claims.claim(session, "acme", wish, importer.catalog, a_cause())
                session.commit()
            except Exception:  # noqa: BLE001  an address that is taken; the others do
                session.rollback()
    with importer.sessions.begin() as session:
        suspended = MemberUpdate(state=AssignmentState.SUSPENDED)
        if session.scalar(
            text("SELECT count(*) FROM assignments WHERE member_id = 'm0' AND state = 'active'")
        ):
            members.update_member(session, "acme", "m0", suspended, catalog=importer.catalog, cause=a_cause())


def rows_of(chance: random.Random) -> list[str]:
    rows = []
    for number in range(25):
        email = chance.choice(["", "", f"P{chance.randrange(8)}@Example.com"])
        role = chance.choice(["member", "member", "client", "wizard"])
        hold = chance.choice(["", "true"])
        rows.append(f"acme,m{chance.randrange(12) if number % 2 else number},{role},{email},{hold}")
    return rows


@pytest.mark.parametrize("seed", range(12))
def test_a_dry_run_foretells_the_import_row_by_row(importer: Importer, catalog_file: Path, seed: int):
    chance = random.Random(seed)
    policy = POLICIES[seed % len(POLICIES)]
    text_ = catalog_file.read_text(encoding="utf-8").replace('policy = "strict"', f'policy = "{policy}"')
    catalog_file.write_text(text_, encoding="utf-8")
    furnish(importer, chance)
    path = importer.file(*rows_of(chance), header=f"{HEADER},email,hold")
    foretold, done = importer.run(path, "--dry-run"), importer.run(path)
    assert foretold.last_line.split(": ")[1] == done.last_line.split(": ")[1]
    assert [line for line in foretold.err.splitlines() if line.startswith("line")] == [
        line for line in done.err.splitlines() if line.startswith("line")
    ]
    importer.check()


def test_invitations_that_have_lapsed_make_room_in_a_dry_run_too(importer: Importer):
    path = importer.file(*(f"acme,old-{number},member,true" for number in range(5)), header=f"{HEADER},hold")
    importer.run(path)
    with importer.sessions.begin() as session:
        session.execute(text("UPDATE assignments SET expires_at = now() - interval '1 s'"))
    path = importer.file(*(f"acme,m{number},member" for number in range(7)), name="next.csv")
    foretold, done = importer.run(path, "--dry-run"), importer.run(path)
    assert (
        foretold.last_line.split(": ")[1]
        == done.last_line.split(": ")[1]
        == "5 added, 0 updated, 0 unchanged, 2 rejected."
    )
