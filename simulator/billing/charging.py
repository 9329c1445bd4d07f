"""The charges that follow from a change of a subscription."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from simulator.billing.amount_due import due
from simulator.billing.charge import Charge, Reason, Result
from simulator.billing.ledger import Ledger
from simulator.billing.lifecycle import Outcome
from simulator.billing.subscription import Status, Subscription
from simulator.ids import Ids
from simulator.webhooks.events import EventType


def charges(
    outcome: Outcome, before: Subscription | None, now: datetime, *, ids: Ids, ledger: Ledger
) -> Iterator[Charge]:
    """The charges of an outcome. A plan change has its own; `renewed` means a successful payment, `failed` a
    failed first payment.

    If a plan change was waiting for its payment and ends in another way, such as by a pause, the payment
    failed.
    """

    def whole_period(subscription: Subscription, reason: Reason, result: Result) -> Charge:
        balance = ledger.balance(subscription.customer.customer_id, subscription.currency)
        owed = due([subscription.recurring_pre_tax_amount], subscription, balance)
        return owed.charge(subscription, now, payment_id=ids.new("pay"), reason=reason, result=result)

    if outcome.charge:
        yield outcome.charge
    elif before and before.pending_change and not outcome.subscription.pending_change:
        yield replace(before.pending_change.charge, result=Result.FAILED)
    if outcome.unpaid:
        yield whole_period(outcome.unpaid, Reason.PLAN_CHANGE, Result.FAILED)
    if EventType.RENEWED in outcome.events:
        yield whole_period(outcome.subscription, _reason(outcome, before), Result.SUCCEEDED)
    if EventType.FAILED in outcome.events:
        yield whole_period(outcome.subscription, Reason.NEW, Result.FAILED)


def _reason(outcome: Outcome, before: Subscription | None) -> Reason:
    if EventType.PLAN_CHANGED in outcome.events:
        return Reason.PLAN_CHANGE
    is_first = before is None or before.status == Status.PENDING
    return Reason.NEW if is_first else Reason.RENEWAL
