"""The dry run of a backfill: retrieves and counts everything, and writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cli.backfill.staging import Staging
from cli.backfill.summary import SeatTotals, Summary
from cli.full_sync import with_retries
from cli.progress import ProgressOutput
from domain.counts import SubscriptionShare, account_seats
from domain.findings import Finding
from domain.ownership import Doubt
from domain.provider_errors import AnswerIncomplete, PermanentError, ProviderError, TransientError
from domain.seat_limit import SeatLimit
from domain.snapshot import SubscriptionSnapshot
from domain.statuses import Phase, SubscriptionStanding
from models.base import Json
from models.subscription import Subscription
from providers.base import ListPage, Priority
from runtime.wiring import Runtime
from services.ledger import ownership
from services.ledger.adopt_snapshot import adopt_snapshot
from services.ledger.entitlements import seats_from_json, seats_to_json, share_of
from services.reports import business_totals

_LISTING: Final = "reading the list"
_RETRIEVING: Final = "retrieving subscriptions"


@dataclass(frozen=True, slots=True)
class AccountPreview:
    """The seats that an account would have, and the number of its subscriptions."""

    account_id: str
    subscriptions: int
    seats: Mapping[str, SeatLimit]


@dataclass(slots=True)
class DryRun:
    """Reads all subscriptions into `staging`, then yields account by account.

    `summary` is complete after `accounts` was read to its end.
    """

    runtime: Runtime
    staging: Staging
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    _statuses: Counter[str] = field(default_factory=Counter)
    _held: Counter[str] = field(default_factory=Counter)
    _products: Counter[str] = field(default_factory=Counter)
    _addons: Counter[tuple[str, str]] = field(default_factory=Counter)
    _totals: SeatTotals = field(default_factory=SeatTotals)
    _accounts: int = 0
    _known_accounts: int = 0

    def read(self, show: ProgressOutput, patience: float) -> None:
        """List and retrieve all subscriptions, within the reconcile part of the request budget.

        Raises `TransientError` if the provider fails for longer than `patience` seconds.
        """
        for page in _pages(self.runtime, self.now, show, patience):
            self.staging.add(listed.subscription_id for listed in page.subscriptions)
            show.step(_LISTING, self.staging.count(), None)
        done, total = 0, self.staging.count()
        for ids in self.staging.listed():
            with self.runtime.sessions() as session:
                known = business_totals.known(session, ids)
            for subscription_id in ids:
                row = known.get(subscription_id) or Subscription(id=subscription_id)
                self._preview(row, show, patience)
                done += 1
                show.step(_RETRIEVING, done, total)

    def accounts(self) -> Iterator[AccountPreview]:
        """What each account would have, ordered by id."""
        for ids in self.staging.account_ids():
            with self.runtime.sessions() as session:
                self._known_accounts += business_totals.count_known_accounts(session, ids)
            for account_id in ids:
                self._accounts += 1
                yield self._account(account_id)

    @property
    def summary(self) -> Summary:
        """Totals of the subscriptions and accounts read so far."""
        return Summary(
            statuses=self._statuses,
            accounts=self._accounts,
            new_accounts=self._accounts - self._known_accounts,
            seats=self._totals,
            held=self._held,
            products=self._products,
            addons=self._addons,
        )

    def _preview(self, row: Subscription, show: ProgressOutput, patience: float) -> None:
        """Do what a sync would do, on a row that is not in a session, and keep the result in `staging`."""
        retrieved = self._retrieve(row.id, show, patience)
        if isinstance(retrieved, SubscriptionSnapshot):
            found = self._adopt(row, retrieved)
            self._held.update({one.message for one in found if one.held_because})
            self._count(retrieved)
        else:
            self._held[retrieved.message] += 1
        if row.account_id is not None:
            customer_id = row.newest.customer_id if row.newest is not None else None
            share = share_of(row, self.runtime.catalog, self.now)
            self.staging.store(row.id, row.account_id, customer_id, _share_to_json(share))

    def _retrieve(
        self, subscription_id: str, show: ProgressOutput, patience: float
    ) -> SubscriptionSnapshot | ProviderError:
        """The subscription, or the error because of which it cannot be counted."""

        def call() -> SubscriptionSnapshot | ProviderError:
            try:
                return self.runtime.provider.retrieve(subscription_id, priority=Priority.RECONCILE)
            except (AnswerIncomplete, PermanentError) as error:
                return error

        return with_retries(call, show, patience)

    def _adopt(self, row: Subscription, snapshot: SubscriptionSnapshot) -> Sequence[Finding]:
        """Decide the account and adopt the snapshot; returns the findings that a sync would record."""

        def doubt_of(account_id: str) -> Doubt | None:
            """Whether this dry run has assigned the account to another customer of the provider."""
            is_other = self.staging.has_other_customer(account_id, snapshot.customer_id)
            return Doubt.OTHER_CUSTOMER if is_other else None

        catalog = self.runtime.catalog
        with self.runtime.sessions() as session:  # never committed
            decision = ownership.decide(session, row.placement, snapshot, catalog, doubt_first=doubt_of)
        return adopt_snapshot(row, snapshot, decision, catalog, self.now)

    def _account(self, account_id: str) -> AccountPreview:
        shares = [_share_from_json(stored) for stored in self.staging.of_account(account_id)]
        evaluated = account_seats(self.runtime.catalog, account_id, shares, now=self.now)
        seats = {seat_type: one.purchased for seat_type, one in evaluated.seats.items()}
        self._totals.add(seats.items())
        return AccountPreview(account_id, len(shares), seats)

    def _count(self, snapshot: SubscriptionSnapshot) -> None:
        self._statuses[snapshot.status] += 1
        self._products[snapshot.product_id] += 1
        self._addons.update({(snapshot.product_id, addon.addon_id) for addon in snapshot.addons or ()})


def _share_to_json(share: SubscriptionShare) -> Json:
    until = share.standing.until
    return {
        "seats": seats_to_json(share.seats),
        "phase": share.standing.phase,
        "until": None if until is None else until.isoformat(),
    }


def _share_from_json(stored: Json) -> SubscriptionShare:
    until = None if stored["until"] is None else datetime.fromisoformat(stored["until"])
    return SubscriptionShare(
        seats_from_json(stored["seats"]), SubscriptionStanding(Phase(stored["phase"]), until)
    )


def _pages(
    runtime: Runtime, created_before: datetime, show: ProgressOutput, patience: float
) -> Iterator[ListPage]:
    """The pages of the provider's list. After a failure, reading continues with the page that failed."""
    number = 0
    pages = runtime.provider.pages(created_before=created_before)

    def next_page() -> ListPage | None:
        nonlocal pages
        try:
            return next(pages, None)
        except TransientError:
            pages = runtime.provider.pages(created_before=created_before, first_page=number)
            raise

    while (page := with_retries(next_page, show, patience)) is not None:
        number += 1
        yield page
