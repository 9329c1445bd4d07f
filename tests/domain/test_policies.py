import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import policies
from domain.policies import Decision, Situation, UnknownPolicy
from domain.seat_limit import UNLIMITED
from tests.domain.few_examples import few_examples

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def situation(purchased, used, requested=1):
    return Situation(seat_type="full", purchased=purchased, used=used, requested=requested, now=NOW)


def decide(policy, purchased, used, requested=1):
    return policies.load(policy).decide(situation(purchased, used, requested))


def test_every_file_in_the_folder_is_a_policy():
    files = Path(policies.__file__).parent.glob("*.py")
    assert policies.names() == tuple(sorted(file.stem for file in files if file.stem != "__init__"))


@pytest.mark.parametrize("name", policies.names())
def test_every_policy_decides(name):
    decision = decide(name, 5, 0)
    assert (decision.granted, decision.code) == (True, "granted")


@pytest.mark.parametrize("name", ["", "sotf", "__init__", "..errors", "strict.decide"])
def test_an_unknown_policy_is_an_error_that_lists_the_known(name):
    with pytest.raises(UnknownPolicy, match=f"Known policies: {', '.join(policies.names())}\\.$") as caught:
        policies.load(name)
    assert caught.value.details["known_policies"] == policies.names()


@pytest.mark.parametrize(("used", "requested"), [(0, 0), (0, -1), (-1, 1)])
def test_a_claim_is_for_at_least_one_seat(used, requested):
    with pytest.raises(ValueError, match="not a claim"):
        situation(5, used, requested)


GRANTED_FIVE = Decision(granted=True, code="granted", message="Granted: 5 of 5 full seats are then used.")
GRANTED_ONE = Decision(granted=True, code="granted", message="Granted: 15 of 15 full seats are then used.")


@pytest.mark.parametrize(
    ("policy", "purchased", "used", "requested", "expected"),
    [
        ("strict", 15, 14, 1, GRANTED_ONE),
        ("soft", 15, 14, 1, GRANTED_ONE),
        (
            "strict",
            UNLIMITED,
            999,
            1,
            Decision(
                granted=True, code="granted", message="Granted: 1000 of unlimited full seats are then used."
            ),
        ),
        (
            "strict",
            15,
            15,
            1,
            Decision(
                granted=False,
                code="no_seat_available",
                message="1 full seat requested, 0 available: 15 of 15 are used. "
                "Release 1 full seat or buy as many more.",
            ),
        ),
        (
            "strict",
            15,
            14,
            3,
            Decision(
                granted=False,
                code="no_seat_available",
                message="3 full seats requested, 1 available: 14 of 15 are used. "
                "Release 2 full seats or buy as many more.",
            ),
        ),
        (
            "strict",
            15,
            17,
            1,
            Decision(
                granted=False,
                code="no_seat_available",
                message="1 full seat requested, 0 available: 17 of 15 are used. "
                "Release 3 full seats or buy as many more.",
            ),
        ),
        (
            "soft",
            15,
            15,
            2,
            Decision(
                granted=True,
                code="granted_over_limit",
                message="Granted: 17 of 15 full seats are then used. "
                "That is 2 full seats over the limit: buy as many more.",
            ),
        ),
    ],
)
def test_a_decision_comes_with_its_numbers(policy, purchased, used, requested, expected):
    assert decide(policy, purchased, used, requested) == expected


COUNTS = st.integers(0, 50)


@few_examples
@given(COUNTS, COUNTS, st.integers(1, 50))
def test_strict_grants_exactly_while_seats_are_available(purchased, used, requested):
    decision = decide("strict", purchased, used, requested)
    assert decision.granted == (used + requested <= purchased)


@few_examples
@given(COUNTS, COUNTS, st.integers(1, 50))
def test_soft_always_grants_and_says_what_is_over(purchased, used, requested):
    decision = decide("soft", purchased, used, requested)
    assert decision.granted
    assert (" over the limit" in decision.message) == (used + requested > purchased)


@few_examples
@given(st.sampled_from(policies.names()), COUNTS, st.integers(1, 50))
def test_unlimited_refuses_nobody(name, used, requested):
    decision = decide(name, UNLIMITED, used, requested)
    assert (decision.granted, decision.code) == (True, "granted")


# Grace.


def in_grace(used, *, deadline=None, grace=timedelta(days=14)):
    claim = replace(situation(5, used), deadline=deadline, grace=grace)
    return policies.load("grace").decide(claim)


def test_the_first_claim_beyond_the_limit_is_granted_with_the_deadline_it_starts():
    decision = in_grace(5)
    assert (decision.granted, decision.code) == (True, "granted_in_grace")
    assert "by 6 Dec 2026 00:00 UTC" in decision.message


def test_later_claims_are_granted_until_the_same_deadline():
    decision = in_grace(7, deadline=NOW + timedelta(minutes=1))
    assert decision.granted
    assert "by 22 Nov 2026 00:01 UTC" in decision.message


@pytest.mark.parametrize("ago", [timedelta(), timedelta(days=1)])
def test_from_the_deadline_on_claims_beyond_the_limit_are_refused(ago):
    decision = in_grace(7, deadline=NOW - ago)
    assert (decision.granted, decision.code) == (False, "claims_blocked")
    assert "Release 3 full seats or buy as many more" in decision.message


@few_examples
@given(st.sampled_from(policies.names()), COUNTS, COUNTS, st.integers(1, 50))
def test_no_message_suggests_to_release_more_seats_than_are_used(name, purchased, used, requested):
    decision = decide(name, purchased, used, requested)
    if advised := re.search(r"[Rr]elease (\d+)", decision.message):
        assert int(advised[1]) <= used + (requested if decision.granted else 0)


def test_within_the_limit_no_deadline_matters():
    assert in_grace(4, deadline=NOW - timedelta(days=1)) == GRANTED_FIVE


def test_zero_days_of_grace_means_no_grace():
    assert not in_grace(5, grace=timedelta()).granted


# Auto-expand.


def test_auto_expand_says_how_many_seats_to_buy():
    decision = decide("auto_expand", 5, 4, 3)
    assert (decision.granted, decision.code, decision.to_buy) == (False, "purchase_needed", 2)
    assert decision.message.startswith("2 full seats would have to be bought first")


def test_within_the_limit_nothing_is_bought():
    assert decide("auto_expand", 5, 4) == GRANTED_FIVE
