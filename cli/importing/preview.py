"""A dry run: each account's rows are really seated, in a transaction that is then rolled back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session

from cli.importing.seats import Outcome, Seater
from cli.importing.stage import Stage, Staged
from models.account import Account
from models.book import Balance
from runtime.wiring import Runtime
from seats.limit import to_json


@dataclass(slots=True)
class AccountPreview:
    """What the import would do to one account; `first_added` are the first rows it would add."""

    account_id: str
    counts: Counter[str] = field(default_factory=Counter)
    first_added: list[Staged] = field(default_factory=list)
    before: str = ""
    after: str = ""


def preview(runtime: Runtime, stage: Stage, *, create_accounts: bool, names: int) -> Iterator[AccountPreview]:
    """Account by account what would happen, with up to so many names each; refused rows go to the stage.

    Nothing is written. Each account is locked while its rows are tried, so nobody is promised the same seat.
    """
    for account_id, rows in groupby(stage.all(), key=lambda staged: staged.row.account_id):
        found = AccountPreview(account_id)
        with runtime.sessions() as session:
            seater = Seater(session, runtime.catalog, create_accounts=create_accounts, savepoints=True)
            found.before = seats_in_words(session, account_id)
            for staged in rows:
                _try(seater, staged, found, names, stage.reject)
            found.after = seats_in_words(session, account_id)
            session.rollback()
        yield found


def _try(
    seater: Seater,
    staged: Staged,
    found: AccountPreview,
    names: int,
    reject: Callable[[int, str], None],
) -> None:
    result = seater.seat(staged.row)
    found.counts[result.outcome.value] += 1
    if result.outcome is Outcome.REJECTED:
        reject(staged.line, result.reason)
    elif result.outcome is Outcome.ADDED and len(found.first_added) < names:
        found.first_added.append(staged)


def seats_in_words(session: Session, account_id: str) -> str:
    """`full 3/5`, used of purchased, for every seat type of the account; `none` where there is no account."""
    seats = session.scalar(select(Account.seats).where(Account.id == account_id))
    if not seats:
        return "none"
    balances = {seat_type: Balance.from_json(kept) for seat_type, kept in sorted(seats.items())}
    return ", ".join(f"{name} {one.used}/{to_json(one.purchased)}" for name, one in balances.items())
