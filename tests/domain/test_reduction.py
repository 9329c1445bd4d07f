from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import reduction
from domain.reduction import SeatHolder, UnknownOrder
from domain.seat_limit import UNLIMITED
from tests.domain.few_examples import few_examples

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def day(number):
    """Noon on this day of November."""
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


def leave(holders, to, **options):
    """The members who would have to leave until `to` full seats are used, in their order."""
    return reduction.leavers(holders, {"full": to}, **options)["full"]


def ids(leaving):
    return [one.holder.member_id for one in leaving]


# The available orders.


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
def test_least_active_ranks_held_before_active_and_protected_last(first, then):
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
def test_every_member_who_leaves_has_a_reason(who, reason):
    assert [one.reason for one in leave([who], 0)] == [reason]


# What holds for every order.


def test_places_count_from_one():
    assert [one.place for one in leave([holder("a"), holder("b"), holder("c")], 1)] == [1, 2]


def test_each_seat_type_is_counted_by_itself():
    holders = [holder("a"), holder("b"), holder("c", seat_type="viewer"), holder("d", seat_type="guest")]
    found = reduction.leavers(holders, {"full": 1, "viewer": 1, "none": 0})
    assert {seat_type: ids(leaving) for seat_type, leaving in found.items()} == {
        "full": ["a"],
        "viewer": [],
        "none": [],
    }


def test_nobody_leaves_unlimited_seats():
    assert leave([holder("a"), holder("b")], UNLIMITED) == ()


def test_at_most_limits_how_many_are_listed():
    assert ids(leave([holder("a"), holder("b"), holder("c")], 0, at_most=2)) == ["a", "b"]


MOMENTS = st.integers(0, 5).map(lambda days: NOON + timedelta(days=days))  # few, so that many are equal
HOLDERS = st.lists(
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


@few_examples
@given(HOLDERS, TARGETS, ORDERS)
def test_exactly_the_members_above_the_target_leave(holders, to, order):
    leaving = leave(holders, to, order=order)
    assert len(set(ids(leaving))) == len(leaving) == max(len(holders) - to, 0)
    assert {one.holder for one in leaving} <= set(holders)


@few_examples
@given(HOLDERS, TARGETS, ORDERS)
def test_with_one_more_seat_the_last_member_to_leave_stays(holders, to, order):
    assert leave(holders, to + 1, order=order) == leave(holders, to, order=order)[:-1]


@few_examples
@given(HOLDERS, TARGETS, ORDERS)
def test_no_protected_member_leaves_while_an_unprotected_one_stays(holders, to, order):
    leaving = {one.holder for one in leave(holders, to, order=order)}
    if any(one.protected for one in leaving):
        assert all(one.protected for one in set(holders) - leaving)


@few_examples
@given(HOLDERS, TARGETS)
def test_no_active_member_leaves_while_a_held_seat_with_the_same_protection_stays(holders, to):
    leaving = {one.holder for one in leave(holders, to)}
    staying = set(holders) - leaving
    for protected in (False, True):
        alike = [one for one in leaving if one.protected is protected and one.state == "active"]
        assert not alike or not any(one.state == "held" and one.protected is protected for one in staying)


@few_examples
@given(HOLDERS, TARGETS, ORDERS, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(holders, to, order, chance):
    shuffled = chance.sample(holders, len(holders))
    assert leave(shuffled, to, order=order) == leave(holders, to, order=order)
