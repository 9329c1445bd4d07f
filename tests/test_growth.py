"""Queries that run often, or while somebody waits, read as few pages of a large database as of a small one.

The pages are counted by PostgreSQL, so a busy machine changes nothing. Any query that goes through one of the
large tables reads far more than is allowed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks.fill import LARGEST, fill, schedule_verification
from models import (
    account,
    assignment,
    cancellation,
    drift_finding,
    idempotency_key,
    inbox,
    notice,
    notice_endpoint,
    purchase_queue,
    row_count,
    seat_change,
    subscription,
    sync_queue,
)
from models.database import Sessions, connect, session_factory
from services.ledger import claims, evaluation_inputs
from services.ledger.claims import ClaimRequest
from services.reports import explanation, history, service_health
from tests.factories import a_catalog, a_cause
from tests.servers import Databases

pytestmark = pytest.mark.long(seconds=15)

ACCOUNTS: Final = 2_000  # with 20,000 members and events, and 40,000 audit rows
LARGEST_MEMBERS: Final = 2_000
FEW_PAGES: Final = 150  # a claim reads 105, as many with ten times the accounts
OF_ONE_ACCOUNT: Final = 400
OF_THE_LARGEST: Final = 1_000

DAY: Final = timedelta(days=1)
CATALOG: Final = a_catalog()
YESTERDAY: Final = datetime.now(UTC) - DAY

Query = Callable[[Session], object]


@pytest.fixture(scope="module")
def filled(postgres: Databases) -> Iterator[Sessions]:
    url = postgres.create_database("growth", is_migrated=True)
    fill(url, CATALOG, accounts=ACCOUNTS, largest_members=LARGEST_MEMBERS)
    schedule_verification(url)
    engine = connect(url, pool_size=1)  # the pages are those of a connection
    sessions = session_factory(engine)
    with sessions.begin() as session:
        row_count.advance_deliveries(session)
        row_count.count_accounts(session)
    yield sessions
    engine.dispose()
    postgres.drop_database("growth")


# Of all tables and their indexes, in this transaction.
PAGES = text(
    """
    SELECT coalesce(sum(pg_stat_get_xact_blocks_fetched(oid)), 0) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')
    """
)


def pages_read(sessions: Sessions, query: Query) -> int:
    """The pages that the query reads, whether they were in memory or not. It is rolled back."""
    with sessions() as session:
        session.execute(text("SELECT pg_stat_force_next_flush()"))  # else earlier transactions count as well
        session.commit()
        query(session)
        session.flush()
        return int(session.scalars(PAGES).one())


def members(account_id: str, **filters: Any) -> Query:
    wanted: dict[str, Any] = {
        **dict.fromkeys(("state", "member_id", "email", "role", "seat_type", "after")),
        "limit": 50,
        **filters,
    }
    return lambda session: assignment.page(session, account_id, **wanted)


def explain(account_id: str) -> Query:
    return lambda session: explanation.explain_account(session, account_id, CATALOG, since=None, at_most=100)


def claim(session: Session) -> None:
    claims.claim(session, "team-11", ClaimRequest(member_id="new", role="member"), CATALOG, a_cause())


def inputs(account_id: str) -> Query:
    def load(session: Session) -> None:
        locked = subscription.lock(session, [account_id])
        evaluation_inputs.load_with(session, [account_id], locked, CATALOG, "sub_7")

    return load


QUERIES: Final[dict[str, Query]] = {
    # The sweep, every two seconds.
    "subscriptions to wake workers for": lambda session: sync_queue.due_to_wake(
        session, limit=500, routine_limit=50, again=timedelta(seconds=5)
    ),
    "accounts to evaluate": lambda session: account.due_for_evaluation(
        session, catalog_digest=CATALOG.digest, limit=500
    ),
    "notices to send": notice_endpoint.any_due,
    "seat changes to settle": lambda session: seat_change.due_changes(session, limit=1),
    "cancellations to settle": lambda session: cancellation.due(session, limit=1),
    "purchases to make": lambda session: purchase_queue.due_accounts(session, limit=1),
    # Health and metrics.
    "longest overdue sync": sync_queue.longest_overdue,
    "oldest event": service_health.oldest_unprocessed,
    "oldest sync": service_health.oldest_sync,
    "metrics": service_health.read,
    # Syncs and the timer.
    "inputs of an evaluation": inputs("team-11"),
    "inputs of an evaluation of the largest account": inputs(LARGEST),
    "verification": lambda session: sync_queue.due_for_verification(session, DAY, limit=100),
    "newest delivery": inbox.newest_arrival,
    # Calls of apps.
    "claim": claim,
    **{
        f"members {filters} of {name}": members(account_id, **filters)
        for name, account_id in (("an account", "team-11"), ("the largest", LARGEST))
        for filters in (
            {},
            {"state": "released"},
            {"state": "held"},
            {"state": "suspended"},
            {"role": "member"},
            {"member_id": "member-10"},
        )
    },
    "audit page": lambda session: history.rows(
        session, "team-11", since=None, until=None, after=0, upto=2**62, limit=50
    ),
    "account as it was": lambda session: history.account_at(session, "team-11", YESTERDAY),
    # Lists for operators.
    "accounts": lambda session: account.page(session, status=None, after="team-1500", limit=50),
    "accounts that are blocked, none": lambda session: account.page(
        session, status="blocked", after=None, limit=50
    ),
    **{
        f"events that are {state}": lambda session, state=state: inbox.page(
            session, state=state, after=None, limit=50
        )
        for state in (None, "pending", "done", "ignored", "dead")
    },
    "open findings": lambda session: drift_finding.page(session, states=["open"], after=None, limit=50),
    "findings of a day": lambda session: drift_finding.changed_since(session, YESTERDAY, limit=50),
    "notices": lambda session: notice.page(session, state=None, account_id=None, after=None, limit=50),
    "notices of an account": lambda session: notice.page(
        session, state=None, account_id="team-11", after=None, limit=50
    ),
    "dead notices": lambda session: notice.page(session, state="dead", account_id=None, after=None, limit=50),
    # Housekeeping.
    "old events": lambda session: inbox.delete_old(session, timedelta(days=30), limit=10),
    "old notices, none": lambda session: notice.delete_old(
        session, timedelta(days=30), occasions=timedelta(days=400), limit=10
    ),
    "old findings": lambda session: drift_finding.delete_old(session, timedelta(days=300), limit=10),
    "old responses": lambda session: idempotency_key.delete_old(session, limit=10),
    "old previews": lambda session: seat_change.delete_previews(session, DAY, limit=10),
    "old previews of cancellations": lambda session: cancellation.delete_previews(session, DAY, limit=10),
}


@pytest.mark.parametrize("name", list(QUERIES))
def test_few_pages_are_read_for(filled: Sessions, name: str):
    assert pages_read(filled, QUERIES[name]) <= FEW_PAGES


@pytest.mark.parametrize(("account_id", "most"), [("team-11", OF_ONE_ACCOUNT), (LARGEST, OF_THE_LARGEST)])
def test_an_explanation_reads_what_belongs_to_its_account_only(filled: Sessions, account_id: str, most: int):
    assert pages_read(filled, explain(account_id)) <= most


@pytest.fixture
def backlog(filled: Sessions) -> Iterator[None]:
    """A routine sync of every subscription is due, as at the beginning of a backfill."""
    run(
        filled,
        "UPDATE subscriptions SET hint = hint + 1, routine = true, next_at = now() - interval '1 minute'",
        "ANALYZE subscriptions",
    )
    yield
    run(filled, "UPDATE subscriptions SET synced = hint, routine = false", "ANALYZE subscriptions")


def run(sessions: Sessions, *statements: str) -> None:
    with sessions.begin() as session:
        for statement in statements:
            session.execute(text(statement))


@pytest.mark.usefixtures("backlog")
def test_few_pages_are_read_to_wake_workers_for_one_of_many_routine_syncs(filled: Sessions):
    def wake(session: Session) -> None:
        sync_queue.due_to_wake(session, limit=1, routine_limit=1, again=timedelta(seconds=5))

    assert pages_read(filled, wake) <= FEW_PAGES


def test_a_large_number_of_subscriptions_is_estimated(filled: Sessions, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subscription, "_COUNTED_EXACTLY", 100)
    with filled() as session:
        assert subscription.approximate_count(session) == pytest.approx(ACCOUNTS * 1.2, rel=0.1)
