"""Whatever happens to deliveries, syncs and processes, the count ends right: a state machine tries to break
it.

The machine plays a provider whose events are shuffled, repeated, dropped and delayed, whose reads lag behind
its webhooks, and whose answers lack what seats and owners are found by; workers that are slow, die, or look
twice at once; outages, and events that are given up on. Invariants are those of the sync algorithm and of
ownership; taking any safeguard away must make the machine find a failure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from domain import ownership
from domain.ownership import PROOF_KEY, Decision, LinkedBy, Name, Placement, sign
from domain.provider_errors import SubscriptionNotAtProvider, TransientError
from domain.snapshot import AddonQuantity, SubscriptionSnapshot
from models import inbox, installation, sync_queue
from models.account import Account
from models.all_tables import TABLES
from models.audit import AuditRow
from models.base import Json
from models.inbox import InboxEvent, InboxState
from models.subscription import Subscription
from models.sync_queue import Lease
from providers.base import Event
from runtime.wiring import Runtime
from services.ledger import links
from services.sync import subscription as syncing
from services.sync.batch import drain
from services.sync.subscription import LEASE
from tests.audit_replay import assert_audit_matches_the_tables
from tests.factories import a_cause, a_snapshot, an_arrival
from tests.fakes import FakeProvider
from tests.machines import assert_it_finds_a_failure, only, play
from tests.services.sync.passes import complete_pass, verify_for
from worker.sweep import Sweep

pytestmark = pytest.mark.long(seconds=35)

SUBSCRIPTIONS = ("sub_1", "sub_2")
ROUNDS_TO_REST = 20
ANSWERS = ("whole", "whole", "whole", "no add-ons", "no metadata", "no name", "foreign", "proved")


@dataclass(frozen=True)
class RunningSync:
    """A worker between its fetch and its write: its lease, what it saw, and how new that was."""

    lease: Lease
    snapshot: SubscriptionSnapshot


class Convergence(RuleBasedStateMachine):
    """One provider, one service, and a hostile world between them."""

    sweeps = True

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self.runtime = runtime
        self.provider: FakeProvider = runtime.provider
        with runtime.engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            for table in TABLES:
                connection.execute(text(f"DELETE FROM {table.__tablename__}"))
        self.provider.subscriptions.clear()
        self.provider.events.clear()
        self.provider.retrieved.clear()
        self.provider.failed_retrieves.clear()
        self.provider.failing = None
        self.provider.lagging.clear()
        self.versions: dict[str, int] = defaultdict(int)
        self.undelivered: list[tuple[str, str]] = []
        self.acknowledged: dict[str, str] = {}
        self.announced: dict[str, SubscriptionSnapshot] = {}
        self.dropped = False
        self.running: list[RunningSync] = []
        self.steals: Counter[str] = Counter()
        self.wake_ups: list[str] = []
        self.placed: dict[str, str | None] = {}
        self.proved: dict[str, set[str]] = defaultdict(set)
        self.counted: dict[str, Json] = {}
        with runtime.sessions.begin() as session:
            self.secret = installation.checkout_secret(session)
        self.numbers = iter(range(10**9))

    # The provider's side.

    @rule(
        which=st.sampled_from(SUBSCRIPTIONS),
        seats=st.integers(0, 30),
        status=st.sampled_from(["active", "active", "active", "on_hold", "paused", "cancelled"]),
        events=st.integers(1, 2),
        arrive=st.booleans(),
        says=st.sampled_from(
            ["whole", "whole", "whole", "no add-ons", "no metadata", "no name", "foreign", "proved"]
        ),
    )
    def change(
        self, which: str, seats: int, status: str, events: int, arrive: bool, *, says: str = "whole"
    ) -> None:
        """The customer buys, gives back or stops paying. The add-on is free: no list shows it. Answers may
        lack what the seats or the owner are found by, or name another customer's account.
        """
        self.versions[which] += 1
        self.provider.lagging.pop(which, None)
        self.provider.subscriptions[which] = a_snapshot(
            which,
            status=status,
            addons=None if says == "no add-ons" else (AddonQuantity("adn_seat", seats),),
            customer_id=f"{which}:{self.versions[which]}",
            metadata=self._metadata(which, says),
        )
        for _ in range(events):
            self.undelivered.append((f"msg_{next(self.numbers)}", which))
        if arrive:
            self._post(*self.undelivered.pop())

    def _metadata(self, which: str, says: str) -> dict[str, str] | None:
        other = next(one for one in SUBSCRIPTIONS if one != which)
        if says == "proved":
            account_id = f"proved-of-{which}"
            self.proved[which].add(account_id)
            return {"account_id": account_id, PROOF_KEY: sign(self.secret, account_id)}
        names = {"no metadata": None, "no name": {}, "foreign": {"account_id": f"account-of-{other}"}}
        return names.get(says, {"account_id": f"account-of-{which}"})

    @precondition(lambda self: self.undelivered)
    @rule(data=st.data(), is_heard=st.booleans())
    def deliver(self, data: st.DataObject, is_heard: bool) -> None:
        """Any waiting event, in any order; the body is the state at delivery. The wake_ups may be lost."""
        event_id, which = self.undelivered.pop(data.draw(st.integers(0, len(self.undelivered) - 1)))
        self._post(event_id, which)
        if is_heard:
            self.wake_ups.append(which)

    @precondition(lambda self: self.acknowledged)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        event_id = data.draw(st.sampled_from(sorted(self.acknowledged)))
        self._post(event_id, self.acknowledged[event_id])

    @precondition(lambda self: self.undelivered)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """27 hours pass without a delivery: the provider gives the event up."""
        self.undelivered.pop(data.draw(st.integers(0, len(self.undelivered) - 1)))
        self.dropped = True

    @rule(which=st.sampled_from(SUBSCRIPTIONS), seats=st.integers(0, 30))
    def change_before_reads_show_it(self, which: str, seats: int) -> None:
        """The webhook is there at once; the next retrieve still shows the state before, or 404."""
        before = self.provider.subscriptions.get(which)
        self.change(which, seats, status="active", events=1, arrive=True)
        self.provider.lagging[which] = before

    @precondition(lambda self: self.provider.failing is None and self.acknowledged)
    @rule(which=st.sampled_from(SUBSCRIPTIONS))
    def give_up(self, which: str) -> None:
        """The last attempt fails: the subscription and the events behind it are dead letters."""
        with self.runtime.sessions.begin() as session:
            for lease in sync_queue.lease(session, [which], LEASE):
                sync_queue.mark_dead(session, lease, "gave up")

    @precondition(lambda self: self.provider.failing is None)
    @rule()
    def provider_goes_away(self) -> None:
        self.provider.failing = TransientError("The provider does not answer.")

    @precondition(lambda self: self.provider.failing is not None)
    @rule()
    def provider_comes_back(self) -> None:
        self.provider.failing = None

    @precondition(lambda self: self.provider.failing is None)
    @rule(which=st.sampled_from(SUBSCRIPTIONS), says=st.sampled_from(["foreign", "no name", "no metadata"]))
    def change_the_name_of_a_known_one(self, which: str, says: str) -> None:
        """The metadata named an account when it was first seen; now it names another, or none."""
        for now in ("whole", says):
            self.change(which, 1, status="active", events=1, arrive=True, says=now)
            self.time_passes()
            self.sweep()
            self.all_of_it_holds()

    @precondition(lambda self: self.provider.failing is None)
    @rule(which=st.sampled_from(SUBSCRIPTIONS), seats=st.integers(0, 30))
    def come_back_with_half_an_answer(self, which: str, seats: int) -> None:
        """A webhook raises the seats in an outage; after it, no answer can be counted."""
        self.provider_goes_away()
        self.change(which, seats, status="active", events=1, arrive=True)
        self.time_passes()
        self.sweep()
        self.provider_comes_back()
        self.change(which, seats, status="active", events=1, arrive=True, says="no add-ons")
        self.time_passes()
        self.sweep()

    # The app's side.

    @precondition(lambda self: self.acknowledged)
    @rule(which=st.sampled_from(SUBSCRIPTIONS), to=st.sampled_from(["chosen", "account-of-sub_1"]))
    def link(self, which: str, to: str) -> None:
        if which not in self.provider.subscriptions:  # the API looks it up before
            return
        with self.runtime.sessions.begin() as session:
            links.link(session, to, which, self.runtime.catalog, a_cause())
        self.placed[which] = to

    @precondition(lambda self: self.acknowledged)
    @rule(which=st.sampled_from(SUBSCRIPTIONS), account_id=st.sampled_from(["chosen", "account-of-sub_1"]))
    def refuse(self, which: str, account_id: str) -> None:
        """Whether it is there or not; where it is, its account is decided anew."""
        with self.runtime.sessions.begin() as session:
            if session.get(Subscription, which) is None:
                return
            links.unlink(session, account_id, which, self.runtime.catalog, a_cause())
        self.proved[which].discard(account_id)
        if self.placed.get(which) == account_id:
            del self.placed[which]

    # Our side.

    @precondition(lambda self: self.wake_ups)
    @rule()
    def receive_a_wake_up(self) -> None:
        self.drain([self.wake_ups.pop(0)])

    def drain(self, due: Sequence[str]) -> None:
        drain(self.runtime, due, threads=1)  # the same order each time

    @precondition(lambda self: self.acknowledged)
    @rule(which=st.sampled_from(SUBSCRIPTIONS), others_are_slow=st.booleans())
    def begin_a_sync(self, which: str, others_are_slow: bool) -> None:
        """Lease and fetch; the write may come late, or never."""
        if others_are_slow:
            self.time_passes()
        with self.runtime.sessions.begin() as session:
            leases = sync_queue.lease(session, [which], LEASE)
        if not leases or self.provider.failing is not None:
            return
        try:
            seen = self.provider.retrieve(which)
        except SubscriptionNotAtProvider:
            return
        self.running.append(RunningSync(leases[0], seen))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end_a_sync(self, data: st.DataObject) -> None:
        self.write(self.running.pop(data.draw(st.integers(0, len(self.running) - 1))))

    def write(self, running: RunningSync) -> None:
        """What the worker does with what it saw."""
        syncing.write(self.runtime, running.lease, running.snapshot)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), seats=st.integers(0, 30))
    def change_during_a_sync(self, data: st.DataObject, seats: int) -> None:
        """What a worker has just seen is the past before it can write it down."""
        self._buy_during(data.draw(st.sampled_from(self.running)), seats)

    @precondition(lambda self: self.running and self.provider.failing is None)
    @rule(data=st.data(), seats=st.integers(0, 30))
    def overtake_a_slow_worker(self, data: st.DataObject, seats: int) -> None:
        """Before a worker has written its snapshot, the subscription changes and another worker syncs it."""
        slow = data.draw(st.sampled_from(self.running))
        self._buy_during(slow, seats)
        self.begin_a_sync(slow.lease.subscription_id, others_are_slow=True)
        self.write(self.running.pop())

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def kill_a_worker(self, data: st.DataObject) -> None:
        self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))

    @precondition(lambda self: self.acknowledged)
    @rule()
    def time_passes(self) -> None:
        """Leases and backoffs end; workers that still run are slow."""
        with self.runtime.sessions.begin() as session:
            stolen = session.scalars(select(Subscription.id).where(Subscription.lease_until.is_not(None)))
            self.steals.update(stolen)
            session.execute(
                update(Subscription).values(
                    lease_until=func.now() - timedelta(seconds=1), next_at=func.now(), rung_at=None
                )
            )

    @precondition(lambda self: self.acknowledged)
    @rule()
    def sweep(self) -> None:
        """The sweep finds what is due; here it hands it straight to a worker."""
        if self.sweeps:
            Sweep(self.runtime, self.drain).once()

    @rule()
    def reconcile(self) -> None:
        """A full reconcile: a pass over the list, and a sync of everything that was not synced for a day."""
        with self.runtime.sessions.begin() as session:
            session.execute(update(Subscription).values(looked_at=Subscription.looked_at - timedelta(days=2)))
        verify_for(self.runtime)
        complete_pass(self.runtime)

    # What always holds.

    @invariant()
    def all_of_it_holds(self) -> None:
        with self.runtime.sessions() as session:
            assert_audit_matches_the_tables(session)
            self.no_acknowledged_delivery_has_vanished(session)
            self.accepted_writes_have_rising_fences(session)
            rows = session.scalars(select(Subscription)).all()
        for row in rows:
            self.what_counts_as_seen_was_seen(row)
            self.no_retrieve_without_a_reason(row)
            self.it_moves_by_the_apps_word_or_a_proof_alone(row)
            self.what_cannot_be_counted_counts_as_it_did(row)

    def no_acknowledged_delivery_has_vanished(self, session: Session) -> None:
        kept = session.scalars(select(InboxEvent.event_id)).all()
        assert sorted(kept) == sorted(self.acknowledged)

    def accepted_writes_have_rising_fences(self, session: Session) -> None:
        """A write that moves a subscription has a row in either account."""
        written = session.execute(
            select(AuditRow.subscription_id, AuditRow.account_id, AuditRow.fence)
            .where(AuditRow.source == "sync")
            .order_by(AuditRow.id)
        ).all()
        assert len(set(written)) == len(written)
        for which in SUBSCRIPTIONS:
            fences = [fence for name, _, fence in written if name == which]
            assert fences == sorted(fences), f"{which}: {fences}"

    def what_counts_as_seen_was_seen(self, row: Subscription) -> None:
        """A row with nothing to do shows a state at least as new as any event we acknowledged, or the same
        seats: a read that lags is known by its seats alone, and one that cannot be counted changes none.
        """
        announced = self.announced.get(row.id)
        if row.hint != row.synced or row.newest is None or announced is None or announced.addons is None:
            return
        is_as_new = _version(row.newest) >= _version(announced)
        assert is_as_new or _seats(row.newest) == _seats(announced), row.id

    def no_retrieve_without_a_reason(self, row: Subscription) -> None:
        """(I7)"""
        reasons = row.hint + self.provider.failed_retrieves.count(row.id) + self.steals[row.id]
        assert Counter(self.provider.retrieved)[row.id] <= reasons

    def it_moves_by_the_apps_word_or_a_proof_alone(self, row: Subscription) -> None:
        """(I9)"""
        before = self.placed.get(row.id)
        assert before is None or row.account_id in {before, *self.proved[row.id]}, row.id
        self.placed[row.id] = row.account_id

    def what_cannot_be_counted_counts_as_it_did(self, row: Subscription) -> None:
        """Whatever a body raised in between."""
        if row.snapshot is None or row.unverified is not None:
            return
        if row.verified.addons is None:
            assert row.figures.seats == self.counted.get(row.id), row.id
        elif row.figures.seats is not None:
            self.counted[row.id] = row.figures.seats

    # What holds in the end.

    def teardown(self) -> None:
        """The world calms down: nothing more is dropped or killed, and everybody rests. What was given up on
        is delivered once more.
        """
        self.provider_comes_back()
        self.provider.lagging.clear()
        for event_id, which in self.dead_letters():
            self._post(event_id, which)
        for which, shown in list(self.provider.subscriptions.items()):
            if shown.addons is None:
                self.change(which, 3, shown.status, events=1, arrive=False)
        while self.undelivered:
            self._post(*self.undelivered.pop())
        self._rest()
        with self.runtime.sessions() as session:
            states = session.scalars(select(InboxEvent.state)).all()
        assert set(states) <= {InboxState.DONE, InboxState.IGNORED}
        if not self.dropped:
            self._assert_local_equals_provider()
        self.reconcile()
        self._rest()
        self._assert_local_equals_provider()

    def dead_letters(self) -> Sequence[tuple[str, str]]:
        with self.runtime.sessions() as session:
            dead = select(InboxEvent.event_id, InboxEvent.subscription_id)
            rows = session.execute(dead.where(InboxEvent.state == InboxState.DEAD)).all()
        return [(row.event_id, row.subscription_id) for row in rows]

    def _rest(self) -> None:
        for _ in range(ROUNDS_TO_REST):
            self.time_passes()
            self.sweep()
            with self.runtime.sessions() as session:
                if not session.scalar(select(func.count()).where(Subscription.hint > Subscription.synced)):
                    return

    def _assert_local_equals_provider(self) -> None:
        bought: dict[str, list[tuple[bool, int]]] = defaultdict(list)
        with self.runtime.sessions() as session:
            for which, theirs in self.provider.subscriptions.items():
                ours = session.get(Subscription, which)
                assert ours is not None, f"{which} was never heard of"
                assert (ours.newest.status, ours.newest.addons) == (theirs.status, theirs.addons)
                counts = theirs.status in {"active", "on_hold"}
                bought[ours.account_id].append((counts, self._counts(ours, theirs)))
            for account_id, shares in bought.items():
                # What is suspended is shown only where nothing else counts.
                counting = [seats for counts, seats in shares if counts]
                seats = session.get(Account, account_id).seats["full"]
                shown = sum(counting) if counting else sum(number for _, number in shares)
                assert seats["included"] + seats["addon"] == shown

    def _counts(self, ours: Subscription, theirs: SubscriptionSnapshot) -> int:
        """What is in the cart, as far as it was paid for."""
        if theirs.status == "cancelled":
            return 0
        in_cart = 5 + theirs.addons[0].quantity
        if ours.paid_seats is None or theirs.status == "active":
            return in_cart
        paid = ours.paid_seats["full"]
        return min(in_cart, paid["included"] + paid["addon"])

    def _buy_during(self, running: RunningSync, seats: int) -> None:
        self.change(running.lease.subscription_id, seats, status="active", events=1, arrive=True)

    def _post(self, event_id: str, which: str) -> None:
        now = self.provider.subscriptions[which]
        body = f"{event_id} {self.versions[which]}".encode()
        self.provider.events[body] = Event(type="subscription.updated", snapshot=now)
        with self.runtime.sessions.begin() as session:
            kept = inbox.store(session, an_arrival(event_id, subscription_id=which, body=body))
        if kept.due_in is not None:
            self.announced[which] = now
        self.acknowledged[event_id] = which


def _version(snapshot: SubscriptionSnapshot) -> int:
    return int((snapshot.customer_id or ":0").rpartition(":")[2])


def _seats(snapshot: SubscriptionSnapshot) -> tuple[object, ...]:
    return snapshot.status, snapshot.addons


def test_the_count_ends_right_whatever_happens(runtime: Runtime):
    play(lambda: Convergence(runtime), examples=40, steps=30)


# Without any one of its safeguards the algorithm fails, and the machine finds out.


class WithoutTheFenceTest(Convergence):
    """A slow worker writes whatever happened meanwhile."""

    def write(self, running: RunningSync) -> None:
        with self.runtime.sessions() as session:
            fence = session.get(Subscription, running.lease.subscription_id).fence
        super().write(replace(running, lease=replace(running.lease, fence=fence)))


class MarkTakenAfterTheFetch(Convergence):
    """The hint that counts as seen is the one at the write, not at the lease."""

    def write(self, running: RunningSync) -> None:
        with self.runtime.sessions() as session:
            hint = session.get(Subscription, running.lease.subscription_id).hint
        super().write(replace(running, lease=replace(running.lease, covers_hint=hint)))


class WithoutTheSweep(Convergence):
    """Rows whose wake-up was lost are not found."""

    sweeps = False


WHAT_EACH_IS_FOR = {
    WithoutTheFenceTest: ("change", "begin_a_sync", "overtake_a_slow_worker", "end_a_sync"),
    MarkTakenAfterTheFetch: ("change", "begin_a_sync", "change_during_a_sync", "end_a_sync"),
    WithoutTheSweep: ("change", "deliver", "receive_a_wake_up"),
}


@pytest.mark.parametrize("ablated", WHAT_EACH_IS_FOR)
def test_without_one_safeguard_the_count_goes_wrong(runtime: Runtime, ablated: type[Convergence]):
    machine = only(ablated, *WHAT_EACH_IS_FOR[ablated])
    assert_it_finds_a_failure(lambda: machine(runtime), or_is_flaky=True)


def plain_metadata_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever account a buyer names, and whenever."""
    monkeypatch.setattr(ownership, "_doubt", lambda *_: None)


def missing_metadata_is_a_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscription that names no account is taken for one that belongs to none."""
    decide = ownership.decide

    def decide_anew(placement: Placement, name: Name | None, *rest: Any) -> Decision:
        is_linked = placement.owner is not None and placement.owner.linked_by is LinkedBy.APP
        return decide(placement if name or is_linked else replace(placement, owner=None), name, *rest)

    monkeypatch.setattr(ownership, "decide", decide_anew)


def a_raise_becomes_the_verified_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where one column is for both."""
    drop = Subscription.drop_unverified

    def keep(row: Subscription) -> None:
        row.seats = row.figures.seats
        drop(row)

    monkeypatch.setattr(Subscription, "drop_unverified", keep)


# The rules that each safeguard is there for.
WHAT_OWNERSHIP_IS_FOR = {
    plain_metadata_is_believed: ("change", "sweep", "change_the_name_of_a_known_one"),
    missing_metadata_is_a_statement: ("change", "sweep", "change_the_name_of_a_known_one"),
    a_raise_becomes_the_verified_figure: ("change", "sweep", "come_back_with_half_an_answer"),
}


@pytest.mark.parametrize("ablation", WHAT_OWNERSHIP_IS_FOR)
def test_without_one_safeguard_owners_or_figures_go_wrong(
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    ablation: Callable[[pytest.MonkeyPatch], None],
):
    ablation(monkeypatch)
    machine = only(Convergence, *WHAT_OWNERSHIP_IS_FOR[ablation])
    assert_it_finds_a_failure(lambda: machine(runtime), or_is_flaky=True)
