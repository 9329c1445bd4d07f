"""Every error code that the provider documents, and the error that our callers get.

Written by hand, independently of the code under test.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Documented(NamedTuple):
    """The provider's code and status (422 if it documents none), and the status and code our caller gets."""

    provider_code: str
    provider_status: int
    status: int
    code: str
    retry_helps: bool


CODES: Final = (
    Documented("UNAUTHORIZED", 401, 503, "provider_key_refused", False),
    Documented("NOT_FOUND", 404, 422, "not_at_provider", False),
    Documented("PENDING_PLAN_CHANGE_EXISTS", 409, 409, "change_in_progress", True),
    Documented("SCHEDULED_PLAN_CHANGE_EXISTS", 409, 409, "change_scheduled", False),
    Documented("SCHEDULED_PLAN_CHANGE_NOT_FOUND", 404, 409, "nothing_scheduled", False),
    Documented("INACTIVE_SUBSCRIPTION_PLAN_CHANGE_NOT_SUPPORTED", 422, 409, "subscription_not_active", False),
    Documented("ON_DEMAND_PLAN_CHANGE_NOT_SUPPORTED", 422, 422, "product_not_sold_by_seat", False),
    Documented("ADDONS_NOT_ALLOWED_FOR_ON_DEMAND", 422, 422, "product_not_sold_by_seat", False),
    Documented("ADDONS_IN_USAGE_BASED_BILLING_NOT_SUPPORTED", 422, 422, "product_not_sold_by_seat", False),
    Documented(
        "PLAN_CHANGE_NOT_ALLOWED_FOR_SCHEDULED_CANCELLATION", 422, 409, "cancellation_scheduled", False
    ),
    Documented("INVALID_PRORATION_MODE_WITH_NEXT_BILLING_DATE", 422, 422, "proration_not_schedulable", False),
    Documented("MISSING_ADDON_IDS", 422, 422, "addon_not_sold", False),
    Documented("DUPLICATE_ADDON_IDS_IN_REQUEST", 422, 422, "change_malformed", False),
    Documented("INVALID_QUANTITY", 422, 422, "product_not_sold_by_seat", False),
    Documented("SUBSCRIPTION_INACTIVE", 422, 409, "subscription_not_active", False),
    Documented("SUBSCRIPTION_EXPIRED", 422, 409, "subscription_not_active", False),
    Documented("PREVIOUS_PAYMENT_PENDING", 422, 409, "change_in_progress", True),
    Documented("CHARGE_NOT_ALLOWED_FOR_SCHEDULED_CANCELLATION", 422, 409, "cancellation_scheduled", False),
    Documented("PLAN_CHANGE_FOR_CUSTOMER_PORTAL_DISABLED", 422, 409, "portal_disabled", False),
    Documented("SCHEDULE_PLAN_CHANGE_FOR_CUSTOMER_PORTAL_DISABLED", 422, 409, "portal_disabled", False),
    Documented(
        "CANCEL_SCHEDULED_PLAN_CHANGE_FOR_CUSTOMER_PORTAL_DISABLED", 422, 409, "portal_disabled", False
    ),
    Documented("DO_NOT_BILL_NOT_ALLOWED_IN_CUSTOMER_PORTAL", 422, 409, "portal_disabled", False),
    Documented("TOTAL_PAYMENT_AMOUNT_BELOW_MINIMUM_AMOUNT", 422, 409, "amount_too_small", False),
    Documented("REQUEST_AMOUNT_BELOW_MINIMUM", 422, 409, "amount_too_small", False),
    Documented("INVALID_REQUEST_BODY", 400, 422, "change_malformed", False),
    Documented("INVALID_REQUEST_PARAMETERS", 400, 422, "change_malformed", False),
    Documented("INVALID_QUERY_PARAMS", 400, 422, "change_malformed", False),
    Documented("TOO_MANY_REQUESTS", 429, 503, "provider_unavailable", True),
    Documented("INTERNAL_SERVER_ERROR", 500, 503, "provider_unavailable", True),
)

NO_REFUSALS: Final = {"UNAUTHORIZED", "TOO_MANY_REQUESTS", "INTERNAL_SERVER_ERROR"}
"""With these codes the provider did not process the request; with all others it refused the change."""

NEXT_STEPS: Final = {
    "not_at_provider": "Check the customer's id, and run `seatsync doctor`",
    "change_in_progress": "Wait until it is paid or has failed, usually two minutes, then preview again.",
    "change_scheduled": "Cancel the scheduled change first, then preview again.",
    "nothing_scheduled": "There is nothing to cancel",
    "subscription_not_active": "resolve that at the provider and try again",
    "product_not_sold_by_seat": "Correct the product in the catalogue, or move the customer",
    "cancellation_scheduled": "Undo the cancellation first, or buy a new subscription after the end.",
    "proration_not_schedulable": "Schedule it as full_immediately, or change now.",
    "addon_not_sold": "Run `seatsync doctor`, which compares the catalogue with what the provider sells.",
    "change_malformed": "Run `seatsync doctor`; if it finds nothing, report this with the provider's code.",
    "portal_disabled": "Allow it in the provider's settings for the customer portal.",
    "amount_too_small": "Change more seats at once, or change at the renewal.",
}
"""The start of the advice in our error message, by our error code."""
