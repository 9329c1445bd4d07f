"""A PostgreSQL that does not respond: no thread waits for it forever."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager as ContextManager
from contextlib import contextmanager, suppress

import psutil
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from models.database import PatientConnection, connect
from runtime.embedded import PostgresServer

PATIENCE = 1.0
AT_ONCE = 8.0  # seconds, on a slow machine; nothing here ends by itself

pytestmark = pytest.mark.long(seconds=20, alone=False)


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server of its own, which tests may freeze."""
    with PostgresServer(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


@pytest.fixture
def engine(own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(PatientConnection, "patience", PATIENCE)
    engine = connect(own_postgres.url)
    yield engine
    engine.dispose()


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """Stop every process of the server. Its connections stay open."""
    assert server.pid is not None
    server_process = psutil.Process(server.pid)
    processes = [server_process, *server_process.children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def read(connection: Connection, freeze: ContextManager) -> None:
    connection.execute(text("SELECT 1"))
    with freeze:
        connection.execute(text("SELECT 1"))


def commit(connection: Connection, freeze: ContextManager) -> None:
    connection.execute(text("SELECT 1"))
    with freeze:
        connection.commit()


def read_on(connection: Connection, freeze: ContextManager) -> None:
    """A result that arrives piece by piece."""
    piecemeal = connection.execution_options(yield_per=1)
    with piecemeal.execute(text("SELECT generate_series(1, 100000)")) as rows:
        rows.fetchone()
        with freeze:
            rows.all()


BUSY = {"a statement": read, "a commit": commit, "more rows": read_on}


@pytest.mark.parametrize("work", BUSY.values(), ids=BUSY)
def test_a_frozen_server_ends_the_wait_with_an_error(
    own_postgres: PostgresServer, engine: Engine, work: Callable[[Connection, ContextManager], None]
):
    with engine.connect() as connection:
        began = time.monotonic()
        with pytest.raises(OperationalError):
            work(connection, frozen(own_postgres))
        assert PATIENCE <= time.monotonic() - began < AT_ONCE
        assert connection.invalidated


def test_a_frozen_server_takes_no_new_connection(own_postgres: PostgresServer, engine: Engine):
    with frozen(own_postgres):
        began = time.monotonic()
        with pytest.raises(OperationalError):
            engine.connect()
        assert time.monotonic() - began < AT_ONCE


def test_once_the_server_goes_on_the_same_engine_works_again(own_postgres: PostgresServer, engine: Engine):
    with engine.connect() as connection:
        connection.scalar(text("SELECT 1"))
    with frozen(own_postgres), pytest.raises(OperationalError), engine.connect() as connection:
        connection.scalar(text("SELECT 1"))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_a_statement_that_the_server_refuses_costs_no_connection(engine: Engine):
    with engine.connect() as connection:
        before = connection.scalar(text("SELECT pg_backend_pid()"))
        with pytest.raises(OperationalError):
            connection.execute(text("SET LOCAL statement_timeout = 10; SELECT pg_sleep(5)"))
        connection.rollback()
        assert connection.scalar(text("SELECT pg_backend_pid()")) == before


def test_a_migration_may_take_its_time(engine: Engine):
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, PatientConnection)
        driver.patience = None
        connection.execute(text("SELECT pg_sleep(1.5)"))
