"""A seat change in words: the sentence that a customer reads before agreeing to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from domain.billing_terms import When
from domain.purchase.money import Money
from domain.purchase.plan import Preview
from domain.purchase.steps import Steps, is_increase, moves_billing_date, renewal_of
from domain.snapshot import SubscriptionSnapshot
from domain.times import day_words

_INTERVALS: Final = {"Day": "day", "Week": "week", "Month": "month", "Year": "year"}


def sentence(steps: Steps, preview: Preview, snapshot: SubscriptionSnapshot, when: When) -> str:
    """The sentence about the seats, the price today, the later price, and a moved billing date."""
    return " ".join(
        part
        for part in (
            _what(steps, preview, snapshot, when),
            _afterwards(preview, snapshot, when),
            _price_warning(steps, preview, snapshot),
            _moved(preview, snapshot, when),
        )
        if part
    )


def _what(steps: Steps, preview: Preview, snapshot: SubscriptionSnapshot, when: When) -> str:
    added = _counted({name: step.difference for name, step in steps.items() if step.difference > 0})
    removed = _counted({name: -step.difference for name, step in steps.items() if step.difference < 0})
    parts = [f"adding {added}"] if added else []
    parts += [f"removing {removed}"] if removed else []
    change = " and ".join(parts) or "buying the same seats with other add-ons"
    if when is When.AT_RENEWAL:
        return (
            f"{_upper(change)} at the renewal{_on(snapshot.next_billing_date)} costs {_price(preview)} today;"
        )
    return f"{_upper(change)} costs {_price(preview)} today;"


def _price(preview: Preview) -> str:
    credit = preview.credit
    used = f" and {Money(-credit.amount, credit.currency)} of credit" if credit and credit.amount < 0 else ""
    if preview.charged_now.amount <= 0:
        gained = f"nothing and credits {credit}" if credit and credit.amount > 0 else "nothing"
        return used.removeprefix(" and ") or gained
    has_tax = preview.tax is not None and preview.tax.amount > 0
    return f"{preview.charged_now}{used}{', tax included,' if has_tax else ''}"


def _afterwards(preview: Preview, snapshot: SubscriptionSnapshot, when: When) -> str:
    if preview.renewal is None:
        return "the price of later periods is not known."
    first = snapshot.next_billing_date if when is When.AT_RENEWAL else preview.next_billing_date
    start = f" from {day_words(first)}" if first is not None else ""
    return f"then {preview.renewal} {_every(snapshot)} before tax{start}."


def _price_warning(steps: Steps, preview: Preview, snapshot: SubscriptionSnapshot) -> str:
    """A warning if fewer seats cost more, which the provider's prices may cause."""
    before, after = renewal_of(snapshot), preview.renewal
    if is_increase(steps) or before is None or after is None or before.currency != after.currency:
        return ""
    more = after.amount - before.amount
    return f"That is {Money(more, after.currency)} more than now, {before}." if more > 0 else ""


def _moved(preview: Preview, snapshot: SubscriptionSnapshot, when: When) -> str:
    if not moves_billing_date(preview, snapshot, when) or preview.next_billing_date is None:
        return ""
    return f"The billing date moves to {day_words(preview.next_billing_date)}."


def _every(snapshot: SubscriptionSnapshot) -> str:
    interval = _INTERVALS.get(snapshot.billing_interval or "")
    if interval is None or snapshot.billing_count is None:
        return "a period"
    return f"a {interval}" if snapshot.billing_count == 1 else f"every {snapshot.billing_count} {interval}s"


def _counted(differences: Mapping[str, int]) -> str:
    return " and ".join(
        f"{count} {name} seat{'' if count == 1 else 's'}" for name, count in sorted(differences.items())
    )


def _on(moment: datetime | None) -> str:
    return f" on {day_words(moment)}" if moment is not None else ""


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
