"""The events that follow from a change of a subscription and from its charges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from simulator.billing.charge import Charge, Reason, Result
from simulator.billing.lifecycle import Outcome
from simulator.billing.subscription import Subscription
from simulator.ids import Ids
from simulator.webhooks.events import Event, EventType
from simulator.webhooks.other_bodies import Body, EventContext, plausible


def announced(
    outcome: Outcome, charges: Sequence[Charge], now: datetime, *, business_id: str, ids: Ids
) -> Iterator[Event]:
    """The events for payments of plan changes, then those of the subscription.

    If a failed payment prevented a plan change, `payment.failed` is the only event. `subscription.renewed`
    has the id of the payment collected, which is the last charge.
    """
    subscription = outcome.subscription
    for charge in charges:
        if charge.reason == Reason.PLAN_CHANGE and charge.amount:
            yield Event(
                type=f"payment.{charge.result}",
                occurred_at=now,
                business_id=business_id,
                subscription=subscription,
                data=payment_data(charge, subscription, business_id, ids),
            )
    for event_type in outcome.events:
        yield Event(
            type=event_type,
            occurred_at=now,
            business_id=business_id,
            subscription=subscription,
            payment_id=charges[-1].payment_id if event_type == EventType.RENEWED else None,
        )


def payment_data(charge: Charge, subscription: Subscription, business_id: str, ids: Ids) -> Body:
    """The data of a payment event for this charge. Only a successful payment has a service period."""
    context = EventContext(
        action=charge.result,
        subscription=subscription,
        now=charge.created_at,
        business_id=business_id,
        ids=ids,
    )
    period = {
        "subscription_id": subscription.subscription_id,
        "starts_at": charge.created_at,
        "ends_at": subscription.next_billing_date,
        "proration_factor": "1",
    }
    return {
        **plausible("payment", context),
        "payment_id": charge.payment_id,
        "charge_type": charge.reason,
        "metadata": charge.metadata,
        "total_amount": charge.amount,
        "settlement_amount": charge.amount,
        "tax": charge.tax,
        "service_periods": [period] if charge.result == Result.SUCCEEDED else [],
    }
