"""Previews and plan changes. Both use the same checks and the same quote."""

from __future__ import annotations

from datetime import UTC, datetime

from simulator.billing.lifecycle import Outcome
from simulator.billing.plan_change import change_now
from simulator.billing.plan_request import PlanRequest, check_plan_change, check_scheduled_mode
from simulator.billing.quote import Quote, quote
from simulator.billing.scheduled_change import schedule
from simulator.billing.subscription import Subscription
from simulator.world import World


def preview(world: World, subscription_id: str, wanted: PlanRequest) -> Quote:
    """The quote of the change, without making it. Raises the `Refusal` that the change would get."""
    with world.state.lock:
        return _quoted(world, world.state.get(subscription_id), datetime.now(UTC), wanted)


def change(
    world: World, subscription_id: str, wanted: PlanRequest, *, silently: bool = False
) -> Subscription:
    """Make the change, schedule it, or let it wait for its payment, according to the knob.

    `silently` makes it without a webhook.
    """

    def changed(subscription: Subscription, now: datetime) -> Outcome:
        quoted = _quoted(world, subscription, now, wanted)
        if wanted.is_scheduled:
            return schedule(subscription, now, wanted, world.catalog, world.ids.new("spc"))
        payment = world.board.now.plan_change_payment
        return change_now(quoted, now, wanted, payment, world.ids.new("pay"))

    return world.apply(subscription_id, changed, silently=silently)


def _quoted(world: World, subscription: Subscription, now: datetime, wanted: PlanRequest) -> Quote:
    check_plan_change(subscription, wanted, world.catalog)
    if world.board.now.refuse_proration_when_scheduled:
        check_scheduled_mode(wanted)
    balance = world.ledger.balance(subscription.customer.customer_id, subscription.currency)
    return quote(subscription, now, wanted, world.catalog, balance)
