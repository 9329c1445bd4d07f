"""Members, limits and time, in any order: the service and a model in plain Python never disagree.

A machine plays the app, the provider and the clock at random. After every step: under strict nothing was
granted beyond what was bought; the counters are the rows; nobody sits twice; deadlines are where they were
stamped; and nobody has left `active` by our hand without a notice, a deadline that passed, and a look at the
provider after it. At the end the audit, row by row, leads to the present.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from domain.balance import Balance
from domain.emails import address_key
from domain.overage import NO_OVERAGE, OverageClock
from domain.policies import strict
from domain.snapshot import AddonQuantity
from models.assignment import LIVE, Assignment, AssignmentState
from models.subscription import Subscription
from runtime.wiring import Runtime
from services.ledger import deadlines, locked_account
from tests.acme import AN_OUTAGE, POLICIES, Acme
from tests.clock import Clock, empty
from tests.factories import NOON
from tests.machines import assert_it_finds_a_failure, only, play
from tests.services.ledger.members_model import TYPES, Model, Sold, outcome

pytestmark = pytest.mark.long(seconds=25)

MEMBERS = st.sampled_from(["ada", "ben", "cyd", "dan", "eve", "fay"])
ROLES = st.sampled_from(["member", "member", "member", "viewer", "client"])
EMAILS = st.sampled_from(
    [None, None, None, None, "ada@example.com", " ADA@example.com", "ben@example.com", "Ben@Example.com"]
)
WISHES = st.fixed_dictionaries(
    {
        "member_id": MEMBERS,
        "role": ROLES,
        "email": EMAILS,
        "hold": st.booleans(),
        "protected": st.sampled_from([False, False, False, True]),
    }
)
CROWD = st.lists(WISHES, min_size=4, max_size=6, unique_by=lambda wish: wish["member_id"])
POLICY = st.sampled_from(["grace", "strict", *POLICIES, "grace"])
STATUSES = st.sampled_from(["active", "active", "active", "active", "on_hold", "paused", "cancelled"])
SOLD = st.builds(Sold, status=STATUSES, full=st.integers(0, 4), viewer=st.integers(0, 2))
TIMES = st.sampled_from(
    [timedelta(days=14), timedelta(days=7), timedelta(days=1), timedelta(minutes=1), timedelta(days=14)]
)


class Members(RuleBasedStateMachine):
    """One account, on the database whose clock moves."""

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        super().__init__()
        empty(clock.engine)
        clock.set(NOON)
        runtime.provider.subscriptions.clear()
        runtime.provider.events.clear()
        runtime.provider.retrieved.clear()
        runtime.provider.failing = None
        self.acme = Acme(runtime, clock)
        self.model = Model(now=NOON, sold=Sold("active", 1, 0), seen_at=NOON, since=NOON)
        self.shown = self.model.sold
        self.acme.changes(product_id="pdt_of_strict", **_words(self.shown))
        self.was_heard = False

    # The app.

    @initialize(
        policy=POLICY,
        suspending=st.sampled_from([True, True, False]),
        wishes=CROWD,
        late=st.sampled_from([True, False]),
    )
    def begin(self, policy: str, suspending: bool, wishes: list[Mapping[str, object]], late: bool) -> None:
        """Few seats and many who want one: what is to be seen here happens at the limit, half the time
        when the first deadline has come."""
        self.decide(policy, suspending)
        self.claim_many(wishes, all_or_none=False)
        if late and self.model.deadlines:
            self.a_deadline_comes()

    @rule(wish=WISHES)
    def claim(self, wish: Mapping[str, object]) -> None:
        had_room = self._room()
        assert self.acme.claims(**wish) == self.model.claim(wish)
        self._stays_within(had_room)

    @rule(wishes=st.lists(WISHES, min_size=2, max_size=4), all_or_none=st.booleans())
    def claim_many(self, wishes: list[Mapping[str, object]], all_or_none: bool) -> None:
        had_room = self._room()
        if all_or_none:
            assert self.acme.claims_all(wishes) == self.model.claim_all(wishes)
        else:
            assert self.acme.claims_each(wishes) == [self.model.claim(wish) for wish in wishes]
        self._stays_within(had_room)

    @rule(member_id=MEMBERS)
    def release(self, member_id: str) -> None:
        self.acme.releases(member_id)
        if (person := self.model.find(member_id)) is not None:
            self.model.remove(person)

    @precondition(lambda self: self.model.people)
    @rule(data=st.data(), state=st.sampled_from(["held", "active", "active", "suspended"]))
    def change_state(self, data: st.DataObject, state: str) -> None:
        """Confirm, send again, suspend, reactivate, or what cannot be."""
        had_room = self._room()
        member_id = self._somebody(data)
        answer = self.acme.member(member_id, state=AssignmentState(state))
        assert answer == self.model.change(member_id, state=state)
        self._stays_within(had_room)

    @precondition(lambda self: self.model.people)
    @rule(data=st.data(), role=ROLES)
    def change_role(self, data: st.DataObject, role: str) -> None:
        had_room = self._room()
        member_id = self._somebody(data)
        assert self.acme.member(member_id, role=role) == self.model.change(member_id, role=role)
        self._stays_within(had_room)

    @precondition(lambda self: self.model.people)
    @rule(data=st.data(), new_id=MEMBERS)
    def rename(self, data: st.DataObject, new_id: str) -> None:
        member_id = self._somebody(data)
        assert self.acme.renames(member_id, new_id) == self.model.rename(member_id, new_id)

    @precondition(lambda self: self.model.people)
    @rule(data=st.data(), wish=WISHES, same_role=st.sampled_from([True, True, False]))
    def reassign(self, data: st.DataObject, wish: Mapping[str, object], same_role: bool) -> None:
        had_room = self._room()
        member_id = self._somebody(data)
        if same_role:
            wish = {**wish, "role": self.model.find(member_id).role}
        assert self.acme.reassigns(member_id, **wish) == self.model.reassign(member_id, wish)
        self._stays_within(had_room)

    @precondition(lambda self: self.model.people)
    @rule(data=st.data(), email=EMAILS.filter(bool))
    def change_address(self, data: st.DataObject, email: str) -> None:
        member_id = self._somebody(data)
        assert self.acme.member(member_id, email=email) == self.model.readdress(member_id, email)

    @precondition(lambda self: self.model.people)
    @rule(data=st.data(), protected=st.booleans())
    def protect(self, data: st.DataObject, protected: bool) -> None:
        member_id = self._somebody(data)
        answer = self.acme.member(member_id, protected=protected)
        assert answer == self.model.change(member_id, protected=protected)

    @precondition(lambda self: self.model.people)
    @rule(data=st.data())
    def report_active(self, data: st.DataObject) -> None:
        member_id = self._somebody(data)
        self.acme.member(member_id, last_active_at=self.acme.clock.now)
        person = self.model.find(member_id)
        assert person is not None
        person.last_active_at = self.acme.clock.now

    @rule(policy=POLICY, suspending=st.sampled_from([True, True, False]))
    def decide(self, policy: str, suspending: bool) -> None:
        """The app's own rules for the account."""
        before = self._before()
        self.acme.sets_policy(policy=policy, suspend_after_grace=suspending)
        self.model.decide(policy, suspending=suspending)
        self._nobody_left_active_without_cause(before)

    # The provider.

    @rule(sold=SOLD)
    def buy_silently(self, sold: Sold) -> None:
        """What the provider shows is another thing from now on, and nobody tells us."""
        self.shown = sold
        self.acme.changes_silently(**_words(sold))

    @precondition(lambda self: self.acme.provider.failing is None)
    @rule(sold=SOLD)
    def buy(self, sold: Sold) -> None:
        self.buy_silently(sold)
        self.look()

    @precondition(lambda self: self.acme.provider.failing is None)
    @rule()
    def look(self) -> None:
        before = self._before()
        self.acme.is_synced()
        self.model.look(self.shown)
        self._nobody_left_active_without_cause(before)
        assert self.acme.status in self._statuses()

    @rule(sold=SOLD)
    def a_body_says(self, sold: Sold) -> None:
        """A webhook that is not true (any more), and the provider is away."""
        was_away = self.acme.provider.failing
        self.acme.gets_webhook_during_outage(**_words(sold))
        self.acme.provider.failing = was_away
        self.model.now = self.acme.clock.now
        self.model.hear(sold)
        self.was_heard = True

    @rule()
    def provider_goes_or_comes_back(self) -> None:
        self.acme.provider.failing = None if self.acme.provider.failing else AN_OUTAGE

    # Time.

    @rule(time=TIMES)
    def time_passes(self, time: timedelta) -> None:
        self.acme.clock.advance(time)
        self.model.now = self.acme.clock.now

    @rule()
    def sweep_subscriptions(self) -> None:
        """Whatever is due for a look gets it, if the provider is there."""
        before, asked = self._before(), len(self.acme.provider.retrieved)
        self.acme.is_swept_for_syncs()
        if len(self.acme.provider.retrieved) > asked and self.acme.provider.failing is None:
            self.model.look(self.shown)
        self._nobody_left_active_without_cause(before)

    @rule()
    def sweep_accounts(self) -> None:
        """Invitations lapse. Who has to leave does so now, unless nothing woke the account."""
        before = self._before()
        self.acme.is_swept_for_dates()
        lapsed = self.model.lapse()
        enforced = outcome(self.model, Model.enforce)
        if lapsed or self.acme.states() == _states(enforced):
            self.model = enforced
        self._nobody_left_active_without_cause(before)

    @precondition(lambda self: self.acme.provider.failing is None)
    @rule(time=TIMES)
    def all_that_time_asks_for(self, time: timedelta) -> None:
        self.time_passes(time)
        self.sweep_accounts()
        self.sweep_subscriptions()

    @precondition(lambda self: self.model.deadlines and self.acme.provider.failing is None)
    @rule()
    def a_deadline_comes(self) -> None:
        """Not a moment more passes than the next deadline asks for."""
        moments = [*self.model.deadlines.values(), *self.model.suspends_at.values()]
        coming = [moment for moment in moments if moment > self.model.now]
        self.all_that_time_asks_for(min(coming, default=self.model.now) - self.model.now)

    # What always holds.

    @invariant()
    def the_model_is_right(self) -> None:
        assert self.acme.states() == _states(self.model)
        seats = self.acme.account.seats
        for seat_type in TYPES:
            kept = seats[seat_type]
            assert kept["included"] + kept["addon"] == self.model.purchased(seat_type)
            for state in ("active", "held"):
                assert kept[state] == self.model.counts()[seat_type, state]

    @invariant()
    def deadlines_are_where_they_were_stamped(self) -> None:
        assert self._moments("deadline") == self.model.deadlines
        assert self._moments("suspends_at") == self.model.suspends_at

    @invariant()
    def the_counters_are_the_rows(self) -> None:
        self.acme.check_counters()

    def teardown(self) -> None:
        """Each row of the audit begins where the last one ended: so the end tells of all steps."""
        self.acme.check()

    @invariant()
    def nobody_sits_twice(self) -> None:
        with self.acme.runtime.sessions() as session:
            live = session.execute(select(Assignment.member_id, Assignment.email).where(LIVE)).all()
        members = [member_id for member_id, _ in live]
        addresses = [address_key(email) for _, email in live if email is not None]
        assert len(set(members)) == len(members)
        assert len(set(addresses)) == len(addresses)

    # How it is seen.

    def _room(self) -> Mapping[str, tuple[int, int]]:
        """What was bought and what is used, by the service's own figures."""
        return {
            seat_type: (one["included"] + one["addon"], one["active"] + one["held"])
            for seat_type, one in self.acme.account.seats.items()
        }

    def _stays_within(self, before: Mapping[str, tuple[int, int]]) -> None:
        """Under strict nobody gets a seat that was not bought."""
        if self.model.policy == "strict":
            for seat_type, (purchased, used) in self._room().items():
                assert used <= max(purchased, before[seat_type][1])

    def _before(self) -> Mapping[str, str]:
        """Who is active, and on what; with the deadlines by which they may have to leave."""
        self.suspends_at_before = self._moments("suspends_at")
        with self.acme.runtime.sessions() as session:
            active = select(Assignment).where(Assignment.state == AssignmentState.ACTIVE)
            return {one.member_id: one.seat_type for one in session.scalars(active)}

    def _nobody_left_active_without_cause(self, before: Mapping[str, str]) -> None:
        for seat_type in {before[left] for left in before.keys() - self.acme.active}:
            deadline = self.suspends_at_before[seat_type]
            assert deadline <= self.acme.clock.now
            self._was_confirmed(deadline)
            self._was_told(seat_type, deadline)

    def _was_confirmed(self, deadline: datetime) -> None:
        with self.acme.runtime.sessions() as session:
            seen = session.get_one(Subscription, "sub_1")
        assert seen.unverified is None
        assert seen.counted_at >= deadline

    def _was_told(self, seat_type: str, deadline: datetime) -> None:
        """Of that deadline; where a body was heard in between, of one no later."""
        told = [
            datetime.fromisoformat(one.data["suspends_at"])
            for one in self.acme.notices_of("seat.grace_started")
            if one.data.get("seat_type") == seat_type and one.data["suspends_at"]
        ]
        assert told, f"nobody was told of the deadline for {seat_type} seats"
        assert min(told) <= deadline if self.was_heard else deadline in told

    def _moments(self, name: str) -> Mapping[str, datetime]:
        """The deadlines of each type's overage, or when members are suspended."""
        kept = self.acme.account.seats
        clocks = {seat_type: Balance.from_json(kept[seat_type]).clock for seat_type in TYPES}
        moments = {seat_type: getattr(clock, name) for seat_type, clock in clocks.items()}
        return {seat_type: moment for seat_type, moment in moments.items() if moment is not None}

    def _statuses(self) -> set[str]:
        if self.model.standing in ("suspended", "ended"):
            return {self.model.standing}
        return {"ok", "over_limit", "grace", "blocked"}

    def _somebody(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(one.member_id for one in self.model.people)))


def _states(model: Model) -> Mapping[str, str]:
    return {one.member_id: one.state for one in model.people}


def _words(sold: Sold) -> Mapping[str, object]:
    addons = (AddonQuantity("adn_viewer", sold.viewer),)
    return {"status": sold.status, "quantity": sold.full, "addons": addons}


def test_no_order_of_events_breaks_a_promise(clocked_runtime: Runtime, clock: Clock):
    play(lambda: Members(clocked_runtime, clock), examples=30, steps=40)


# Without any one of its safeguards the service breaks a promise, and the machine finds out.


def without_the_confirming_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "_is_confirmed", lambda *_: True)


def with_a_deadline_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change of an account that is over its limit gives it its whole time anew."""
    running = OverageClock.running
    monkeypatch.setattr(OverageClock, "running", lambda _, *told: running(NO_OVERAGE, *told))


def without_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked_account, "crossings", lambda *_: ())


def with_one_seat_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict, "at_least", lambda purchased, used: used <= purchased + 1)


AT_THE_LIMIT = ("claim", "release", "buy", "a_deadline_comes")


# The rules that each safeguard is there for.
WHAT_EACH_IS_FOR = {
    without_the_confirming_look: ("decide", "sweep_accounts", "time_passes", "all_that_time_asks_for"),
    without_a_notice: AT_THE_LIMIT,
    with_a_deadline_that_moves: AT_THE_LIMIT,
    with_one_seat_too_many: AT_THE_LIMIT,
}


@pytest.mark.parametrize("ablation", WHAT_EACH_IS_FOR)
def test_without_one_safeguard_a_promise_is_broken(
    clocked_runtime: Runtime,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    ablation: Callable[[pytest.MonkeyPatch], None],
):
    ablation(monkeypatch)
    machine = only(Members, *WHAT_EACH_IS_FOR[ablation])
    assert_it_finds_a_failure(lambda: machine(clocked_runtime, clock))
