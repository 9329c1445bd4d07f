"""The dry run: everything is looked at and counted as a backfill would, and nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cli.backfilling.stage import Stage
from cli.backfilling.summary import SeatTotals, Summary
from cli.progress import Show
from cli.whole_business import patiently
from models import stock
from models.ledger import home_of
from models.subscription import kept_snapshot, to_keep
from providers.base import Caller, ListPage
from runtime.wiring import Runtime
from seats.counts import SubscriptionShare, account_seats, subscription_seats
from seats.errors import PermanentError, TransientError
from seats.findings import Uncountable
from seats.limit import SeatLimit
from seats.snapshot import SubscriptionSnapshot
from seats.statuses import standing_of

_LISTING: Final = "reading the list"
_LOOKING: Final = "looking at subscriptions"


@dataclass(frozen=True, slots=True)
class AccountSeen:
    """What an account would have, of how many subscriptions."""

    account_id: str
    subscriptions: int
    seats: Mapping[str, SeatLimit]


@dataclass(slots=True)
class Rehearsal:
    """Reads into a stage, and then tells account by account; `summary` is whole once all are told."""

    runtime: Runtime
    stage: Stage
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    _statuses: Counter[str] = field(default_factory=Counter)
    _held: Counter[str] = field(default_factory=Counter)
    _products: Counter[str] = field(default_factory=Counter)
    _addons: Counter[tuple[str, str]] = field(default_factory=Counter)
    _totals: SeatTotals = field(default_factory=SeatTotals)
    _accounts: int = 0
    _known_accounts: int = 0

    def read(self, show: Show, patience: float) -> None:
        """List and retrieve everything, out of the timer's part of the budget; raises `TransientError`
        where the provider fails for longer than `patience` seconds.
        """
        for page in _pages(self.runtime, self.now, show, patience):
            self.stage.note(listed.subscription_id for listed in page.subscriptions)
            show.step(_LISTING, self.stage.count(), None)
        done, total = 0, self.stage.count()
        for ids in self.stage.listed():
            with self.runtime.sessions() as session:
                linked = stock.linked_by_app(session, ids)
            for subscription_id in ids:
                self._retrieve(subscription_id, linked, show, patience)
                done += 1
                show.step(_LOOKING, done, total)
        self.stage.index()

    def accounts(self) -> Iterator[AccountSeen]:
        """What each account would have, by id."""
        for ids in self.stage.account_ids():
            with self.runtime.sessions() as session:
                self._known_accounts += stock.count_known_accounts(session, ids)
            for account_id in ids:
                self._accounts += 1
                yield self._counted(account_id)

    @property
    def summary(self) -> Summary:
        return Summary(
            statuses=self._statuses,
            accounts=self._accounts,
            new_accounts=self._accounts - self._known_accounts,
            seats=self._totals,
            held=self._held,
            products=self._products,
            addons=self._addons,
        )

    def _retrieve(self, subscription_id: str, linked: Mapping[str, str], show: Show, patience: float) -> None:
        provider, catalog = self.runtime.provider, self.runtime.catalog
        try:
            snapshot = patiently(
                lambda: provider.retrieve(subscription_id, caller=Caller.RECONCILE), show, patience
            )
        except PermanentError as error:
            self._held[error.message] += 1
            return
        home = linked.get(subscription_id) or home_of(snapshot, catalog)[0]
        self.stage.keep(subscription_id, home, to_keep(snapshot, catalog.account_key))

    def _counted(self, account_id: str) -> AccountSeen:
        snapshots = [kept_snapshot(kept) for kept in self.stage.of_account(account_id)]
        shares = [share for snapshot in snapshots if (share := self._share(snapshot)) is not None]
        evaluated = account_seats(self.runtime.catalog, account_id, shares, now=self.now)
        seats = {seat_type: one.purchased for seat_type, one in evaluated.seats.items()}
        self._totals.add(seats.items())
        return AccountSeen(account_id, len(snapshots), seats)

    def _share(self, snapshot: SubscriptionSnapshot) -> SubscriptionShare | None:
        """What the subscription would add, as one that is first seen now; None where that cannot be told."""
        catalog = self.runtime.catalog
        self._note(snapshot)
        try:
            seats = subscription_seats(catalog, snapshot)
        except Uncountable as uncountable:
            self._held.update({finding.message for finding in uncountable.findings})
            return None
        standing = standing_of(
            catalog.effects[snapshot.status],  # or it were not countable
            since=self.now,
            now=self.now,
            payment_grace=catalog.payment_grace(snapshot.product_id),
            provider_deadline=snapshot.past_due_ends_at,
        )
        return SubscriptionShare(seats, standing)

    def _note(self, snapshot: SubscriptionSnapshot) -> None:
        self._statuses[snapshot.status] += 1
        self._products[snapshot.product_id] += 1
        self._addons.update({(snapshot.product_id, addon.addon_id) for addon in snapshot.addons or ()})


def _pages(runtime: Runtime, moment: datetime, show: Show, patience: float) -> Iterator[ListPage]:
    """The list; a walk that was ended by a failure goes on with the page that it missed."""
    number = 0
    walk = runtime.provider.pages(created_before=moment)

    def next_page() -> ListPage | None:
        nonlocal walk
        try:
            return next(walk, None)
        except TransientError:
            walk = runtime.provider.pages(created_before=moment, first_page=number)
            raise

    while (page := patiently(next_page, show, patience)) is not None:
        number += 1
        yield page
