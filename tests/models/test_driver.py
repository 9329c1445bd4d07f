"""Statements sent directly through the driver fail and recover like those of SQLAlchemy."""

from __future__ import annotations

import signal

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from models.database import connect
from models.driver import committed_first_row, first_row, jsonb
from tests.providers.stub import closed_port

ADD_EVENT = """
    INSERT INTO inbox (provider, event_id, type, state, reason, body)
    VALUES ('dodo', %(id)s, 'x', 'ignored', 'x', '') RETURNING event_id
"""
COUNT = text("SELECT count(*) FROM inbox")


def test_the_row_comes_from_the_session_s_own_transaction(runtime):
    with runtime.sessions.begin() as session:
        session.execute(text("CREATE TEMPORARY TABLE seen ON COMMIT DROP AS SELECT 7 AS n"))
        assert first_row(session, "SELECT n FROM seen WHERE n = %(n)s", {"n": 7}) == (7,)
        assert first_row(session, "SELECT n FROM seen WHERE n = %(n)s", {"n": 8}) is None


def test_nothing_is_the_database_s_null_and_not_json_s(runtime):
    with runtime.sessions() as session:
        assert first_row(session, "SELECT %(x)s::jsonb IS NULL", {"x": jsonb(None)}) == (True,)


def test_a_broken_rule_is_told_as_sqlalchemy_tells_it_without_the_values(runtime):
    with runtime.sessions() as session, pytest.raises(IntegrityError) as told:
        first_row(
            session,
            "INSERT INTO assignments (account_id, member_id, role, state)"
            " VALUES ('nobody', %(member)s, 'r', 'active') RETURNING id",
            {"member": "personal"},
        )
    assert isinstance(told.value.orig, psycopg.errors.ForeignKeyViolation)
    assert "personal" not in str(told.value.params)


def test_after_the_server_went_away_one_call_fails_and_the_next_succeeds(runtime):
    """All pooled connections are broken: a single failure replaces them all."""
    runtime.engine.dispose()  # the pool holds these connections and none that another test left
    held = [runtime.sessions() for _ in range(3)]
    pids = [first_row(session, "SELECT pg_backend_pid()", {}) for session in held]
    for session in held:
        session.close()
    with psycopg.connect(runtime.engine.url.set(drivername="postgresql").render_as_string(False)) as other:
        for (pid,) in filter(None, pids):
            other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])  # and wait for its end

    def ask():
        with runtime.sessions() as session:
            return first_row(session, "SELECT 1", {})

    with pytest.raises(OperationalError):
        ask()
    assert [ask() for _ in held] == [(1,)] * 3


def test_a_signal_in_the_middle_of_a_statement_costs_its_connection_and_nothing_else(runtime):
    """As Ctrl-C or a worker's time limit: the transaction ends, and no other error hides the signal."""
    before = signal.signal(signal.SIGALRM, _raise)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(_Interrupted), runtime.sessions.begin() as session:
            first_row(session, "SELECT pg_sleep(2)", {})
    finally:
        signal.signal(signal.SIGALRM, before)
    with runtime.sessions() as session:
        assert first_row(session, "SELECT 1", {}) == (1,)


def test_a_statement_of_its_own_is_committed_at_once(runtime):
    inserted = committed_first_row(runtime.engine, ADD_EVENT, {"id": "msg_1"})
    assert inserted == ("msg_1",)
    with runtime.sessions() as session:
        assert session.scalar(COUNT) == 1


def test_after_a_statement_of_its_own_the_connection_begins_transactions_again(runtime):
    runtime.engine.dispose()
    committed_first_row(runtime.engine, ADD_EVENT, {"id": "msg_1"})
    with runtime.sessions() as session:  # on the same connection, which was the only one
        first_row(session, ADD_EVENT, {"id": "msg_2"})
        session.rollback()
        assert session.scalar(COUNT) == 1


def test_a_failed_statement_of_its_own_costs_its_connection(runtime):
    runtime.engine.dispose()
    committed_first_row(runtime.engine, ADD_EVENT, {"id": "msg_1"})
    with pytest.raises(IntegrityError) as told:
        committed_first_row(runtime.engine, ADD_EVENT, {"id": "msg_1"})
    assert "msg_1" not in str(told.value.params)
    assert runtime.engine.pool.checkedout() == 0
    with runtime.sessions() as session:
        first_row(session, ADD_EVENT, {"id": "msg_2"})
        session.rollback()
        assert session.scalar(COUNT) == 1


def test_an_unreachable_server_is_reported_as_by_sqlalchemy():
    engine = connect(f"postgresql+psycopg://nobody@127.0.0.1:{closed_port()}/x")
    with pytest.raises(OperationalError):
        committed_first_row(engine, "SELECT 1", {})


def test_a_signal_in_a_statement_of_its_own_costs_its_connection_and_nothing_else(runtime):
    before = signal.signal(signal.SIGALRM, _raise)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(_Interrupted):
            committed_first_row(runtime.engine, "SELECT pg_sleep(2)", {})
    finally:
        signal.signal(signal.SIGALRM, before)
    assert runtime.engine.pool.checkedout() == 0
    assert committed_first_row(runtime.engine, "SELECT 1", {}) == (1,)


class _Interrupted(BaseException):
    pass


def _raise(*_: object) -> None:
    raise _Interrupted
