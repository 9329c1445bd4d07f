"""The dry run: everything is looked at and counted as a backfill would, and nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cli.backfill.staging import Staging
from cli.backfill.summary import SeatTotals, Summary
from cli.full_sync import patiently
from cli.progress import Show
from domain.counts import SubscriptionShare, account_seats
from domain.errors import AnswerIncomplete, PermanentError, ProviderError, TransientError
from domain.findings import Finding
from domain.ownership import Doubt
from domain.seat_limit import SeatLimit
from domain.snapshot import SubscriptionSnapshot
from domain.statuses import Phase, SubscriptionStanding
from models.base import Json
from models.subscription import Subscription
from providers.base import Caller, ListPage
from runtime.wiring import Runtime
from services.ledger import ownership
from services.ledger.adopt_snapshot import adopt_snapshot
from services.ledger.entitlements import seats_from_json, seats_to_json, share_of
from services.reports import business_totals

_LISTING: Final = "reading the list"
_LOOKING: Final = "looking at subscriptions"


@dataclass(frozen=True, slots=True)
class AccountSeen:
    """What an account would have, of how many subscriptions."""

    account_id: str
    subscriptions: int
    seats: Mapping[str, SeatLimit]


@dataclass(slots=True)
class DryRun:
    """Reads into a stage, and then tells account by account; `summary` is whole once all are told."""

    runtime: Runtime
    stage: Staging
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
                known = business_totals.known(session, ids)
            for subscription_id in ids:
                row = known.get(subscription_id) or Subscription(id=subscription_id)
                self._rehearse(row, show, patience)
                done += 1
                show.step(_LOOKING, done, total)

    def accounts(self) -> Iterator[AccountSeen]:
        """What each account would have, by id."""
        for ids in self.stage.account_ids():
            with self.runtime.sessions() as session:
                self._known_accounts += business_totals.count_known_accounts(session, ids)
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

    def _rehearse(self, row: Subscription, show: Show, patience: float) -> None:
        """Do to a detached row what a sync would do, and keep what comes of it."""
        answer = self._retrieve(row.id, show, patience)
        if isinstance(answer, SubscriptionSnapshot):
            found = self._take_over(row, answer)
            self._held.update({one.message for one in found if one.held_because})
            self._note(answer)
        else:
            self._held[answer.message] += 1
        if row.account_id is not None:
            customer_id = row.newest.customer_id if row.newest is not None else None
            share = share_of(row, self.runtime.catalog, self.now)
            self.stage.keep(row.id, row.account_id, customer_id, _share_to_json(share))

    def _retrieve(
        self, subscription_id: str, show: Show, patience: float
    ) -> SubscriptionSnapshot | ProviderError:
        """The subscription, or why there is no count of it."""

        def ask() -> SubscriptionSnapshot | ProviderError:
            try:
                return self.runtime.provider.retrieve(subscription_id, caller=Caller.RECONCILE)
            except (AnswerIncomplete, PermanentError) as error:
                return error

        return patiently(ask, show, patience)

    def _take_over(self, row: Subscription, snapshot: SubscriptionSnapshot) -> Sequence[Finding]:
        def doubt_of(account_id: str) -> Doubt | None:
            """By the subscriptions that this rehearsal has placed."""
            is_other = self.stage.has_other_customer(account_id, snapshot.customer_id)
            return Doubt.OTHER_CUSTOMER if is_other else None

        catalog = self.runtime.catalog
        with self.runtime.sessions() as session:  # never committed
            decision = ownership.decide(session, row, snapshot, catalog, doubt_first=doubt_of)
        return adopt_snapshot(row, snapshot, decision, catalog, self.now)

    def _counted(self, account_id: str) -> AccountSeen:
        shares = [_share_from_json(kept) for kept in self.stage.of_account(account_id)]
        evaluated = account_seats(self.runtime.catalog, account_id, shares, now=self.now)
        seats = {seat_type: one.purchased for seat_type, one in evaluated.seats.items()}
        self._totals.add(seats.items())
        return AccountSeen(account_id, len(shares), seats)

    def _note(self, snapshot: SubscriptionSnapshot) -> None:
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


def _share_from_json(kept: Json) -> SubscriptionShare:
    until = None if kept["until"] is None else datetime.fromisoformat(kept["until"])
    return SubscriptionShare(
        seats_from_json(kept["seats"]), SubscriptionStanding(Phase(kept["phase"]), until)
    )


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
