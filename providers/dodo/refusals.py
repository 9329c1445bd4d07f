"""Why the provider does not make a change: each of its codes in our words, with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from domain.errors import CartRefused, ChangeRefused


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason.

    `code` is ours and stable. `advice` says what to do next. Where `retry_helps` the same wish may be
    granted later by itself. With `is_about_the_cart` nobody could have it; else this subscription cannot,
    as it stands.
    """

    code: str
    sentence: str
    advice: str
    retry_helps: bool = False
    is_about_the_cart: bool = False


_IN_PROGRESS: Final = Refusal(
    "change_in_progress",
    "An earlier change of this subscription still waits for its payment.",
    "Wait until it is paid or has failed, most often two minutes, then preview again.",
    retry_helps=True,
)
_NOT_ACTIVE: Final = Refusal(
    "subscription_not_active",
    "Only an active subscription can be changed, and this one is not.",
    "Settle what is open at the provider (a failed payment, a pause), then try again; one that has ended is "
    "bought anew by checkout.",
)
_CANCELLING: Final = Refusal(
    "cancellation_scheduled",
    "The subscription ends at its next billing date, and until then it cannot be changed.",
    "Take the cancellation back first, or buy anew after the end.",
)
_PORTAL: Final = Refusal(
    "portal_disabled",
    "The provider is set not to let customers do this in its portal.",
    "Allow it in the provider's settings for the customer portal.",
)
_TOO_SMALL: Final = Refusal(
    "amount_too_small",
    "The charge would be below the smallest amount that the provider collects.",
    "Change more at once, or change at the renewal.",
)
_USAGE_BASED: Final = Refusal(
    "product_not_sold_by_seat",
    "Products that are billed by use or on demand take no seats.",
    "Correct the product in the catalogue, or move the customer to another product.",
    is_about_the_cart=True,
)
_MALFORMED: Final = Refusal(
    "change_malformed",
    "The provider could not make sense of the request.",
    "Nothing was changed. Run `seatsync doctor`; if it finds nothing, report this with the provider's code.",
    is_about_the_cart=True,
)
_ADDONS: Final = Refusal(
    "addon_not_sold",
    "The provider does not sell one of the add-ons with this product.",
    "Run `seatsync doctor`: it compares the catalogue with what the provider sells.",
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
        "Nothing needs to be cancelled: it was cancelled already, or has taken effect.",
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
        "This way of billing cannot be scheduled for the next billing date.",
        "Schedule it as full_immediately, or change now.",
        is_about_the_cart=True,
    ),
    "MISSING_ADDON_IDS": _ADDONS,
    "DUPLICATE_ADDON_IDS_IN_REQUEST": _MALFORMED,
    "NOT_FOUND": Refusal(
        "not_at_provider",
        "The provider does not know the product, or not the customer.",
        "Check the customer's id, and run `seatsync doctor`: it compares the catalogue with what is sold.",
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
"""By the provider's code (Dodo documentation, error codes). What is not refused but fails is not here:
a key that is not taken, too many requests, an error of the provider's own.
"""

_UNKNOWN: Final = Refusal(
    ChangeRefused.code,
    "The provider refused the change and gave no reason that is known here.",
    "Nothing was changed. Look at the subscription in the provider's dashboard.",
)


def refused(provider_code: str | None) -> ChangeRefused:
    """The error for the provider's code, known or not."""
    refusal = REFUSALS.get(provider_code or "", _UNKNOWN)
    kind = CartRefused if refusal.is_about_the_cart else ChangeRefused
    return kind(
        f"{refusal.sentence} {refusal.advice}",
        code=refusal.code,
        provider_code=provider_code,
        retry_helps=refusal.retry_helps,
    )
