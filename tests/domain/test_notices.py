"""Notices: one for each line that is crossed, none while a state lasts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.notices import NoticeType, crossings
from domain.seat_limit import UNLIMITED, available, from_json, overage

DEADLINE = "2026-12-01T00:00:00+00:00"
STATUSES = ("ok", "over_limit", "grace", "blocked", "suspended", "ended")


def a_type(purchased: int | str = 0, active: int = 0, **more: Any) -> dict[str, Any]:
    return {"included": purchased, "addon": 0, "contract": 0, "active": active, "held": 0, **more}


def facts(status: str = "ok", *, deadline: str | None = None, **types: dict[str, Any]) -> dict[str, Any]:
    return {"status": status, "policy": "strict", "deadline": deadline, "seats": types}


def told(before: dict[str, Any] | None, after: dict[str, Any]) -> list[str]:
    return [notice.type.value for notice in crossings(before, after)]


def seats(*parts: Any) -> dict[str, Any]:
    """An account with one type: purchased, active."""
    return facts(full=a_type(*parts))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, facts(full=a_type(5, 7)), []),
        (seats(5, 1), seats(5, 1), []),
        (seats(5, 1), seats(5, 2), []),
        (seats(5, 1), seats(8, 1), ["seat.count_changed"]),
        (seats(5, 1), seats("unlimited", 1), ["seat.count_changed"]),
        (facts(), seats(5, 0), ["seat.count_changed"]),
        (facts(), seats(0, 0), []),
        (seats(5, 4), seats(5, 5), ["seat.limit_reached"]),
        (seats(5, 5), seats(5, 5), []),
        (seats(5, 3), seats(3, 3), ["seat.count_changed", "seat.limit_reached"]),
        (seats("unlimited", 3), seats(3, 3), ["seat.count_changed", "seat.limit_reached"]),
        (seats(5, 4), seats(5, 6), ["seat.overage_started"]),
        (seats(5, 5), seats(5, 6), ["seat.overage_started"]),
        (seats(5, 6), seats(5, 7), []),
        (seats(5, 6), seats(5, 5), []),
        (seats(0, 0), seats(0, 1), ["seat.overage_started"]),
        (facts("ok"), facts("grace", deadline=DEADLINE), ["seat.grace_started"]),
        (facts("grace", deadline=DEADLINE), facts("grace", deadline=DEADLINE), []),
        (facts("grace", deadline=DEADLINE), facts("grace", deadline="2027-01-01T00:00:00+00:00"), []),
        (facts("grace", full=a_type(5, 6)), facts("blocked", full=a_type(5, 6)), ["seat.blocked"]),
        (facts("blocked"), facts("blocked"), []),
        (facts("grace"), facts("suspended"), ["seat.suspended"]),
        (facts("suspended"), facts("suspended"), []),
        (facts("ok"), facts("ended"), []),
        (facts("over_limit"), facts("ok"), ["seat.restored"]),
        (facts("grace"), facts("ok"), ["seat.restored"]),
        (facts("blocked"), facts("ok"), ["seat.restored"]),
        (facts("suspended"), facts("ok"), ["seat.restored"]),
        (facts("suspended"), facts("grace", deadline=DEADLINE), ["seat.grace_started", "seat.restored"]),
        (facts("ended"), facts("over_limit"), ["seat.restored"]),
        (facts("suspended"), facts("ended"), []),
        (facts("suspended"), facts("blocked"), ["seat.blocked"]),
    ],
)
def test_each_crossing_is_notified_once(
    before: dict[str, Any] | None, after: dict[str, Any], expected: list[str]
):
    assert told(before, after) == expected


def test_a_changed_count_tells_both_numbers():
    (notice,) = crossings(seats(5, 2), seats("unlimited", 2))
    assert notice.data == {
        "seat_type": "full",
        "purchased_before": 5,
        "purchased": "unlimited",
        "used": 2,
        "available": "unlimited",
        "overage": 0,
    }


def test_the_deadline_of_a_type_over_its_limit_is_in_its_notice():
    timed = a_type(5, 6, deadline=DEADLINE)
    notice = crossings(seats(5, 5), facts("grace", full=timed))[-1]
    assert (notice.type, notice.data["seat_type"]) == (NoticeType.GRACE_STARTED, "full")
    assert (notice.data["deadline"], notice.data["reason"]) == (DEADLINE, "over_limit")


def test_the_deadline_of_a_late_payment_is_in_the_notice_of_the_account():
    (notice,) = crossings(facts(), facts("grace", deadline=DEADLINE))
    assert (notice.data["deadline"], notice.data["reason"]) == (DEADLINE, "payment_late")
    assert "seat_type" not in notice.data


def test_seats_from_every_source_count():
    before = facts(full={"included": 1, "addon": 2, "contract": 3, "active": 4, "held": 1})
    after = facts(full={"included": 1, "addon": 2, "contract": 3, "active": 4, "held": 2})
    assert told(before, after) == ["seat.limit_reached"]


def test_a_type_that_is_no_longer_named_has_lost_its_seats():
    assert told(seats(5, 0), facts()) == ["seat.count_changed", "seat.limit_reached"]


counts = st.integers(0, 6) | st.just("unlimited")
deadlines = st.none() | st.just(DEADLINE)
types = st.builds(
    lambda purchased, active, deadline: a_type(
        purchased, active, **({"deadline": deadline} if deadline else {})
    ),
    counts,
    st.integers(0, 6),
    deadlines,
)
balances = st.builds(
    lambda status, deadline, seats: {**facts(status, deadline=deadline), "seats": seats},
    st.sampled_from(STATUSES),
    deadlines,
    st.dictionaries(st.sampled_from(["full", "viewer"]), types, max_size=2),
)


@given(balances)
def test_there_is_no_notice_while_nothing_changes(balance: dict[str, Any]):
    assert crossings(balance, balance) == ()


@given(balances, balances)
def test_one_change_gives_no_notice_twice(before: dict[str, Any], after: dict[str, Any]):
    said = [(notice.type, notice.data.get("seat_type")) for notice in crossings(before, after)]
    assert len(said) == len(set(said))


@given(st.lists(balances, min_size=2, max_size=8))
def test_between_two_starts_of_overage_there_was_none(steps: list[dict[str, Any]]):
    """The notices alone tell when overage began, however a balance wanders."""
    for before, after in pairwise(steps):
        began = [
            one.data["seat_type"] for one in crossings(before, after) if one.type.endswith("overage_started")
        ]
        assert began == [
            name
            for name, kept in sorted(after["seats"].items())
            if _overage(kept) > 0 and _overage(before["seats"].get(name, a_type())) == 0
        ]


@given(balances, balances)
def test_the_figures_in_a_notice_are_those_of_the_balance_after(
    before: dict[str, Any], after: dict[str, Any]
):
    for notice in crossings(before, after):
        if "seat_type" in notice.data:
            kept = after["seats"].get(notice.data["seat_type"], a_type())
            limit = from_json(kept["included"])
            shown = "unlimited" if limit is UNLIMITED else available(limit, kept["active"])
            assert (notice.data["available"], notice.data["overage"]) == (shown, _overage(kept))


def _overage(kept: dict[str, Any]) -> int:
    return overage(from_json(kept["included"]), kept["active"])
