"""Balances: what is shown of one, and what comes back of one that was stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.balance import EMPTY, Balance, Counted, balances_from_json
from domain.counts import Seats
from domain.overage import OverageClock
from domain.seat_limit import UNLIMITED

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)

counts = st.integers(0, 9)
limits = counts | st.just(UNLIMITED)
moments = st.none() | st.integers(0, 9).map(lambda days: NOON + timedelta(days=days))


@st.composite
def clocks(draw: st.DrawFn) -> OverageClock:
    """Clocks as overages have them: members are warned of a time only where there is a deadline."""
    since, deadline, shelved = draw(moments), draw(moments), draw(moments)
    warned = draw(counts) if deadline else 0
    suspends_at = NOON + timedelta(days=draw(counts)) if warned else None
    return OverageClock(since, deadline, shelved, warned, suspends_at)


balances = st.builds(Balance, st.builds(Seats, limits, counts, limits), counts, counts, counts, clocks())


@given(balances)
def test_a_stored_balance_comes_back_as_it_was(balance: Balance):
    assert balances_from_json({"full": balance.to_json()}) == {"full": balance}


def test_the_figures_are_what_was_bought_what_is_used_and_the_difference():
    balance = Balance(Seats(included=5, addon=10), active=9, held=1)
    assert balance.figures() == {"purchased": 15, "used": 10, "available": 5, "overage": 0}


def test_more_use_than_was_bought_is_overage():
    figures = Balance(Seats(included=5), active=7).figures()
    assert (figures["available"], figures["overage"]) == (0, 2)


def test_unlimited_seats_are_shown_as_a_word():
    figures = Balance(Seats(contract=UNLIMITED), active=7).figures()
    assert (figures["purchased"], figures["available"]) == ("unlimited", "unlimited")


def test_nothing_bought_is_nothing_left_and_nothing_over():
    assert EMPTY.figures() == {"purchased": 0, "used": 0, "available": 0, "overage": 0}


def test_a_seat_that_is_still_to_be_bought_makes_nobody_be_over_the_limit():
    balance = Balance(Seats(included=1), active=1).moved(Counted(held=1, waiting=1))
    assert (balance.overage, balance.is_over, balance.is_full) == (1, False, True)
