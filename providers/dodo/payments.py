"""Reads payments from Dodo Payments' events."""

from __future__ import annotations

from typing import Final

from providers import fields
from providers.base import PaymentKind, PaymentReport
from providers.dodo.changes import CHANGE_ID
from providers.dodo.declines import decline
from providers.http import JsonObject, error_code

# Renewals and other payments are reported by the subscription's own events. An event of a payment matters
# only if the payment is for one of our changes (Dodo documentation, webhooks).
_OF_SUBSCRIPTIONS: Final = {
    "subscription.renewed": PaymentKind.PAID,
    "subscription.update_payment_method": PaymentKind.METHOD_REPLACED,
}
_OF_PAYMENTS: Final = {
    "payment.succeeded": PaymentKind.PAID,
    "payment.failed": PaymentKind.FAILED,
    "payment.cancelled": PaymentKind.FAILED,
}
# The failure code to assume if an event states none.
_CODES: Final = {"payment.cancelled": "CUSTOMER_CANCELLED"}


def reported_payment(event_type: str | None, resource: JsonObject) -> PaymentReport | None:
    """The payment that an event of this type with this `data` reports; None if there is none that matters."""
    if event_type in _OF_SUBSCRIPTIONS:
        return PaymentReport(_OF_SUBSCRIPTIONS[event_type])
    metadata = resource.get("metadata")
    change_id = fields.text(metadata.get(CHANGE_ID)) if isinstance(metadata, dict) else None
    if event_type not in _OF_PAYMENTS or change_id is None:
        return None
    kind = _OF_PAYMENTS[event_type]
    if kind is not PaymentKind.FAILED:
        return PaymentReport(kind, change_id)
    declined = decline(error_code(resource.get("error_code")) or _CODES.get(event_type))
    return PaymentReport(kind, change_id, declined.code, str(declined))


def subscription_of(resource: JsonObject) -> str | None:
    """The one subscription that the `data` of a payment event is about; None if there is none, or several.

    A payment may name it only in `subscription_ids` (Dodo documentation, webhooks).
    """
    named, listed = fields.text(resource.get("subscription_id")), resource.get("subscription_ids")
    if named is not None or not isinstance(listed, list) or len(listed) != 1:
        return named
    return fields.text(listed[0])
