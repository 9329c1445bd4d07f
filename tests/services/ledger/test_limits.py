"""Limits: what each policy does beyond what was bought and below it, and what each provider status does.

The tables are the ones we promise, a row to a cell: `strict: claim beyond the limit is refused`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import text

from domain.provider_errors import SubscriptionNotAtProvider
from domain.snapshot import SubscriptionSnapshot
from models.assignment import AssignmentState
from runtime.wiring import Runtime
from tests.acme import AN_OUTAGE, DAY, POLICIES, Acme
from tests.clock import Clock
from tests.factories import NOON

pytestmark = pytest.mark.long(seconds=18)

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
GRACE = 14 * DAY
DEADLINE = NOON + GRACE


@pytest.fixture
def acme(clocked_runtime: Runtime, clock: Clock) -> Acme:
    return Acme(clocked_runtime, clock)


def each(table: Mapping[str, Any], name: str):
    """A test for each row of the table, under the row's name."""
    return pytest.mark.parametrize(name, table.values(), ids=table.keys())


# Policy x {claim beyond the limit, limit drops below use}.


@dataclass(frozen=True)
class Cell:
    """What is found so much `later`: how the account stands, what was told, what one more claim is told."""

    policy: str
    later: timedelta
    claim: str
    status: str
    deadline: datetime | None
    told: tuple[str, ...]


COUNT, OVERAGE = "seat.count_changed", "seat.overage_started"
STARTED, ENDING, BLOCKED = "seat.grace_started", "seat.grace_ending", "seat.blocked"

BEYOND = {
    "strict: refused": Cell("strict", HOUR, "no_seat_available", "ok", None, ()),
    "soft: granted, overage recorded, notice": Cell("soft", HOUR, "granted", "over_limit", None, (OVERAGE,)),
    "grace: granted until the deadline, notice with deadline": Cell(
        "grace", GRACE - HOUR, "granted", "grace", DEADLINE, (OVERAGE, STARTED, ENDING)
    ),
    "grace: then refused": Cell(
        "grace", GRACE, "claims_blocked", "blocked", DEADLINE, (OVERAGE, STARTED, BLOCKED)
    ),
    "auto_expand: a purchase is needed": Cell("auto_expand", HOUR, "purchase_needed", "ok", None, ()),
}


def claim_beyond(acme: Acme, cell: Cell) -> None:
    """Two seats, both taken, and a third person who asks."""
    acme.buys(cell.policy, 2)
    acme.seats("first", "second")
    acme.marks_notices_as_seen()
    acme.claims("third")
    acme.after(cell.later)


@each(BEYOND, "cell")
def test_a_claim_beyond_the_limit_leaves_the_account(acme: Acme, cell: Cell):
    claim_beyond(acme, cell)
    assert (acme.status, acme.deadline()) == (cell.status, cell.deadline)


@each(BEYOND, "cell")
def test_a_claim_over_the_limit_is_notified(acme: Acme, cell: Cell):
    claim_beyond(acme, cell)
    assert acme.new_notices() == cell.told


@each(BEYOND, "cell")
def test_a_further_claim_beyond_the_limit_is_answered(acme: Acme, cell: Cell):
    claim_beyond(acme, cell)
    assert acme.claims("fourth") == cell.claim


DROP = {
    "strict: over limit, new claims refused": Cell(
        "strict", HOUR, "no_seat_available", "over_limit", None, (COUNT, OVERAGE)
    ),
    "soft: overage recorded, notice": Cell("soft", HOUR, "granted", "over_limit", None, (COUNT, OVERAGE)),
    "grace: deadline starts, notice": Cell(
        "grace", GRACE - HOUR, "granted", "grace", DEADLINE, (COUNT, OVERAGE, STARTED, ENDING)
    ),
    "grace: after it new claims refused": Cell(
        "grace", GRACE, "claims_blocked", "blocked", DEADLINE, (COUNT, OVERAGE, STARTED, BLOCKED)
    ),
    "auto_expand: as strict": Cell(
        "auto_expand", HOUR, "purchase_needed", "over_limit", None, (COUNT, OVERAGE)
    ),
}


def limit_drops(acme: Acme, cell: Cell) -> None:
    """Four people on four seats, of which two are given back."""
    acme.buys(cell.policy, 4)
    acme.seats("first", "second", "third", "fourth")
    acme.marks_notices_as_seen()
    acme.buys(cell.policy, 2)
    acme.after(cell.later)


@each(DROP, "cell")
def test_a_limit_below_use_leaves_the_account(acme: Acme, cell: Cell):
    limit_drops(acme, cell)
    assert (acme.status, acme.deadline()) == (cell.status, cell.deadline)


@each(DROP, "cell")
def test_a_limit_below_use_is_notified(acme: Acme, cell: Cell):
    limit_drops(acme, cell)
    assert acme.new_notices() == cell.told


@each(DROP, "cell")
def test_below_use_a_claim_is_answered(acme: Acme, cell: Cell):
    limit_drops(acme, cell)
    assert acme.claims("fifth") == cell.claim


@each(DROP, "cell")
def test_a_limit_below_use_releases_nobody(acme: Acme, cell: Cell):
    limit_drops(acme, cell)
    assert acme.active == {"first", "second", "third", "fourth"}


# Provider status x policy.

BEYOND_BY_POLICY = {
    "strict": "no_seat_available",
    "soft": "granted",
    "grace": "granted",
    "auto_expand": "purchase_needed",
}
BLOCKED_BY_ALL = dict.fromkeys(POLICIES, "claims_blocked")
# Where no subscription lives, the catalogue's defaults decide, and its policy is strict.
BY_DEFAULT = dict.fromkeys(POLICIES, "no_seat_available")


@dataclass(frozen=True)
class Shown:
    """What the provider shows, and how the account of two people on three seats stands `later`."""

    words: Mapping[str, Any]
    later: timedelta
    status: str
    seats: int
    third: str
    fourth: Mapping[str, str]


def shown(status: str, **more: Any) -> Mapping[str, Any]:
    return {"status": status, **more}


PROVIDER_DEADLINE = NOON + 10 * DAY
STATUSES = {
    "active": Shown(shown("active"), HOUR, "ok", 3, "granted", BEYOND_BY_POLICY),
    "past_due, before the provider's deadline": Shown(
        shown("past_due", past_due_ends_at=PROVIDER_DEADLINE),
        10 * DAY - HOUR,
        *("grace", 3, "granted", BEYOND_BY_POLICY),
    ),
    "past_due, after the provider's deadline": Shown(
        shown("past_due", past_due_ends_at=PROVIDER_DEADLINE),
        10 * DAY,
        *("suspended", 3, "claims_blocked", BLOCKED_BY_ALL),
    ),
    "past_due without a deadline, before payment_grace_days": Shown(
        shown("past_due"), 7 * DAY - HOUR, "grace", 3, "granted", BEYOND_BY_POLICY
    ),
    "past_due without a deadline, after payment_grace_days": Shown(
        shown("past_due"), 7 * DAY, "suspended", 3, "claims_blocked", BLOCKED_BY_ALL
    ),
    "on_hold, before payment_grace_days": Shown(
        shown("on_hold"), 7 * DAY - HOUR, "grace", 3, "granted", BEYOND_BY_POLICY
    ),
    "on_hold, after payment_grace_days": Shown(
        shown("on_hold"), 7 * DAY, "suspended", 3, "claims_blocked", BLOCKED_BY_ALL
    ),
    "paused": Shown(shown("paused"), HOUR, "suspended", 3, "claims_blocked", BLOCKED_BY_ALL),
    "pending": Shown(shown("pending"), HOUR, "over_limit", 0, "no_seat_available", BY_DEFAULT),
    "cancelled at once": Shown(shown("cancelled"), HOUR, "ended", 0, "claims_blocked", BLOCKED_BY_ALL),
    "cancelled at the period's end": Shown(
        shown("active", cancel_at_next_billing_date=True), HOUR, "ok", 3, "granted", BEYOND_BY_POLICY
    ),
    "expired": Shown(shown("expired"), HOUR, "ended", 0, "claims_blocked", BLOCKED_BY_ALL),
    "failed": Shown(shown("failed"), HOUR, "ended", 0, "claims_blocked", BLOCKED_BY_ALL),
}
in_every_cell = each(STATUSES, "cell")
under_every_policy = pytest.mark.parametrize("policy", POLICIES)


def provider_shows(acme: Acme, policy: str, cell: Shown) -> None:
    acme.buys(policy, 3)
    acme.seats("first", "second")
    acme.changes(**cell.words)
    acme.after(cell.later)


@under_every_policy
@in_every_cell
def test_the_account_stands(acme: Acme, cell: Shown, policy: str):
    provider_shows(acme, policy, cell)
    assert (acme.status, acme.purchased) == (cell.status, cell.seats)


@under_every_policy
@in_every_cell
def test_a_claim_is_answered(acme: Acme, cell: Shown, policy: str):
    provider_shows(acme, policy, cell)
    assert (acme.claims("third"), acme.claims("fourth")) == (cell.third, cell.fourth[policy])


@under_every_policy
@in_every_cell
def test_no_state_of_the_provider_releases_members(acme: Acme, cell: Shown, policy: str):
    provider_shows(acme, policy, cell)
    assert acme.active == {"first", "second"}


@under_every_policy
@in_every_cell
def test_active_again_all_is_as_it_was(acme: Acme, cell: Shown, policy: str):
    provider_shows(acme, policy, cell)
    acme.changes(status="active", past_due_ends_at=None, cancel_at_next_billing_date=False)
    assert (acme.status, acme.purchased, acme.claims("third")) == ("ok", 3, "granted")


def test_before_its_first_payment_an_account_is_in_order_and_has_no_seats(acme: Acme):
    acme.buys("strict", 3, status="pending")
    assert (acme.status, acme.purchased, acme.claims("first")) == ("ok", 0, "no_seat_available")


def test_an_ended_account_falls_back_to_its_free_seats(clocked_runtime: Runtime, clock: Clock):
    acme = Acme(clocked_runtime, clock, "[free]\nincluded = { full = 1 }")
    acme.buys("strict", 3)
    acme.seats("first", "second")
    acme.changes(status="cancelled")
    assert (acme.status, acme.purchased, acme.active) == ("over_limit", 1, {"first", "second"})


# What nobody but the provider vouches for.

LOWERING = {
    "on_hold": shown("on_hold"),
    "past_due with a deadline that has passed": shown("past_due", past_due_ends_at=NOON - DAY),
    "paused": shown("paused"),
    "cancelled": shown("cancelled"),
    "expired": shown("expired"),
    "fewer seats": {"quantity": 1},
}


@each(LOWERING, "words")
def test_a_body_alone_lowers_nothing(acme: Acme, words: Mapping[str, Any]):
    acme.buys("suspending", 3)
    acme.seats("first", "second")
    acme.gets_webhook_during_outage(**words)
    assert (acme.status, acme.purchased, acme.active) == ("ok", 3, {"first", "second"})


@pytest.mark.parametrize("status", ["past_due", "on_hold"])
def test_while_the_provider_is_away_no_payment_deadline_suspends(acme: Acme, status: str):
    acme.buys("strict", 3, status=status)
    acme.provider.failing = AN_OUTAGE
    acme.after(100 * DAY)
    assert (acme.status, acme.claims("first")) == ("grace", "granted")


def test_while_the_provider_is_away_no_deadline_suspends_anybody(acme: Acme):
    over_the_limit(acme, "suspending")
    acme.provider.failing = AN_OUTAGE
    acme.after(100 * DAY)
    assert len(acme.active) == 4


def test_a_body_that_gives_access_back_is_believed(acme: Acme):
    acme.buys("strict", 3, status="paused")
    acme.gets_webhook_during_outage(status="active")
    assert (acme.status, acme.claims("first")) == ("ok", "granted")


def test_unverified_figures_are_not_notified(acme: Acme):
    acme.buys("strict", 3)
    acme.marks_notices_as_seen()
    acme.gets_webhook_during_outage(quantity=5)
    assert acme.new_notices() == ()


def test_unverified_figures_are_not_notified_with_the_next_claim(acme: Acme):
    acme.buys("strict", 3)
    acme.marks_notices_as_seen()
    acme.gets_webhook_during_outage(quantity=5)
    acme.seats("first")
    assert acme.new_notices() == ()


def test_a_body_that_is_not_confirmed_moves_no_payment_deadline(acme: Acme):
    acme.buys("strict", 3, status="on_hold")
    acme.after(3 * DAY)
    acme.gets_webhook_during_outage(quantity=5)
    acme.is_synced()
    assert acme.account.deadline == NOON + 7 * DAY


# Deadlines.


def over_the_limit(acme: Acme, policy: str) -> None:
    """Four people on two seats."""
    acme.buys(policy, 4)
    acme.seats("first", "second", "third", "fourth")
    acme.buys(policy, 2)


REPEATS = {
    "a further look": Acme.is_synced,
    "a sweep": Acme.is_swept,
    "a claim beyond": lambda acme: acme.seats("fifth"),
    "a release that leaves too many": lambda acme: acme.releases("first"),
    "still fewer seats": lambda acme: acme.buys("grace", 1),
    "more seats, but too few": lambda acme: acme.buys("grace", 3),
    "other days from now on": lambda acme: acme.sets_policy(grace_days=30),
    "a change of the catalogue": lambda acme: acme.gets_equivalent_catalogue(),
    "a late payment": lambda acme: acme.changes(status="on_hold"),
    "a suspended subscription": lambda acme: acme.changes(status="paused"),
}


@each(REPEATS, "repeat")
def test_while_over_the_limit_the_deadline_is_not_moved_by(acme: Acme, repeat):
    over_the_limit(acme, "grace")
    acme.after(3 * DAY)
    repeat(acme)
    assert acme.deadline() == DEADLINE


@pytest.mark.parametrize(
    "changed", [{"protected": True}, {"name": "Ada"}, {"state": AssignmentState.ACTIVE}, {"role": "admin"}]
)
def test_during_an_overage_no_change_of_a_member_moves_the_deadline(acme: Acme, changed):
    acme.buys("grace", 1)
    acme.seats("first", "second")
    acme.after(3 * DAY)
    acme.member("first", **changed)
    assert acme.deadline() == DEADLINE


BACK_UNDER = {
    "releases": lambda acme: acme.releases("first", "second"),
    "suspending members": lambda acme: [
        acme.member(one, state=AssignmentState.SUSPENDED) for one in ("first", "second")
    ],
    "roles that take no seat": lambda acme: [acme.member(one, role="client") for one in ("first", "second")],
    "buying": lambda acme: acme.buys("grace", 4),
    "a body that says so": lambda acme: acme.gets_webhook_during_outage(quantity=4),
    "a policy without a deadline": lambda acme: acme.sets_policy(policy="soft"),
}


@each(BACK_UNDER, "way")
def test_the_deadline_is_cleared_by(acme: Acme, way):
    over_the_limit(acme, "grace")
    acme.after(GRACE)
    way(acme)
    assert acme.deadline() is None


def test_over_the_limit_again_a_new_deadline_is_given(acme: Acme):
    over_the_limit(acme, "grace")
    acme.releases("first", "second")
    acme.after(3 * DAY)
    acme.seats("fifth")
    assert acme.deadline() == DEADLINE + 3 * DAY


def test_each_seat_type_has_a_deadline_of_its_own(acme: Acme):
    acme.buys("grace", 1)
    acme.seats("first", "second")
    acme.after(3 * DAY)
    acme.seats("third", role="viewer")
    assert (acme.deadline("full"), acme.deadline("viewer")) == (DEADLINE, DEADLINE + 3 * DAY)


def test_an_invitation_whose_time_is_over_starts_no_deadline(acme: Acme):
    """The next claim gets its seat, and nobody is over anything."""
    acme.buys("grace", 1)
    acme.seats("invited", hold=True)
    acme.clock.advance(8 * DAY)
    acme.seats("the next")
    assert acme.deadline() is None


# Notices, once.


def test_an_overage_that_grows_is_notified_once(acme: Acme):
    acme.buys("soft", 1)
    acme.seats("first", "second", "third", "fourth")
    assert acme.notice_count(OVERAGE) == 1


def test_an_overage_that_lasts_is_notified_once(acme: Acme):
    over_the_limit(acme, "grace")
    for _ in range(20):
        acme.after(DAY)
        acme.is_synced()
    assert (acme.notice_count(OVERAGE), acme.notice_count(STARTED), acme.notice_count(BLOCKED)) == (1, 1, 1)


def test_every_crossing_is_notified(acme: Acme):
    acme.buys("soft", 1)
    for _ in range(3):
        acme.seats("first", "second")
        acme.releases("first")
    assert acme.notice_count(OVERAGE) == 3


def test_the_end_of_a_grace_period_is_notified_once_three_days_before(acme: Acme):
    over_the_limit(acme, "grace")
    days = [day for day in range(1, 15) if acme.gets_notice_next_day(ENDING)]
    assert days == [11]


def test_the_end_of_a_payment_grace_period_is_notified_once_in_its_last_quarter(acme: Acme):
    acme.buys("strict", 3, status="on_hold")
    days = [day for day in range(1, 8) if acme.gets_notice_next_day(ENDING)]
    assert days == [6]


def test_the_app_is_notified_when_the_account_is_ok_again(acme: Acme):
    over_the_limit(acme, "grace")
    acme.marks_notices_as_seen()
    acme.buys("grace", 4)
    assert acme.new_notices() == (COUNT, "seat.restored")


CONTRACT = """
[contracts.acme]
account = "acme"
seats = { full = 2 }
ends = 2026-12-31
notice_days = 10
"""


def test_the_end_of_a_contract_is_notified_once_its_notice_days_before(
    clocked_runtime: Runtime, clock: Clock
):
    acme = Acme(clocked_runtime, clock, CONTRACT)
    acme.exists()
    days = [clock.now.date() for _ in range(60) if acme.gets_notice_next_day("contract.ending")]
    assert [str(day) for day in days] == ["2026-12-22"]


def test_when_a_contract_is_over_its_account_has_ended(clocked_runtime: Runtime, clock: Clock):
    acme = Acme(clocked_runtime, clock, CONTRACT)
    acme.exists()
    acme.seats("first")
    acme.after(60 * DAY)
    assert (acme.status, acme.purchased, acme.active) == ("ended", 0, {"first"})


# Suspending after grace.


def test_after_the_deadline_the_planners_choice_is_suspended(acme: Acme):
    """Never reported active leaves first, then who was active the longest ago."""
    over_the_limit(acme, "suspending")
    acme.member("first", last_active_at=NOON - DAY)
    acme.member("second", last_active_at=NOON - 3 * DAY)
    acme.member("third", last_active_at=NOON - 2 * DAY)
    acme.after(GRACE)
    assert acme.suspended == {"second", "fourth"}


def test_suspended_down_to_the_limit_the_account_is_in_order(acme: Acme):
    over_the_limit(acme, "suspending")
    acme.after(GRACE)
    assert (acme.status, acme.deadline(), len(acme.active)) == ("ok", None, 2)


def test_until_the_deadline_nobody_is_suspended(acme: Acme):
    over_the_limit(acme, "suspending")
    acme.after(GRACE - HOUR)
    assert len(acme.active) == 4


def test_nobody_is_suspended_unless_the_rules_say_so(acme: Acme):
    over_the_limit(acme, "grace")
    acme.after(100 * DAY)
    assert len(acme.active) == 4


def test_a_sync_before_the_deadline_suspends_nobody(acme: Acme):
    over_the_limit(acme, "suspending")
    acme.after(GRACE - HOUR)
    acme.is_synced()
    acme.provider.failing = AN_OUTAGE
    acme.after(HOUR)
    assert len(acme.active) == 4


def test_a_sync_that_began_before_the_deadline_and_ends_after_it_suspends_nobody(
    acme: Acme, monkeypatch: pytest.MonkeyPatch
):
    """Seats may have been bought since the provider answered."""
    over_the_limit(acme, "suspending")
    acme.clock.set(DEADLINE - SECOND)
    retrieve = acme.provider.retrieve

    def answer_and_dawdle(subscription_id: str, **more: Any) -> SubscriptionSnapshot:
        answer = retrieve(subscription_id, **more)
        acme.clock.set(DEADLINE + SECOND)
        return answer

    monkeypatch.setattr(acme.provider, "retrieve", answer_and_dawdle)
    acme.is_synced()
    acme.provider.failing = AN_OUTAGE
    acme.is_swept()
    assert len(acme.active) == 4


def test_a_purchase_in_time_prevents_suspension_even_without_an_event(acme: Acme):
    over_the_limit(acme, "suspending")
    acme.changes_silently(quantity=4)
    acme.after(GRACE)
    assert (acme.status, len(acme.active)) == ("ok", 4)


def test_what_a_body_says_confirms_nothing(acme: Acme):
    """It raises the limit too little, and the provider cannot be asked."""
    over_the_limit(acme, "suspending")
    acme.clock.advance(GRACE)
    acme.gets_webhook_during_outage(quantity=3)
    acme.provider.failing = AN_OUTAGE
    acme.is_swept()
    assert len(acme.active) == 4


def test_invitations_are_released_before_active_members_are_suspended(acme: Acme):
    acme.exists()
    acme.sets_policy(hold_days=100)
    acme.buys("suspending", 4)
    acme.seats("first", "second")
    acme.seats("third", "fourth", hold=True)
    acme.buys("suspending", 2)
    acme.after(GRACE)
    assert acme.states() == {"first": "active", "second": "active"}


def test_the_protected_are_never_suspended(acme: Acme):
    acme.buys("suspending", 3)
    acme.seats("first", "second", "third", protected=True)
    acme.buys("suspending", 1)
    acme.after(GRACE)
    assert (acme.status, len(acme.active)) == ("blocked", 3)


def test_a_protected_invitation_is_not_released(acme: Acme):
    acme.exists()
    acme.sets_policy(hold_days=100)
    acme.buys("suspending", 1)
    acme.seats("first")
    acme.seats("owner", hold=True, protected=True)
    acme.after(GRACE)
    assert acme.states() == {"first": "suspended", "owner": "held"}


def test_only_the_type_that_is_over_loses_people(acme: Acme):
    acme.buys("suspending", 1)
    acme.seats("guest", role="client")
    acme.seats("first", "second")
    acme.after(GRACE)
    assert acme.active in ({"first", "guest"}, {"second", "guest"})


def test_each_suspension_is_notified(acme: Acme):
    over_the_limit(acme, "suspending")
    acme.after(GRACE)
    told = {one.data["member_id"] for one in acme.notices_of("seat.suspended")}
    assert told == acme.suspended


def test_suspending_twice_suspends_no_further(acme: Acme):
    over_the_limit(acme, "suspending")
    acme.after(GRACE)
    acme.is_synced()
    acme.after(DAY)
    assert len(acme.active) == 2


def test_two_sweepers_at_once_suspend_each_person_once(acme: Acme):
    over_the_limit(acme, "suspending")
    acme.clock.advance(GRACE)
    sweepers = [Thread(target=acme.is_swept) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    for sweeper in sweepers:
        sweeper.join()
    acme.is_swept()
    assert (len(acme.active), acme.notice_count("seat.suspended")) == (2, 2)


def test_suspending_is_in_the_audit(acme: Acme):
    over_the_limit(acme, "suspending")
    acme.after(GRACE)
    acme.check()


def test_a_suspended_account_keeps_its_people_past_the_deadline(acme: Acme):
    """A paused subscription keeps figures and assignments; that somebody sits too many comes after."""
    over_the_limit(acme, "suspending")
    acme.changes(status="paused")
    acme.after(GRACE)
    assert (acme.status, len(acme.active)) == ("suspended", 4)


@pytest.mark.parametrize("overrun", ["payment", "limit"])
def test_a_subscription_that_the_provider_does_not_know_is_not_asked_for_without_end(
    acme: Acme, overrun: str
):
    if overrun == "payment":
        acme.buys("strict", 3, status="on_hold")
    else:
        over_the_limit(acme, "suspending")
    acme.clock.advance(GRACE)
    acme.provider.failing = SubscriptionNotAtProvider("No such subscription.")
    asked = len(acme.provider.retrieved)
    for _ in range(5):
        acme.after(timedelta(minutes=1))
    assert len(acme.provider.retrieved) - asked == 1


# The app's own word.


def test_the_apps_policy_takes_the_place_of_the_products(acme: Acme):
    acme.buys("strict", 1)
    acme.sets_policy(policy="soft")
    acme.seats("first")
    assert acme.claims("second") == "granted"


def test_taken_back_the_products_policy_decides_again(acme: Acme):
    acme.buys("strict", 1)
    acme.seats("first")
    acme.sets_policy(policy="soft")
    acme.sets_policy()
    assert acme.claims("second") == "no_seat_available"


def test_the_apps_policy_outlasts_a_sync(acme: Acme):
    acme.buys("strict", 1)
    acme.sets_policy(policy="soft")
    acme.buys("strict", 0)
    assert acme.claims("first") == "granted"


def test_a_seat_type_may_have_a_policy_of_its_own(acme: Acme):
    acme.buys("strict", 0)
    acme.sets_policy(seat_types={"viewer": "soft"})
    answers = acme.claims("first", role="viewer"), acme.claims("second")
    assert answers == ("granted", "no_seat_available")


def test_a_seat_types_policy_taken_back_is_the_accounts(acme: Acme):
    acme.buys("strict", 0)
    acme.sets_policy(seat_types={"viewer": "soft"})
    acme.sets_policy()
    assert acme.claims("first", role="viewer") == "no_seat_available"


def test_an_account_that_is_over_gets_a_deadline_with_the_policy_that_has_one(acme: Acme):
    over_the_limit(acme, "strict")
    acme.after(3 * DAY)
    acme.sets_policy(policy="grace", grace_days=5)
    assert acme.deadline() == NOON + 8 * DAY


def test_a_rule_that_begins_to_suspend_gives_everybody_a_whole_period_first(acme: Acme):
    """Until now they were told that claims would be refused, and no more. That deadline stays."""
    over_the_limit(acme, "grace")
    acme.after(GRACE)
    acme.is_synced()
    acme.sets_policy(suspend_after_grace=True)
    assert (acme.status, acme.deadline(), acme.suspends_at()) == ("blocked", DEADLINE, NOON + 2 * GRACE)
    acme.after(GRACE - HOUR)
    assert len(acme.active) == 4
    acme.after(HOUR)
    assert len(acme.active) == 2


def test_members_over_a_further_reduction_get_their_own_grace_period(acme: Acme):
    over_the_limit(acme, "suspending")
    acme.after(GRACE - HOUR)
    acme.changes(quantity=1)
    acme.after(HOUR)
    assert (len(acme.active), acme.deadline(), acme.suspends_at()) == (2, DEADLINE, NOON + 2 * GRACE)
    acme.after(GRACE)
    assert len(acme.active) == 1


def test_what_cannot_be_counted_confirms_nothing(acme: Acme):
    over_the_limit(acme, "suspending")
    acme.changes(addons=None)
    acme.after(GRACE)
    assert len(acme.active) == 4


def test_what_the_app_decided_is_in_the_audit(acme: Acme):
    over_the_limit(acme, "strict")
    acme.sets_policy(policy="grace")
    acme.sets_policy()
    acme.check()


# Seats that became free with time.


def test_a_member_who_comes_back_gets_the_seat_of_an_invitation_that_lapsed(acme: Acme):
    acme.buys("strict", 1)
    acme.seats("ada")
    acme.member("ada", state=AssignmentState.SUSPENDED)
    acme.seats("invited", hold=True)
    acme.clock.advance(8 * DAY)
    assert acme.member("ada", state=AssignmentState.ACTIVE) == "changed"


def test_a_member_who_changes_role_gets_the_seat_of_an_invitation_that_lapsed(acme: Acme):
    acme.buys("strict", 1)
    acme.seats("ada", role="client")
    acme.seats("invited", hold=True)
    acme.clock.advance(8 * DAY)
    assert acme.member("ada", role="member") == "changed"


# What cannot be counted.


@pytest.mark.parametrize("policy", ["soft", "grace"])
def test_an_unknown_product_changes_no_rules(acme: Acme, policy: str):
    """The figures stay as they were, and so does what they are judged by."""
    over_the_limit(acme, policy)
    before = acme.deadline()
    acme.changes(product_id="pdt_new")
    assert (acme.account.policy, acme.deadline()) == (policy, before)


def test_an_unknown_status_suspends_nobody(acme: Acme):
    acme.buys("strict", 5)
    acme.changes(status="on_hold")
    acme.clock.advance(DAY)
    acme.changes(status="frozen")
    acme.after(30 * DAY)
    assert acme.status == "grace"


def test_the_first_crossing_after_an_upgrade_is_notified(acme: Acme):
    """Accounts from before there were notices: nothing was told of them, which is no reason to be silent."""
    acme.buys("grace", 5)
    acme.seats("a", "b", "c")
    with acme.runtime.sessions.begin() as session:
        session.execute(text("UPDATE accounts SET notified = NULL"))
    acme.changes(quantity=2)
    assert acme.notice_count("seat.grace_started") == 1
