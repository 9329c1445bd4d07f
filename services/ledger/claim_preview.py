"""What claims would come to, worked out in memory from one read of an account: no lock, nothing written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain.catalog.model import Catalog
from domain.emails import address_key
from domain.errors import AccountNotFound
from models import account as account_rows
from models.assignment import LIVE, Assignment, AssignmentState
from services.ledger import claims, entitlements, inputs, locked_account, persons
from services.ledger.account_state import AccountState
from services.ledger.claims import ClaimRequest
from services.ledger.persons import Person


class Effect(StrEnum):
    """What a claim would do to the account."""

    NEW = "new"
    CHANGED = "changed"
    NOTHING = "nothing"


@dataclass(slots=True)
class ClaimPreview:
    """An account of which claims are tried one after the other, each on what those before it left."""

    state: AccountState
    catalog: Catalog
    _by_member: dict[str, Assignment] = field(default_factory=dict)
    _by_address: dict[str, Assignment] = field(default_factory=dict)
    _lapsed: list[Assignment] = field(default_factory=list)

    @property
    def is_new(self) -> bool:
        """True if there is no such account yet."""
        return self.state.version == 0

    def add(self, rows: Iterable[Assignment]) -> None:
        """Take in live rows that belong to no session."""
        for row in rows:
            self._by_member[row.member_id] = row
            if row.email_key is not None and not row.email_shared:
                self._by_address[row.email_key] = row
            if self._has_lapsed(row):
                self._lapsed.append(row)

    def claim(self, wish: ClaimRequest) -> Effect:
        """As `seating.claim`, and raises what that raises."""
        seat_type = self.catalog.seat_type(wish.role)
        self._make_room(seat_type)
        self.state.compute_status()
        refused = claims.refusal(self.state, seat_type)
        addressed = None if wish.email is None else self._by_address.get(address_key(wish.email))
        person = persons.identify(self._by_member.get(wish.member_id), addressed)
        if person is not None:
            claims.check_claim_again(person.row, seat_type)
        if refused is not None and not (person and person.has_seat(seat_type)):
            raise refused
        return self._seat(wish, seat_type) if person is None else self._claim_again(person, wish, seat_type)

    def _make_room(self, seat_type: str | None) -> None:
        if seat_type is None:
            return
        if self.state.of(seat_type).available == 0:
            for row in filter(self._has_lapsed, self._lapsed):
                with claims.moving_seats(self.state, [row]):
                    row.give_back(self.state.now)
                self._forget(row)
            self._lapsed.clear()

    def _has_lapsed(self, row: Assignment) -> bool:
        return row.expires_at is not None and row.awaits is None and row.expires_at <= self.state.now

    def _seat(self, wish: ClaimRequest, seat_type: str | None) -> Effect:
        state = AssignmentState.HELD if wish.hold else AssignmentState.ACTIVE
        row = Assignment(
            member_id=wish.member_id, role=wish.role, seat_type=seat_type, state=state.value, protected=False
        )
        if wish.email is not None:
            row.set_address(wish.email)
        self.state.move(seat_type, row.counted)
        self.add([row])
        return Effect.NEW

    def _claim_again(self, person: Person, wish: ClaimRequest, seat_type: str | None) -> Effect:
        before = [row.facts() for row in person.rows]
        for row in person.rows:
            self._forget(row)
        with claims.moving_seats(self.state, person.rows):
            if person.invitation is not None:
                person.invitation.give_back(self.state.now)
                person.inherit_address()
            claims.apply_claim(person.row, wish, seat_type)
        self.add([person.row])
        return Effect.NOTHING if [row.facts() for row in person.rows] == before else Effect.CHANGED

    def _forget(self, row: Assignment) -> None:
        self._by_member.pop(row.member_id, None)
        if row.email_key is not None and self._by_address.get(row.email_key) is row:
            del self._by_address[row.email_key]


def read(session: Session, account_id: str, catalog: Catalog, *, create: bool) -> ClaimPreview:
    """The account, all of one moment; with `create` a missing one as it would be opened.

    Raises `AccountNotFound`. The caller ends the session without a commit.
    """
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    preview = ClaimPreview(_state(session, account_id, catalog, create=create), catalog)
    preview.add(session.scalars(select(Assignment).where(Assignment.account_id == account_id, LIVE)))
    session.expunge_all()  # the rows are changed in memory alone
    return preview


def _state(session: Session, account_id: str, catalog: Catalog, *, create: bool) -> AccountState:
    try:
        return locked_account.read(session, account_id)
    except AccountNotFound:
        if not create:
            raise
    account_rows.insert_if_absent(session, account_id, catalog.defaults)
    state = locked_account.read(session, account_id)
    (loaded,) = inputs.load(session, [account_id], catalog)
    entitlements.evaluate(session, state, loaded, catalog)
    return state
