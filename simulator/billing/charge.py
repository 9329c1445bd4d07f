"""A charge: money asked of a customer, what for, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Reason(StrEnum):
    """What a charge is for, in the provider's words for `charge_type`."""

    NEW = "new"
    RENEWAL = "renewal"
    PLAN_CHANGE = "plan_change"


class Result(StrEnum):
    """What became of a charge, in the provider's words for the status of a payment."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PROCESSING = "processing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Amounts in the smallest unit of `currency`; `amount` includes `tax`.

    `customer_credits` moves the customer's balance once the charge has succeeded: negative is
    credit used, positive is credit granted.
    """

    payment_id: str
    subscription_id: str
    customer_id: str
    currency: str
    amount: int
    tax: int
    customer_credits: int
    reason: Reason
    result: Result
    metadata: Mapping[str, str | int | float | bool]
    created_at: datetime
