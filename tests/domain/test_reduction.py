from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import reduction
from domain.reduction import SeatHolder, UnknownOrder
from domain.seat_limit import UNLIMITED
from tests.domain.unhurried import unhurried

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def day(number):
    """The so-manieth of November."""
    return NOON.replace(day=number)


def holder(member_id="ada", **changes):
    facts = {
        "name": None,
        "role": "member",
        "seat_type": "full",
        "state": "active",
        "protected": False,
        "claimed_at": day(1),
        "last_active_at": None,
        "expires_at": None,
    }
    return SeatHolder(member_id=member_id, **{**facts, **changes})


def held(member_id, **changes):
    return holder(member_id, state="held", expires_at=day(28), **changes)


def leave(sitters, to, **further):
    """Who leaves until `to` full seats are used."""
    return reduction.leavers(sitters, {"full": to}, **further)["full"]


def ids(leavers):
    return [leaver.holder.member_id for leaver in leavers]


# The orders there are.


def test_every_file_in_the_folder_is_an_order():
    files = Path(reduction.__file__).parent.glob("*.py")
    assert reduction.names() == tuple(sorted(file.stem for file in files if file.stem != "__init__"))


def test_the_default_is_one_of_them():
    assert reduction.DEFAULT in reduction.names()


@pytest.mark.parametrize("name", ["", "least_activ", "__init__", "..errors", "least_active.rank"])
def test_an_unknown_order_is_an_error_that_lists_the_known(name):
    with pytest.raises(UnknownOrder, match=f"Known orders: {', '.join(reduction.names())}\\.$") as caught:
        reduction.load(name)
    assert caught.value.details["known_orders"] == reduction.names()


# Least active.


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(held("z"), holder("a"), id="held before active"),
        pytest.param(
            held("z", last_active_at=day(21)),
            holder("a", last_active_at=day(2)),
            id="held before active, whatever was reported",
        ),
        pytest.param(
            held("z", claimed_at=day(9)), held("a", claimed_at=day(8)), id="of the held the newest invitation"
        ),
        pytest.param(
            holder("z", last_active_at=day(2)),
            holder("a", last_active_at=day(3)),
            id="of the active the least recently active",
        ),
        pytest.param(
            holder("z"),
            holder("a", last_active_at=day(2)),
            id="never reported active before any reported activity",
        ),
        pytest.param(
            holder("z", last_active_at=day(2), claimed_at=day(9)),
            holder("a", last_active_at=day(2), claimed_at=day(8)),
            id="of the equally active the newest",
        ),
        pytest.param(
            holder("z", claimed_at=day(9)),
            holder("a", claimed_at=day(8)),
            id="of the never active the newest",
        ),
        pytest.param(
            holder("z", last_active_at=day(21)),
            held("a", protected=True),
            id="anybody before the protected, even before their invitations",
        ),
        pytest.param(
            held("z", protected=True),
            holder("a", protected=True),
            id="of the protected the held",
        ),
        pytest.param(
            holder("z", protected=True, last_active_at=day(2)),
            holder("a", protected=True, last_active_at=day(3)),
            id="of the protected the least recently active",
        ),
        pytest.param(holder("a"), holder("z"), id="of the entirely equal the lower id"),
    ],
)
def test_the_order_in_which_members_leave(first, then):
    assert ids(leave([then, first], 0)) == ids(leave([first, then], 0)) == [first.member_id, then.member_id]


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (held("a", claimed_at=day(3)), "held for an invitation since 3 Nov 2026"),
        (holder(last_active_at=day(13)), "not active since 13 Nov 2026"),
        (holder(claimed_at=day(1)), "never reported active; joined 1 Nov 2026"),
        (
            holder(protected=True, last_active_at=day(13)),
            "protected: only after everybody else; not active since 13 Nov 2026",
        ),
    ],
)
def test_every_place_comes_with_its_reason(who, reason):
    assert [leaver.reason for leaver in leave([who], 0)] == [reason]


# What holds for every order.


def test_places_count_from_one():
    assert [leaver.place for leaver in leave([holder("a"), holder("b"), holder("c")], 1)] == [1, 2]


def test_each_seat_type_is_counted_by_itself():
    sitters = [holder("a"), holder("b"), holder("c", seat_type="viewer"), holder("d", seat_type="guest")]
    told = reduction.leavers(sitters, {"full": 1, "viewer": 1, "none": 0})
    assert {seat_type: ids(going) for seat_type, going in told.items()} == {
        "full": ["a"],
        "viewer": [],
        "none": [],
    }


def test_nobody_leaves_unlimited_seats():
    assert leave([holder("a"), holder("b")], UNLIMITED) == ()


def test_no_more_are_named_than_asked_for():
    assert ids(leave([holder("a"), holder("b"), holder("c")], 0, at_most=2)) == ["a", "b"]


MOMENTS = st.integers(0, 5).map(lambda days: NOON + timedelta(days=days))  # few, so that many are equal
SITTERS = st.lists(
    st.builds(
        holder,
        st.integers(0, 10**6).map(str),
        state=st.sampled_from(["held", "active"]),
        protected=st.booleans(),
        claimed_at=MOMENTS,
        last_active_at=st.none() | MOMENTS,
    ),
    max_size=30,
    unique_by=lambda one: one.member_id,
)
ORDERS = st.sampled_from(reduction.names())
TARGETS = st.integers(0, 35)


@unhurried
@given(SITTERS, TARGETS, ORDERS)
def test_exactly_as_many_leave_as_are_too_many(sitters, to, order):
    going = leave(sitters, to, order=order)
    assert len(set(ids(going))) == len(going) == max(len(sitters) - to, 0)
    assert {leaver.holder for leaver in going} <= set(sitters)


@unhurried
@given(SITTERS, TARGETS, ORDERS)
def test_with_a_seat_more_the_same_people_leave_but_the_last(sitters, to, order):
    assert leave(sitters, to + 1, order=order) == leave(sitters, to, order=order)[:-1]


@unhurried
@given(SITTERS, TARGETS, ORDERS)
def test_nobody_protected_leaves_while_an_unprotected_one_stays(sitters, to, order):
    going = {leaver.holder for leaver in leave(sitters, to, order=order)}
    if any(one.protected for one in going):
        assert all(one.protected for one in set(sitters) - going)


@unhurried
@given(SITTERS, TARGETS)
def test_nobody_active_leaves_while_a_held_seat_as_little_protected_stays(sitters, to):
    going = {leaver.holder for leaver in leave(sitters, to)}
    staying = set(sitters) - going
    for protected in (False, True):
        alike = [one for one in going if one.protected is protected and one.state == "active"]
        assert not alike or not any(one.state == "held" and one.protected is protected for one in staying)


@unhurried
@given(SITTERS, TARGETS, ORDERS, st.randoms(use_true_random=False))
def test_the_same_people_leave_in_whatever_order_they_come(sitters, to, order, chance):
    shuffled = chance.sample(sitters, len(sitters))
    assert leave(shuffled, to, order=order) == leave(sitters, to, order=order)
