"""What a changed catalogue would do to each account: evaluated in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain.balance import Balance, balances_from_json
from domain.catalog.model import Catalog
from domain.seat_limit import to_json
from models import account
from models.account import Account
from models.audit import Cause
from models.database import Sessions
from services.ledger import accounts, role_moves
from services.ledger.role_moves import RoleMove

_CAUSE: Final = Cause(actor="cli:catalog", source="catalog", reason="what a changed catalogue would do")
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Figures:
    """The status, policies and balances of an account."""

    status: str
    policy: str
    seat_policies: Mapping[str, str]
    balances: Mapping[str, Balance]

    def purchased(self, seat_type: str) -> int | str:
        balance = self.balances.get(seat_type)
        return 0 if balance is None else to_json(balance.purchased)

    def overage(self, seat_type: str) -> int:
        balance = self.balances.get(seat_type)
        return 0 if balance is None else balance.overage

    def policy_of(self, seat_type: str) -> str:
        return self.seat_policies.get(seat_type, self.policy)


@dataclass(frozen=True, slots=True)
class AccountChange:
    """One account before and after; members who would move, and roles missing in the catalogue."""

    account_id: str
    before: Figures
    after: Figures
    moves: Sequence[RoleMove]
    unknown_roles: Sequence[str]

    @property
    def seat_types(self) -> Sequence[str]:
        return sorted({*self.before.balances, *self.after.balances})

    @property
    def purchased(self) -> Mapping[str, tuple[int | str, int | str]]:
        """Purchased seats that would change, by seat type: before, after."""
        both = {name: (self.before.purchased(name), self.after.purchased(name)) for name in self.seat_types}
        return {name: (before, after) for name, (before, after) in both.items() if before != after}

    @property
    def policies(self) -> Mapping[str, tuple[str, str]]:
        """Policies that would change, by seat type: before, after."""
        both = {name: (self.before.policy_of(name), self.after.policy_of(name)) for name in self.seat_types}
        return {name: (before, after) for name, (before, after) in both.items() if before != after}

    @property
    def newly_over(self) -> Mapping[str, int]:
        """Seats over the limit, for the seat types that are within it now."""
        return {
            name: self.after.overage(name)
            for name in self.seat_types
            if self.after.overage(name) and not self.before.overage(name)
        }

    @property
    def status(self) -> tuple[str, str] | None:
        """Before and after; None if it would not change."""
        return None if self.before.status == self.after.status else (self.before.status, self.after.status)

    @property
    def is_change(self) -> bool:
        return bool(self.purchased or self.policies or self.status or self.moves or self.unknown_roles)


def changes(sessions: Sessions, catalog: Catalog) -> Iterator[AccountChange]:
    """The accounts that the catalogue would change, by id. Each is locked briefly; nothing is written."""
    after: str | None = None
    while True:
        with sessions() as session:
            page = account.page(session, status=None, after=after, limit=_PAGE)
        for found in page.accounts:
            if found.catalog_digest != catalog.digest:
                yield from _change(sessions, found.id, catalog)
        if (after := page.next_cursor) is None:
            return


def _change(sessions: Sessions, account_id: str, catalog: Catalog) -> Iterator[AccountChange]:
    """Evaluate the account as if the catalogue were in force, and roll back.

    A catalogue read from a file has no release, so it counts as a new generation, which may evaluate. That
    generation is rolled back too.
    """
    with sessions() as session:
        before = _figures(session, account_id)
        moves = role_moves.pending(session, account_id, catalog)
        unknown = role_moves.unknown_roles(session, account_id, catalog)
        accounts.reevaluate(session, account_id, catalog, _CAUSE)
        change = AccountChange(account_id, before, _figures(session, account_id), moves, unknown)
        session.rollback()
    if change.is_change:
        yield change


def _figures(session: Session, account_id: str) -> Figures:
    """The figures of the account as seen by the current transaction."""
    status, policy, seat_policies, seats = session.execute(
        select(Account.status, Account.policy, Account.seat_policies, Account.seats).where(
            Account.id == account_id
        )
    ).one()
    return Figures(status, policy, seat_policies, balances_from_json(seats))
