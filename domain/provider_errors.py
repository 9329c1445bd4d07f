"""Errors of the billing provider: of its responses, its limits, and its webhooks' signatures.

They are divided by whether a retry helps: see `TransientError` and `PermanentError`.
"""

from __future__ import annotations

from domain.errors import SeatSyncError


class ProviderError(SeatSyncError):
    """The provider did not give a usable response. `retry_helps`: whether trying again may give one."""

    code = "provider_error"
    retry_helps = False


class TransientError(ProviderError):
    """Trying again helps. `retry_after` is the delay in seconds that the provider requested, if any."""

    code = "provider_unavailable"
    retry_helps = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AnswerIncomplete(TransientError):
    """The provider's response lacks a field that is needed to count seats, or has it malformed."""

    code = "provider_answer_incomplete"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class BudgetSpent(TransientError):
    """The shared request budget is used up for calls of this priority; no request was sent."""

    code = "provider_budget_spent"


class TooManyWaiting(TransientError):
    """The maximum number of calls is already waiting for the provider; no request was sent."""

    code = "too_many_waiting"


class KeyRefused(TransientError):
    """The provider refuses the API key, at all or for this call, until a person corrects it.

    Background work continues to try, because the correction is not announced. Callers need not retry.
    """

    code = "provider_key_refused"
    retry_helps = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.details = {"retry_helps": False}


class OutcomeUnknown(TransientError):
    """A change was sent and no clear response came. It may have been made; only a sync shows that.

    Do not send it again: it could be made twice.
    """

    code = "outcome_unknown"


class PermanentError(ProviderError):
    """Trying again gives the same response; a person has to act."""

    code = "provider_refused"


class SubscriptionNotAtProvider(PermanentError):
    """The provider responded that it does not know the subscription. This is not an outage."""

    code = "subscription_not_at_provider"


class CustomerNotAtProvider(PermanentError):
    """The provider does not know the customer who pays for the account."""

    code = "customer_not_at_provider"

    def __init__(self) -> None:
        super().__init__(
            "The provider does not know the customer who pays for the account. Sync the account (POST "
            "/v1/accounts/ACCOUNT_ID/sync), and check that the API key belongs to the business and mode in "
            "which the subscription was sold."
        )


class ChangeRefused(PermanentError):
    """The provider refused the change in the subscription's present state; nothing was changed.

    `code` is this service's code for the reason, `provider_code` the provider's, None if it gave none. The
    message says what to do next. `retry_helps` is true if the same request may succeed later by itself.
    """

    code = "change_refused"

    def __init__(self, message: str, *, code: str, provider_code: str | None, retry_helps: bool) -> None:
        details = {"provider_code": provider_code, "retry_helps": retry_helps}
        super().__init__(message, details=details)
        self.code = code
        self.provider_code = provider_code
        self.retry_helps = retry_helps


class CartRefused(ChangeRefused):
    """The provider does not sell this cart on these terms to any customer."""


class InvalidSignature(SeatSyncError):
    """The signature of a delivery is not valid. `reason` is for the log and is not shown to the sender."""

    code = "invalid_signature"

    def __init__(self, reason: str) -> None:
        super().__init__("The signature or timestamp of the delivery is not valid.")
        self.reason = reason
