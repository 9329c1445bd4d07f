"""Every error we raise, in our words. HTTP statuses are given to them at the door, not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.wording import counted


class SeatSyncError(Exception):
    """The root. `code` is stable and machine-readable; `details` holds the numbers behind the refusal."""

    code: str = "error"

    def __init__(self, message: str, *, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, object] = details or {}


# Configuration: the process does not start.


class SettingsError(SeatSyncError):
    """Environment variables that are missing or malformed, all at once."""

    code = "settings_invalid"


class ForeignDatabase(SettingsError):
    """The database belongs to another mode or business of the provider than the settings name."""

    code = "foreign_database"


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
        super().__init__(f"{source} has {counted(len(mistakes), 'mistake')}:\n{lines}")


class NamespaceUnknown(SeatSyncError):
    """The database could not be asked for its id yet, so nothing at Redis or at the broker can be named."""

    code = "namespace_unknown"


# The outside: told apart by one question, does trying again help?


class ProviderError(SeatSyncError):
    """The provider did not give a usable answer. `retry_helps`: whether trying again may give one."""

    code = "provider_error"
    retry_helps = False


class TransientError(ProviderError):
    """Trying again helps. `retry_after` is the provider's own wish in seconds, if it had one."""

    code = "provider_unavailable"
    retry_helps = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AnswerIncomplete(TransientError):
    """The provider's answer lacks a field without which there is no count, or has it malformed."""

    code = "provider_answer_incomplete"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class BudgetSpent(TransientError):
    """The shared request budget has nothing left for this kind of caller; no request was sent."""

    code = "provider_budget_spent"


class TooManyWaiting(TransientError):
    """As many callers as may wait for the provider at once are waiting already; no request was sent."""

    code = "too_many_waiting"


class KeyRefused(TransientError):
    """The provider does not take the API key, or not for this call, until a person repairs it.

    Background work goes on trying, since nothing tells when that is; whoever asks need not.
    """

    code = "provider_key_refused"
    retry_helps = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.details = {"retry_helps": False}


class OutcomeUnknown(TransientError):
    """A change was sent and no clear answer came: it may have been made, and only a look tells.

    Sending it again may do it twice.
    """

    code = "outcome_unknown"


class PermanentError(ProviderError):
    """Trying again gives the same answer; a person has to look."""

    code = "provider_refused"


class SubscriptionNotAtProvider(PermanentError):
    """The provider answered that it knows no such subscription: an answer, not an outage."""

    code = "subscription_not_at_provider"


class ChangeRefused(PermanentError):
    """The provider does not make the change, as the subscription stands; nothing was changed.

    `code` says why in our words, `provider_code` in the provider's, None where it gave no code. The message
    says what to do next. `retry_helps` is whether the same wish may be granted later without anybody doing
    anything.
    """

    code = "change_refused"

    def __init__(self, message: str, *, code: str, provider_code: str | None, retry_helps: bool) -> None:
        details = {"provider_code": provider_code, "retry_helps": retry_helps}
        super().__init__(message, details=details)
        self.code = code
        self.provider_code = provider_code
        self.retry_helps = retry_helps


class CartRefused(ChangeRefused):
    """The provider sells no such cart, or not on those terms, to anybody."""


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


class NotKnownThen(NotFound):
    """The account is known, and was not yet at the time that is asked about."""

    code = "not_known_then"

    def __init__(self, account_id: str, since: datetime | None) -> None:
        known = f"{since:%Y-%m-%dT%H:%M:%S.%fZ}" if since else None
        super().__init__(
            f"Nothing is known of account {account_id!r} before {known or 'now'}: ask for a later time.",
            details={"account_id": account_id, "known_since": known},
        )


class SubscriptionNotFound(NotFound):
    code = "subscription_not_found"


class MemberNotFound(NotFound):
    code = "member_not_found"


class InboxEventNotFound(NotFound):
    code = "inbox_event_not_found"


class FindingNotFound(NotFound):
    code = "finding_not_found"


class NoticeNotFound(NotFound):
    code = "notice_not_found"


class EndpointNotFound(NotFound):
    code = "endpoint_not_found"


class ProductNotFound(NotFound):
    """The catalogue does not know the product."""

    code = "product_not_found"


class Refused(SeatSyncError):
    """A well-formed wish that the present state does not allow."""

    code = "refused"


class AddonsUnknown(Refused):
    """A cart that is not known whole cannot be changed: what is not named in a change is removed."""

    code = "addons_unknown"

    def __init__(self, subscription_id: str) -> None:
        super().__init__(
            "It is not known which add-ons the subscription has, and a change would remove what it does not "
            "name. Resync the account first.",
            details={"subscription_id": subscription_id},
        )


class BelowMinimum(Refused):
    """Fewer seats than the product is sold with, or than it includes."""

    code = "below_minimum"


class AboveMaximum(Refused):
    """More seats than the product is sold with."""

    code = "above_maximum"


class NoWayToBuy(Refused):
    """Nothing that is sold gives so many seats."""

    code = "no_way_to_buy"


class SubscriptionExists(Refused):
    """The account pays for a subscription already, and nothing says that a second one is meant."""

    code = "subscription_exists"


class PurchaseUnlinked(Refused):
    """Nobody could tell whose purchase it is."""

    code = "purchase_unlinked"


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


class MemberIdTaken(Refused):
    """Another member of the account has the id that this one is to be given."""

    code = "member_id_taken"


class BatchRefused(Refused):
    """A batch that is all or nothing came to nothing; `results` tells which claims stopped it."""

    code = "batch_refused"


class NotReplayable(Refused):
    """Only dead letters can be replayed."""

    code = "not_replayable"


class FindingNotHeld(Refused):
    """Only a held finding is closed by a person."""

    code = "finding_not_held"


class AccountNotEmpty(Refused):
    """An account with subscriptions, members or contracts cannot be deleted."""

    code = "account_not_empty"


class OwnAccount(Refused):
    """A subscription cannot be taken out of the account under its own id, only linked to another."""

    code = "own_account"


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


class SeatChangeNotFound(NotFound):
    code = "seat_change_not_found"


class NothingToChange(Refused):
    """The wish is what there is already, or cannot be granted by any purchase."""

    code = "nothing_to_change"


class NoSubscription(Refused):
    """No one subscription of the account is the one to change."""

    code = "no_subscription_to_change"


class SeatsInUse(Refused):
    """More people sit there than seats would be left."""

    code = "seats_in_use"


class PreviewExpired(Refused):
    code = "preview_expired"


class SubscriptionChanged(Refused):
    """What was previewed is no longer what would be changed."""

    code = "subscription_changed"


class ChangeInFlight(Refused):
    """Another change of the subscription is under way."""

    code = "change_in_flight"


class NotCancellable(Refused):
    """The change is past the point where it can be taken back."""

    code = "not_cancellable"


class ReleaseRefused(Refused):
    """Somebody is to give a seat back who has none of those that are given back."""

    code = "release_refused"
