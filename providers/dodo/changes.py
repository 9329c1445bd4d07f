"""Plan changes and checkouts at Dodo Payments: builds the request bodies and reads the responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from domain.billing_terms import When
from domain.cart import Cart
from domain.provider_errors import PermanentError, SubscriptionNotAtProvider
from domain.purchase.money import Money
from domain.purchase.plan import Buyer, Checkout, LineKind, Plan, Preview, PreviewLine
from providers import fields
from providers.dodo import subscriptions
from providers.dodo.refusals import refused
from providers.dodo.subscriptions import MissingField
from providers.http import JsonObject

CHANGE_ID: Final = "seatsync_change_id"
"""The key of our change id in the metadata of its payment."""

_EFFECTIVE_AT: Final = {When.NOW: "immediately", When.AT_RENEWAL: "next_billing_date"}
_NOT_FOUND: Final = "NOT_FOUND"


# Requests.


def plan_body(plan: Plan, *, change_id: str | None = None) -> JsonObject:
    """The body of a plan change or of its preview.

    It always has the whole list of add-ons: add-ons that are not listed are removed, and the effect of
    leaving the list out is not documented (Dodo documentation, change plan).
    """
    body: JsonObject = {
        **_cart_body(plan.cart),
        "proration_billing_mode": plan.proration.value,
        "effective_at": _EFFECTIVE_AT[plan.when],
    }
    if plan.prevent_on_failure:
        body["on_payment_failure"] = "prevent_change"
    if change_id is not None:
        body["metadata"] = {CHANGE_ID: change_id}
    return body


def checkout_body(
    cart: Cart, buyer: Buyer, *, metadata: Mapping[str, str], return_url: str | None
) -> JsonObject:
    """The body of a checkout session. The checkout page asks for what is missing about the buyer."""
    customer = {"customer_id": buyer.customer_id, "email": buyer.email, "name": buyer.name}
    optional = {
        "customer": {name: value for name, value in customer.items() if value is not None} or None,
        "return_url": return_url,
    }
    return {
        "product_cart": [_cart_body(cart)],
        "metadata": dict(metadata),
        **{name: value for name, value in optional.items() if value is not None},
    }


def _cart_body(cart: Cart) -> JsonObject:
    return {
        "product_id": cart.product_id,
        "quantity": cart.quantity,
        "addons": [{"addon_id": addon.addon_id, "quantity": addon.quantity} for addon in cart.addons],
    }


# Responses.


def refusal_of(error: PermanentError) -> PermanentError:
    """The error to raise for a refused change of a subscription."""
    code = error.details.get("provider_code")
    if code == _NOT_FOUND:
        return SubscriptionNotAtProvider(
            "Dodo Payments does not know this subscription. Check that the API key belongs to the business "
            "and mode in which it was sold.",
            details=error.details,
        )
    return refused(code if isinstance(code, str) else None)


def checkout_refusal_of(error: PermanentError) -> PermanentError:
    """The error to raise for a refused checkout. Not found means the product or the customer here."""
    code = error.details.get("provider_code")
    return refused(code if isinstance(code, str) else None)


def preview(data: JsonObject) -> Preview:
    """The preview of a plan change. Raises `MissingField` if the amount or the cart is missing."""
    charge, plan = _object(data, "immediate_charge"), _object(data, "new_plan")
    summary = _object(charge, "summary")
    charged = _money(summary.get("total_amount"), summary.get("currency"))
    if charged is None:
        raise MissingField("`total_amount` with its `currency`")
    after = subscriptions.snapshot(plan)
    if after.addons is None:
        raise MissingField("`new_plan.addons`")
    credit = _money(summary.get("customer_credits"), summary.get("customer_credits_currency"))
    return Preview(
        charged_now=charged,
        tax=_money(summary.get("tax"), charged.currency),
        credit=credit if credit and credit.amount else None,
        effective_at=fields.moment(charge.get("effective_at")),
        renewal=_money(after.recurring_pre_tax_amount, after.currency),
        next_billing_date=after.next_billing_date,
        cart_after=Cart.of(after),
        billing_interval=after.billing_interval,
        billing_count=after.billing_count,
        lines=tuple(_lines(charge.get("line_items"))),
    )


_LINE_KINDS: Final = {
    "subscription": LineKind.PRODUCT,
    "addon": LineKind.ADDON,
    "meter": LineKind.USAGE,
}


def _lines(value: object) -> Iterator[PreviewLine]:
    """The line items. Those of an unknown kind are left out: they are shown, and decide nothing."""
    for item in value if isinstance(value, list) else []:
        if not isinstance(item, dict) or (kind := _LINE_KINDS.get(str(item.get("type")))) is None:
            continue
        inclusive = item.get("tax_inclusive")
        yield PreviewLine(
            kind=kind,
            name=fields.text(item.get("name")),
            quantity=fields.integer(item.get("quantity")),
            unit_price=_money(item.get("unit_price"), item.get("currency")),
            share=fields.decimal(item.get("proration_factor")),
            tax=_money(item.get("tax"), item.get("currency")),
            tax_inclusive=inclusive if isinstance(inclusive, bool) else None,
        )


def checkout(data: JsonObject) -> Checkout:
    """The opened checkout page. Raises `MissingField` if its id or URL is missing."""
    session_id, url = fields.text(data.get("session_id")), fields.url(data.get("checkout_url"))
    if session_id is None or url is None:
        raise MissingField("`session_id` and `checkout_url`")
    return Checkout(session_id, url)


def _object(data: JsonObject, field: str) -> JsonObject:
    value = data.get(field)
    if not isinstance(value, dict):
        raise MissingField(f"`{field}`")
    return value


def _money(amount: object, currency: object) -> Money | None:
    number, code = fields.integer(amount), fields.text(currency)
    return None if number is None or code is None else Money(number, code)
