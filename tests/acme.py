"""The account `acme` with its provider and its clock, for tests of limits over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain import policies
from domain.balance import Balance
from domain.errors import Refused
from domain.provider_errors import TransientError
from domain.snapshot import SubscriptionSnapshot
from models import generation, inbox, sync_queue
from models.account import Account
from models.account_rules import Override
from models.assignment import LIVE, Assignment, AssignmentState
from models.drift_finding import DriftFinding
from models.notice import StoredNotice
from providers.base import Event
from runtime.wiring import Runtime
from services.ledger import accounts, batch_claims, claims, members, reassignments
from services.ledger.batch_claims import Outcome
from services.ledger.claims import ClaimOutcome, ClaimRequest
from services.ledger.members import MemberUpdate
from services.sync.batch import drain
from services.sync.subscription import sync
from tests.audit_replay import assert_audit_matches_the_tables, assert_balances_count_the_assignments
from tests.clock import Clock
from tests.factories import CATALOG_TEXT, a_catalog, a_cause, a_snapshot, an_arrival, parse_once
from tests.fakes import FakeProvider
from worker.sweep import Sweep

DAY = timedelta(days=1)
AN_OUTAGE = TransientError("The provider does not answer.")

# One product per policy, each selling full seats by the unit.
POLICIES = policies.names()
PRODUCTS = "".join(
    f"""
[products.pdt_of_{name}]
per_unit = {{ full = 1 }}
addons.adn_viewer = {{ viewer = 1 }}
policy = "{name}"
"""
    for name in POLICIES
)
SUSPENDING = """
[products.pdt_suspending]
per_unit = { full = 1 }
addons.adn_viewer = { viewer = 1 }
policy = "grace"
suspend_after_grace = true
"""


class Acme:
    """One account with one subscription, `sub_1`. It has the subscription's seats after a sync."""

    def __init__(self, runtime: Runtime, clock: Clock, extra: str = "") -> None:
        self.catalog_text = CATALOG_TEXT + PRODUCTS + SUSPENDING + extra
        self.runtime = replace(runtime, catalog=parse_once(self.catalog_text))
        self.clock = clock
        self.provider: FakeProvider = runtime.provider
        self.sold: SubscriptionSnapshot = a_snapshot(addons=())
        self.webhooks = 0
        self.seen_notices = 0

    # The provider's side.

    def buys(self, policy: str, seats: int, **more) -> None:
        """Buy `seats` seats of the product with that policy, then sync."""
        self.changes(product_id=_product(policy), quantity=seats, **more)

    def changes(self, **fields) -> None:
        """Change the subscription at the provider, then sync."""
        self.changes_silently(**fields)
        self.is_synced()

    def changes_silently(self, **fields) -> None:
        """Change the subscription at the provider, without a webhook and without a sync."""
        self.sold = replace(self.sold, **fields)
        self.provider.subscriptions["sub_1"] = self.sold

    def is_synced(self) -> None:
        with self.runtime.sessions.begin() as session:
            sync_queue.raise_hint(session, "sub_1")
        sync(self.runtime, "sub_1")

    def gets_webhook_during_outage(self, **fields) -> None:
        """A webhook with these fields arrives while the provider's API is down."""
        self.webhooks += 1
        body = f"body {self.webhooks}".encode()
        self.provider.events[body] = Event(type="any", snapshot=replace(self.sold, **fields))
        with self.runtime.sessions.begin() as session:
            inbox.store(session, an_arrival(f"msg_{self.webhooks}", body=body))
        self.clock.advance(timedelta(minutes=5))  # past any backoff that an earlier sync left
        self.provider.failing = AN_OUTAGE
        sync(self.runtime, "sub_1")
        self.provider.failing = None

    def also_buys(self, product_id: str, subscription_id: str = "sub_2", **fields) -> None:
        """Add or replace a further subscription of the account, then sync it."""
        facts = {"product_id": product_id, "addons": (), **fields}
        self.provider.subscriptions[subscription_id] = a_snapshot(subscription_id, **facts)
        with self.runtime.sessions.begin() as session:
            sync_queue.raise_hint(session, subscription_id)
        sync(self.runtime, subscription_id)

    # The app's side. As in the API, a refusal is returned as its code, and its transaction is committed.

    def claims(self, member_id: str, role: str = "member", **more) -> str:
        with self.runtime.transaction() as session:
            return self._claims(session, ClaimRequest(member_id=member_id, role=role, **more))

    def _claims(self, session: Session, request: ClaimRequest) -> str:
        try:
            claims.claim(session, "acme", request, self.runtime.catalog, a_cause())
        except Refused as refused:
            return refused.code
        return "granted"

    def seats(self, *member_ids: str, **more) -> None:
        for member_id in member_ids:
            assert self.claims(member_id, **more) == "granted"

    def claims_each(self, wanted: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Claim one after the other in one transaction, without automatic purchases; the results."""
        with self.runtime.transaction() as session:
            return [self._claims(session, ClaimRequest(**fields)) for fields in wanted]

    def claims_all(self, wanted: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Claim all or none; the results."""
        requests = [ClaimRequest(**fields) for fields in wanted]
        with self.runtime.transaction() as session:
            _, outcomes = batch_claims.claim_all(session, "acme", requests, self.runtime.catalog, a_cause())
        return [_code(outcome) for outcome in outcomes]

    def member(self, member_id: str, **changed) -> str:
        """Update the member."""
        with self.runtime.transaction() as session:
            update = MemberUpdate(**changed)
            catalog = self.runtime.catalog
            try:
                members.update_member(session, "acme", member_id, update, catalog=catalog, cause=a_cause())
            except Refused as refused:
                return refused.code
        return "changed"

    def renames(self, member_id: str, new_id: str) -> str:
        with self.runtime.transaction() as session:
            try:
                members.rename(session, "acme", member_id, new_id, a_cause())
            except Refused as refused:
                return refused.code
        return "changed"

    def reassigns(self, from_id: str, member_id: str, role: str = "member", **more) -> str:
        """Move the seat of the member `from_id` to the member `member_id`."""
        with self.runtime.transaction() as session:
            request = ClaimRequest(member_id=member_id, role=role, **more)
            told = (session, "acme", from_id, request)
            try:
                reassignments.reassign(*told, catalog=self.runtime.catalog, cause=a_cause())
            except Refused as refused:
                return refused.code
        return "changed"

    def releases(self, *member_ids: str) -> None:
        for member_id in member_ids:
            with self.runtime.transaction() as session:
                claims.release(session, "acme", member_id, a_cause())

    def exists(self) -> None:
        """The app opens the account before anything is bought."""
        with self.runtime.transaction() as session:
            accounts.open_account(session, "acme", self.runtime.catalog, a_cause())

    def sets_policy(self, **override) -> None:
        """The app sets the account's own rules; without arguments, it removes them."""
        with self.runtime.transaction() as session:
            accounts.set_policy(session, "acme", Override(**override), self.runtime.catalog, a_cause())

    def gets_equivalent_catalogue(self) -> None:
        """The catalogue changes in a way that makes no difference for this account; then a sweep."""
        catalog = a_catalog(PRODUCTS + SUSPENDING + "[products.pdt_new]\nincluded = { full = 1 }")
        self.runtime = replace(self.runtime, catalog=catalog)
        self.is_swept()

    def edits_catalogue(self, old: str, new: str) -> None:
        """Replace this text in the catalogue and activate it; then a sweep."""
        self.catalog_text = self.catalog_text.replace(old, new)
        self.runtime = replace(self.runtime, catalog=parse_once(self.catalog_text))
        with self.runtime.sessions.begin() as session:
            generation.activate(session, self.runtime.catalog)
        self.is_swept()

    def loses_balance_keys(self, *keys: str) -> None:
        """Remove these keys from the stored balance, as if an older release had written it."""
        with self.runtime.sessions.begin() as session:
            account = session.get_one(Account, "acme")
            account.seats = {
                name: {key: value for key, value in figures.items() if key not in keys}
                for name, figures in account.seats.items()
            }

    # Time.

    def after(self, time: timedelta) -> None:
        """Advance the clock, then sweep."""
        self.clock.advance(time)
        self.is_swept()

    def is_swept(self) -> None:
        """Sweep twice: the second sweep handles what the syncs of the first one caused."""
        for _ in range(2):
            self.is_swept_for_syncs()
            self.is_swept_for_dates()

    def is_swept_for_syncs(self) -> None:
        """The first half of a sweep: sync what is due, in this process."""
        with self.runtime.sessions.begin() as session:
            due = sync_queue.due_to_wake(session, limit=100, routine_limit=100, again=timedelta(seconds=5))
        drain(self.runtime, due.all)

    def is_swept_for_dates(self) -> None:
        """The second half of a sweep: evaluate accounts whose deadlines have passed."""
        Sweep(self.runtime, lambda _: None)._evaluate_due_accounts()

    # The results.

    @property
    def account(self) -> Account:
        with self.runtime.sessions() as session:
            return session.get_one(Account, "acme")

    @property
    def status(self) -> str:
        return self.account.status

    @property
    def purchased(self) -> int:
        full = self.account.seats["full"]
        return full["included"] + full["addon"] + full["contract"]

    def deadline(self, seat_type: str = "full") -> datetime | None:
        stored = self.account.seats[seat_type].get("deadline")
        return None if stored is None else datetime.fromisoformat(stored)

    def suspends_at(self, seat_type: str = "full") -> datetime | None:
        return Balance.from_json(self.account.seats[seat_type]).clock.suspends_at

    def policy_of(self, seat_type: str = "full") -> str:
        return self.account.rules_of(seat_type).policy

    def findings(self, kind: str) -> Sequence[DriftFinding]:
        """The open findings of this kind."""
        is_open = select(DriftFinding).where(DriftFinding.kind == kind, DriftFinding.closed_at.is_(None))
        with self.runtime.sessions() as session:
            return session.scalars(is_open.order_by(DriftFinding.id)).all()

    def states(self) -> Mapping[str, str]:
        """The state of each member who is not released."""
        with self.runtime.sessions() as session:
            return {one.member_id: one.state for one in session.scalars(select(Assignment).where(LIVE))}

    def members_in(self, state: AssignmentState) -> set[str]:
        return {member_id for member_id, its in self.states().items() if its == state}

    @property
    def active(self) -> set[str]:
        return self.members_in(AssignmentState.ACTIVE)

    @property
    def suspended(self) -> set[str]:
        return self.members_in(AssignmentState.SUSPENDED)

    def marks_notices_as_seen(self) -> None:
        """Leave the notices so far out of `new_notices`."""
        self.seen_notices = len(self._notices())

    def new_notices(self) -> Sequence[str]:
        """The types of the notices since `marks_notices_as_seen`."""
        return tuple(one.type for one in self._notices()[self.seen_notices :])

    def notice_count(self, kind: str) -> int:
        """How many notices of this kind there are."""
        return len(self.notices_of(kind))

    def gets_notice_next_day(self, kind: str) -> bool:
        """Advance the clock by a day; True if a notice of this kind was sent meanwhile."""
        self.marks_notices_as_seen()
        self.after(DAY)
        return kind in self.new_notices()

    def notices_of(self, kind: str) -> Sequence[StoredNotice]:
        return [one for one in self._notices() if one.type == kind]

    def _notices(self) -> Sequence[StoredNotice]:
        """The notices about an account; those without one are for operators."""
        of_accounts = select(StoredNotice).where(StoredNotice.account_id.is_not(None))
        with self.runtime.sessions() as session:
            return session.scalars(of_accounts.order_by(StoredNotice.id)).all()

    def check(self) -> None:
        self.check_counters()
        with self.runtime.sessions() as session:
            assert_audit_matches_the_tables(session)

    def check_counters(self) -> None:
        with self.runtime.sessions() as session:
            assert_balances_count_the_assignments(session)


def _code(outcome: Outcome) -> str:
    return "granted" if isinstance(outcome, ClaimOutcome) else outcome.code


def _product(policy: str) -> str:
    return "pdt_suspending" if policy == "suspending" else f"pdt_of_{policy}"
