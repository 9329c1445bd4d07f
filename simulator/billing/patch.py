"""PATCH /subscriptions/{id}: its body and its effect."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field

from simulator.billing.lifecycle import ENDED, Outcome, cancel, cancel_later, changed, pause, stay, unpause
from simulator.billing.periods import later
from simulator.billing.subscription import Address, CancelledBy, Metadata, Status, Subscription
from simulator.refusal import Refusal

Interval = Literal["Day", "Week", "Month", "Year"]
CancelReason = Literal[
    "cancelled_by_customer",
    "cancelled_by_merchant",
    "cancelled_by_merchant_send_dunning",
    "cancelled_by_merchant_grace_period_expired",
    "dodo_team",
]
Feedback = Literal[
    "too_expensive",
    "missing_features",
    "switched_service",
    "unused",
    "customer_service",
    "low_quality",
    "too_complex",
    "other",
]
WITH_CANCELLATION = ("cancel_reason", "cancellation_comment", "cancellation_feedback")
AS_GIVEN = ("metadata", "tax_id", "customer_business_name", "cancellation_comment", "cancellation_feedback")
ACTOR = CancelledBy(actor_type="api_key")


class DisableOnDemand(BaseModel):
    next_billing_date: AwareDatetime


class Patch(BaseModel):
    """The body; all fields are optional. It has no `quantity` and no `addons`, which only change-plan
    changes.
    """

    billing: Address | None = None
    cancel_at_next_billing_date: bool | None = None
    cancel_reason: CancelReason | None = None
    cancellation_comment: str | None = None
    cancellation_feedback: Feedback | None = None
    customer_business_name: str | None = None
    customer_name: str | None = None
    disable_on_demand: DisableOnDemand | None = None
    metadata: Metadata | None = None
    next_billing_date: AwareDatetime | None = None
    pause: bool | None = None
    status: str | None = None
    subscription_period_count: int | None = Field(default=None, ge=1)
    subscription_period_interval: Interval | None = None
    tax_id: str | None = None

    @property
    def cancels(self) -> bool:
        """Whether it cancels the subscription, at once or at the next billing date."""
        return self.status == Status.CANCELLED or self.cancel_at_next_billing_date is True


def patched(subscription: Subscription, now: datetime, patch: Patch) -> Outcome:
    """The outcome of a PATCH. Raises `Refusal` if a field is not allowed."""
    if "pause" in patch.model_fields_set:
        raise _invalid("pause: removed, use status")
    if patch.status in {Status.PAUSED, Status.ACTIVE}:
        return _paused_or_resumed(subscription, now, patch)
    _check_cancellation(subscription, patch)
    onto = _with_term(_with_dates(_with_plain_fields(subscription, patch), now, patch), patch)
    if patch.status == Status.CANCELLED:
        return cancel(onto, now, ACTOR)
    if patch.status is not None:
        raise _invalid(f"status: {patch.status} cannot be set")
    is_leaving = patch.cancel_at_next_billing_date
    if is_leaving is None or is_leaving == subscription.cancel_at_next_billing_date:
        return changed(onto)
    return cancel_later(onto, now, ACTOR) if is_leaving else stay(onto, now)


def _check_cancellation(subscription: Subscription, patch: Patch) -> None:
    """Refuse a reason without a cancellation, and a cancellation or its undo after the end."""
    for field in WITH_CANCELLATION:
        if getattr(patch, field) is not None and not patch.cancels:
            raise _invalid(f"{field}: only valid with a cancellation")
    changes_end = patch.cancels or patch.cancel_at_next_billing_date is not None
    if changes_end and subscription.status in ENDED:
        raise Refusal.unprocessable("SUBSCRIPTION_INACTIVE", f"The subscription is {subscription.status}")


def _invalid(message: str) -> Refusal:
    return Refusal.unprocessable("INVALID_REQUEST_BODY", message)


def _paused_or_resumed(subscription: Subscription, now: datetime, patch: Patch) -> Outcome:
    """Only an active subscription can be paused, only a paused one resumed."""
    if patch.model_fields_set != {"status"}:
        raise _invalid(f"status: {patch.status} must be sent alone")
    before, rule = (Status.ACTIVE, pause) if patch.status == Status.PAUSED else (Status.PAUSED, unpause)
    if subscription.status != before:
        raise Refusal.unprocessable("SUBSCRIPTION_INACTIVE", f"The subscription is {subscription.status}")
    return rule(subscription, now)


def _with_plain_fields(subscription: Subscription, patch: Patch) -> Subscription:
    """The subscription with the fields that need no rule. Null clears a field, except the address and the
    name.
    """
    wanted = {name: getattr(patch, name) for name in AS_GIVEN if name in patch.model_fields_set}
    if "metadata" in wanted:
        wanted["metadata"] = wanted["metadata"] or {}
    if patch.billing is not None:
        wanted["billing"] = patch.billing
    if patch.customer_name is not None:
        wanted["customer"] = replace(subscription.customer, name=patch.customer_name)
    return replace(subscription, **wanted)


def _with_dates(subscription: Subscription, now: datetime, patch: Patch) -> Subscription:
    """The next billing date may only be moved into the future."""
    turned = patch.disable_on_demand
    date = turned.next_billing_date if turned else patch.next_billing_date
    if date is None:
        return subscription
    if date <= now:
        raise _invalid("next_billing_date: must be in the future")
    return replace(subscription, next_billing_date=date, on_demand=subscription.on_demand and not turned)


def _with_term(subscription: Subscription, patch: Patch) -> Subscription:
    """The whole term may only be extended."""
    count = patch.subscription_period_count or subscription.subscription_period_count
    interval = patch.subscription_period_interval or subscription.subscription_period_interval
    expires_at = later(subscription.created_at, count, interval)
    if (count, interval) == _term(subscription):
        return subscription
    if expires_at < later(subscription.created_at, *_term(subscription)):
        raise _invalid("subscription_period_count: the term can only be extended")
    return replace(
        subscription,
        subscription_period_count=count,
        subscription_period_interval=interval,
        expires_at=expires_at,
    )


def _term(subscription: Subscription) -> tuple[int, str]:
    return subscription.subscription_period_count, subscription.subscription_period_interval
