"""What Dodo Payments' events say of money, in our words."""

from __future__ import annotations

from typing import Final

from providers import fields
from providers.base import PaymentNews, PaymentNewsKind
from providers.dodo.changes import CHANGE_ID
from providers.http import JsonObject, error_code

# Payments of renewals, and of anything else, come with the subscription's own events; a payment's event
# is of use only if it is of one of our changes (Dodo documentation, webhooks).
_OF_SUBSCRIPTIONS: Final = {
    "subscription.renewed": PaymentNewsKind.PAID,
    "subscription.update_payment_method": PaymentNewsKind.METHOD_REPLACED,
}
_OF_PAYMENTS: Final = {
    "payment.succeeded": PaymentNewsKind.PAID,
    "payment.failed": PaymentNewsKind.FAILED,
    "payment.cancelled": PaymentNewsKind.FAILED,
}


def news(event_type: str | None, resource: JsonObject) -> PaymentNews | None:
    """What an event of this type with this `data` says of money; None if nothing that concerns us."""
    if event_type in _OF_SUBSCRIPTIONS:
        return PaymentNews(_OF_SUBSCRIPTIONS[event_type])
    metadata = resource.get("metadata")
    change_id = fields.text(metadata.get(CHANGE_ID)) if isinstance(metadata, dict) else None
    if event_type not in _OF_PAYMENTS or change_id is None:
        return None
    return PaymentNews(_OF_PAYMENTS[event_type], change_id, error_code(resource.get("error_code")))
