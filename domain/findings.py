"""What a person should see about a subscription, each with what to do about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from domain.catalog.model import Product
from domain.catalog.toml_lines import dotted
from domain.drift import Difference, LikelyCause
from domain.errors import SeatSyncError
from domain.seat_limit import SeatLimit, to_json
from domain.statuses import StatusEffect

_WHY: Final = {
    LikelyCause.LOST_WEBHOOK: "No webhook told: look at the endpoint's deliveries at the provider.",
    LikelyCause.PORTAL_CHANGE: "No webhook told, though others arrive: likely a change by hand, in the "
    "customer portal or the dashboard.",
}

MOST_UNITS: Final = 2**31 - 1
"""The provider's quantities are int32."""

MOST_SEATS: Final = 10**12
"""A larger figure is an accident and no purchase; a bigint holds far more."""


class FindingKind(StrEnum):
    """What can be odd. The first two are differences that the next look at the provider repairs. The next
    six leave a snapshot without a count, the three after them do not. The last is about a whole account.
    """

    DIFFERS = "differs"
    UNHEARD_OF = "unheard_of"
    UNKNOWN_STATUS = "unknown_status"
    UNKNOWN_PRODUCT = "unknown_product"
    UNKNOWN_ADDON = "unknown_addon"
    ADDONS_MISSING = "addons_missing"
    ABSURD_QUANTITY = "absurd_quantity"
    ABSURD_TOTAL = "absurd_total"
    BELOW_MINIMUM = "below_minimum"
    ABOVE_MAXIMUM = "above_maximum"
    UNPAID_GROWTH = "unpaid_growth"
    NOT_AT_PROVIDER = "not_at_provider"
    FIELD_MISSING = "field_missing"
    METADATA_MISSING = "metadata_missing"
    UNPROVED_ACCOUNT = "unproved_account"
    OTHER_BUSINESS = "other_business"
    RULES_DIFFER = "rules_differ"
    APPLIED_LATE = "applied_late"


# What the last good count stays for until a person has done what the message says.
_HELD: Final = {
    FindingKind.UNKNOWN_STATUS,
    FindingKind.UNKNOWN_PRODUCT,
    FindingKind.UNKNOWN_ADDON,
    FindingKind.ADDONS_MISSING,
    FindingKind.ABSURD_QUANTITY,
    FindingKind.ABSURD_TOTAL,
    FindingKind.NOT_AT_PROVIDER,
    FindingKind.APPLIED_LATE,
    FindingKind.FIELD_MISSING,
    FindingKind.METADATA_MISSING,
    FindingKind.UNPROVED_ACCOUNT,
}
DIFFERENCES: Final = frozenset({FindingKind.DIFFERS, FindingKind.UNHEARD_OF})
"""What the provider's list shows and a sync repairs."""

_UNCOUNTABLE: Final = frozenset(
    {
        FindingKind.UNKNOWN_STATUS,
        FindingKind.UNKNOWN_PRODUCT,
        FindingKind.UNKNOWN_ADDON,
        FindingKind.ADDONS_MISSING,
        FindingKind.ABSURD_QUANTITY,
        FindingKind.ABSURD_TOTAL,
    }
)
# About the seats of a snapshot that was counted.
_OF_THE_COUNT: Final = frozenset(
    {FindingKind.BELOW_MINIMUM, FindingKind.ABOVE_MAXIMUM, FindingKind.UNPAID_GROWTH}
)
COUNTING: Final = _UNCOUNTABLE | _OF_THE_COUNT
"""What counting a stored snapshot finds; the catalogue alone decides about these."""

OWNERSHIP: Final = frozenset({FindingKind.METADATA_MISSING, FindingKind.UNPROVED_ACCOUNT})
"""What the app's link or refusal settles."""

SYNCED: Final = frozenset(FindingKind) - DIFFERENCES
"""What a sync judges anew, as a whole."""

_CATALOGUE: Final = {FindingKind.UNKNOWN_STATUS, FindingKind.UNKNOWN_PRODUCT, FindingKind.UNKNOWN_ADDON}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should see: `value` is what stands at `field` at the provider, `ours` what we
    go by, `message` says what to do. `cause` is why nobody told us, where that is known.
    """

    kind: FindingKind
    field: str
    value: str | int | None
    message: str
    ours: str | None = None
    cause: LikelyCause | None = None

    @property
    def held_because(self) -> str | None:
        """Why the difference is not repaired; None where it is, or where there is nothing to repair."""
        return self.message if self.kind in _HELD else None

    @property
    def likely_cause(self) -> LikelyCause:
        if self.cause is None and self.kind in _CATALOGUE:
            return LikelyCause.CATALOGUE_CHANGE
        return self.cause or LikelyCause.UNKNOWN


def answered_kinds(kinds: Collection[FindingKind], seen: Iterable[Finding]) -> Collection[FindingKind]:
    """Those of the kinds about which `seen` says everything there is: a snapshot that could not be counted
    says nothing about the count.
    """
    is_counted = not any(one.kind in _UNCOUNTABLE for one in seen)
    return kinds if is_counted else frozenset(kinds) - _OF_THE_COUNT


class Uncountable(SeatSyncError):
    """The snapshot gives no figures: the last good ones stay, and the findings are recorded.

    A status that `Catalog.effect` knows may be taken over all the same.
    """

    code = "uncountable"

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__(" ".join(finding.message for finding in self.findings))


def unknown_status(status: str) -> Finding:
    """A status whose effect nobody has described."""
    message = (
        f"The catalogue does not know status '{status}', so the last good state stays: "
        f"add it under [status] as one of {', '.join(StatusEffect)}."
    )
    return Finding(FindingKind.UNKNOWN_STATUS, "status", status, message)


def unknown_product(product_id: str) -> Finding:
    """A product nobody has given a worth in seats."""
    message = (
        f"The catalogue does not know product '{product_id}', so the last good count stays: "
        f"say what it is worth under [{dotted(('products', product_id))}]."
    )
    return Finding(FindingKind.UNKNOWN_PRODUCT, "product_id", product_id, message)


def unknown_addon(product: Product, addon_id: str, units: int) -> Finding:
    """An add-on that has no size for this product, whatever it has for another."""
    field = addon_field(addon_id)
    message = (
        f"The catalogue does not know add-on '{addon_id}' of product '{product.product_id}', so the last "
        f"good count stays: give {field} under [{dotted(('products', product.product_id))}], "
        "{} if it is not a seat."
    )
    return Finding(FindingKind.UNKNOWN_ADDON, field, units, message)


def addons_missing() -> Finding:
    """Add-ons that the provider did not list at all."""
    message = (
        "The snapshot does not say which add-ons there are, which is not the same as none, so the last good "
        "count stays: retrieve the subscription."
    )
    return Finding(FindingKind.ADDONS_MISSING, "addons", None, message)


def absurd_quantity(field: str, quantity: int) -> Finding:
    """A quantity that nobody can have bought."""
    message = (
        f"{field} is {quantity}, where 0 to {MOST_UNITS} is possible, so the last good count stays: "
        "compare with the provider's dashboard, then resync."
    )
    return Finding(FindingKind.ABSURD_QUANTITY, field, quantity, message)


def absurd_total(seat_type: str, total: int) -> Finding:
    """A sum that nobody can have bought."""
    message = (
        f"{total} {seat_type} seats are more than the {MOST_SEATS} thought possible, so the last good count "
        "stays: check the sizes in the catalogue and the quantities at the provider."
    )
    return Finding(FindingKind.ABSURD_TOTAL, f"seats.{seat_type}", total, message)


def below_minimum(product: Product, seat_type: str, bought: SeatLimit) -> Finding:
    """Fewer seats than the product is sold with; they count as they are."""
    message = _out_of_range(product, seat_type, bought, f"below the minimum of {product.minimum[seat_type]}")
    return Finding(FindingKind.BELOW_MINIMUM, f"seats.{seat_type}", to_json(bought), message)


def above_maximum(product: Product, seat_type: str, bought: SeatLimit) -> Finding:
    """More seats than the product is sold with; they count as they are."""
    message = _out_of_range(product, seat_type, bought, f"above the maximum of {product.maximum[seat_type]}")
    return Finding(FindingKind.ABOVE_MAXIMUM, f"seats.{seat_type}", to_json(bought), message)


def differs(one: Difference, cause: LikelyCause) -> Finding:
    """A field that nobody told us of."""
    message = f"{one.field} is {one.theirs} at the provider, where we knew {one.ours}. {_WHY[cause]}"
    return Finding(FindingKind.DIFFERS, one.field, one.theirs, message, one.ours, cause)


def unheard_of(subscription_id: str) -> Finding:
    """A subscription that the list shows and no webhook announced."""
    cause = LikelyCause.LOST_WEBHOOK
    message = f"The provider's list shows a subscription that we never heard of. {_WHY[cause]}"
    return Finding(FindingKind.UNHEARD_OF, "subscription_id", subscription_id, message, None, cause)


def not_at_provider(
    subscription_id: str,
    *,
    was_there: bool,
    ends_at: datetime | None = None,
    now: datetime | None = None,
) -> Finding:
    """A subscription the provider does not know, or no longer. Its last good count stays until `ends_at`."""
    if not was_there:
        message = "The provider does not know this subscription, so it gives no seats"
    elif ends_at is not None and now is not None and now >= ends_at:
        message = (
            f"The provider has not known this subscription for so long that it ended on {ends_at:%Y-%m-%d}"
        )
    else:
        until = "" if ends_at is None else f" until {ends_at:%Y-%m-%d}"
        message = f"The provider no longer knows this subscription, so its last good count stays{until}"
    return Finding(
        FindingKind.NOT_AT_PROVIDER,
        "subscription_id",
        subscription_id,
        f"{message}: check that DODO_PAYMENTS_API_KEY and DODO_PAYMENTS_ENVIRONMENT belong to where the "
        "webhooks come from.",
    )


def applied_late(change_id: str, members: int) -> Finding:
    """A reduction that was carried out after it had been taken for failed or cancelled."""
    message = (
        f"Seat change {change_id} was carried out after it had been taken for failed or cancelled, so nobody "
        f"was released for it. {members} of the members whose seats were to go still have one: release them "
        "if that is still meant, or buy seats for them."
    )
    return Finding(FindingKind.APPLIED_LATE, f"seat_changes.{change_id}", members, message)


def unpaid_growth(seat_type: str, cart: SeatLimit, paid: SeatLimit) -> Finding:
    """Seats that came into the cart without being paid for; they do not count yet."""
    message = (
        f"The cart holds {cart} {seat_type} seats, of which {paid} were paid for when the payment failed. "
        "Only those count; the rest counts as soon as a sync shows the subscription paid. Ask the customer "
        "to pay, or take the increase back at the provider."
    )
    return Finding(FindingKind.UNPAID_GROWTH, f"seats.{seat_type}", to_json(cart), message, str(paid))


def field_missing(field: str, kept: str) -> Finding:
    """A field that decides and that the provider left out, or sent malformed."""
    message = (
        f"The provider's answer has no usable {field}, so the last known value stays ({kept}). Compare with "
        "the provider's dashboard, then sync the subscription."
    )
    return Finding(FindingKind.FIELD_MISSING, field, None, message, kept)


def metadata_missing(field: str, account_id: str) -> Finding:
    """Metadata that named the account and no longer names any."""
    message = (
        f"The subscription's metadata no longer names an account, so it stays with '{account_id}'. Link it "
        "if that is right (PUT /v1/accounts/ACCOUNT_ID/subscriptions/SUBSCRIPTION_ID), or set the metadata "
        "again."
    )
    return Finding(FindingKind.METADATA_MISSING, field, None, message, account_id)


def unproved_account(field: str, account_id: str, because: str) -> Finding:
    """Metadata that names an account it may not name."""
    message = (
        f"The subscription's metadata names account '{account_id}', which is not believed: {because}. Link "
        "it if that is right (PUT /v1/accounts/ACCOUNT_ID/subscriptions/SUBSCRIPTION_ID), or refuse the name "
        "(DELETE at the same address)."
    )
    return Finding(FindingKind.UNPROVED_ACCOUNT, field, account_id, message)


def other_business(business_id: str | None) -> Finding:
    """Signed deliveries that are meant for somebody else."""
    message = (
        f"Deliveries of business '{business_id}' arrive here and are ignored: check the endpoint at the "
        "provider, or DODO_PAYMENTS_BUSINESS_ID."
    )
    return Finding(FindingKind.OTHER_BUSINESS, "business_id", business_id, message)


def rules_differ(seat_type: str, product_ids: Sequence[str], policy: str) -> Finding:
    """Products of one account that give seats of the same type under different rules."""
    message = (
        f"The products {', '.join(product_ids)} give {seat_type} seats under different rules, so the "
        f"strictest hold, with policy {policy} (policy_order under [defaults]): give the products the same "
        "rules, or set the account's own with PUT /v1/accounts/ID/policy."
    )
    return Finding(FindingKind.RULES_DIFFER, f"rules.{seat_type}", ", ".join(product_ids), message, policy)


def _out_of_range(product: Product, seat_type: str, bought: SeatLimit, where: str) -> str:
    return (
        f"{bought} {seat_type} seats were bought, {where} for product '{product.product_id}'. "
        "All of them count: correct the catalogue, or talk to the customer."
    )


def addon_field(addon_id: str) -> str:
    """Where an add-on stands in a snapshot, and in a product of the catalogue."""
    return dotted(("addons", addon_id))
