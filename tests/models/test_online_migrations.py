"""Migrations let the service go on, and finish what an interrupted one left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

import migrations
from benchmarks.fill import fill
from models import subscription
from models.database import Sessions, connect, session_factory
from services.ledger import claims
from services.ledger.claims import ClaimRequest
from tests.factories import a_catalog, a_cause
from tests.servers import Databases

pytestmark = pytest.mark.long(seconds=30)

# The oldest schema that claims of this release need.
OLDEST_FOR_CLAIMS = "0020"
BEFORE = "0016"
INDEXES = "0018"
ACCOUNTS = 10_000  # with 100,000 assignments, 200,000 audit rows and 100,000 events
REPORT_SECONDS = 3.0


@pytest.fixture
def database(postgres: Databases) -> Iterator[Engine]:
    """A database at the revision before those tested here."""
    engine = connect(postgres.create_database("online"), pool_size=10)
    migrations.upgrade(engine, BEFORE)
    yield engine
    engine.dispose()
    postgres.drop_database("online")


class Claims:
    """Callers who claim seats, one claim after the other, and read the account's subscriptions.

    The server ends a claim that waits longer than a second for a lock. That depends less on how busy the
    machine is than the time that a claim takes.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._is_over = threading.Event()
        self.errors = list[Exception]()
        self.granted = 0

    @contextmanager
    def going_on(self, callers: int) -> Iterator[None]:
        threads = [threading.Thread(target=self._claim, args=[caller]) for caller in range(callers)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join()

    def _claim(self, caller: int) -> None:
        number = 0
        while not self._is_over.is_set():
            number += 1
            try:
                with self._sessions.begin() as session:
                    session.execute(text("SET LOCAL lock_timeout = '1s'"))
                    account_id = (
                        f"team-{1 + 10 * (caller * 31 + number * 7) % 5000}"  # none that is suspended
                    )
                    request = ClaimRequest(member_id=f"new-{caller}-{number}", role="member")
                    claims.claim(session, account_id, request, a_catalog(), a_cause())
                    subscription.of_account(session, account_id)
            except Exception as error:  # noqa: BLE001  the test asserts that there is none
                self.errors.append(error)
                return
            self.granted += 1


@contextmanager
def a_long_report(engine: Engine) -> Iterator[None]:
    """A transaction that has read the subscriptions and stays open for some seconds."""
    is_open = threading.Event()

    def report() -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT count(*) FROM subscriptions"))
            is_open.set()
            threading.Event().wait(REPORT_SECONDS)

    thread = threading.Thread(target=report)
    thread.start()
    is_open.wait()
    yield
    thread.join()


def test_no_claim_waits_longer_than_a_second_for_the_migration_of_a_filled_database(database: Engine):
    migrations.upgrade(database, OLDEST_FOR_CLAIMS)
    url = database.url.render_as_string(hide_password=False)
    fill(url, a_catalog(), accounts=ACCOUNTS, largest_members=100)
    calls = Claims(session_factory(database))
    with calls.going_on(callers=2), a_long_report(database):
        migrations.upgrade(database)
    assert calls.errors == []
    assert calls.granted > 20
    assert invalid_indexes(database) == []
    assert migrations.revision_of(database) == migrations.newest()


def test_an_index_whose_build_was_interrupted_is_built_again(database: Engine):
    interrupt_build(database, "CREATE INDEX CONCURRENTLY inbox_pending ON inbox (received_at)")
    assert invalid_indexes(database) == ["inbox_pending"]
    migrations.upgrade(database)
    assert invalid_indexes(database) == []
    assert "WHERE (state = 'pending'::text)" in definition(database, "inbox_pending")


def test_after_an_interruption_the_indexes_that_are_there_are_not_built_again(database: Engine):
    migrations.upgrade(database, INDEXES)
    built = place_of(database, "inbox_pending")
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0017'"))
        connection.execute(text("DROP INDEX inbox_ignored"))
    migrations.upgrade(database, INDEXES)
    assert place_of(database, "inbox_pending") == built
    assert definition(database, "inbox_ignored")


def interrupt_build(engine: Engine, statement: str) -> None:
    """Build the index while a transaction writes its table, and give up waiting for that."""
    autocommit = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as writer, autocommit as builder:
        writer.execute(text("LOCK TABLE inbox IN ROW EXCLUSIVE MODE"))
        builder.execute(text("SET lock_timeout = '100ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            builder.execute(text(statement))
        builder.invalidate()


def invalid_indexes(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
        )
        return list(found.scalars())


def definition(engine: Engine, index: str) -> str:
    with engine.connect() as connection:
        found = connection.scalar(text("SELECT indexdef FROM pg_indexes WHERE indexname = :n"), {"n": index})
        return str(found or "")


def place_of(engine: Engine, index: str) -> object:
    """The index's file, another one once it was built again."""
    with engine.connect() as connection:
        return connection.scalar(text("SELECT relfilenode FROM pg_class WHERE relname = :n"), {"n": index})
