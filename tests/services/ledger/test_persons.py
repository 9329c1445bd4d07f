"""Which row a claim means: one person has one seat, whatever ids and spellings they come with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from sqlalchemy import select

from domain.catalog.model import Catalog
from domain.errors import (
    EmailTaken,
    MemberIdTaken,
    MemberNotFound,
    NoSeatAvailable,
    PurchaseNeeded,
    WrongState,
)
from domain.snapshot import AddonQuantity
from models.assignment import Assignment, AssignmentState
from models.audit import AuditRow
from models.database import Sessions
from models.seat_change import SeatChange
from services.ledger import batch_claims, claims, members, pending_claims
from services.ledger.claims import ClaimOutcome, ClaimRequest
from services.ledger.members import MemberUpdate
from tests.factories import a_catalog, a_cause
from tests.services.ledger.test_claims import Books

ADA = "ada@example.com"
TWO_VIEWERS = (AddonQuantity("adn_viewer", 2),)
BUYING = (
    '[products.pdt_buying]\nincluded = { full = 1 }\naddons.adn_seat = { full = 1 }\npolicy = "auto_expand"\n'
)


class Team(Books):
    """The account `acme` with five full seats and two for viewers."""

    def change(self, member_id: str, **wanted) -> Assignment:
        with self.sessions.begin() as session:
            told = (session, "acme", member_id, MemberUpdate(**wanted))
            return members.update_member(*told, catalog=self.catalog, cause=a_cause())

    def rename(self, member_id: str, new_id: str) -> Assignment:
        with self.sessions.begin() as session:
            return members.rename(session, "acme", member_id, new_id, a_cause())

    def fill(self) -> None:
        """Nobody else can get a full seat."""
        taken = self.full()["active"] + self.full()["held"]
        for number in range(taken, 5):
            self.claim(f"member-{number}")

    def live(self) -> Mapping[str, tuple[str, str | None]]:
        with self.sessions() as session:
            found = session.scalars(select(Assignment).where(Assignment.state != AssignmentState.RELEASED))
            return {one.member_id: (one.state, one.seat_type) for one in found}

    def audit(self) -> list[tuple[str, str | None]]:
        with self.sessions() as session:
            found = session.scalars(
                select(AuditRow).where(AuditRow.member_id.is_not(None)).order_by(AuditRow.id)
            )
            return [(one.reason, one.member_id) for one in found]


@pytest.fixture
def team(sessions: Sessions, catalog: Catalog):
    team = Team(sessions, catalog)
    team.buy(addons=TWO_VIEWERS)
    yield team
    team.check()


Claim = Callable[[Team, ClaimRequest], ClaimOutcome]


def alone(team: Team, wish: ClaimRequest) -> ClaimOutcome:
    with team.sessions.begin() as session:
        return pending_claims.claim(session, "acme", wish, team.catalog, a_cause())


def in_an_import(team: Team, wish: ClaimRequest) -> ClaimOutcome:
    with team.sessions.begin() as session:
        return claims.claim(session, "acme", wish, team.catalog, a_cause())


def each(team: Team, wish: ClaimRequest) -> ClaimOutcome:
    with team.sessions.begin() as session:
        (outcome,) = batch_claims.claim_each(session, "acme", [wish], team.catalog, a_cause())
    return _raised(outcome)


def all_of_one(team: Team, wish: ClaimRequest) -> ClaimOutcome:
    with team.sessions.begin() as session:
        _, (outcome,) = batch_claims.claim_all(session, "acme", [wish], team.catalog, a_cause())
    return _raised(outcome)


def _raised(outcome) -> ClaimOutcome:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@pytest.fixture(params=[alone, in_an_import, each, all_of_one])
def claim(request: pytest.FixtureRequest, team: Team) -> Callable[..., ClaimOutcome]:
    """A claim by each of its ways."""
    return lambda member_id, role="member", **more: request.param(
        team, ClaimRequest(member_id=member_id, role=role, **more)
    )


# A role of another seat type.


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("client", "member"),
        ("client", "viewer"),
        ("viewer", "member"),
        ("member", "viewer"),
        ("member", "client"),
    ],
)
def test_a_claim_for_a_role_of_another_seat_type_is_a_move(team: Team, claim, before: str, after: str):
    team.claim("ada", before)
    moved = claim("ada", after)
    assert (moved.is_new, moved.assignment.role) == (False, after)
    assert team.live()["ada"] == ("active", team.catalog.seat_type(after))


@pytest.mark.parametrize("before", ["client", "viewer"])
@pytest.mark.parametrize("hold", [False, True])
def test_a_move_into_a_full_account_is_refused_and_changes_nothing(
    team: Team, claim, before: str, hold: bool
):
    team.claim("ada", before, hold=hold)
    team.fill()
    was = team.live()
    with pytest.raises(NoSeatAvailable):
        claim("ada", "member")
    assert team.live() == was


def test_an_invitation_for_another_role_is_confirmed_and_moved_in_one_step(team: Team, claim):
    team.claim("ada", "client", hold=True)
    claim("ada", "member")
    assert team.live() == {"ada": ("active", "full")}


def test_an_invitation_for_another_role_is_not_taken_over_without_a_seat(team: Team, claim):
    team.claim("inv-1", "viewer", hold=True, email=ADA)
    team.fill()
    with pytest.raises(NoSeatAvailable):
        claim("ada", "member", email=ADA)
    assert team.live()["inv-1"] == ("held", "viewer")


def test_a_claim_again_with_a_role_of_the_same_seat_type_leaves_the_role(team: Team, claim):
    team.claim("ada", "member")
    assert claim("ada", "admin").assignment.role == "member"


def test_a_move_that_would_have_to_be_bought_is_refused(sessions: Sessions):
    team = Team(sessions, a_catalog(BUYING))
    team.buy(product_id="pdt_buying")
    team.claim("first")
    team.claim("ada", "client")
    with pytest.raises(PurchaseNeeded):
        alone(team, ClaimRequest(member_id="ada", role="member"))
    assert team.live()["ada"] == ("active", None)


def test_a_member_whose_seat_is_being_bought_cannot_move(sessions: Sessions):
    team = Team(sessions, a_catalog(BUYING))
    team.buy(product_id="pdt_buying")
    team.claim("first")
    alone(team, ClaimRequest(member_id="ada", role="member"))
    with pytest.raises(WrongState):
        alone(team, ClaimRequest(member_id="ada", role="client"))


# A second id.


@pytest.mark.parametrize("role", ["member", "client"])
@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("address", [ADA, "ADA@Example.com", "ada@EXAMPLE.com"])
def test_a_second_id_for_a_seated_address_is_refused_with_the_id_that_holds_it(
    team: Team, claim, address: str, role: str, hold: bool
):
    team.claim("ada", email=ADA)
    with pytest.raises(EmailTaken) as refused:
        claim("ida", role, email=address, hold=hold)
    assert refused.value.details == {"member_id": "ada", "state": "active"}
    assert team.live() == {"ada": ("active", "full")}


def test_the_address_of_a_suspended_member_is_taken(team: Team, claim):
    team.claim("ada", email=ADA)
    team.change("ada", state=AssignmentState.SUSPENDED)
    with pytest.raises(EmailTaken):
        claim("ida", email=ADA)


@pytest.fixture
def buying(sessions: Sessions) -> Team:
    """`ada` is a member who waits for a second seat to be bought."""
    team = Team(sessions, a_catalog(BUYING))
    team.buy(product_id="pdt_buying")
    team.claim("first")
    alone(team, ClaimRequest(member_id="ada", role="member", email=ADA))
    return team


@pytest.mark.parametrize("way", [alone, in_an_import, each, all_of_one])
@pytest.mark.parametrize("member_id", ["ida", "first"])
def test_the_address_of_a_member_who_waits_for_a_seat_is_taken(buying: Team, way, member_id: str):
    with pytest.raises(EmailTaken) as refused:
        way(buying, ClaimRequest(member_id=member_id, role="member", email=ADA))
    assert refused.value.details["member_id"] == "ada"
    assert buying.live()["ada"] == ("held", "full")


def test_nobody_is_given_the_address_or_the_id_of_a_member_who_waits_for_a_seat(buying: Team):
    with pytest.raises(EmailTaken):
        buying.change("first", email=ADA)
    with pytest.raises(MemberIdTaken):
        buying.rename("first", "ada")


def test_an_invitation_that_waits_for_its_seat_is_taken_over(buying: Team):
    alone(buying, ClaimRequest(member_id="invited", role="member", email="eve@example.com", hold=True))
    alone(buying, ClaimRequest(member_id="eve", role="member", email="eve@example.com"))
    assert set(buying.live()) == {"first", "ada", "eve"}


def test_a_member_cannot_claim_with_the_address_of_another_member(team: Team, claim):
    team.claim("ada", email=ADA)
    team.claim("ida")
    with pytest.raises(EmailTaken):
        claim("ida", email=ADA)


def test_the_address_of_somebody_who_left_is_free(team: Team, claim):
    team.claim("ada", email=ADA)
    team.release("ada")
    assert claim("ida", email=ADA).is_new


@pytest.mark.parametrize("hold", [False, True])
def test_an_invitation_is_taken_over_under_the_id_of_the_claim(team: Team, claim, hold: bool):
    invited = team.claim("inv-1", email=ADA, hold=True)
    taken = claim("ada", email="Ada@Example.com", hold=hold)
    assert taken.assignment.id == invited.assignment.id
    assert team.live() == {"ada": ("held" if hold else "active", "full")}
    assert team.release("ada") is True


def test_an_address_that_only_looks_alike_is_another_person(team: Team, claim):
    team.claim("gross", email="gross@example.com")
    assert claim("groß", email="groß@example.com").is_new


def test_an_address_is_kept_as_it_was_given(team: Team, claim):
    assert claim("ada", email="Ada.Lovelace@Example.COM").assignment.email == "Ada.Lovelace@Example.COM"


def test_a_claim_again_adds_an_address_where_there_was_none(team: Team, claim):
    team.claim("ada")
    claim("ada", email=ADA)
    with pytest.raises(EmailTaken):
        claim("ida", email=ADA)


# Two rows of one person.


@pytest.mark.parametrize("role", ["member", "client", "viewer"])
@pytest.mark.parametrize("invited_as", ["member", "client", "viewer"])
def test_a_member_who_claims_with_the_address_of_their_invitation_has_one_row(
    team: Team, claim, role: str, invited_as: str
):
    team.claim("ada", role)
    team.claim("inv-1", invited_as, email=ADA, hold=True)
    team.fill()
    claim("ada", invited_as, email=ADA)
    assert team.live()["ada"] == ("active", team.catalog.seat_type(invited_as))
    assert "inv-1" not in team.live()
    assert ("merged into member 'ada'", "inv-1") in team.audit()


def test_of_two_invitations_of_one_person_one_is_left(team: Team, claim):
    team.claim("inv-1", hold=True)
    team.claim("inv-2", email=ADA, hold=True)
    claim("inv-1", email=ADA)
    assert team.live() == {"inv-1": ("active", "full")}
    assert team.full()["held"] == 0


def test_the_address_of_the_invitation_goes_to_the_member(team: Team, claim):
    team.claim("ada")
    team.claim("inv-1", email=ADA, hold=True)
    claim("ada", email=ADA)
    with pytest.raises(EmailTaken):
        claim("ida", email=ADA)


def test_a_refused_move_leaves_both_rows(team: Team, claim):
    team.claim("ada", "client")
    team.claim("inv-1", "viewer", email=ADA, hold=True)
    team.fill()
    was = team.live()
    with pytest.raises(NoSeatAvailable):
        claim("ada", "member", email=ADA)
    assert team.live() == was


def test_a_merge_under_an_overage_moves_no_deadline(sessions: Sessions):
    team = Team(sessions, a_catalog('[products.pdt_grace]\nincluded = { full = 1 }\npolicy = "grace"\n'))
    team.buy(product_id="pdt_grace")
    team.claim("first")
    team.claim("ada", "client")
    team.claim("inv-1", email=ADA, hold=True)
    deadline = team.full()["deadline"]
    team.claim("ada", email=ADA)
    assert team.full()["deadline"] == deadline
    team.check()


def test_changing_to_the_address_of_an_invitation_merges_it(team: Team):
    team.claim("ada", "client")
    team.claim("inv-1", email=ADA, hold=True)
    team.fill()
    team.change("ada", email=ADA, role="member")
    assert team.live()["ada"] == ("active", "full")
    assert "inv-1" not in team.live()


def test_changing_to_the_address_of_another_member_is_refused(team: Team):
    team.claim("ada", email=ADA)
    team.claim("ida")
    with pytest.raises(EmailTaken):
        team.change("ida", email="ADA@example.com")


def test_an_address_can_be_spelled_anew(team: Team):
    team.claim("ada", email=ADA)
    assert team.change("ada", email="Ada@Example.com").email == "Ada@Example.com"


# Another id.


@pytest.mark.parametrize("hold", [False, True])
def test_a_scheduled_reduction_releases_the_member_under_the_new_id(team: Team, hold: bool):
    team.claim("ada", email=ADA, hold=hold)
    team.execute(
        "INSERT INTO seat_changes (id, token_hash, account_id, subscription_id, state, plan, basis, seats, "
        "shown, release, expires_at, sent_at, history) VALUES ('chg', 'x', 'acme', 'sub_1', 'scheduled', "
        "'{}', '', '{}', '{}', '{bob,ada}', now(), now(), '[]')"
    )
    if hold:
        team.claim("user-77", email=ADA)
    else:
        team.rename("ada", "user-77")
    with team.sessions() as session:
        assert session.get_one(SeatChange, "chg").release == ["bob", "user-77"]


def test_a_renamed_member_keeps_seat_and_row(team: Team):
    before = team.claim("ada", email=ADA).assignment
    renamed = team.rename("ada", "user-77")
    assert (renamed.id, renamed.claimed_at, renamed.email) == (before.id, before.claimed_at, ADA)
    assert team.live() == {"user-77": ("active", "full")}
    assert team.release("user-77") is True


@pytest.mark.parametrize("state", ["held", "active", "suspended"])
def test_a_member_in_any_state_can_be_renamed(team: Team, state: str):
    team.claim("ada", hold=state == "held")
    if state == "suspended":
        team.change("ada", state=AssignmentState.SUSPENDED)
    team.rename("ada", "user-77")
    assert team.live() == {"user-77": (state, "full")}


def test_renaming_to_the_same_id_changes_nothing(team: Team):
    team.claim("ada")
    before = len(team.audit())
    team.rename("ada", "ada")
    assert len(team.audit()) == before


def test_an_id_that_another_member_has_cannot_be_given(team: Team):
    team.claim("ada")
    team.claim("ida")
    with pytest.raises(MemberIdTaken) as refused:
        team.rename("ada", "ida")
    assert refused.value.details == {"member_id": "ida", "state": "active"}


def test_an_invitation_under_the_new_id_is_merged(team: Team):
    team.claim("ada", email=ADA)
    team.claim("user-77", hold=True)
    team.rename("ada", "user-77")
    assert team.live() == {"user-77": ("active", "full")}


def test_somebody_who_is_not_there_cannot_be_renamed(team: Team):
    with pytest.raises(MemberNotFound):
        team.rename("ada", "user-77")
