"""The sentence that tells a customer what a seat change costs, before they agree to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from domain.billing_terms import When
from domain.cart import Cart
from domain.purchase.money import Money
from domain.purchase.plan import LineKind, Preview, PreviewLine
from domain.purchase.sentence import ProductMove, sentence
from domain.purchase.steps import SeatStep
from domain.seat_limit import UNLIMITED
from domain.snapshot import SubscriptionSnapshot
from tests.factories import a_snapshot

DUE = datetime(2026, 12, 12, tzinfo=UTC)
EAST = timezone(timedelta(hours=9))
IN_A_MONTH = datetime(2026, 12, 22, tzinfo=UTC)

ADD = {"full": SeatStep(8, 13)}
GIVE_BACK = {"full": SeatStep(13, 9)}


def eur(amount: int) -> Money:
    return Money(amount, "EUR")


def a_preview(**changes: Any) -> Preview:
    """The provider's preview: 92.25 EUR now, then 219.00 EUR a period, with the billing date unchanged."""
    facts: dict[str, Any] = {
        "charged_now": eur(9225),
        "tax": eur(1725),
        "credit": None,
        "effective_at": None,
        "renewal": eur(21900),
        "next_billing_date": DUE,
        "cart_after": Cart("pdt_team", 1),
    }
    return Preview(**{**facts, **changes})


def bought(**changes: Any) -> SubscriptionSnapshot:
    """Three seats more than included, paid monthly."""
    facts = {"next_billing_date": DUE, "billing_interval": "Month", "billing_count": 1}
    return a_snapshot(**{"seats": 3, **facts, **changes})


NOTHING = {"charged_now": eur(0), "tax": eur(0)}
THEN = "then 219.00 EUR a month before tax from 12 Dec 2026."


@pytest.mark.parametrize(
    ("steps", "preview", "read"),
    [
        (ADD, a_preview(), f"Adding 5 full seats costs 92.25 EUR, tax included, today; {THEN}"),
        (ADD, a_preview(tax=None), f"Adding 5 full seats costs 92.25 EUR today; {THEN}"),
        (ADD, a_preview(tax=eur(0)), f"Adding 5 full seats costs 92.25 EUR today; {THEN}"),
        (ADD, a_preview(**NOTHING), f"Adding 5 full seats costs nothing today; {THEN}"),
        (
            ADD,
            a_preview(credit=eur(-500)),
            f"Adding 5 full seats costs 92.25 EUR and 5.00 EUR of credit, tax included, today; {THEN}",
        ),
        (
            ADD,
            a_preview(tax=None, credit=eur(-500)),
            f"Adding 5 full seats costs 92.25 EUR and 5.00 EUR of credit today; {THEN}",
        ),
        (
            ADD,
            a_preview(**NOTHING, credit=eur(-9225)),
            f"Adding 5 full seats costs 92.25 EUR of credit today; {THEN}",
        ),
        (
            GIVE_BACK,
            a_preview(**NOTHING, credit=eur(7380)),
            f"Removing 4 full seats costs nothing and credits 73.80 EUR today; {THEN}",
        ),
        (GIVE_BACK, a_preview(**NOTHING), f"Removing 4 full seats costs nothing today; {THEN}"),
    ],
    ids=[
        "paid_with_tax",
        "tax_unknown",
        "no_tax",
        "costs_nothing",
        "paid_partly_by_credit",
        "paid_partly_by_credit_without_tax",
        "paid_by_credit",
        "credit_gained",
        "given_back_for_nothing",
    ],
)
def test_the_sentence_says_what_a_change_costs_today_and_from_when_on_what(
    steps: dict[str, SeatStep], preview: Preview, read: str
):
    assert sentence(steps, preview, bought(), When.NOW) == read


PAID = {"recurring_pre_tax_amount": 20400, "currency": "EUR"}


@pytest.mark.parametrize(
    ("steps", "snapshot", "warning"),
    [
        (GIVE_BACK, PAID, " That is 15.00 EUR more than now, 204.00 EUR."),
        ({}, PAID, " That is 15.00 EUR more than now, 204.00 EUR."),
        (ADD, PAID, ""),
        (GIVE_BACK, {**PAID, "recurring_pre_tax_amount": 21900}, ""),
        (GIVE_BACK, {**PAID, "recurring_pre_tax_amount": 30000}, ""),
        (GIVE_BACK, {**PAID, "currency": "USD"}, ""),
        (GIVE_BACK, {**PAID, "recurring_pre_tax_amount": None}, ""),
    ],
    ids=["fewer seats", "as many seats", "more seats", "same price", "cheaper", "other currency", "unknown"],
)
@pytest.mark.parametrize("when", When)
def test_the_sentence_warns_if_the_price_rises_without_more_seats(
    steps: dict[str, SeatStep], snapshot: dict[str, Any], warning: str, when: When
):
    assert sentence(steps, a_preview(), bought(**snapshot), when).endswith(f"from 12 Dec 2026.{warning}")


def test_the_sentence_says_that_the_same_seats_are_bought_with_other_addons():
    read = sentence({}, a_preview(**NOTHING), bought(), When.NOW)
    assert read.startswith("Buying the same seats with other add-ons costs nothing today;")


@pytest.mark.parametrize(
    "same_day",
    [DUE, DUE + timedelta(microseconds=1), DUE + timedelta(hours=23, minutes=59), DUE.astimezone(EAST)],
)
def test_the_billing_date_does_not_move_within_a_day(same_day: datetime):
    assert "billing date" not in sentence(ADD, a_preview(next_billing_date=same_day), bought(), When.NOW)


@pytest.mark.parametrize("other_day", [DUE - timedelta(microseconds=1), DUE + timedelta(days=1)])
def test_the_billing_date_moves_to_another_day(other_day: datetime):
    read = sentence(ADD, a_preview(next_billing_date=other_day), bought(), When.NOW)
    assert read.endswith(f"The billing date moves to {other_day.day} Dec 2026.")


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        ({"full": SeatStep(5, 6)}, "Adding 1 full seat"),
        ({"full": SeatStep(6, 5)}, "Removing 1 full seat"),
        ({"viewer": SeatStep(0, 2), "full": SeatStep(5, 6)}, "Adding 1 full seat and 2 viewer seats"),
        ({"viewer": SeatStep(4, 3), "full": SeatStep(9, 5)}, "Removing 4 full seats and 1 viewer seat"),
        (
            {"full": SeatStep(5, 7), "viewer": SeatStep(4, 1)},
            "Adding 2 full seats and removing 3 viewer seats",
        ),
        (
            {"full": SeatStep(7, 5), "viewer": SeatStep(1, 4)},
            "Adding 3 viewer seats and removing 2 full seats",
        ),
    ],
)
def test_the_sentence_begins_with_the_seats_that_come_and_go(steps: dict[str, SeatStep], what: str):
    read = sentence(steps, a_preview(), bought(), When.NOW)
    assert read == f"{what} costs 92.25 EUR, tax included, today; {THEN}"


@pytest.mark.parametrize("next_date", [DUE, DUE + timedelta(days=31)])
def test_at_the_renewal_the_new_price_begins_on_the_date_there_is_and_nothing_is_moved(next_date: datetime):
    preview = a_preview(**NOTHING, next_billing_date=next_date)
    assert sentence(GIVE_BACK, preview, bought(), When.AT_RENEWAL) == (
        f"Removing 4 full seats at the renewal on 12 Dec 2026 costs nothing today; {THEN}"
    )


def test_a_renewal_with_an_unknown_date_is_described_without_a_date():
    read = sentence(GIVE_BACK, a_preview(**NOTHING), bought(next_billing_date=None), When.AT_RENEWAL)
    assert read == (
        "Removing 4 full seats at the renewal costs nothing today; then 219.00 EUR a month before tax."
    )


def test_an_unknown_price_is_called_unknown():
    assert sentence(ADD, a_preview(renewal=None), bought(), When.NOW) == (
        "Adding 5 full seats costs 92.25 EUR, tax included, today; the price of later periods is not known."
    )


def test_a_billing_date_that_moves_is_mentioned_last():
    assert sentence(ADD, a_preview(next_billing_date=IN_A_MONTH), bought(), When.NOW) == (
        "Adding 5 full seats costs 92.25 EUR, tax included, today; then 219.00 EUR a month before tax from "
        "22 Dec 2026. The billing date moves to 22 Dec 2026."
    )


def test_a_billing_date_that_moves_is_mentioned_even_if_the_price_is_unknown():
    read = sentence(ADD, a_preview(renewal=None, next_billing_date=IN_A_MONTH), bought(), When.NOW)
    assert read.endswith("the price of later periods is not known. The billing date moves to 22 Dec 2026.")


def test_a_billing_date_missing_from_the_provider_s_preview_is_left_out():
    read = sentence(ADD, a_preview(next_billing_date=None), bought(), When.NOW)
    assert read.endswith("today; then 219.00 EUR a month before tax.")


@pytest.mark.parametrize(
    ("count", "interval", "words"),
    [
        (1, "Day", "a day"),
        (1, "Week", "a week"),
        (2, "Week", "every 2 weeks"),
        (1, "Month", "a month"),
        (3, "Month", "every 3 months"),
        (1, "Year", "a year"),
        (2, "Year", "every 2 years"),
        (1, "Fortnight", "a period"),
        (1, None, "a period"),
        (None, "Month", "a period"),
    ],
)
def test_the_sentence_says_how_often_the_price_is_due(count: int | None, interval: str | None, words: str):
    snapshot = bought(billing_count=count, billing_interval=interval)
    read = sentence(ADD, a_preview(), snapshot, When.NOW)
    assert read.endswith(f"; then 219.00 EUR {words} before tax from 12 Dec 2026.")


@pytest.mark.parametrize(
    ("currency", "charged", "credit", "renewal"),
    [
        ("JPY", "1234 JPY", "50 JPY", "9900 JPY"),
        ("KWD", "1.234 KWD", "0.050 KWD", "9.900 KWD"),
        ("USD", "12.34 USD", "0.50 USD", "99.00 USD"),
    ],
)
def test_amounts_have_the_decimals_of_their_currency(currency: str, charged: str, credit: str, renewal: str):
    preview = a_preview(
        charged_now=Money(1234, currency),
        tax=None,
        credit=Money(-50, currency),
        renewal=Money(9900, currency),
    )
    assert sentence(ADD, preview, bought(), When.NOW) == (
        f"Adding 5 full seats costs {charged} and {credit} of credit today; then {renewal} a month before "
        "tax from 12 Dec 2026."
    )


# Another product.

UP = ProductMove(before="Team", after="Team Yearly")
YEARLY = {"billing_interval": "Year", "billing_count": 1, "cart_after": Cart("pdt_yearly", 1)}


def said_of_move(steps: dict[str, SeatStep], move: ProductMove, **changes: Any) -> str:
    snapshot = bought(recurring_pre_tax_amount=24900, currency="EUR")
    return sentence(steps, a_preview(**{**YEARLY, **changes}), snapshot, When.NOW, move=move)


def test_another_product_is_named_with_both_prices_and_both_periods():
    assert said_of_move({}, UP) == (
        "Changing from Team to Team Yearly costs 92.25 EUR, tax included, today; then 219.00 EUR a year "
        "before tax from 12 Dec 2026, instead of 249.00 EUR a month."
    )


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (SeatStep(8, 13), "and adding 5 full seats costs"),
        (SeatStep(13, UNLIMITED), "and having unlimited full seats instead of 13 costs"),
        (SeatStep(UNLIMITED, 30), "and having 30 full seats instead of unlimited costs"),
    ],
)
def test_seats_that_change_along_with_the_product_are_named(step: SeatStep, words: str):
    assert words in said_of_move({"full": step}, UP)


@pytest.mark.parametrize(
    ("lost", "dropped", "words"),
    [
        (["viewer"], 0, "Team Yearly has no viewer seats."),
        (["viewer", "guest"], 0, "Team Yearly has no viewer or guest seats."),
        ([], 1, "1 add-on that gives no seats is not sold with it and ends."),
        ([], 2, "2 add-ons that give no seats are not sold with it and end."),
    ],
)
def test_what_the_new_product_lacks_is_named(lost: list[str], dropped: int, words: str):
    move = ProductMove(before="Team", after="Team Yearly", lost_seat_types=lost, dropped_addons=dropped)
    assert said_of_move({}, move).endswith(words)


# The days of a proration.


def lines(*shares: float | None) -> tuple[PreviewLine, ...]:
    facts: dict[str, Any] = {"name": None, "quantity": 1, "unit_price": None, "tax": None}
    return tuple(
        PreviewLine(kind=LineKind.ADDON, share=share, tax_inclusive=None, **facts) for share in shares
    )


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ((0.5, -0.5), " today, for 15 of 30 days;"),
        ((0.4983,), " today, for 15 of 30 days;"),
        ((1.0, -1.0), " today;"),
        ((None,), " today;"),
        ((), " today;"),
    ],
)
def test_prorated_days_are_named(shares: tuple[float | None, ...], words: str):
    snapshot = bought(previous_billing_date=DUE - timedelta(days=30))
    assert words in sentence(ADD, a_preview(lines=lines(*shares)), snapshot, When.NOW)


def test_a_period_that_starts_anew_is_charged_less_the_unused_days():
    snapshot = bought(previous_billing_date=DUE - timedelta(days=30))
    preview = a_preview(lines=lines(1.0, -0.5), next_billing_date=IN_A_MONTH)
    words = " today, for a new period less 15 unused days of 30;"
    assert words in sentence(ADD, preview, snapshot, When.NOW)


@pytest.mark.parametrize("start", [None, DUE, DUE + timedelta(days=1)])
def test_no_days_are_named_if_the_period_is_not_known(start: datetime | None):
    snapshot = bought(previous_billing_date=start)
    assert " today;" in sentence(ADD, a_preview(lines=lines(0.5)), snapshot, When.NOW)


def test_a_share_of_another_products_period_says_nothing_about_the_days():
    preview = {"lines": lines(0.04), "cart_after": Cart("pdt_yearly", 1)}
    assert " today;" in said_of_move({}, UP, **preview)
