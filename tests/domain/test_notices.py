"""Notices: one for each limit event, none while a state lasts."""

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


def notice_types(before: dict[str, Any] | None, after: dict[str, Any]) -> list[str]:
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
def test_each_limit_event_gives_one_notice(
    before: dict[str, Any] | None, after: dict[str, Any], expected: list[str]
):
    assert notice_types(before, after) == expected


def test_a_count_changed_notice_has_both_numbers():
    (notice,) = crossings(seats(5, 2), seats("unlimited", 2))
    assert notice.data == {
        "seat_type": "full",
        "purchased_before": 5,
        "purchased": "unlimited",
        "used": 2,
        "available": "unlimited",
        "overage": 0,
    }


def test_the_deadline_of_an_overage_is_reported_with_its_seat_type():
    timed = a_type(5, 6, deadline=DEADLINE)
    notice = crossings(seats(5, 5), facts("grace", full=timed))[-1]
    assert (notice.type, notice.data["seat_type"]) == (NoticeType.GRACE_STARTED, "full")
    assert (notice.data["deadline"], notice.data["reason"]) == (DEADLINE, "over_limit")


def test_the_deadline_of_a_late_payment_is_reported_without_a_seat_type():
    (notice,) = crossings(facts(), facts("grace", deadline=DEADLINE))
    assert (notice.data["deadline"], notice.data["reason"]) == (DEADLINE, "payment_late")
    assert "seat_type" not in notice.data


def test_seats_from_every_source_count():
    before = facts(full={"included": 1, "addon": 2, "contract": 3, "active": 4, "held": 1})
    after = facts(full={"included": 1, "addon": 2, "contract": 3, "active": 4, "held": 2})
    assert notice_types(before, after) == ["seat.limit_reached"]


def test_a_type_missing_from_the_new_balance_has_lost_its_seats():
    assert notice_types(seats(5, 0), facts()) == ["seat.count_changed", "seat.limit_reached"]


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
def test_an_unchanged_balance_gives_no_notice(balance: dict[str, Any]):
    assert crossings(balance, balance) == ()


@given(balances, balances)
def test_one_change_never_gives_the_same_notice_twice(before: dict[str, Any], after: dict[str, Any]):
    found = [(notice.type, notice.data.get("seat_type")) for notice in crossings(before, after)]
    assert len(found) == len(set(found))


@given(st.lists(balances, min_size=2, max_size=8))
def test_overage_started_is_sent_exactly_when_an_overage_starts(steps: list[dict[str, Any]]):
    """So the notices alone show every start of an overage."""
    for before, after in pairwise(steps):
        began = [
            one.data["seat_type"] for one in crossings(before, after) if one.type.endswith("overage_started")
        ]
        assert began == [
            name
            for name, figures in sorted(after["seats"].items())
            if _overage(figures) > 0 and _overage(before["seats"].get(name, a_type())) == 0
        ]


@given(balances, balances)
def test_the_figures_in_a_notice_are_those_of_the_new_balance(before: dict[str, Any], after: dict[str, Any]):
    for notice in crossings(before, after):
        if "seat_type" in notice.data:
            figures = after["seats"].get(notice.data["seat_type"], a_type())
            limit = from_json(figures["included"])
            left = "unlimited" if limit is UNLIMITED else available(limit, figures["active"])
            assert (notice.data["available"], notice.data["overage"]) == (left, _overage(figures))


def _overage(figures: dict[str, Any]) -> int:
    return overage(from_json(figures["included"]), figures["active"])
