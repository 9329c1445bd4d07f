"""The last seat is never sold twice: many callers in real processes claim it at once."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from http.client import HTTPConnection
from typing import Any

import pytest
from sqlalchemy import text

from domain.errors import NoSeatAvailable
from models import sync_queue
from models.account import Account
from models.database import Sessions, connect, session_factory
from services.ledger import claims, subscriptions
from services.ledger.claims import ClaimRequest
from tests.audit_replay import assert_audit_matches_the_tables, assert_balances_count_the_assignments
from tests.conftest import API_KEY
from tests.factories import CATALOG_TEXT, a_catalog, a_cause, a_snapshot
from tests.servers import Databases, RedisDatabases
from tests.stack import Stack

pytestmark = pytest.mark.long(seconds=45)

CALLERS = 50
ROUNDS = 100
FORK = multiprocessing.get_context("fork")
CATALOG = a_catalog()


@pytest.fixture(scope="module")
def stack(
    postgres: Databases, redis_databases: RedisDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("concurrency")
    catalog = folder / "catalog.toml"
    catalog.write_text(CATALOG_TEXT, encoding="utf-8")
    database_url = postgres.create_database("concurrency")
    redis_url = redis_databases.empty_database(2)
    with Stack(folder, database_url=database_url, redis_url=redis_url, catalog=catalog) as stack:
        stack.start()
        yield stack


@pytest.fixture
def stack_sessions(stack: Stack) -> Iterator[Sessions]:
    engine = connect(stack.environment["DATABASE_URL"])
    yield session_factory(engine)
    engine.dispose()


def buy(sessions: Sessions, account_id: str, seats: int = 0) -> None:
    """Store a subscription with five included seats and `seats` more."""
    snapshot = a_snapshot(f"sub_{account_id}", seats=seats, metadata={"account_id": account_id})
    with sessions.begin() as session:
        sync_queue.raise_hint(session, snapshot.subscription_id)
        lease = sync_queue.lease(session, [snapshot.subscription_id], timedelta(seconds=10))[0]
        subscriptions.apply(session, lease, snapshot, CATALOG, a_cause())


def occupy(sessions: Sessions, account_id: str, members: int) -> None:
    for number in range(members):
        with sessions.begin() as session:
            request = ClaimRequest(member_id=f"early-{number}", role="member")
            claims.claim(session, account_id, request, CATALOG, a_cause())


def call(port: int, caller: int, barrier: Any, answers: Any) -> None:
    """One app backend: when a round starts, it claims a seat in that round's account."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    results = []
    for number in range(ROUNDS):
        barrier.wait()
        body = json.dumps({"member_id": f"caller-{caller}", "role": "member"})
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
        connection.request("POST", f"/v1/accounts/round-{number}/claims", body, headers)
        response = connection.getresponse()
        document = json.loads(response.read())
        results.append((number, response.status, document.get("code"), document.get("purchased")))
    answers.put(results)


def test_of_fifty_callers_one_gets_the_last_seat_a_hundred_times(stack: Stack, stack_sessions: Sessions):
    for number in range(ROUNDS):
        buy(stack_sessions, f"round-{number}")
        occupy(stack_sessions, f"round-{number}", members=4)
    barrier, answers = FORK.Barrier(CALLERS), FORK.Queue()
    callers = [FORK.Process(target=call, args=(stack.port, n, barrier, answers)) for n in range(CALLERS)]
    for caller in callers:
        caller.start()
    results = [one for _ in callers for one in answers.get(timeout=240)]
    for caller in callers:
        caller.join(10)
    granted, refused = (201, None, None), (409, "no_seat_available", 5)
    for number in range(ROUNDS):
        outcome = Counter(tuple(result) for at, *result in results if at == number)
        assert outcome == {granted: 1, refused: CALLERS - 1}
    with stack_sessions() as session:
        assert_audit_matches_the_tables(session)
        assert_balances_count_the_assignments(session)


# Many kinds of changes at once on one account: separate processes that call the ledger directly.


def shuffle_members(database_url: str, worker: int, moves: int, errors: Any) -> None:
    engine = connect(database_url, pool_size=1)
    sessions = session_factory(engine)
    try:
        for move in range(moves):
            member_id = f"member-{(worker * 7 + move * 3) % 12}"
            try:
                with sessions.begin() as session:
                    if move % 3 == 2:
                        claims.release(session, "busy", member_id, a_cause(actor=f"worker-{worker}"))
                    else:
                        request = ClaimRequest(member_id=member_id, role="member", hold=move % 5 == 0)
                        cause = a_cause(actor=f"worker-{worker}")
                        claims.claim(session, "busy", request, CATALOG, cause)
            except NoSeatAvailable:
                pass
        errors.put(None)
    except BaseException as error:  # noqa: BLE001  the test process asserts that there is none
        errors.put(repr(error))
    finally:
        engine.dispose()


def test_claims_releases_and_purchases_at_once_never_oversell(stack: Stack, stack_sessions: Sessions):
    buy(stack_sessions, "busy")
    errors = FORK.Queue()
    url = stack.environment["DATABASE_URL"]
    movers = [FORK.Process(target=shuffle_members, args=(url, n, 150, errors)) for n in range(8)]
    for mover in movers:
        mover.start()
    for seats in (3, 0, 2, 0, 4, 1):
        buy(stack_sessions, "busy", seats)
    assert [errors.get(timeout=120) for _ in movers] == [None] * len(movers)
    for mover in movers:
        mover.join(10)
    with stack_sessions() as session:
        assert_audit_matches_the_tables(session)
        assert_balances_count_the_assignments(session)
        oversold = text(
            "SELECT count(*) FROM audit WHERE account_id = 'busy' AND subject_before IS NULL"
            " AND member_id IS NOT NULL AND (after #>> '{seats,full,active}')::int"
            " + (after #>> '{seats,full,held}')::int > (after #>> '{seats,full,included}')::int"
            " + (after #>> '{seats,full,addon}')::int"
        )
        assert session.scalar(oversold) == 0
        assert session.get(Account, "busy").version > 100
