"""Reads subscriptions from Dodo Payments' responses and webhooks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from typing import Final

from domain.drift import LISTED
from domain.snapshot import AddonQuantity, ScheduledChange, SubscriptionSnapshot
from providers import fields
from providers.base import ListItem
from providers.http import JsonObject

log = logging.getLogger(__name__)

_FINGERPRINT_BYTES: Final = 16


class MissingField(ValueError):
    """A required field is missing or malformed. The message is its name in backquotes."""

    @property
    def field(self) -> str:
        """The name of the field."""
        return str(self).strip("`")


def snapshot(data: JsonObject) -> SubscriptionSnapshot:
    """The snapshot of a subscription. Raises `MissingField` if a field that seats are computed from is
    missing.

    Other fields may be missing or malformed, and are then None: real bodies lack fields that the provider's
    models require.
    """
    customer = data.get("customer")  # personal data except for its id
    return SubscriptionSnapshot(
        subscription_id=_required_text(data, "subscription_id"),
        status=_required_text(data, "status"),
        product_id=_required_text(data, "product_id"),
        quantity=_required_quantity(data),
        addons=addons(data.get("addons")),
        cancel_at_next_billing_date=data.get("cancel_at_next_billing_date") is True,
        next_billing_date=fields.moment(data.get("next_billing_date")),
        previous_billing_date=fields.moment(data.get("previous_billing_date")),
        past_due_ends_at=fields.moment(data.get("past_due_ends_at")),
        recurring_pre_tax_amount=fields.integer(data.get("recurring_pre_tax_amount")),
        currency=fields.text(data.get("currency")),
        customer_id=fields.text(customer.get("customer_id")) if isinstance(customer, dict) else None,
        metadata=fields.scalars(data.get("metadata")),
        scheduled_change=_scheduled_change(data.get("scheduled_change")),
        created_at=fields.moment(data.get("created_at")),
        billing_interval=fields.text(data.get("payment_frequency_interval")),
        billing_count=fields.integer(data.get("payment_frequency_count")),
        unstated=tuple(_unstated(data)),
    )


def _unstated(data: JsonObject) -> Iterator[str]:
    """The fields for which absent or malformed means unknown. The provider always sends the cancellation
    flag, and null if there is no scheduled change.
    """
    if not isinstance(data.get("cancel_at_next_billing_date"), bool):
        yield "cancel_at_next_billing_date"
    scheduled = data.get("scheduled_change", ...)
    if scheduled is not None and _scheduled_change(scheduled) is None:
        yield "scheduled_change"


def hint(data: JsonObject) -> SubscriptionSnapshot | None:
    """The snapshot of a subscription in a webhook or list; None if it is unreadable, so that it is
    retrieved.
    """
    try:
        return snapshot(data)
    except MissingField as error:
        log.warning(
            "subscription unreadable",
            extra={"subscription_id": fields.text(data.get("subscription_id")), "reason": str(error)},
        )
        return None


def list_item(data: JsonObject) -> ListItem:
    """The subscription as an item of a list. Its id must be usable.

    The fingerprint is made of the provider's own values, unread. A retrieved subscription has no such
    fingerprint, since the two need not be written alike.
    """
    # An absent field means something else than null, and no JSON value reads like the ellipsis.
    listed = repr([data.get(field, ...) for field in LISTED])
    return ListItem(
        data["subscription_id"],
        fields.moment(data.get("created_at")),
        blake2b(listed.encode(), digest_size=_FINGERPRINT_BYTES).hexdigest(),
        partial(hint, data),
    )


def _required_text(data: JsonObject, field: str) -> str:
    text = fields.text(data.get(field))
    if text is None:
        raise MissingField(f"`{field}`")
    return text


def _required_quantity(data: JsonObject) -> int:
    quantity = fields.integer(data.get("quantity"))
    if quantity is None:
        raise MissingField("`quantity`")
    return quantity


def addons(value: object) -> tuple[AddonQuantity, ...] | None:
    """The add-ons sorted by id, since the provider's order has no meaning. None if the list is absent or any
    part of it is malformed: that is unknown, not zero.
    """
    if not isinstance(value, list):
        return None
    addons = [_addon(item) for item in value]
    known = [addon for addon in addons if addon is not None]
    by_id = tuple(sorted(known, key=lambda addon: (addon.addon_id, addon.quantity)))
    return by_id if len(known) == len(addons) else None


def _addon(item: object) -> AddonQuantity | None:
    if not isinstance(item, dict):
        return None
    addon_id, quantity = fields.text(item.get("addon_id")), fields.integer(item.get("quantity"))
    return None if addon_id is None or quantity is None else AddonQuantity(addon_id, quantity)


def _scheduled_change(value: object) -> ScheduledChange | None:
    if not isinstance(value, dict):
        return None
    change_id, product_id = fields.text(value.get("id")), fields.text(value.get("product_id"))
    quantity, cart = fields.integer(value.get("quantity")), addons(value.get("addons"))
    if change_id is None or product_id is None or quantity is None or cart is None:
        return None
    return ScheduledChange(change_id, product_id, quantity, cart, fields.moment(value.get("effective_at")))
