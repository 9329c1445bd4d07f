"""The locked account: what is recorded on it is saved once, and half of a change leaves no trace."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from domain.errors import NoSeatAvailable
from models import assignment
from models.account import Account
from models.assignment import AssignmentState
from models.audit import AuditRow
from runtime.wiring import Runtime
from services.ledger import accounts, batch_claims, claims
from services.ledger.claims import ClaimOutcome, ClaimRequest
from services.ledger.locked_account import Subject, changing, lock_account
from tests.acme import DAY, Acme
from tests.clock import Clock
from tests.factories import a_cause


@pytest.fixture
def acme(clocked_runtime: Runtime, clock: Clock) -> Acme:
    return Acme(clocked_runtime, clock)


@pytest.fixture
def grace(acme: Acme) -> Acme:
    """Two seats that two people have, and a deadline for whoever is beyond them."""
    acme.buys("grace", 2)
    acme.seats("ada", "ben")
    acme.marks_notices_as_seen()
    return acme


def version(acme: Acme) -> int:
    return acme.account.version


def audited(acme: Acme, after: int) -> list[str | None]:
    """The members of the audit rows behind that one."""
    with acme.runtime.sessions() as session:
        rows = select(AuditRow.member_id).where(AuditRow.id > after).order_by(AuditRow.id)
        return list(session.scalars(rows))


def newest_row(acme: Acme) -> int:
    with acme.runtime.sessions() as session:
        return session.scalar(select(AuditRow.id).order_by(AuditRow.id.desc()).limit(1))


def test_two_operations_are_two_audit_rows_of_one_version(grace: Acme):
    before, row = version(grace), newest_row(grace)
    with grace.runtime.transaction() as session, changing(session, "acme") as account:
        for member_id in ("cyd", "dan"):
            claims.claim_locked(
                account, ClaimRequest(member_id=member_id, role="member"), grace.runtime.catalog, a_cause()
            )
    assert (version(grace), audited(grace, row)) == (before + 1, ["cyd", "dan"])
    grace.check()


def test_a_batch_is_one_version(grace: Acme):
    before = version(grace)
    wishes = [ClaimRequest(member_id=member_id, role="member") for member_id in ("cyd", "dan", "eve")]
    with grace.runtime.transaction() as session:
        batch_claims.claim_each(session, "acme", wishes, grace.runtime.catalog, a_cause())
    assert version(grace) == before + 1
    grace.check()


def test_where_nothing_was_recorded_nothing_is_written(grace: Acme):
    before = version(grace)
    with grace.runtime.transaction() as session:
        assert not lock_account(session, "acme").save()
    assert version(grace) == before


def test_an_entry_that_changed_nothing_is_no_audit_row(grace: Acme):
    row = newest_row(grace)
    with grace.runtime.transaction() as session, changing(session, "acme") as account:
        account.record(a_cause(), Subject(before={"same": 1}, after={"same": 1}))
    assert audited(grace, row) == []


def release_and_refuse(session: Session, member_id: str) -> None:
    with changing(session, "acme") as account:
        claims.release_seat(account, assignment.live(session, "acme", member_id), a_cause())
        raise NoSeatAvailable("afterwards")


def test_a_refusal_saves_what_was_recorded_before_it(grace: Acme):
    with grace.runtime.transaction() as session, pytest.raises(NoSeatAvailable):
        release_and_refuse(session, "ada")
    assert grace.active == {"ben"}
    grace.check()


def test_what_is_undone_before_it_is_saved_starts_no_deadline_and_is_no_news(grace: Acme):
    with grace.runtime.transaction() as session, changing(session, "acme") as account:
        claims.claim_locked(
            account, ClaimRequest(member_id="cyd", role="member"), grace.runtime.catalog, a_cause()
        )
        claims.release_seat(account, assignment.live(session, "acme", "cyd"), a_cause())
    assert (grace.deadline(), grace.new_notices()) == (None, ())
    grace.check()


def test_a_policy_and_its_seats_are_evaluated_together(grace: Acme):
    """Somebody more than there are seats, and in the same transaction a policy that sets no deadline."""
    grace.seats("cyd")
    grace.releases("cyd")
    grace.marks_notices_as_seen()
    with grace.runtime.transaction() as session, changing(session, "acme") as account:
        claims.claim_locked(
            account, ClaimRequest(member_id="dan", role="member"), grace.runtime.catalog, a_cause()
        )
        account.override = {"policy": "soft"}
        accounts.reevaluate_locked(account, grace.runtime.catalog, a_cause())
    assert (grace.status, grace.new_notices()) == ("over_limit", ("seat.overage_started",))


def test_the_end_of_the_grace_period_is_notified_before_the_suspensions(acme: Acme):
    acme.buys("suspending", 4)
    acme.seats("ada", "ben", "cyd", "dan")
    acme.buys("suspending", 2)
    acme.after(13 * DAY)
    acme.marks_notices_as_seen()
    acme.after(DAY)
    assert acme.new_notices() == ("seat.blocked", "seat.suspended", "seat.suspended", "seat.restored")
    acme.check()


def test_members_suspended_together_are_suspended_in_one_version(acme: Acme):
    acme.buys("suspending", 4)
    acme.seats("ada", "ben", "cyd", "dan")
    acme.buys("suspending", 1)
    acme.clock.advance(14 * DAY)
    acme.is_swept_for_dates()  # which asks for a look
    before = version(acme)
    acme.is_swept_for_syncs()
    assert (len(acme.suspended), version(acme)) == (3, before + 1)


def test_a_new_account_says_what_it_began_with(acme: Acme):
    acme.exists()
    with acme.runtime.sessions() as session:
        row = session.scalars(select(AuditRow)).one()
        assert (row.before, row.after["seats"]) == (None, session.get(Account, "acme").seats)


def test_a_claim_sees_the_seat_of_an_invitation_that_just_lapsed(grace: Acme):
    grace.seats("cyd", hold=True)
    grace.clock.advance(15 * DAY)
    assert (grace.claims("dan"), grace.deadline()) == ("granted", grace.clock.now + 14 * DAY)


def test_a_claim_of_a_batch_sees_the_claims_before_it(grace: Acme):
    """The first makes one of two rows of a person, which ends an overage whose deadline has passed."""
    grace.seats("invited", email="ben@example.com", hold=True)
    for _ in range(3):
        grace.clock.advance(5 * DAY)
        grace.member("invited", state=AssignmentState.HELD)  # sent again
    assert grace.claims("cyd") == "claims_blocked"
    wishes = [
        ClaimRequest(member_id="ben", role="member", email="ben@example.com"),
        ClaimRequest(member_id="cyd", role="member"),
    ]
    with grace.runtime.transaction() as session:
        outcomes = batch_claims.claim_each(session, "acme", wishes, grace.runtime.catalog, a_cause())
    assert [type(outcome) for outcome in outcomes] == [ClaimOutcome, ClaimOutcome]
    grace.check()
