"""The errors that this service raises. `webhook_app` maps them to HTTP statuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.wording import counted


class SeatSyncError(Exception):
    """The base class. `code` is stable and machine-readable; `details` holds the facts behind the message."""

    code: str = "error"

    def __init__(self, message: str, *, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, object] = details or {}


# Configuration: the process does not start.


class SettingsError(SeatSyncError):
    """Environment variables are missing or malformed; the message lists all of them."""

    code = "settings_invalid"


class ForeignDatabase(SettingsError):
    """The database was set up for another provider mode or business than the settings name."""

    code = "foreign_database"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in the catalogue: its place, and what is wrong with the allowed values."""

    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}"


class CatalogError(SeatSyncError):
    """The catalogue cannot be used; `mistakes` lists everything that is wrong with it."""

    code = "catalog_invalid"

    def __init__(self, source: str, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        lines = "\n".join(f"  {mistake}" for mistake in mistakes)
        super().__init__(f"{source} has {counted(len(mistakes), 'mistake')}:\n{lines}")


class NamespaceUnknown(SeatSyncError):
    """The database id is not known yet, so no keys in Redis and no queues of the broker can be named."""

    code = "namespace_unknown"


# Requests of app backends that cannot be fulfilled.


class NotFound(SeatSyncError):
    """The named object does not exist."""

    code = "not_found"


class AccountNotFound(NotFound):
    code = "account_not_found"

    def __init__(self, account_id: str) -> None:
        super().__init__(
            f"Account {account_id!r} does not exist. Create it with PUT /v1/accounts/ACCOUNT_ID, or wait for "
            "the first webhook of its subscription.",
            details={"account_id": account_id},
        )


class NotKnownThen(NotFound):
    """The account exists now, but did not exist at the requested time."""

    code = "not_known_then"

    def __init__(self, account_id: str, since: datetime | None) -> None:
        known = f"{since:%Y-%m-%dT%H:%M:%S.%fZ}" if since else None
        super().__init__(
            f"Account {account_id!r} has no history before {known or 'now'}. Request a later time.",
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
    """A well-formed request that the present state does not allow."""

    code = "refused"


class AddonsUnknown(Refused):
    """The subscription's add-ons are unknown, so its cart cannot be changed: a change replaces it all."""

    code = "addons_unknown"

    def __init__(self, subscription_id: str) -> None:
        super().__init__(
            "The subscription's add-ons are unknown. A plan change replaces the whole cart and would drop "
            "them. Sync the account first (POST /v1/accounts/ID/sync).",
            details={"subscription_id": subscription_id},
        )


class BelowMinimum(Refused):
    """Fewer seats than the product's minimum, or than it includes."""

    code = "below_minimum"


class AboveMaximum(Refused):
    """More seats than the product's maximum."""

    code = "above_maximum"


class NoWayToBuy(Refused):
    """No purchasable combination gives this number of seats."""

    code = "no_way_to_buy"


class ProductNotSold(Refused):
    """The catalogue has the product, but the provider does not sell it by subscription."""

    code = "product_not_sold"


class CurrencyDiffers(Refused):
    """The product is sold in another currency than the subscription's present one."""

    code = "currency_differs"


class SubscriptionExists(Refused):
    """The account already has a paid subscription, and the request does not ask for a second one."""

    code = "subscription_exists"


class PurchaseUnlinked(Refused):
    """The purchase could not be linked to an account."""

    code = "purchase_unlinked"


class NoSeatAvailable(Refused):
    """All seats of the type are used, and the policy does not grant more."""

    code = "no_seat_available"


class ClaimsBlocked(Refused):
    """The account is suspended or has ended, or its grace period is over."""

    code = "claims_blocked"


class PurchaseNeeded(Refused):
    """The policy is auto_expand, but the missing seats cannot be bought automatically."""

    code = "purchase_needed"


class HoldExpired(Refused):
    """The invitation lapsed before it was confirmed."""

    code = "hold_expired"


class WrongState(Refused):
    """The member's present state does not allow the requested change."""

    code = "wrong_state"


class EmailTaken(Refused):
    """Another member of the account has that e-mail address."""

    code = "email_taken"


class MemberIdTaken(Refused):
    """Another member of the account has the requested new id."""

    code = "member_id_taken"


class BatchRefused(Refused):
    """A batch that grants all claims or none was refused; `results` shows which claims were refused."""

    code = "batch_refused"


class NotReplayable(Refused):
    """The event is no dead letter, so it cannot be replayed."""

    code = "not_replayable"


class FindingNotHeld(Refused):
    """The finding is not held, so a person cannot close it."""

    code = "finding_not_held"


class AccountNotEmpty(Refused):
    """The account has subscriptions, members or contracts, so it cannot be deleted."""

    code = "account_not_empty"


class OwnAccount(Refused):
    """A subscription cannot be unlinked from its default account, the one under its own id."""

    code = "own_account"


class EndpointExists(Refused):
    """An endpoint with this URL exists already; every notice would arrive twice."""

    code = "endpoint_exists"


class NotResendable(Refused):
    """There is no endpoint to send the notice to."""

    code = "not_resendable"


class Contended(SeatSyncError):
    """Another call changed the same object at the same time; trying again helps."""

    code = "contended"


class UnknownRole(SeatSyncError):
    """The catalogue has no such role, and no `*` for roles it does not name."""

    code = "unknown_role"


class UnknownSeatType(SeatSyncError):
    code = "unknown_seat_type"


class UnsafeUrl(SeatSyncError):
    """The URL is not allowed as a target for notices; the message says what is allowed."""

    code = "url_refused"


class IdempotencyKeyReused(SeatSyncError):
    """The `Idempotency-Key` was used before with another request body."""

    code = "idempotency_key_reused"


class SeatChangeNotFound(NotFound):
    code = "seat_change_not_found"


class NothingToChange(Refused):
    """The account already has the requested seats, or no purchase gets closer to them."""

    code = "nothing_to_change"


class NoSubscription(Refused):
    """The account has no subscription to change, or several and the request does not name one."""

    code = "no_subscription_to_change"


class SeatsInUse(Refused):
    """The change would leave fewer seats than are in use."""

    code = "seats_in_use"


class PreviewExpired(Refused):
    """The preview's token is too old; a new preview is needed."""

    code = "preview_expired"


class SubscriptionChanged(Refused):
    """The subscription or the account changed since the preview; a new preview is needed."""

    code = "subscription_changed"


class ChangeInFlight(Refused):
    """Another change of the subscription is in progress."""

    code = "change_in_flight"


class NotCancellable(Refused):
    """The change can no longer be cancelled."""

    code = "not_cancellable"


class ReleaseRefused(Refused):
    """A member named in `release` has no seat of a type that the change reduces."""

    code = "release_refused"
