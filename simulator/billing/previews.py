"""The body of a preview: the cost of a plan change now, and the subscription after it."""

from __future__ import annotations

from simulator.billing import bodies
from simulator.billing.bodies import Body
from simulator.billing.catalog import Addon, Product
from simulator.billing.proration import Line
from simulator.billing.quote import Quote
from simulator.billing.subscription import Subscription
from simulator.billing.tax import PER_CENT, tax_on


def preview_body(quote: Quote) -> Body:
    subscription, owed = quote.before, quote.due
    items = [_line_item(line, number, subscription) for number, line in enumerate(quote.lines, start=1)]
    summary = {
        "currency": subscription.currency,
        "total_amount": owed.total,
        "tax": owed.tax,
        "customer_credits": owed.customer_credits,
        "customer_credits_currency": subscription.currency,
        "settlement_amount": owed.total,
        "settlement_currency": subscription.currency,
        "settlement_tax": owed.tax,
    }
    return {
        "immediate_charge": {"effective_at": quote.effective_at, "line_items": items, "summary": summary},
        "new_plan": bodies.full(quote.after),
    }


def _line_item(line: Line, number: int, subscription: Subscription) -> Body:
    country, is_included = subscription.billing.country, subscription.tax_inclusive
    return {
        **_kind(line.item),
        "id": f"li_{number:02}",
        "name": line.item.name,
        "description": line.item.description,
        "currency": subscription.currency,
        "quantity": line.quantity,
        "unit_price": line.item.price,
        "proration_factor": float(line.factor),
        "tax_inclusive": is_included,
        "tax_rate": float(PER_CENT.get(country, 0)),
        "tax": tax_on(line.amount, country, is_included=is_included),
    }


def _kind(item: Product | Addon) -> Body:
    """The fields by kind. Line items of products have the product's id, those of add-ons have no id."""
    if isinstance(item, Product):
        return {"type": "subscription", "product_id": item.product_id}
    return {"type": "addon", "tax_category": "saas"}
