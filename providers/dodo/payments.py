"""Reads payments from Dodo Payments' events."""

from __future__ import annotations

from typing import Final

from providers import fields
from providers.base import PaymentKind, PaymentReport
from providers.dodo.changes import CHANGE_ID
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


def reported_payment(event_type: str | None, resource: JsonObject) -> PaymentReport | None:
    """The payment that an event of this type with this `data` reports; None if there is none that matters."""
    if event_type in _OF_SUBSCRIPTIONS:
        return PaymentReport(_OF_SUBSCRIPTIONS[event_type])
    metadata = resource.get("metadata")
    change_id = fields.text(metadata.get(CHANGE_ID)) if isinstance(metadata, dict) else None
    if event_type not in _OF_PAYMENTS or change_id is None:
        return None
    return PaymentReport(_OF_PAYMENTS[event_type], change_id, error_code(resource.get("error_code")))
