"""Charges: amounts charged to a customer, with reason and result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Reason(StrEnum):
    """The reason of a charge, as in the provider's `charge_type`."""

    NEW = "new"
    RENEWAL = "renewal"
    PLAN_CHANGE = "plan_change"


class Result(StrEnum):
    """The result of a charge, as in the provider's payment status."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PROCESSING = "processing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A charge. Amounts are in the smallest unit of `currency`; `amount` includes `tax`.

    `customer_credits` is added to the customer's credit if the charge succeeds: negative if used, positive if
    granted.
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
