"""The totals that a backfill prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import click
from sqlalchemy.orm import Session

from domain.balance import Balance
from domain.seat_limit import SeatLimit, Unlimited
from domain.wording import counted
from services.reports import business_totals

_SHOWN: Final = 20


@dataclass(slots=True)
class SeatTotals:
    """Purchased seats of all accounts, by type. For unlimited seats, the accounts are counted."""

    seats: Counter[str] = field(default_factory=Counter)
    unlimited: Counter[str] = field(default_factory=Counter)

    def add(self, purchased: Iterable[tuple[str, SeatLimit]]) -> None:
        """Add the purchased seats of one account."""
        for seat_type, limit in purchased:
            if isinstance(limit, Unlimited):
                self.unlimited[seat_type] += 1
            else:
                self.seats[seat_type] += limit

    def __str__(self) -> str:
        limited = [f"{seat_type} {count}" for seat_type, count in sorted(self.seats.items())]
        unlimited = [
            f"{seat_type} without limit in {counted(count, 'account')}"
            for seat_type, count in sorted(self.unlimited.items())
        ]
        return ", ".join([*limited, *unlimited]) or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Numbers of subscriptions and accounts.

    `held`: subscriptions that cannot be counted, by reason. `products` and `addons`: subscriptions by product
    id, and by product id and add-on id.
    """

    statuses: Mapping[str, int]
    accounts: int
    new_accounts: int
    seats: SeatTotals
    held: Mapping[str, int]
    products: Mapping[str, int]
    addons: Mapping[tuple[str, str], int]


def stored_summary(session: Session, *, since: datetime) -> Summary:
    """The totals in the database. Accounts created after `since` count as new."""
    totals = SeatTotals()
    for seats in business_totals.balances(session):
        totals.add((seat_type, Balance.from_json(stored).purchased) for seat_type, stored in seats.items())
    return Summary(
        statuses=business_totals.subscriptions_by_status(session),
        accounts=business_totals.count_accounts(session),
        new_accounts=business_totals.count_accounts(session, created_since=since),
        seats=totals,
        held=business_totals.held(session),
        products=business_totals.subscriptions_by_product(session),
        addons=business_totals.subscriptions_by_addon(session),
    )


def print_summary(summary: Summary) -> None:
    """Print the totals, and one line for each reason why something is held."""
    statuses = ", ".join(f"{count} {status}" for status, count in _largest_first(summary.statuses))
    click.echo(f"subscriptions: {sum(summary.statuses.values())}{f' ({statuses})' if statuses else ''}")
    click.echo(f"accounts: {summary.accounts}, {summary.new_accounts} of them new")
    click.echo(f"seats: {summary.seats}")
    click.echo("held:" if summary.held else "held: nothing")
    for reason, count in _largest_first(summary.held)[:_SHOWN]:
        click.echo(f"  {count} x {reason}")
    if len(summary.held) > _SHOWN:
        click.echo(f"  ... and {len(summary.held) - _SHOWN} more reasons")


def _largest_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda counted: (-counted[1], counted[0]))
