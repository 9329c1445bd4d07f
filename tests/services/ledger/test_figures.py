"""Figures: what was verified outlives a raise, growth has to be paid, a deadline belongs to its period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from domain.provider_errors import AnswerIncomplete, SubscriptionNotAtProvider
from domain.snapshot import AddonQuantity, ScheduledChange
from models import drift_finding
from models.drift_finding import DriftFinding
from models.notice import StoredNotice
from models.subscription import Subscription
from runtime.wiring import Runtime
from tests.acme import AN_OUTAGE, DAY, Acme
from tests.clock import Clock, empty
from tests.factories import NOON, a_catalog

NOT_THERE = SubscriptionNotAtProvider("No such subscription.")
HOUR = timedelta(hours=1)


@pytest.fixture
def acme(clocked_runtime: Runtime, clock: Clock) -> Acme:
    return Acme(clocked_runtime, clock)


def cart(seats: int) -> Mapping[str, Any]:
    return {"product_id": "pdt_team", "quantity": 1, "addons": (AddonQuantity("adn_seat", seats),)}


def purchased(acme: Acme) -> Mapping[str, object]:
    """Seats by type, the included and those of add-ons apart."""
    seats = {name: (one["included"], one["addon"]) for name, one in acme.account.seats.items()}
    return {name: numbers for name, numbers in seats.items() if numbers != (0, 0)}


def standing(acme: Acme) -> list[str]:
    wanted = select(DriftFinding.kind).where(DriftFinding.closed_at.is_(None)).order_by(DriftFinding.id)
    with acme.runtime.sessions() as session:
        return list(session.scalars(wanted))


def answered_with(acme: Acme, error: Exception) -> None:
    """One look at a provider that answers so."""
    acme.clock.advance(timedelta(minutes=5))
    acme.provider.failing = error
    acme.is_synced()
    acme.provider.failing = None


# Verified and unverified figures.

UNCOUNTABLE: Mapping[str, Mapping[str, Any]] = {
    "no word on add-ons": {"addons": None},
    "an unknown product": {"product_id": "pdt_who"},
    "an unknown add-on": {"addons": (AddonQuantity("adn_who", 3),)},
    "an absurd quantity": {"addons": (AddonQuantity("adn_seat", -1),)},
    "an unknown status": {"status": "hibernating"},
}
ANSWERS = {**UNCOUNTABLE, "404": NOT_THERE, "no quantity": AnswerIncomplete("no", field="quantity")}


def answers(acme: Acme, answer: Mapping[str, Any] | Exception) -> None:
    if isinstance(answer, Exception):
        answered_with(acme, answer)
    else:
        acme.changes(**answer)


@pytest.mark.parametrize("before", [{}, *UNCOUNTABLE.values(), NOT_THERE], ids=["", *UNCOUNTABLE, "404"])
@pytest.mark.parametrize("after", [*UNCOUNTABLE.values(), NOT_THERE], ids=[*UNCOUNTABLE, "404"])
def test_the_last_good_figure_survives_a_raise(acme: Acme, before, after):
    acme.changes(**cart(10))
    answers(acme, before)
    acme.sold = replace(acme.sold, status="active")
    acme.gets_webhook_during_outage(**cart(20))
    assert acme.purchased == 25
    answers(acme, after)
    assert (acme.purchased, acme.status) == (15, "ok")
    acme.check()


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_cannot_be_counted_keeps_the_figure_and_says_why(acme: Acme, answer):
    acme.changes(**cart(10))
    answers(acme, answer)
    assert (acme.purchased, acme.status, len(standing(acme))) == (15, "ok", 1)


@pytest.mark.parametrize("answer", UNCOUNTABLE.values(), ids=UNCOUNTABLE)
def test_what_a_body_said_stays_while_nothing_was_ever_counted(acme: Acme, answer: Mapping[str, Any]):
    acme.gets_webhook_during_outage(**cart(20))
    acme.changes(**{**cart(20), **answer})
    assert (acme.purchased, acme.status) == (25, "ok")


@pytest.mark.parametrize("answer", [{**cart(3)}, {"status": "cancelled", "addons": None}, NOT_THERE], ids=str)
def test_what_a_body_said_goes_with_an_answer(acme: Acme, answer: Mapping[str, Any] | Exception):
    acme.gets_webhook_during_outage(**cart(20))
    answers(acme, answer)
    assert acme.account.seats.get("full", {}).get("addon", 0) < 20
    assert not acme.account.unverified


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("sync"), st.integers(0, 9)),
        st.tuples(st.just("raise"), st.integers(0, 30)),
        st.tuples(st.just("uncountable"), st.sampled_from(sorted(UNCOUNTABLE))),
        st.tuples(st.just("missing"), st.none()),
    ),
    max_size=8,
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(moves=MOVES)
def test_whatever_comes_the_newest_countable_sync_is_the_verified_figure(
    clocked_runtime: Runtime, clock: Clock, moves
):
    empty(clock.engine)
    clock.set(NOON)
    acme = Acme(clocked_runtime, clock)
    acme.changes(**cart(3))
    verified = raised = 8
    for kind, value in moves:
        if kind == "sync":
            acme.changes(status="active", **cart(value))
            verified = raised = 5 + value
        elif kind == "raise":
            acme.gets_webhook_during_outage(status="active", **cart(value))
            raised = max(raised, 5 + value)
        else:
            answers(acme, NOT_THERE if kind == "missing" else UNCOUNTABLE[value])
            raised = verified
            acme.sold = replace(acme.sold, status="active")
        assert acme.purchased == raised, (kind, value)


# Growth that was not paid for.


@pytest.mark.parametrize("status", ["on_hold", "past_due"])
def test_an_increase_whose_charge_was_declined_does_not_count(acme: Acme, status: str):
    acme.changes(**cart(0))
    acme.changes(status=status, **cart(100))
    assert (acme.purchased, acme.status, standing(acme)) == (5, "grace", ["unpaid_growth"])
    assert acme.claims_each([{"member_id": f"m{one}", "role": "member"} for one in range(6)])[-1] != "granted"


GROWTH: Mapping[str, Mapping[str, Any]] = {
    "more of an add-on": cart(3),
    "another add-on": {**cart(0), "addons": (AddonQuantity("adn_pack", 1),)},
    "another product": {**cart(0), "product_id": "pdt_unlimited", "addons": ()},
    "another seat type": {**cart(0), "addons": (AddonQuantity("adn_viewer", 4),)},
}


@pytest.mark.parametrize("grown", GROWTH.values(), ids=GROWTH)
def test_growth_counts_once_a_sync_shows_it_paid(acme: Acme, grown):
    acme.changes(**cart(0))
    acme.changes(status="on_hold", **grown)
    assert purchased(acme) == {"full": (5, 0)}
    acme.changes(status="active")
    assert purchased(acme) != {"full": (5, 0)}
    assert standing(acme) == []


def test_growth_of_a_subscription_that_is_already_late_does_not_count_either(acme: Acme):
    acme.changes(**cart(2))
    acme.changes(status="past_due")
    acme.changes(status="on_hold", **cart(50))
    acme.is_synced()
    assert acme.purchased == 7


@pytest.mark.parametrize("between", UNCOUNTABLE.values(), ids=UNCOUNTABLE)
def test_growth_that_was_first_seen_uncountable_does_not_count_either(acme: Acme, between: Mapping[str, Any]):
    acme.changes(**cart(0))
    acme.changes(**{**cart(100), **between})
    acme.changes(status="on_hold", **cart(100))
    assert (acme.purchased, standing(acme)) == (5, ["unpaid_growth"])


def test_what_was_paid_for_keeps_its_grace_period(acme: Acme):
    acme.changes(**cart(0))
    acme.changes(status="on_hold", **cart(100))
    assert acme.account.deadline == NOON + 7 * DAY
    acme.after(7 * DAY)
    assert (acme.status, acme.purchased) == ("suspended", 5)


def test_a_reduction_of_an_unpaid_subscription_counts_at_once(acme: Acme):
    acme.changes(**cart(10))
    acme.changes(status="on_hold", **cart(4))
    assert acme.purchased == 9


def test_a_subscription_first_seen_unpaid_counts_whole(acme: Acme):
    acme.changes(status="on_hold", **cart(10))
    assert (acme.purchased, standing(acme)) == (15, [])


def test_a_body_raises_no_seats_of_an_unpaid_subscription(acme: Acme):
    acme.changes(status="on_hold", **cart(0))
    acme.gets_webhook_during_outage(status="on_hold", **cart(100))
    assert acme.purchased == 5


def test_a_catalogue_that_is_corrected_counts_for_unpaid_subscriptions_too(acme: Acme):
    acme.changes(product_id="pdt_sold", addons=())
    acme.changes(status="on_hold")
    acme.runtime = replace(acme.runtime, catalog=a_catalog("[products.pdt_sold]\nincluded = { full = 9 }"))
    acme.is_swept()
    assert acme.purchased == 9


# Deadlines.


def test_a_payment_deadline_does_not_outlive_its_period(acme: Acme):
    acme.buys("strict", 3)
    acme.changes(status="past_due", past_due_ends_at=NOON + 2 * DAY)
    acme.changes(status="active", past_due_ends_at=None)
    acme.after(10 * DAY)
    acme.changes(status="past_due")
    assert (acme.status, acme.account.deadline) == ("grace", NOON + 17 * DAY)


def test_a_late_body_brings_no_deadline_of_an_earlier_period(acme: Acme):
    acme.buys("strict", 3)
    acme.after(10 * DAY)
    acme.is_synced()
    acme.changes_silently(status="past_due")
    late(acme, status="past_due", past_due_ends_at=NOON + 2 * DAY)
    assert acme.status == "grace"


def test_a_body_of_another_status_brings_no_deadline(acme: Acme):
    acme.buys("strict", 3)
    acme.changes_silently(status="past_due")
    late(acme, status="active", past_due_ends_at=NOON + HOUR)
    assert acme.account.deadline == acme.clock.now + 7 * DAY


@pytest.mark.parametrize("status", ["past_due", "on_hold"])
def test_a_payment_that_no_sync_has_seen_begins_another_period(acme: Acme, status: str):
    acme.buys("strict", 3, previous_billing_date=NOON - 30 * DAY)
    acme.changes(status="past_due", past_due_ends_at=NOON + 2 * DAY)
    acme.clock.advance(30 * DAY)
    acme.changes(status=status, past_due_ends_at=None, previous_billing_date=NOON + DAY)
    assert (acme.status, acme.account.deadline) == ("grace", NOON + 37 * DAY)


def test_an_unknown_status_keeps_the_deadline(acme: Acme):
    acme.buys("strict", 3)
    acme.changes(status="past_due", past_due_ends_at=NOON + 2 * DAY)
    for status in ("hibernating", "past_due"):
        acme.changes(status=status, past_due_ends_at=None)
        assert acme.account.deadline == NOON + 2 * DAY


def test_without_a_word_on_the_period_it_is_the_same(acme: Acme):
    acme.buys("strict", 3, previous_billing_date=NOON - 30 * DAY)
    acme.changes(status="past_due", past_due_ends_at=NOON + 2 * DAY)
    for said in (None, NOON - 30 * DAY):
        acme.changes(past_due_ends_at=None, previous_billing_date=said)
        assert acme.account.deadline == NOON + 2 * DAY


def late(acme: Acme, **body) -> None:
    """A delivery that says this arrives, and the provider is asked."""
    acme.provider.failing = AN_OUTAGE
    now = acme.clock.now
    acme.gets_webhook_during_outage(**body)
    acme.clock.set(now + timedelta(minutes=20))
    acme.is_synced()


ROADS = {
    "on_hold at once": ["on_hold"],
    "past_due, then on_hold": ["past_due", "on_hold"],
    "back and forth": ["on_hold", "past_due", "on_hold"],
}


@pytest.mark.parametrize("road", ROADS.values(), ids=ROADS)
def test_unpaid_a_subscription_has_one_grace_period_in_all(acme: Acme, road: list[str]):
    acme.buys("strict", 3)
    for status in road:
        acme.changes(status=status)
        acme.after(DAY)
    assert acme.account.deadline == NOON + 7 * DAY


def test_paid_in_between_it_has_another(acme: Acme):
    acme.buys("strict", 3, status="on_hold")
    acme.after(3 * DAY)
    acme.changes(status="active")
    acme.changes(status="past_due")
    assert acme.account.deadline == NOON + 10 * DAY


# What the provider left out.

SCHEDULED = ScheduledChange("chg_1", "pdt_team", 1, (), NOON + 30 * DAY)


@pytest.mark.parametrize(
    ("field", "known", "unknown"),
    [("scheduled_change", SCHEDULED, None), ("cancel_at_next_billing_date", True, False)],
)
def test_a_field_that_is_left_out_stays_as_it_was(acme: Acme, field: str, known, unknown):
    acme.changes(**cart(1), **{field: known})
    acme.changes(**{field: unknown}, unstated=(field,))
    acme.is_synced()
    assert getattr(newest(acme), field) == known
    assert standing(acme) == ["field_missing"]


@pytest.mark.parametrize("field", ["scheduled_change", "cancel_at_next_billing_date"])
def test_a_field_that_says_no_says_no(acme: Acme, field: str):
    acme.changes(**cart(1), scheduled_change=SCHEDULED, cancel_at_next_billing_date=True)
    none = {"scheduled_change": None, "cancel_at_next_billing_date": False}[field]
    acme.changes(**{field: none})
    assert (getattr(newest(acme), field), standing(acme)) == (none, [])


def newest(acme: Acme):
    with acme.runtime.sessions() as session:
        return session.get_one(Subscription, "sub_1").newest


# What the provider does not know any more.

TERM = 30 * DAY


def test_a_subscription_that_is_missing_for_its_term_has_ended(acme: Acme):
    acme.buys("strict", 3)
    acme.seats("ada")
    answered_with(acme, NOT_THERE)
    acme.clock.advance(TERM - HOUR)
    answered_with(acme, NOT_THERE)
    assert (acme.status, acme.purchased) == ("ok", 3)
    acme.clock.advance(HOUR)
    answered_with(acme, NOT_THERE)
    assert (acme.status, acme.purchased, acme.active, standing(acme)) == (
        *("ended", 0, {"ada"}),
        ["not_at_provider"],
    )
    acme.check()


def test_no_time_alone_ends_it(acme: Acme):
    acme.buys("strict", 3)
    answered_with(acme, NOT_THERE)
    acme.provider.failing = AN_OUTAGE
    acme.after(TERM + DAY)
    assert acme.status == "ok"


def test_the_app_is_notified_once_when_the_term_begins(acme: Acme):
    acme.buys("strict", 3)
    for _ in range(3):
        answered_with(acme, NOT_THERE)
    (told,) = acme.notices_of("subscription.missing")
    since = NOON + timedelta(minutes=5)
    assert told.data == {
        "subscription_id": "sub_1",
        "ends_at": (since + TERM).isoformat().replace("+00:00", "Z"),
    }


def test_found_again_it_counts_and_its_next_term_starts_over(acme: Acme):
    acme.buys("strict", 3)
    answered_with(acme, NOT_THERE)
    acme.clock.advance(TERM)
    answered_with(acme, NOT_THERE)
    acme.is_synced()
    assert (acme.status, acme.purchased, standing(acme)) == ("ok", 3, [])
    answered_with(acme, NOT_THERE)
    assert acme.status == "ok"


# What a look cannot compute_status.


@pytest.mark.parametrize("answer", UNCOUNTABLE.values(), ids=UNCOUNTABLE)
def test_what_cannot_be_counted_does_not_pay_for_growth(acme: Acme, answer: Mapping[str, Any]):
    acme.changes(**cart(0))
    acme.changes(status="on_hold", **cart(100))
    acme.changes(**answer)
    assert (acme.purchased, standing(acme)[0]) == (5, "unpaid_growth")


FOUND: Mapping[str, Mapping[str, Any]] = {
    "unknown_addon": {"addons": (AddonQuantity("adn_who", 3),)},
    "unproved_account": {"metadata": {"account_id": "other"}},
    "metadata_missing": {"metadata": None},
    "unpaid_growth": {"status": "on_hold", **cart(100)},
}


@pytest.mark.parametrize("kind", FOUND)
def test_a_404_closes_no_finding_about_the_subscription(acme: Acme, kind: str):
    acme.changes(**cart(0))
    acme.changes(**FOUND[kind])
    answered_with(acme, NOT_THERE)
    assert standing(acme) == [kind, "not_at_provider"]


def test_one_that_has_ended_has_no_other_finding(acme: Acme):
    acme.changes(**cart(0))
    acme.changes(**FOUND["unknown_addon"])
    answered_with(acme, NOT_THERE)
    acme.clock.advance(TERM)
    answered_with(acme, NOT_THERE)
    assert (acme.status, standing(acme)) == ("ended", ["not_at_provider"])


# A new catalogue.


@pytest.mark.parametrize("kind", ["not_at_provider", "unproved_account", "metadata_missing", "field_missing"])
def test_a_new_catalogue_closes_no_finding_that_it_cannot_judge(acme: Acme, kind: str):
    acme.buys("strict", 3)
    if kind == "not_at_provider":
        answered_with(acme, NOT_THERE)
    elif kind == "field_missing":
        answered_with(acme, AnswerIncomplete("no", field="quantity"))
    else:
        acme.changes(metadata=None if kind == "metadata_missing" else {"account_id": "other"})
    acme.gets_equivalent_catalogue()
    assert standing(acme) == [kind]


def test_a_new_catalogue_closes_what_it_has_learnt(acme: Acme):
    acme.buys("strict", 3)
    acme.changes(product_id="pdt_new", quantity=1)
    assert standing(acme) == ["unknown_product"]
    acme.gets_equivalent_catalogue()
    assert standing(acme) == []


# Findings that a person closes.


def the_finding(acme: Acme) -> DriftFinding:
    with acme.runtime.sessions() as session:
        return session.scalars(select(DriftFinding).order_by(DriftFinding.id.desc())).first()


def test_a_dismissed_finding_stays_closed_while_it_stays_as_it_is(acme: Acme):
    acme.buys("strict", 3)
    acme.changes(product_id="pdt_who")
    with acme.runtime.sessions.begin() as session:
        drift_finding.dismiss(session, the_finding(acme).id, "a test product")
    acme.is_synced()
    assert standing(acme) == []
    acme.changes(product_id="pdt_whom")
    assert standing(acme) == ["unknown_product"]


def test_a_dismissed_finding_that_was_gone_and_is_back_is_opened_again(acme: Acme):
    acme.buys("strict", 3)
    acme.changes(product_id="pdt_who")
    with acme.runtime.sessions.begin() as session:
        drift_finding.dismiss(session, the_finding(acme).id, "a test product")
    acme.buys("strict", 3)
    acme.changes(product_id="pdt_who")
    assert standing(acme) == ["unknown_product"]


def test_findings_are_notified_once(acme: Acme):
    acme.buys("strict", 3)
    for _ in range(3):
        acme.changes(metadata=None)
    with acme.runtime.sessions() as session:
        told = session.scalars(select(StoredNotice).where(StoredNotice.type == "drift.found")).all()
    assert [one.data["kind"] for one in told].count("metadata_missing") == 1
