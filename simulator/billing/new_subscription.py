"""Creates subscriptions, with defaults for all fields that are not given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from simulator.billing.catalog import Catalog
from simulator.billing.lifecycle import Outcome, to_status
from simulator.billing.periods import later
from simulator.billing.subscription import Customer, Status, Subscription
from simulator.ids import Ids
from simulator.json_text import explain
from simulator.refusal import Refusal

SUBSCRIPTION = TypeAdapter(Subscription)
MERGED = ("customer", "billing")
Fields = Mapping[str, object]


def with_fields(subscription: Subscription, fields: Fields) -> Subscription:
    """The subscription with these fields replaced. Objects are merged, lists replaced.

    Raises `Refusal` if a field is unknown or a value is invalid.
    """
    if unknown := sorted(fields.keys() - Subscription.__dataclass_fields__.keys()):
        raise Refusal.unprocessable("UNKNOWN_FIELD", f"A subscription has no {', '.join(unknown)}")
    values = asdict(subscription)
    for name, value in fields.items():
        is_part = name in MERGED and isinstance(value, Mapping)
        values[name] = values[name] | value if is_part else value
    try:
        return SUBSCRIPTION.validate_python(values)
    except ValidationError as error:
        raise Refusal.unprocessable("INVALID_REQUEST_BODY", explain(error)) from error


def draft(fields: Fields, *, catalog: Catalog, ids: Ids, now: datetime) -> Subscription:
    """A subscription at the start of its first period, priced by the catalogue."""
    blank = Subscription(
        subscription_id=ids.new("sub"),
        product_id="pdt_team",
        customer=Customer(customer_id=ids.new("cus")),
        payment_method_id=ids.new("pm"),
        created_at=now,
        previous_billing_date=now,
        next_billing_date=now,
    )
    wanted = with_fields(blank, fields)
    product = catalog.products.get(wanted.product_id)
    defaults: dict[str, object] = {}
    if product:
        defaults["currency"] = product.currency
        defaults["tax_inclusive"] = product.tax_inclusive
        defaults["payment_frequency_count"] = product.payment_frequency_count
        defaults["payment_frequency_interval"] = product.payment_frequency_interval
    defaults["recurring_pre_tax_amount"] = catalog.price(wanted.cart)
    return _dated(with_fields(wanted, {**defaults, **fields}), fields)


def _dated(subscription: Subscription, fields: Fields) -> Subscription:
    """Unless the dates are given, the first period and the term start at creation."""
    start = subscription.created_at
    end = later(start, subscription.payment_frequency_count, subscription.payment_frequency_interval)
    term = later(start, subscription.subscription_period_count, subscription.subscription_period_interval)
    dates = {"previous_billing_date": start, "next_billing_date": end, "expires_at": term}
    return with_fields(subscription, {**dates, **{name: fields[name] for name in dates if name in fields}})


def opened(subscription: Subscription, fields: Fields, now: datetime) -> Outcome:
    """The outcome of entering the given status from `pending`, with the given fields."""
    if subscription.status == Status.PENDING:
        return Outcome(subscription, ())
    pending = replace(subscription, status=Status.PENDING)
    outcome = to_status(subscription.status)(pending, now)
    return Outcome(with_fields(outcome.subscription, fields), outcome.events)


def copies(model: Subscription, count: int, account: str | None, ids: Ids) -> Iterator[Subscription]:
    """Copies with ids of their own, created a millisecond apart, newest last."""
    for number in range(count):
        customer = replace(model.customer, customer_id=ids.new("cus"))
        metadata = {**model.metadata, "account_id": f"{account}-{number}"} if account else model.metadata
        yield replace(
            model,
            subscription_id=ids.new("sub"),
            customer=customer,
            metadata=metadata,
            created_at=model.created_at - timedelta(milliseconds=count - number),
        )
