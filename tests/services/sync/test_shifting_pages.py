"""Pages shift while they are read: whatever happens between two of them, no subscription is missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from domain.snapshot import SubscriptionSnapshot
from models.account import Account
from models.subscription import Subscription
from providers.base import ListPage
from runtime.wiring import Runtime
from tests.clock import empty
from tests.factories import a_snapshot
from tests.fakes import FakeProvider, list_item
from tests.services.sync.passes import complete_pass, run_requested_syncs

pytestmark = pytest.mark.long(seconds=35)

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = 2

Order = Callable[["ShiftingProvider", SubscriptionSnapshot], object]

# What the list is sorted by is not documented. A row never passes another where it is sorted by something
# that stays as it is; where the last one touched comes first they do all the time.
STABLE: dict[str, Order] = {
    "newest first": lambda _, one: -_age(one),
    "oldest first": lambda _, one: _age(one),
    "by id": lambda _, one: one.subscription_id,
}
TOUCHED: Order = lambda provider, one: -provider.touched[one.subscription_id]  # noqa: E731


def _age(one: SubscriptionSnapshot) -> float:
    assert one.created_at is not None
    return one.created_at.timestamp()


@dataclass
class ShiftingProvider(FakeProvider):
    """Sorts its list anew for each page; before each page something happens."""

    order: Order = TOUCHED
    happenings: list[Sequence[tuple[str, int, int]]] = field(default_factory=list)
    touched: dict[str, int] = field(default_factory=dict)

    def pages(self, *, created_before: datetime, first_page: int = 0) -> Iterator[ListPage]:
        number = first_page
        is_last = False
        while not is_last:
            self._let_happen(self.happenings.pop(0) if self.happenings else [])
            listed = [one for one in self.subscriptions.values() if one.created_at <= created_before]
            listed.sort(key=lambda one: self.order(self, one))
            page = [replace(one, addons=None) for one in listed[number * PAGE : (number + 1) * PAGE]]
            is_last = len(page) < PAGE
            if page:
                yield ListPage([list_item(one) for one in page], is_last)
            number += 1

    def sell(self, name: str, created_at: datetime, **changes) -> None:
        facts = {"metadata": {"account_id": f"account-of-{name}"}, "created_at": created_at, **changes}
        self.subscriptions[name] = a_snapshot(name, **facts)
        self.touched[name] = max(self.touched.values(), default=0) + 1

    def change(self, name: str, **changes) -> None:
        self.subscriptions[name] = replace(self.subscriptions[name], **changes)
        self.touched[name] = max(self.touched.values()) + 1

    def _let_happen(self, events: Sequence[tuple[str, int, int]]) -> None:
        for what, which, amount in events:
            names = sorted(self.subscriptions)
            name = names[which % len(names)]
            if what == "insert":
                # Born before the pass began, and listed only now.
                self.sell(f"sub_{which:03}_late_{len(names):03}", JANUARY + timedelta(days=60, hours=which))
            elif what == "buy":
                self.change(name, quantity=amount, recurring_pre_tax_amount=amount)
            else:
                self.change(name, status="cancelled")


# What may happen to whom: a new customer, more or fewer seats, the end.
EVENT = st.tuples(st.sampled_from(["insert", "buy", "cancel"]), st.integers(0, 9), st.integers(2, 9))
ORDERS = (*STABLE, "last touched first")


SCENES = st.fixed_dictionaries(
    {
        "order": st.sampled_from(ORDERS),
        "known": st.integers(1, 5),
        "unheard_of": st.sets(st.integers(0, 9), max_size=2),
        "changed": st.sets(st.integers(0, 4), max_size=3),
        "happenings": st.lists(st.lists(EVENT, max_size=3), max_size=4),
    }
)
# Rows are only touched, so that they move to the front past those that are still to be read.
PASSING = st.fixed_dictionaries(
    {
        "order": st.just("last touched first"),
        "known": st.integers(3, 5),
        "unheard_of": st.just(set()),
        "changed": st.sets(st.integers(0, 4), min_size=1, max_size=3),
        "happenings": st.lists(st.lists(EVENT, min_size=1, max_size=3), min_size=1, max_size=3),
    }
)


def play(runtime: Runtime, scene: dict) -> set[str]:
    """A pass while things happen; who must be right after it: whoever was there at its beginning, and did
    not move since.
    """
    provider: ShiftingProvider = runtime.provider
    provider.order = STABLE.get(scene["order"], TOUCHED)
    for number in range(scene["known"]):
        provider.sell(f"sub_{number:03}", JANUARY + timedelta(hours=number))
    complete_pass(runtime)
    run_requested_syncs(runtime)
    for number in scene["unheard_of"]:
        provider.sell(f"sub_{number:03}_silent", JANUARY + timedelta(days=30, hours=number))
    for number in scene["changed"]:
        provider.change(f"sub_{number % scene['known']:03}", quantity=7)
    begun_with = dict(provider.subscriptions)
    provider.happenings = list(scene["happenings"])
    complete_pass(runtime)
    provider.happenings = []
    run_requested_syncs(runtime)
    unmoved = {name for name, was in begun_with.items() if provider.subscriptions[name] == was}
    is_stable = scene["order"] in STABLE
    return {name for name in unmoved if is_stable or not name.endswith("silent")}


def assert_right(runtime: Runtime, names: set[str]) -> None:
    with runtime.sessions() as session:
        for name in names:
            theirs, ours = runtime.provider.subscriptions[name], session.get(Subscription, name)
            assert ours is not None, f"{name} was missed"
            assert ours.newest is not None, f"{name} was not looked at"
            assert (ours.newest.status, ours.newest.quantity) == (theirs.status, theirs.quantity), name
            account = session.get_one(Account, f"account-of-{name}")
            assert (account.status == "ended") == (theirs.status == "cancelled"), name


def the_end_was_last_seen_long_ago(runtime: Runtime) -> None:
    """Where rows pass each other, what lies behind the end may be seen a day later only."""
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE reconcile_passes SET end_seen_at = end_seen_at - interval '2 days'"))


def find_a_miss(runtime: Runtime, examples: int, played: st.SearchStrategy[dict] = SCENES, **more) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
        **more,
    )
    @given(scene=played)
    def nobody_is_missed(scene: dict) -> None:
        empty(runtime.engine)
        shifting = replace(runtime, provider=ShiftingProvider())
        assert_right(shifting, play(shifting, scene))
        if scene["order"] not in STABLE:
            the_end_was_last_seen_long_ago(shifting)
        complete_pass(shifting)
        run_requested_syncs(shifting)
        assert_right(shifting, set(shifting.provider.subscriptions))

    nobody_is_missed()


def test_shifting_pages_hide_nobody_and_a_quiet_pass_leaves_everything_right(runtime: Runtime):
    find_a_miss(runtime, examples=60)


# The search above is able to find something.


def assert_somebody_is_missed(runtime: Runtime, played: st.SearchStrategy[dict]) -> None:
    with pytest.raises((AssertionError, BaseExceptionGroup), match=r"was missed|was not looked at|sub_"):
        find_a_miss(
            runtime,
            examples=1000,
            played=played,
            phases=[Phase.generate],
            derandomize=True,
            print_blob=False,
        )


def test_without_syncing_the_vanished_a_subscription_is_missed_when_rows_pass_each_other(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("models.reconcile_sighting.mark_unlisted", lambda *_, **__: [])
    assert_somebody_is_missed(runtime, PASSING)


def test_with_half_a_fingerprint_a_change_is_missed(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    for module in ("domain.drift", "services.sync.list_comparison"):
        monkeypatch.setattr(f"{module}.LISTED", ("status",))
    assert_somebody_is_missed(runtime, SCENES)
