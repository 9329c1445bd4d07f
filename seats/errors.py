"""Every error we raise, in our words. HTTP statuses are given to them at the door, not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


class SeatSyncError(Exception):
    """The root. `code` is stable and machine-readable; `details` holds the numbers behind the refusal."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, object] = details or {}


# Configuration: the process does not start.


class SettingsError(SeatSyncError):
    """Environment variables that are missing or malformed, all at once."""

    code = "settings_invalid"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in the catalogue: where it stands, what is wrong, what would be right."""

    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}"


class CatalogError(SeatSyncError):
    """The catalogue cannot be used; `mistakes` lists everything wrong in it."""

    code = "catalog_invalid"

    def __init__(self, source: str, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        lines = "\n".join(f"  {mistake}" for mistake in mistakes)
        super().__init__(f"{source} has {len(mistakes)} mistake(s):\n{lines}")


# The outside: told apart by one question, does trying again help?


class ProviderError(SeatSyncError):
    """The provider did not give a usable answer."""

    code = "provider_error"


class TransientError(ProviderError):
    """Trying again helps. `retry_after` is the provider's own wish in seconds, if it had one."""

    code = "provider_unavailable"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BudgetSpent(TransientError):
    """The shared request budget has nothing left for this kind of caller; no request was sent."""

    code = "provider_budget_spent"


class KeyRefused(TransientError):
    """The provider does not take the API key, or not for this call, until a person repairs it."""

    code = "provider_key_refused"


class PermanentError(ProviderError):
    """Trying again gives the same answer; a person has to look."""

    code = "provider_refused"


class SubscriptionNotAtProvider(PermanentError):
    """The provider answered that it knows no such subscription: an answer, not an outage."""

    code = "subscription_not_at_provider"


class InvalidSignature(SeatSyncError):
    """A delivery that does not prove where it comes from. `reason` is for our log, never for the caller."""

    code = "invalid_signature"

    def __init__(self, reason: str) -> None:
        super().__init__("The delivery's signature or timestamp is not valid.")
        self.reason = reason


# What app backends ask for and cannot have.


class NotFound(SeatSyncError):
    """What was named does not exist."""

    code = "not_found"


class AccountNotFound(NotFound):
    code = "account_not_found"

    def __init__(self, account_id: str) -> None:
        super().__init__(
            f"No account {account_id!r} is known. Create it with PUT /v1/accounts/ACCOUNT_ID, or wait for "
            "the first webhook of its subscription.",
            details={"account_id": account_id},
        )


class SubscriptionNotFound(NotFound):
    code = "subscription_not_found"


class MemberNotFound(NotFound):
    code = "member_not_found"


class InboxEventNotFound(NotFound):
    code = "inbox_event_not_found"


class NoticeNotFound(NotFound):
    code = "notice_not_found"


class EndpointNotFound(NotFound):
    code = "endpoint_not_found"


class Refused(SeatSyncError):
    """A well-formed wish that the present state does not allow."""

    code = "refused"


class NoSeatAvailable(Refused):
    code = "no_seat_available"


class ClaimsBlocked(Refused):
    code = "claims_blocked"


class PurchaseNeeded(Refused):
    """The account's policy buys what is missing, and nothing here can buy it."""

    code = "purchase_needed"


class HoldExpired(Refused):
    """The invitation's time was over before it was taken up."""

    code = "hold_expired"


class WrongState(Refused):
    """The member is in a state from which the asked one cannot be reached."""

    code = "wrong_state"


class EmailTaken(Refused):
    """Another member of the account has that e-mail address."""

    code = "email_taken"


class BatchRefused(Refused):
    """A batch that is all or nothing came to nothing; `results` tells which claims stopped it."""

    code = "batch_refused"


class NotReplayable(Refused):
    """Only dead letters can be replayed."""

    code = "not_replayable"


class EndpointExists(Refused):
    """One URL, one endpoint: every notice would arrive twice."""

    code = "endpoint_exists"


class NotResendable(Refused):
    """Nobody is there to take the notice."""

    code = "not_resendable"


class Contended(SeatSyncError):
    """Two calls moved the same thing at once and this one gave way; trying again helps."""

    code = "contended"


class UnknownRole(SeatSyncError):
    code = "unknown_role"


class UnknownSeatType(SeatSyncError):
    code = "unknown_seat_type"


class UnsafeUrl(SeatSyncError):
    """A URL that we will not send anything to; the message says what would be right."""

    code = "url_refused"


class IdempotencyKeyReused(SeatSyncError):
    """The key was used before with another body."""

    code = "idempotency_key_reused"
