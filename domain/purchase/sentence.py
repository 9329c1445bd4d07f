"""A seat change in words: the sentence that a customer reads before agreeing to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from domain.billing_terms import When
from domain.purchase.money import Money
from domain.purchase.plan import Preview
from domain.purchase.steps import Steps, is_increase, moves_billing_date, prorated_days, renewal_of
from domain.snapshot import SubscriptionSnapshot
from domain.times import day_words
from domain.wording import counted

_INTERVALS: Final = {"Day": "day", "Week": "week", "Month": "month", "Year": "year"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductMove:
    """A change from one product to another, by their names. The new one sells no `lost_seat_types`, and is
    not sold with `dropped_addons` add-ons that give no seats.
    """

    before: str
    after: str
    lost_seat_types: Sequence[str] = ()
    dropped_addons: int = 0


def sentence(
    steps: Steps,
    preview: Preview,
    snapshot: SubscriptionSnapshot,
    when: When,
    *,
    move: ProductMove | None = None,
) -> str:
    """The sentence about the seats, the price today, the later price, and a moved billing date."""
    return " ".join(
        part
        for part in (
            _what(steps, preview, snapshot, when, move),
            _afterwards(preview, snapshot, when, move),
            _price_warning(steps, preview, snapshot) if move is None else _loses(move),
            _moved(preview, snapshot, when),
        )
        if part
    )


def _what(
    steps: Steps, preview: Preview, snapshot: SubscriptionSnapshot, when: When, move: ProductMove | None
) -> str:
    parts = [f"changing from {move.before} to {move.after}"] if move is not None else []
    parts += _in_words(steps)
    change = " and ".join(parts) or "buying the same seats with other add-ons"
    if when is When.AT_RENEWAL:
        return (
            f"{_upper(change)} at the renewal{_on(snapshot.next_billing_date)} costs {_price(preview)} today;"
        )
    return f"{_upper(change)} costs {_price(preview)} today{_prorated(preview, snapshot, when)};"


def _in_words(steps: Steps) -> Iterator[str]:
    differences = {name: step.difference for name, step in steps.items()}
    if added := _counted({name: by for name, by in differences.items() if by is not None and by > 0}):
        yield f"adding {added}"
    if removed := _counted({name: -by for name, by in differences.items() if by is not None and by < 0}):
        yield f"removing {removed}"
    for name, step in steps.items():
        if step.difference is None:
            yield f"having {step.after} {name} seats instead of {step.before}"


def _prorated(preview: Preview, snapshot: SubscriptionSnapshot, when: When) -> str:
    """For how many days, if the price is prorated. Where a new period starts, the rest of the old one is
    deducted.
    """
    prorated = prorated_days(preview, snapshot)
    if prorated is None:
        return ""
    if moves_billing_date(preview, snapshot, when):
        left = counted(prorated.days, "unused day")
        return f", for a new period less {left} of {prorated.of}"
    return f", for {prorated.days} of {counted(prorated.of, 'day')}"


def _loses(move: ProductMove) -> str:
    lost = [f"{move.after} has no {' or '.join(move.lost_seat_types)} seats."] if move.lost_seat_types else []
    if move.dropped_addons:
        addons = counted(
            move.dropped_addons, "add-on that gives no seats is", "add-ons that give no seats are"
        )
        lost.append(f"{addons} not sold with it and end{'s' if move.dropped_addons == 1 else ''}.")
    return " ".join(lost)


def _price(preview: Preview) -> str:
    credit = preview.credit
    used = f" and {Money(-credit.amount, credit.currency)} of credit" if credit and credit.amount < 0 else ""
    if preview.charged_now.amount <= 0:
        gained = f"nothing and credits {credit}" if credit and credit.amount > 0 else "nothing"
        return used.removeprefix(" and ") or gained
    has_tax = preview.tax is not None and preview.tax.amount > 0
    return f"{preview.charged_now}{used}{', tax included,' if has_tax else ''}"


def _afterwards(
    preview: Preview, snapshot: SubscriptionSnapshot, when: When, move: ProductMove | None
) -> str:
    if preview.renewal is None:
        return "the price of later periods is not known."
    first = snapshot.next_billing_date if when is When.AT_RENEWAL else preview.next_billing_date
    start = f" from {day_words(first)}" if first is not None else ""
    before = renewal_of(snapshot) if move is not None else None
    now = every(snapshot.billing_interval, snapshot.billing_count)
    later = now
    if preview.billing_interval is not None:
        later = every(preview.billing_interval, preview.billing_count)
    instead = f", instead of {before} {now}" if before is not None else ""
    return f"then {preview.renewal} {later} before tax{start}{instead}."


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


def every(billing_interval: str | None, billing_count: int | None) -> str:
    """How often a price is due, in words: `a month`, `every 3 months`."""
    interval = _INTERVALS.get(billing_interval or "")
    if interval is None or billing_count is None:
        return "a period"
    return f"a {interval}" if billing_count == 1 else f"every {billing_count} {interval}s"


def _counted(differences: Mapping[str, int]) -> str:
    return " and ".join(
        f"{count} {name} seat{'' if count == 1 else 's'}" for name, count in sorted(differences.items())
    )


def _on(moment: datetime | None) -> str:
    return f" on {day_words(moment)}" if moment is not None else ""


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
