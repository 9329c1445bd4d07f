"""Claims: one person has one seat, never more than were bought, and the audit has every change."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from domain.catalog.model import Catalog
from domain.errors import AccountNotFound, ClaimsBlocked, NoSeatAvailable, UnknownRole
from models import sync_queue
from models.account import Account
from models.assignment import Assignment
from models.audit import AuditRow
from models.database import Sessions
from services.ledger import accounts, claims, subscriptions
from services.ledger.claims import ClaimOutcome, ClaimRequest
from tests.audit_replay import assert_audit_matches_the_tables, assert_balances_count_the_assignments
from tests.factories import a_catalog, a_cause, a_snapshot

TEN_SECONDS = timedelta(seconds=10)


@pytest.fixture
def books(sessions: Sessions, catalog: Catalog) -> Books:
    books = Books(sessions, catalog)
    books.buy()
    return books


class Books:
    """The account `acme`, with five full seats to begin with."""

    def __init__(self, sessions: Sessions, catalog: Catalog) -> None:
        self.sessions = sessions
        self.catalog = catalog

    def buy(self, **changes) -> None:
        snapshot = a_snapshot(**changes)
        with self.sessions.begin() as session:
            sync_queue.raise_hint(session, snapshot.subscription_id)
            lease = sync_queue.lease(session, [snapshot.subscription_id], TEN_SECONDS)[0]
            subscriptions.apply(session, lease, snapshot, self.catalog, a_cause(fence=lease.fence))

    def claim(self, member_id: str, role: str = "member", **more) -> ClaimOutcome:
        with self.sessions.begin() as session:
            wish = ClaimRequest(member_id=member_id, role=role, **more)
            return claims.claim(session, "acme", wish, self.catalog, a_cause())

    def release(self, member_id: str) -> bool:
        with self.sessions.begin() as session:
            return claims.release(session, "acme", member_id, a_cause())

    def full(self) -> dict[str, int]:
        with self.sessions() as session:
            return session.get(Account, "acme").seats["full"]

    def full_or_none(self) -> dict[str, int] | None:
        with self.sessions() as session:
            return session.get(Account, "acme").seats.get("full")

    def status(self) -> str:
        with self.sessions() as session:
            return session.get(Account, "acme").status

    def execute(self, statement: str) -> None:
        with self.sessions.begin() as session:
            session.execute(text(statement))

    def check(self) -> None:
        with self.sessions() as session:
            assert_audit_matches_the_tables(session)
            assert_balances_count_the_assignments(session)


def test_a_claim_takes_a_seat(books: Books):
    seated = books.claim("ada")
    assert (seated.is_new, seated.assignment.state, books.full()["active"]) == (True, "active", 1)


def test_a_new_assignment_is_a_row_of_the_session_like_one_that_was_there(books: Books):
    with books.sessions.begin() as session:
        wish = ClaimRequest(member_id="ada", role="member")
        seated = claims.claim(session, "acme", wish, books.catalog, a_cause())
        seated.assignment.name = "Ada"
    with books.sessions() as session:
        assert session.scalars(select(Assignment.name)).all() == ["Ada"]


def test_a_member_has_one_seat(books: Books):
    books.claim("ada")
    again = books.claim("ada")
    assert (again.is_new, books.full()["active"]) == (False, 1)


def test_the_sixth_of_five_is_refused_with_the_numbers(books: Books):
    for number in range(5):
        books.claim(f"member-{number}")
    with pytest.raises(NoSeatAvailable) as refused:
        books.claim("one too many")
    assert refused.value.details == {
        "seat_type": "full",
        "purchased": 5,
        "used": 5,
        "available": 0,
        "overage": 0,
    }


def test_a_seat_holder_is_not_refused_when_all_seats_are_used(books: Books):
    for number in range(5):
        books.claim(f"member-{number}")
    assert books.claim("member-3").is_new is False


def test_a_released_seat_can_be_taken_by_somebody_else(books: Books):
    for number in range(5):
        books.claim(f"member-{number}")
    books.release("member-0")
    assert books.claim("the next").is_new


def test_releasing_twice_frees_one_seat(books: Books):
    books.claim("ada")
    assert (books.release("ada"), books.release("ada")) == (True, False)
    assert books.full()["active"] == 0


def test_a_released_member_may_claim_again(books: Books):
    books.claim("ada", email="ada@example.com")
    books.release("ada")
    assert books.claim("ada", email="ada@example.com").is_new


def test_a_free_role_is_listed_and_takes_nothing(books: Books):
    seated = books.claim("guest", role="client")
    assert (seated.assignment.seat_type, books.full()["active"]) == (None, 0)


def test_free_roles_are_welcome_when_everything_is_taken(books: Books):
    for number in range(5):
        books.claim(f"member-{number}")
    assert books.claim("guest", role="client").is_new


def test_an_unknown_role_is_refused(books: Books):
    with pytest.raises(UnknownRole):
        books.claim("ada", role="wizard")


def test_an_unknown_account_has_no_seats(books: Books):
    with books.sessions.begin() as session, pytest.raises(AccountNotFound):
        claims.claim(session, "nobody", ClaimRequest(member_id="a", role="member"), books.catalog, a_cause())


@pytest.mark.parametrize("status", ["paused", "cancelled", "expired"])
def test_no_seat_is_granted_while_nothing_counts(books: Books, status: str):
    books.buy(status=status)
    with pytest.raises(ClaimsBlocked):
        books.claim("ada")


def test_unlimited_seats_never_run_out(books: Books):
    books.buy(product_id="pdt_unlimited")
    for number in range(20):
        assert books.claim(f"member-{number}").is_new


def test_under_the_soft_policy_a_claim_beyond_the_limit_is_granted(books: Books):
    books.buy(product_id="pdt_soft", quantity=1)
    books.claim("first")
    assert books.claim("second").is_new
    assert books.status() == "over_limit"


def test_a_reduction_below_use_releases_nobody(books: Books):
    books.buy(seats=5)
    for number in range(8):
        books.claim(f"member-{number}")
    books.buy(seats=0)
    assert (books.status(), books.full()["active"]) == ("over_limit", 8)


def test_back_under_the_limit_the_account_is_ok_again(books: Books):
    books.buy(seats=1)
    for number in range(6):
        books.claim(f"member-{number}")
    books.buy(seats=0)
    books.release("member-0")
    assert books.status() == "ok"


# Invitations.


def test_an_invitation_holds_a_seat(books: Books):
    seated = books.claim("invited", hold=True)
    assert seated.assignment.state == "held"
    assert (books.full()["held"], books.full()["active"]) == (1, 0)


def test_confirming_an_invitation_converts_the_same_seat(books: Books):
    held = books.claim("invited", hold=True, email="new@example.com")
    confirmed = books.claim("user-77", email="new@example.com")
    assert confirmed.assignment.id == held.assignment.id
    assert (confirmed.assignment.member_id, confirmed.assignment.state) == ("user-77", "active")
    assert (books.full()["held"], books.full()["active"]) == (0, 1)


def test_an_invitation_that_ran_out_makes_room_for_the_next_claim(books: Books):
    for number in range(5):
        books.claim(f"member-{number}", hold=number == 0)
    books.execute("UPDATE assignments SET expires_at = now() - interval '1 s' WHERE state = 'held'")
    assert books.claim("the next").is_new
    assert (books.full()["held"], books.full()["active"]) == (0, 5)


def test_the_account_is_evaluated_when_its_first_invitation_lapses(books: Books):
    seated = books.claim("invited", hold=True)
    with books.sessions() as session:
        assert session.get(Account, "acme").evaluate_at == seated.assignment.expires_at


# What the database itself forbids.


@pytest.mark.parametrize(
    "wrong",
    [
        "UPDATE accounts SET seats = jsonb_set(seats, '{full,active}', '-1')",
        "INSERT INTO assignments (account_id, member_id, role, state) VALUES ('acme', 'ada', 'x', 'active')",
        "UPDATE assignments SET state = 'sleeping'",
        "UPDATE assignments SET state = 'held'",
        "UPDATE subscriptions SET synced = hint + 1",
        "INSERT INTO inbox (provider, event_id, type, state, body) VALUES ('dodo', 'm', 't', 'pending', '')",
    ],
    ids=[
        "a negative count",
        "two seats for one",
        "an unknown state",
        "held for ever",
        "synced ahead",
        "lost",
    ],
)
def test_a_wrong_state_cannot_be_written(books: Books, wrong: str):
    books.claim("ada")
    with pytest.raises(IntegrityError):
        books.execute(wrong)


@pytest.mark.parametrize("wrong", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"])
def test_the_audit_is_append_only(books: Books, wrong: str):
    with pytest.raises(ProgrammingError, match="append-only"):
        books.execute(wrong)


# The audit.


def test_the_replayed_audit_gives_the_present_state(books: Books):
    books.buy(seats=3)
    books.claim("ada")
    books.claim("invited", hold=True, email="i@example.com")
    books.claim("user-9", email="i@example.com")
    books.claim("guest", role="client")
    books.release("ada")
    books.claim("ada", role="admin")
    books.buy(status="paused", seats=3)
    books.check()


def test_what_changes_nothing_leaves_no_audit_row(books: Books):
    books.claim("ada")
    books.buy()
    with books.sessions() as session:
        before = session.scalar(select(func.count()).select_from(AuditRow))
    books.claim("ada")
    books.buy()
    books.release("nobody")
    with books.sessions() as session:
        assert session.scalar(select(func.count()).select_from(AuditRow)) == before


def test_the_audit_says_who_did_it_and_holds_nothing_personal(books: Books):
    books.claim("ada", email="ada@example.com")
    with books.sessions() as session:
        row = session.scalars(select(AuditRow).order_by(AuditRow.id.desc())).first()
    assert (row.actor, row.source, row.member_id) == ("key:test", "test", "ada")
    assert "example.com" not in str(vars(row))


# Accounts without a purchase.


def test_a_new_account_has_the_free_seats(sessions: Sessions):
    catalog = a_catalog("[free]\nincluded = { full = 2 }\n")
    with sessions.begin() as session:
        accounts.open_account(session, "starter", catalog, a_cause())
    with sessions() as session:
        assert session.get(Account, "starter").seats["full"]["included"] == 2


def test_when_the_last_subscription_ends_the_free_seats_come_back(sessions: Sessions):
    books = Books(sessions, a_catalog("[free]\nincluded = { full = 2 }\n"))
    books.buy(seats=10)
    books.buy(status="cancelled")
    assert (books.full()["included"], books.full()["addon"], books.status()) == (2, 0, "ok")


def test_a_contract_counts_in_its_term(sessions: Sessions):
    contract = '[contracts.big]\naccount = "acme"\nseats = {{ full = 100 }}\nstarts = {}\nends = {}\n'
    running = a_catalog(contract.format("2020-01-01", "2999-12-31"))
    books = Books(sessions, running)
    books.buy(seats=1)
    assert (books.full()["contract"], books.full()["addon"]) == (100, 1)


def test_a_changed_catalogue_counts_stored_snapshots_again(sessions: Sessions):
    books = Books(sessions, a_catalog())
    books.buy(product_id="pdt_new")
    assert books.full_or_none() is None
    taught = a_catalog("[products.pdt_new]\nname = 'New'\nincluded = { full = 7 }\n")
    with sessions.begin() as session:
        accounts.reevaluate(session, "acme", taught, a_cause())
    assert books.full()["included"] == 7
    books.check()


def test_an_invitation_holds_as_long_as_the_product_says(sessions: Sessions):
    longer = a_catalog("[products.pdt_patient]\nname = 'P'\nincluded = { full = 1 }\nhold_days = 30\n")
    books = Books(sessions, longer)
    books.buy(product_id="pdt_patient")
    held = books.claim("invited", hold=True).assignment
    assert held.expires_at - held.claimed_at == timedelta(days=30)


def test_what_was_never_countable_does_not_cost_the_free_seats(sessions: Sessions):
    books = Books(sessions, a_catalog("[free]\nincluded = { full = 2 }\n"))
    books.buy(product_id="pdt_unheard_of")
    assert books.full()["included"] == 2


def test_a_status_no_longer_described_keeps_its_last_effect(sessions: Sessions):
    books = Books(sessions, a_catalog('[status]\nfrozen = "ended"\n'))
    books.buy(status="frozen", seats=3)
    with sessions.begin() as session:
        accounts.reevaluate(session, "acme", a_catalog(), a_cause())
    assert (books.status(), books.full()["addon"]) == ("ended", 0)


def test_a_purchase_that_is_only_pending_changes_no_policy(books: Books):
    books.buy(subscription_id="sub_2", product_id="pdt_soft", status="pending")
    with books.sessions() as session:
        assert session.get(Account, "acme").policy == "strict"
