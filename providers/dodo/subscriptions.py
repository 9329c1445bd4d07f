"""A subscription as Dodo Payments shows it, in our words."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from domain.snapshot import AddonQuantity, ScheduledChange, SubscriptionSnapshot
from providers import fields
from providers.http import JsonObject

log = logging.getLogger(__name__)


class Untranslatable(ValueError):
    """A subscription that lacks a field that seats are computed from; the text names it."""

    @property
    def field(self) -> str:
        return str(self).strip("`")


def snapshot(data: JsonObject) -> SubscriptionSnapshot:
    """A subscription in our words. Real bodies lack fields that the provider's models require, so only
    what seats are computed from is required, and anything else of a wrong type counts as absent.
    """
    customer = data.get("customer")  # personal, but for its id
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
    """The fields that decide and are absent or malformed. Without a scheduled change the provider says null,
    and sends every subscription with its cancellation flag.
    """
    if not isinstance(data.get("cancel_at_next_billing_date"), bool):
        yield "cancel_at_next_billing_date"
    scheduled = data.get("scheduled_change", ...)
    if scheduled is not None and _scheduled_change(scheduled) is None:
        yield "scheduled_change"


def hint(data: JsonObject) -> SubscriptionSnapshot | None:
    """The state the body claims, or None. No reason to refuse an event: its id is enough to ask again."""
    try:
        return snapshot(data)
    except Untranslatable as error:
        log.warning(
            "A subscription cannot be translated",
            extra={"subscription_id": fields.text(data.get("subscription_id")), "reason": str(error)},
        )
        return None


def _required_text(data: JsonObject, field: str) -> str:
    text = fields.text(data.get(field))
    if text is None:
        raise Untranslatable(f"`{field}`")
    return text


def _required_quantity(data: JsonObject) -> int:
    quantity = fields.integer(data.get("quantity"))
    if quantity is None:
        raise Untranslatable("`quantity`")
    return quantity


def addons(value: object) -> tuple[AddonQuantity, ...] | None:
    """The add-on cart, by id: the provider's order means nothing. None where it is absent or any part of it
    is malformed, since that is not zero.
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
