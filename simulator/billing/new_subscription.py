"""New subscriptions: sensible values for everything that was not asked for."""

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
Wishes = Mapping[str, object]


def reshaped(subscription: Subscription, wishes: Wishes) -> Subscription:
    """The subscription with any of its fields replaced; objects are merged, lists replaced."""
    fields = asdict(subscription)
    for name, value in wishes.items():
        is_part = name in MERGED and isinstance(value, Mapping)
        fields[name] = fields[name] | value if is_part else value
    if unknown := sorted(wishes.keys() - Subscription.__dataclass_fields__.keys()):
        raise Refusal.unprocessable("UNKNOWN_FIELD", f"A subscription has no {', '.join(unknown)}")
    try:
        return SUBSCRIPTION.validate_python(fields)
    except ValidationError as error:
        raise Refusal.unprocessable("INVALID_REQUEST_BODY", explain(error)) from error


def draft(wishes: Wishes, *, catalog: Catalog, ids: Ids, now: datetime) -> Subscription:
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
    wanted = reshaped(blank, wishes)
    product = catalog.products.get(wanted.product_id)
    defaults: dict[str, object] = {}
    if product:
        defaults["currency"] = product.currency
        defaults["payment_frequency_count"] = product.payment_frequency_count
        defaults["payment_frequency_interval"] = product.payment_frequency_interval
    defaults["recurring_pre_tax_amount"] = catalog.price(wanted.cart)
    return _dated(reshaped(wanted, {**defaults, **wishes}), wishes)


def _dated(subscription: Subscription, wishes: Wishes) -> Subscription:
    """Unless asked otherwise, the first period and the whole term begin at creation."""
    start = subscription.created_at
    end = later(start, subscription.payment_frequency_count, subscription.payment_frequency_interval)
    term = later(start, subscription.subscription_period_count, subscription.subscription_period_interval)
    dates = {"previous_billing_date": start, "next_billing_date": end, "expires_at": term}
    return reshaped(subscription, {**dates, **{name: wishes[name] for name in dates if name in wishes}})


def opened(subscription: Subscription, wishes: Wishes, now: datetime) -> Outcome:
    """The outcome of coming into the wished status straight from `pending`, with the wished fields kept."""
    if subscription.status == Status.PENDING:
        return Outcome(subscription, ())
    born = replace(subscription, status=Status.PENDING)
    outcome = to_status(subscription.status)(born, now)
    return Outcome(reshaped(outcome.subscription, wishes), outcome.events)


def copies(model: Subscription, count: int, account: str | None, ids: Ids) -> Iterator[Subscription]:
    """Many like one, each with its own ids and a millisecond apart, the newest last."""
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
