"""All kinds of changes on one account at once: never oversold, no deadlock, one audit row per change.

Runs for 20 seconds, or for `SEATSYNC_TEST_MINUTE_SECONDS`.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from domain.errors import MemberNotFound, Refused
from domain.snapshot import AddonQuantity
from models import sync_queue
from models.account import Account
from models.assignment import AssignmentState
from models.audit import AuditRow
from models.database import Sessions, connect, session_factory
from services.ledger import accounts, batch_claims, claims, members, subscriptions
from services.ledger.claims import ClaimOutcome, ClaimRequest
from services.ledger.members import MemberUpdate
from services.sync.subscription import LEASE
from tests.audit_replay import assert_audit_matches_the_tables, assert_balances_count_the_assignments
from tests.factories import a_catalog, a_cause, a_snapshot
from tests.servers import Databases

pytestmark = pytest.mark.long(seconds=30)

log = logging.getLogger(__name__)

SECONDS = float(os.environ.get("SEATSYNC_TEST_MINUTE_SECONDS", "20"))
FORK = multiprocessing.get_context("fork")
CATALOG = a_catalog()
WORKERS = 8
PEOPLE = [f"member-{number}" for number in range(24)]
ROLES = ["member", "member", "viewer", "client"]

# Audit rows by which the used seats of a type grew beyond the purchased ones.
OVERSOLD = text(
    """
    SELECT count(*) FROM (
        SELECT (after #>> ARRAY['seats', type, 'included'])::int
               + (after #>> ARRAY['seats', type, 'addon'])::int AS purchased,
               (after #>> ARRAY['seats', type, 'active'])::int
               + (after #>> ARRAY['seats', type, 'held'])::int AS used,
               (before #>> ARRAY['seats', type, 'active'])::int
               + (before #>> ARRAY['seats', type, 'held'])::int AS used_before
        FROM audit, unnest(ARRAY['full', 'viewer']) AS type
    ) AS figures
    WHERE used > used_before AND used > purchased
    """
)


@dataclass
class WorkerReport:
    """What one worker did.

    `granted` has the purchased and used seats after each granted claim, as seen in its transaction.
    """

    actor: str
    counts: Counter[str] = field(default_factory=Counter)
    granted: list[tuple[int, int]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    slowest: float = 0.0


class Worker:
    """One app backend with its own connection; it makes random changes."""

    def __init__(self, sessions: Sessions, number: int) -> None:
        self.sessions = sessions
        self.report = WorkerReport(f"worker-{number}")
        self.cause = a_cause(actor=self.report.actor)
        self.chance = random.Random(number)
        self.actions: Sequence[Callable[[], None]] = (
            *[self.claim] * 6,
            *[self.release] * 5,
            *[self.change_role] * 3,
            *[self.suspend_or_return] * 2,
            self.claim_each,
            self.claim_all,
            self.buy,
        )

    def work(self, seconds: float) -> WorkerReport:
        until = time.monotonic() + seconds
        while (began := time.monotonic()) < until:
            try:
                self.chance.choice(self.actions)()
            except (Refused, MemberNotFound) as refusal:
                self.report.counts[refusal.code] += 1
            except Exception as error:  # noqa: BLE001  a test asserts that there is none
                self.report.errors.append(repr(error))
            self.report.slowest = max(self.report.slowest, time.monotonic() - began)
        return self.report

    def claim(self) -> None:
        with self.sessions.begin() as session:
            outcome = claims.claim(session, "acme", self._request(), CATALOG, self.cause)
            seen = _seen(session, [outcome])
        self._note(seen)

    def claim_each(self) -> None:
        with self.sessions.begin() as session:
            outcomes = batch_claims.claim_each(session, "acme", self._requests(), CATALOG, self.cause)
            seen = _seen(session, outcomes)
        self._note(seen)

    def claim_all(self) -> None:
        with self.sessions.begin() as session:
            requests = self._requests()
            granted, outcomes = batch_claims.claim_all(session, "acme", requests, CATALOG, self.cause)
            seen = _seen(session, outcomes) if granted else []
        self._note(seen)

    def release(self) -> None:
        with self.sessions.begin() as session:
            released = claims.release(session, "acme", self._person(), self.cause)
        self.report.counts["released"] += released

    def change_role(self) -> None:
        self._change(MemberUpdate(role=self.chance.choice(ROLES)))
        self.report.counts["moved"] += 1

    def suspend_or_return(self) -> None:
        states = (AssignmentState.SUSPENDED, AssignmentState.ACTIVE)
        self._change(MemberUpdate(state=self.chance.choice(states)))
        self.report.counts["suspended or returned"] += 1

    def buy(self) -> None:
        """Store more or fewer seats like a sync: take a lease, then write with its fencing token."""
        addons = (
            AddonQuantity("adn_seat", self.chance.randint(0, 8)),
            AddonQuantity("adn_viewer", self.chance.randint(0, 4)),
        )
        with self.sessions.begin() as session:
            sync_queue.raise_hint(session, "sub_1")
            leases = sync_queue.lease(session, ["sub_1"], LEASE)
        for lease in leases:
            with self.sessions.begin() as session:
                snapshot = a_snapshot(addons=addons)
                changed = subscriptions.apply(session, lease, snapshot, CATALOG, self.cause)
            self.report.counts["bought"] += bool(changed)

    def _change(self, wanted: MemberUpdate) -> None:
        with self.sessions.begin() as session:
            person = self._person()
            members.update_member(session, "acme", person, wanted, catalog=CATALOG, cause=self.cause)

    def _person(self) -> str:
        return self.chance.choice(PEOPLE)

    def _request(self) -> ClaimRequest:
        return ClaimRequest(
            member_id=self._person(), role=self.chance.choice(ROLES), hold=self.chance.random() < 0.2
        )

    def _requests(self) -> Sequence[ClaimRequest]:
        return [self._request() for _ in range(self.chance.randint(2, 5))]

    def _note(self, seen: Sequence[tuple[int, int]]) -> None:
        """Record granted claims, after their transaction is committed."""
        self.report.counts["granted"] += len(seen)
        self.report.granted += seen


def _seen(session: Session, outcomes: Sequence[object]) -> Sequence[tuple[int, int]]:
    """The purchased and used seats for each new assignment, read while the account is locked."""
    new = [one.assignment for one in outcomes if isinstance(one, ClaimOutcome) and one.is_new]
    seats = session.scalars(select(Account.seats).where(Account.id == "acme")).one()
    return [_figures(seats, assignment.seat_type) for assignment in new]


def _figures(seats: Mapping[str, Any], seat_type: str | None) -> tuple[int, int]:
    if seat_type is None:
        return (0, 0)
    one = seats[seat_type]
    return one["included"] + one["addon"], one["active"] + one["held"]


def work(database_url: str, number: int, answers: Any) -> None:
    engine = connect(database_url, pool_size=1)
    try:
        answers.put(Worker(session_factory(engine), number).work(SECONDS))
    finally:
        engine.dispose()


@dataclass(frozen=True)
class Minute:
    """The reports of all workers, and sessions to read the final state of the account."""

    reports: Sequence[WorkerReport]
    sessions: Sessions

    @property
    def figures(self) -> Counter[str]:
        return sum((one.counts for one in self.reports), Counter())


@pytest.fixture(scope="module")
def minute(postgres: Databases) -> Iterator[Minute]:
    """One account in its own database, after eight processes have changed it at the same time."""
    url = postgres.create_database("minute", is_migrated=True)
    engine = connect(url)
    sessions = session_factory(engine)
    with sessions.begin() as session:
        accounts.open_account(session, "acme", CATALOG, a_cause())
    Worker(sessions, WORKERS).buy()
    engine.dispose()
    answers = FORK.Queue()
    workers = [FORK.Process(target=work, args=(url, number, answers)) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    reports = [answers.get(timeout=SECONDS + 60) for _ in workers]
    for worker in workers:
        worker.join(10)
    yield Minute(reports, sessions)
    engine.dispose()


def test_no_worker_gets_an_unexpected_error(minute: Minute):
    """In particular no deadlock and no lock timeout."""
    assert [error for one in minute.reports for error in one.errors] == []


def test_every_kind_of_change_happened_often(minute: Minute):
    """Otherwise the other tests would prove little."""
    log.info("changes made", extra={"seconds": SECONDS, **minute.figures})
    kinds = ("granted", "released", "moved", "suspended or returned", "bought", "no_seat_available")
    assert min(minute.figures[name] for name in kinds) > 10


def test_no_claim_was_granted_beyond_what_was_bought(minute: Minute):
    assert [one for report in minute.reports for one in report.granted if one[1] > one[0]] == []


def test_no_audit_row_oversells(minute: Minute):
    with minute.sessions() as session:
        assert session.scalar(OVERSOLD) == 0


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("granted", AuditRow.subject_before.is_(None)),
        ("released", AuditRow.subject_after["state"].astext == "released"),
    ],
)
def test_each_worker_has_one_audit_row_for_each_of_its_changes(minute: Minute, kind: str, rows):
    with minute.sessions() as session:
        found = Counter(
            session.scalars(select(AuditRow.actor).where(AuditRow.member_id.is_not(None), rows)).all()
        )
    assert found == {one.actor: one.counts[kind] for one in minute.reports}


def test_the_audit_matches_the_tables(minute: Minute):
    with minute.sessions() as session:
        assert_audit_matches_the_tables(session)


def test_the_balance_counts_the_assignments(minute: Minute):
    with minute.sessions() as session:
        assert_balances_count_the_assignments(session)
