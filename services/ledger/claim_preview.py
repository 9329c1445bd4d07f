"""Claim previews: compute the effect of claims in memory, from one read of an account, without a lock."""

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
from services.ledger import claims, entitlements, evaluation_inputs, locked_account, persons
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
    """An account in memory on which claims are tried one after the other."""

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
        """Add live rows, which must be detached from the session."""
        for row in rows:
            self._by_member[row.member_id] = row
            if row.email_key is not None and not row.email_shared:
                self._by_address[row.email_key] = row
            if self._has_lapsed(row):
                self._lapsed.append(row)

    def claim(self, request: ClaimRequest) -> Effect:
        """Like `claims.claim_locked` on the state in memory, and raises the same errors."""
        seat_type = self.catalog.seat_type(request.role)
        self._release_lapsed_if_full(seat_type)
        self.state.compute_status()
        refused = claims.refusal(self.state, seat_type)
        addressed = None if request.email is None else self._by_address.get(address_key(request.email))
        person = persons.identify(self._by_member.get(request.member_id), addressed)
        if person is not None:
            claims.check_claim_again(person.row, seat_type)
        if refused is not None and not (person and person.has_seat(seat_type)):
            raise refused
        if person is None:
            return self._claim_new(request, seat_type)
        return self._claim_again(person, request, seat_type)

    def _release_lapsed_if_full(self, seat_type: str | None) -> None:
        if seat_type is None or self.state.balance_of(seat_type).available != 0:
            return
        for row in filter(self._has_lapsed, self._lapsed):
            with claims.adjusting_used_seats(self.state, [row]):
                row.give_back(self.state.now)
            self._forget(row)
        self._lapsed.clear()

    def _has_lapsed(self, row: Assignment) -> bool:
        return row.expires_at is not None and row.awaits is None and row.expires_at <= self.state.now

    def _claim_new(self, request: ClaimRequest, seat_type: str | None) -> Effect:
        state = AssignmentState.HELD if request.hold else AssignmentState.ACTIVE
        row = Assignment(
            member_id=request.member_id,
            role=request.role,
            seat_type=seat_type,
            state=state.value,
            protected=False,
        )
        if request.email is not None:
            row.set_address(request.email)
        self.state.move(seat_type, row.counted)
        self.add([row])
        return Effect.NEW

    def _claim_again(self, person: Person, request: ClaimRequest, seat_type: str | None) -> Effect:
        before = [row.facts() for row in person.rows]
        for row in person.rows:
            self._forget(row)
        with claims.adjusting_used_seats(self.state, person.rows):
            if person.invitation is not None:
                person.invitation.give_back(self.state.now)
                person.inherit_address()
            claims.apply_claim(person.row, request, seat_type)
        self.add([person.row])
        return Effect.NOTHING if [row.facts() for row in person.rows] == before else Effect.CHANGED

    def _forget(self, row: Assignment) -> None:
        self._by_member.pop(row.member_id, None)
        if row.email_key is not None and self._by_address.get(row.email_key) is row:
            del self._by_address[row.email_key]


def read(session: Session, account_id: str, catalog: Catalog, *, create: bool) -> ClaimPreview:
    """Read the account in one consistent snapshot of the database. With `create`, a missing account is read
    as it would be opened; otherwise raises `AccountNotFound`. The caller must not commit the session.
    """
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    preview = ClaimPreview(_state(session, account_id, catalog, create=create), catalog)
    preview.add(session.scalars(select(Assignment).where(Assignment.account_id == account_id, LIVE)))
    session.expunge_all()  # the rows are changed in memory only
    return preview


def _state(session: Session, account_id: str, catalog: Catalog, *, create: bool) -> AccountState:
    try:
        return locked_account.read(session, account_id)
    except AccountNotFound:
        if not create:
            raise
    account_rows.insert_if_absent(session, account_id, catalog.defaults)
    state = locked_account.read(session, account_id)
    (loaded,) = evaluation_inputs.load(session, [account_id], catalog)
    entitlements.evaluate(session, state, loaded, catalog)
    return state
