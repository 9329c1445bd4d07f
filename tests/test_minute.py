"""Everything at once on one account, for a while: never oversold, no deadlock, no change without its row.

With `SEATSYNC_TEST_MINUTE_SECONDS=60` it is the whole minute.
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
from tests.audit_replay import assert_audit_tells_the_present, assert_counters_are_the_rows
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

# Rows by which more people sit on a type than were bought, though fewer did before.
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
class Told:
    """What one worker did and saw.

    `granted` has, for each claim that was, what was bought and used in its own transaction.
    """

    actor: str
    counts: Counter[str] = field(default_factory=Counter)
    granted: list[tuple[int, int]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    slowest: float = 0.0


class Worker:
    """One app backend, with a connection of its own and chance for a guide."""

    def __init__(self, sessions: Sessions, number: int) -> None:
        self.sessions = sessions
        self.told = Told(f"worker-{number}")
        self.cause = a_cause(actor=self.told.actor)
        self.chance = random.Random(number)
        self.ways: Sequence[Callable[[], None]] = (
            *[self.claim] * 6,
            *[self.release] * 5,
            *[self.change_role] * 3,
            *[self.suspend_or_return] * 2,
            self.claim_each,
            self.claim_all,
            self.buy,
        )

    def work(self, seconds: float) -> Told:
        until = time.monotonic() + seconds
        while (began := time.monotonic()) < until:
            try:
                self.chance.choice(self.ways)()
            except (Refused, MemberNotFound) as refusal:
                self.told.counts[refusal.code] += 1
            except Exception as error:  # noqa: BLE001  it is the test that has to hear of it
                self.told.errors.append(repr(error))
            self.told.slowest = max(self.told.slowest, time.monotonic() - began)
        return self.told

    def claim(self) -> None:
        with self.sessions.begin() as session:
            wish = self._wish()
            seated = claims.claim(session, "acme", wish, CATALOG, self.cause)
            seen = _seen(session, [seated])
        self._note(seen)

    def claim_each(self) -> None:
        with self.sessions.begin() as session:
            wishes = self._wishes()
            outcomes = batch_claims.claim_each(session, "acme", wishes, CATALOG, self.cause)
            seen = _seen(session, outcomes)
        self._note(seen)

    def claim_all(self) -> None:
        with self.sessions.begin() as session:
            granted, outcomes = batch_claims.claim_all(session, "acme", self._wishes(), CATALOG, self.cause)
            seen = _seen(session, outcomes) if granted else []
        self._note(seen)

    def release(self) -> None:
        with self.sessions.begin() as session:
            released = claims.release(session, "acme", self._person(), self.cause)
        self.told.counts["released"] += released

    def change_role(self) -> None:
        self._change(MemberUpdate(role=self.chance.choice(ROLES)))
        self.told.counts["moved"] += 1

    def suspend_or_return(self) -> None:
        states = (AssignmentState.SUSPENDED, AssignmentState.ACTIVE)
        self._change(MemberUpdate(state=self.chance.choice(states)))
        self.told.counts["suspended or returned"] += 1

    def buy(self) -> None:
        """More seats or fewer, written like a sync does: leased first, then under the fence."""
        addons = (
            AddonQuantity("adn_seat", self.chance.randint(0, 8)),
            AddonQuantity("adn_viewer", self.chance.randint(0, 4)),
        )
        with self.sessions.begin() as session:
            sync_queue.raise_hint(session, "sub_1")
            lease = sync_queue.lease(session, "sub_1", LEASE)
        if lease is None:
            return
        with self.sessions.begin() as session:
            shown = a_snapshot(addons=addons)
            changed = subscriptions.apply(session, lease, shown, CATALOG, self.cause)
        self.told.counts["bought"] += bool(changed)

    def _change(self, wanted: MemberUpdate) -> None:
        with self.sessions.begin() as session:
            told = (session, "acme", self._person(), wanted)
            members.update_member(*told, catalog=CATALOG, cause=self.cause)

    def _person(self) -> str:
        return self.chance.choice(PEOPLE)

    def _wish(self) -> ClaimRequest:
        return ClaimRequest(
            member_id=self._person(), role=self.chance.choice(ROLES), hold=self.chance.random() < 0.2
        )

    def _wishes(self) -> Sequence[ClaimRequest]:
        return [self._wish() for _ in range(self.chance.randint(2, 5))]

    def _note(self, seen: Sequence[tuple[int, int]]) -> None:
        """What was granted counts once it is committed."""
        self.told.counts["granted"] += len(seen)
        self.told.granted += seen


def _seen(session: Session, outcomes: Sequence[object]) -> Sequence[tuple[int, int]]:
    """What was bought and what is used of each type that was newly seated on, while the account is locked."""
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
    """All that was told, and the account as it was left."""

    told: Sequence[Told]
    sessions: Sessions

    @property
    def figures(self) -> Counter[str]:
        return sum((one.counts for one in self.told), Counter())


@pytest.fixture(scope="module")
def minute(postgres: Databases) -> Iterator[Minute]:
    """One account on a database of its own, and eight processes that leave it no peace."""
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
    told = [answers.get(timeout=SECONDS + 60) for _ in workers]
    for worker in workers:
        worker.join(10)
    yield Minute(told, sessions)
    engine.dispose()


def test_nothing_goes_wrong(minute: Minute):
    """No deadlock, no lock waited for in vain, nothing that nobody expected."""
    assert [error for one in minute.told for error in one.errors] == []


def test_everything_has_happened(minute: Minute):
    """Every way was gone many times, or the rest would prove little."""
    log.info("a while on one account", extra={"seconds": SECONDS, **minute.figures})
    often = ("granted", "released", "moved", "suspended or returned", "bought", "no_seat_available")
    assert min(minute.figures[name] for name in often) > 10


def test_no_claim_was_granted_beyond_what_was_bought(minute: Minute):
    assert [one for told in minute.told for one in told.granted if one[1] > one[0]] == []


def test_no_row_of_the_audit_oversells(minute: Minute):
    with minute.sessions() as session:
        assert session.scalar(OVERSOLD) == 0


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("granted", AuditRow.subject_before.is_(None)),
        ("released", AuditRow.subject_after["state"].astext == "released"),
    ],
)
def test_each_worker_finds_one_row_for_each_thing_it_did(minute: Minute, kind: str, rows):
    with minute.sessions() as session:
        found = Counter(
            session.scalars(select(AuditRow.actor).where(AuditRow.member_id.is_not(None), rows)).all()
        )
    assert found == {one.actor: one.counts[kind] for one in minute.told}


def test_the_audit_tells_the_present(minute: Minute):
    with minute.sessions() as session:
        assert_audit_tells_the_present(session)


def test_the_counters_are_the_rows(minute: Minute):
    with minute.sessions() as session:
        assert_counters_are_the_rows(session)
