from itertools import product as every

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.purchase import packs
from domain.purchase.packs import MOST_AT_ONCE, Pack
from tests.domain.few_examples import few_examples

SEAT = Pack(name="seat", size=1, price=15)
TEN = Pack(name="ten", size=10, price=100)


@st.composite
def offers(draw):
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    return [
        Pack(
            name=f"pack {number}",
            size=size,
            spare=draw(st.integers(0, 3)),
            price=draw(st.integers(0, 9)),
            is_sold=draw(st.booleans()),
        )
        for number, size in enumerate(sizes)
    ]


def cost_of(offer, seats, change):
    """The cost of a change by the rule as written, the smallest being best; None if it is impossible."""
    units = [pack.spare + change.get(pack.name, 0) for pack in offer]
    is_sold = all(pack.is_sold or change.get(pack.name, 0) <= 0 for pack in offer)
    difference = sum(pack.size * change.get(pack.name, 0) for pack in offer)
    if min(units) < 0 or not is_sold or difference < seats:
        return None
    gone = sum(pack.size * -min(change.get(pack.name, 0), 0) for pack in offer)
    price = sum(pack.price * count for pack, count in zip(offer, units, strict=True))
    large = sum(count for pack, count in zip(offer, units, strict=True) if pack.size > 1)
    return price, difference - seats, gone, large, sum(units)


@few_examples
@example(
    offer=[Pack(name="seat", size=1), Pack(name="six", size=6, spare=2, price=1, is_sold=False)],
    seats=1,
    surplus=None,
)
@given(offers(), st.integers(-12, 12), st.none() | st.integers(0, 9))
def test_no_other_change_is_better(offer, seats, surplus):
    most = None if surplus is None else seats + surplus
    # A cart that could lose a unit of its largest pack is never the best, so larger carts need no check.
    enough = sum(pack.size * pack.spare for pack in offer) + max(seats, 0) + max(pack.size for pack in offer)
    ranges = [
        range(-pack.spare, (enough // pack.size - pack.spare if pack.is_sold else 0) + 1) for pack in offer
    ]
    names = [pack.name for pack in offer]
    all_changes = [dict(zip(names, units, strict=True)) for units in every(*ranges)]
    costs = [cost for one in all_changes if (cost := cost_of(offer, seats, one)) is not None]
    costs = [cost for cost in costs if surplus is None or cost[1] <= surplus]
    change = packs.change(offer, seats, most=most)
    if seats < -sum(pack.size * pack.spare for pack in offer):
        return  # more seats than can be given back: the callers refuse that before
    assert (cost_of(offer, seats, change) if change is not None else None) == min(costs, default=None)


@pytest.mark.parametrize(
    ("offer", "seats", "change"),
    [
        ([SEAT, TEN], 0, {}),
        ([SEAT, TEN], 6, {"seat": 6}),
        ([SEAT, TEN], 7, {"ten": 1}),
        ([SEAT, TEN], 10, {"ten": 1}),
        ([Pack(name="seat", size=1, price=15, spare=3), TEN], 4, {"seat": -3, "ten": 1}),
        ([SEAT, TEN], 23, {"ten": 2, "seat": 3}),
        ([Pack(name="two", size=2, price=19), Pack(name="ten", size=10, price=98)], 10, {"two": 5}),
        ([Pack(name="ten", size=10)], 11, {"ten": 2}),
        ([Pack(name="seat", size=1), Pack(name="ten", size=10)], 20, {"seat": 20}),
        ([SEAT, Pack(name="ten", size=10, price=100, is_sold=False)], 20, {"seat": 20}),
        ([Pack(name="three", size=3), Pack(name="five", size=5)], 7, {"three": 1, "five": 1}),
    ],
    ids=[
        "nothing to do",
        "singles are cheaper",
        "a pack is cheaper than fewer single seats",
        "a pack is cheaper",
        "singles that are there are exchanged for a cheaper pack",
        "a mix is cheapest",
        "the price counts, and not the number of packs",
        "only packs: the next above",
        "single seats where the price is the same",
        "what is not sold is not added",
        "the least above, not the fewest units",
    ],
)
def test_more_seats_are_added_at_the_lowest_price(offer, seats, change):
    assert packs.change(offer, seats) == change


@pytest.mark.parametrize(
    ("offer", "seats", "change"),
    [
        ([Pack(name="seat", size=1, spare=5), Pack(name="ten", size=10, spare=1)], -5, {"seat": -5}),
        (
            [Pack(name="seat", size=1, spare=5), Pack(name="ten", size=10, spare=2)],
            -13,
            {"seat": -3, "ten": -1},
        ),
        ([SEAT, Pack(name="ten", size=10, price=100, spare=1)], -3, {}),
        ([SEAT, Pack(name="ten", size=10, price=100, spare=1)], -4, {"ten": -1, "seat": 6}),
        ([Pack(name="seat", size=1, price=15, spare=8), TEN], -1, {"seat": -8, "ten": 1}),
        ([Pack(name="ten", size=10, spare=2)], -4, {}),
        (
            [Pack(name="old", size=1, spare=3, price=20), Pack(name="new", size=1, spare=3, price=10)],
            -2,
            {"old": -3, "new": 1},
        ),
    ],
    ids=[
        "packs stay where they fit",
        "packs and singles go together",
        "a pack stays where fewer single seats would cost more",
        "a pack is broken up where that is cheaper",
        "even a reduction goes to the cheapest cart",
        "a pack stays where nothing smaller is sold",
        "the dearest go first, and are exchanged",
    ],
)
def test_fewer_seats_are_removed_at_the_lowest_price(offer, seats, change):
    assert packs.change(offer, seats) == change


def test_there_is_no_change_if_no_pack_is_sold():
    assert packs.change([Pack(name="seat", size=1, is_sold=False, spare=3)], 1) is None
    assert packs.change([], 1) is None


def test_the_largest_change_is_computed():
    offer = [Pack(name=f"pack {size}", size=size, spare=10, price=size * 10 - 1) for size in (7, 10, 25, 100)]
    change = packs.change(offer, MOST_AT_ONCE)
    assert sum(pack.size * change.get(pack.name, 0) for pack in offer) == MOST_AT_ONCE
