"""Why the provider refuses a change: for each of its error codes, our code, a sentence and advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from domain.provider_errors import CartRefused, ChangeRefused


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason for a refusal.

    `code` is our stable code and `advice` what to do next. `retry_helps`: the same request may succeed later.
    `is_about_the_cart`: no subscription could have the cart; otherwise the reason is the state of this one.
    """

    code: str
    sentence: str
    advice: str
    retry_helps: bool = False
    is_about_the_cart: bool = False


_IN_PROGRESS: Final = Refusal(
    "change_in_progress",
    "An earlier change of this subscription is still waiting for its payment.",
    "Wait until it is paid or has failed, usually two minutes, then preview again.",
    retry_helps=True,
)
_NOT_ACTIVE: Final = Refusal(
    "subscription_not_active",
    "The subscription is not active, and only active subscriptions can be changed.",
    "If a payment failed or the subscription is paused, resolve that at the provider and try again. If it "
    "has ended, buy a new one by checkout.",
)
_CANCELLING: Final = Refusal(
    "cancellation_scheduled",
    "The subscription ends at its next billing date and cannot be changed until then.",
    "Undo the cancellation first, or buy a new subscription after the end.",
)
_PORTAL: Final = Refusal(
    "portal_disabled",
    "The provider's settings do not allow this in the customer portal.",
    "Allow it in the provider's settings for the customer portal.",
)
_TOO_SMALL: Final = Refusal(
    "amount_too_small",
    "The charge would be below the provider's minimum amount.",
    "Change more seats at once, or change at the renewal.",
)
_USAGE_BASED: Final = Refusal(
    "product_not_sold_by_seat",
    "Products billed by usage or on demand cannot have seats.",
    "Correct the product in the catalogue, or move the customer to another product.",
    is_about_the_cart=True,
)
_MALFORMED: Final = Refusal(
    "change_malformed",
    "The provider did not understand the request.",
    "Nothing was changed. Run `seatsync doctor`; if it finds nothing, report this with the provider's code.",
    is_about_the_cart=True,
)
_ADDONS: Final = Refusal(
    "addon_not_sold",
    "One of the add-ons is not sold with this product at the provider.",
    "Run `seatsync doctor`, which compares the catalogue with what the provider sells.",
    is_about_the_cart=True,
)

REFUSALS: Final[Mapping[str, Refusal]] = {
    "PENDING_PLAN_CHANGE_EXISTS": _IN_PROGRESS,
    "PREVIOUS_PAYMENT_PENDING": _IN_PROGRESS,
    "SCHEDULED_PLAN_CHANGE_EXISTS": Refusal(
        "change_scheduled",
        "A change is already scheduled for the next billing date.",
        "Cancel the scheduled change first, then preview again.",
    ),
    "SCHEDULED_PLAN_CHANGE_NOT_FOUND": Refusal(
        "nothing_scheduled",
        "No change is scheduled for the next billing date.",
        "There is nothing to cancel: the change was cancelled already or has taken effect.",
    ),
    "INACTIVE_SUBSCRIPTION_PLAN_CHANGE_NOT_SUPPORTED": _NOT_ACTIVE,
    "SUBSCRIPTION_INACTIVE": _NOT_ACTIVE,
    "SUBSCRIPTION_EXPIRED": _NOT_ACTIVE,
    "PLAN_CHANGE_NOT_ALLOWED_FOR_SCHEDULED_CANCELLATION": _CANCELLING,
    "CHARGE_NOT_ALLOWED_FOR_SCHEDULED_CANCELLATION": _CANCELLING,
    "ON_DEMAND_PLAN_CHANGE_NOT_SUPPORTED": _USAGE_BASED,
    "ADDONS_NOT_ALLOWED_FOR_ON_DEMAND": _USAGE_BASED,
    "ADDONS_IN_USAGE_BASED_BILLING_NOT_SUPPORTED": _USAGE_BASED,
    "INVALID_QUANTITY": _USAGE_BASED,
    "INVALID_PRORATION_MODE_WITH_NEXT_BILLING_DATE": Refusal(
        "proration_not_schedulable",
        "This proration mode cannot be scheduled for the next billing date.",
        "Schedule it as full_immediately, or change now.",
        is_about_the_cart=True,
    ),
    "MISSING_ADDON_IDS": _ADDONS,
    "DUPLICATE_ADDON_IDS_IN_REQUEST": _MALFORMED,
    "NOT_FOUND": Refusal(
        "not_at_provider",
        "The provider does not know the product or the customer.",
        "Check the customer's id, and run `seatsync doctor`, which compares the catalogue with what is sold.",
        is_about_the_cart=True,
    ),
    "PLAN_CHANGE_FOR_CUSTOMER_PORTAL_DISABLED": _PORTAL,
    "SCHEDULE_PLAN_CHANGE_FOR_CUSTOMER_PORTAL_DISABLED": _PORTAL,
    "CANCEL_SCHEDULED_PLAN_CHANGE_FOR_CUSTOMER_PORTAL_DISABLED": _PORTAL,
    "DO_NOT_BILL_NOT_ALLOWED_IN_CUSTOMER_PORTAL": _PORTAL,
    "TOTAL_PAYMENT_AMOUNT_BELOW_MINIMUM_AMOUNT": _TOO_SMALL,
    "REQUEST_AMOUNT_BELOW_MINIMUM": _TOO_SMALL,
    "INVALID_REQUEST_BODY": _MALFORMED,
    "INVALID_REQUEST_PARAMETERS": _MALFORMED,
    "INVALID_QUERY_PARAMS": _MALFORMED,
}
"""By the provider's error code (Dodo documentation, error codes). Failures that are not refusals are not
listed: an invalid API key, too many requests, errors of the provider itself.
"""

_UNKNOWN: Final = Refusal(
    ChangeRefused.code,
    "The provider refused the change with a code that is unknown to this service.",
    "Nothing was changed. Check the subscription in the provider's dashboard.",
)


def refused(provider_code: str | None) -> ChangeRefused:
    """The error to raise for the provider's error code, which may be unknown or None."""
    refusal = REFUSALS.get(provider_code or "", _UNKNOWN)
    kind = CartRefused if refusal.is_about_the_cart else ChangeRefused
    return kind(
        f"{refusal.sentence} {refusal.advice}",
        code=refusal.code,
        provider_code=provider_code,
        retry_helps=refusal.retry_helps,
    )
