"""The account `acme`, its provider and its clock: what tests of limits over time say and ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain import policies
from domain.errors import Refused, TransientError
from domain.snapshot import SubscriptionSnapshot
from models import generation, inbox, sync_queue
from models.account import Account
from models.account_rules import Override
from models.assignment import LIVE, Assignment, AssignmentState
from models.drift_finding import DriftFinding
from models.notice import KeptNotice
from providers.base import Event
from runtime.wiring import Runtime
from services.ledger import accounts, batch_claims, members
from services.ledger import claims as seating
from services.ledger.batch_claims import Outcome
from services.ledger.claims import Seated, Wish
from services.ledger.locked_account import Balance
from services.ledger.members import Change
from services.sync.batch import drain
from services.sync.subscription import sync
from tests.audit_replay import assert_audit_tells_the_present, assert_counters_are_the_rows
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
    """Seats are what its one subscription at the provider has, once somebody has looked there."""

    def __init__(self, runtime: Runtime, clock: Clock, extra: str = "") -> None:
        self.catalog_text = CATALOG_TEXT + PRODUCTS + SUSPENDING + extra
        self.runtime = replace(runtime, catalog=parse_once(self.catalog_text))
        self.clock = clock
        self.provider: FakeProvider = runtime.provider
        self.sold: SubscriptionSnapshot = a_snapshot(addons=())
        self.bodies = 0
        self.old = 0

    # The provider's side.

    def buys(self, policy: str, seats: int, **more) -> None:
        """So many seats of the product with that policy; the provider shows it, and we look."""
        self.changes(product_id=_product(policy), quantity=seats, **more)

    def changes(self, **shown) -> None:
        """The subscription is otherwise from now on; we look."""
        self.shows(**shown)
        self.is_looked_at()

    def shows(self, **shown) -> None:
        """The subscription is otherwise from now on, and nobody tells us."""
        self.sold = replace(self.sold, **shown)
        self.provider.subscriptions["sub_1"] = self.sold

    def is_looked_at(self) -> None:
        with self.runtime.sessions.begin() as session:
            sync_queue.raise_hint(session, "sub_1")
        sync(self.runtime, "sub_1")

    def body_says(self, **shown) -> None:
        """A webhook arrives while the provider cannot be asked."""
        self.bodies += 1
        body = f"body {self.bodies}".encode()
        self.provider.events[body] = Event(type="any", snapshot=replace(self.sold, **shown))
        with self.runtime.sessions.begin() as session:
            inbox.keep(session, an_arrival(f"msg_{self.bodies}", body=body))
        self.clock.advance(timedelta(minutes=5))  # whatever pause a look before has left is over
        self.provider.failing = AN_OUTAGE
        sync(self.runtime, "sub_1")
        self.provider.failing = None

    def also_buys(self, product_id: str, subscription_id: str = "sub_2", **shown) -> None:
        """The account has a further subscription, or it is otherwise from now on; we look."""
        facts = {"product_id": product_id, "addons": (), **shown}
        self.provider.subscriptions[subscription_id] = a_snapshot(subscription_id, **facts)
        with self.runtime.sessions.begin() as session:
            sync_queue.raise_hint(session, subscription_id)
        sync(self.runtime, subscription_id)

    # The app's side; a refusal is an answer, and what led to it is kept, as at the door.

    def claims(self, member_id: str, role: str = "member", **more) -> str:
        with self.runtime.transaction() as session:
            return self._claims(session, Wish(member_id=member_id, role=role, **more))

    def _claims(self, session: Session, wish: Wish) -> str:
        try:
            seating.claim(session, "acme", wish, self.runtime.catalog, a_cause())
        except Refused as refused:
            return refused.code
        return "granted"

    def seats(self, *member_ids: str, **more) -> None:
        for member_id in member_ids:
            assert self.claims(member_id, **more) == "granted"

    def claims_each(self, wishes: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """One after the other in one transaction; nobody waits here for a seat to be bought."""
        with self.runtime.transaction() as session:
            return [self._claims(session, Wish(**wish)) for wish in wishes]

    def claims_all(self, wishes: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        asked = [Wish(**wish) for wish in wishes]
        with self.runtime.transaction() as session:
            _, outcomes = batch_claims.claim_all(session, "acme", asked, self.runtime.catalog, a_cause())
        return [_answer(outcome) for outcome in outcomes]

    def member(self, member_id: str, **changed) -> str:
        with self.runtime.transaction() as session:
            told = (session, "acme", member_id, Change(**changed))
            try:
                members.change(*told, catalog=self.runtime.catalog, cause=a_cause())
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

    def releases(self, *member_ids: str) -> None:
        for member_id in member_ids:
            with self.runtime.transaction() as session:
                seating.release(session, "acme", member_id, a_cause())

    def exists(self) -> None:
        """The app knows the account before anything is bought."""
        with self.runtime.transaction() as session:
            accounts.open_account(session, "acme", self.runtime.catalog, a_cause())

    def decides(self, **override) -> None:
        """The app's own rules for the account."""
        with self.runtime.transaction() as session:
            wanted = Override(**override)
            accounts.set_policy(session, "acme", wanted, self.runtime.catalog, a_cause())

    def has_another_catalogue(self) -> None:
        """One that means the same for this account."""
        catalog = a_catalog(PRODUCTS + SUSPENDING + "[products.pdt_new]\nincluded = { full = 1 }")
        self.runtime = replace(self.runtime, catalog=catalog)
        self.is_swept()

    def restates(self, words: str, other_words: str) -> None:
        """The catalogue says something else from now on, or again what it said before."""
        self.catalog_text = self.catalog_text.replace(words, other_words)
        self.runtime = replace(self.runtime, catalog=parse_once(self.catalog_text))
        with self.runtime.sessions.begin() as session:
            generation.put_in_force(session, self.runtime.catalog)
        self.is_swept()

    def forgets(self, *keys: str) -> None:
        """The balance is one that an older release has written."""
        with self.runtime.sessions.begin() as session:
            account = session.get_one(Account, "acme")
            account.seats = {
                name: {key: value for key, value in kept.items() if key not in keys}
                for name, kept in account.seats.items()
            }

    # Time.

    def after(self, time: timedelta) -> None:
        """So much later, with everything done that time asks for."""
        self.clock.advance(time)
        self.is_swept()

    def is_swept(self) -> None:
        """Once for what time asks for, once for the look that it takes."""
        for _ in range(2):
            self.is_swept_for_looks()
            self.is_swept_for_dates()

    def is_swept_for_looks(self) -> None:
        """The first half of a sweep; who is rung for looks at once."""
        with self.runtime.sessions.begin() as session:
            due = sync_queue.take_due(session, limit=100, routine_limit=100, again=timedelta(seconds=5))
        drain(self.runtime, due.all)

    def is_swept_for_dates(self) -> None:
        """The second half."""
        Sweep(self.runtime, lambda _: None)._evaluate_due_accounts()

    # What came of it.

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
        kept = self.account.seats[seat_type].get("deadline")
        return None if kept is None else datetime.fromisoformat(kept)

    def suspends_at(self, seat_type: str = "full") -> datetime | None:
        return Balance.from_json(self.account.seats[seat_type]).clock.suspends_at

    def policy_of(self, seat_type: str = "full") -> str:
        return self.account.rules_of(seat_type).policy

    def findings(self, kind: str) -> Sequence[DriftFinding]:
        """Those of the kind that stand."""
        standing = select(DriftFinding).where(DriftFinding.kind == kind, DriftFinding.closed_at.is_(None))
        with self.runtime.sessions() as session:
            return session.scalars(standing.order_by(DriftFinding.id)).all()

    def states(self) -> Mapping[str, str]:
        with self.runtime.sessions() as session:
            return {one.member_id: one.state for one in session.scalars(select(Assignment).where(LIVE))}

    def those(self, state: AssignmentState) -> set[str]:
        return {member_id for member_id, its in self.states().items() if its == state}

    @property
    def active(self) -> set[str]:
        return self.those(AssignmentState.ACTIVE)

    @property
    def suspended(self) -> set[str]:
        return self.those(AssignmentState.SUSPENDED)

    def listens(self) -> None:
        """What was told so far is old."""
        self.old = len(self._notices())

    def heard(self) -> Sequence[str]:
        """The notices put since, by their types."""
        return tuple(one.type for one in self._notices()[self.old :])

    def told(self, kind: str) -> int:
        """How often such a notice was put."""
        return len(self.notices_of(kind))

    def hears_on_another_day(self, kind: str) -> bool:
        """Whether such a notice is put within the next day."""
        self.listens()
        self.after(DAY)
        return kind in self.heard()

    def notices_of(self, kind: str) -> Sequence[KeptNotice]:
        return [one for one in self._notices() if one.type == kind]

    def _notices(self) -> Sequence[KeptNotice]:
        """Those about an account; what nobody told us of is for operators."""
        of_accounts = select(KeptNotice).where(KeptNotice.account_id.is_not(None))
        with self.runtime.sessions() as session:
            return session.scalars(of_accounts.order_by(KeptNotice.id)).all()

    def check(self) -> None:
        self.check_counters()
        with self.runtime.sessions() as session:
            assert_audit_tells_the_present(session)

    def check_counters(self) -> None:
        with self.runtime.sessions() as session:
            assert_counters_are_the_rows(session)


def _answer(outcome: Outcome) -> str:
    return "granted" if isinstance(outcome, Seated) else outcome.code


def _product(policy: str) -> str:
    return "pdt_suspending" if policy == "suspending" else f"pdt_of_{policy}"
