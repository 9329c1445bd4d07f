"""Drift findings: differences and oddities that a person should see, each with what to do about it."""

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
    LikelyCause.LOST_WEBHOOK: "No webhook announced it: check the endpoint's deliveries at the provider.",
    LikelyCause.PORTAL_CHANGE: "No webhook announced it, although others arrive: it was probably changed by "
    "hand, in the customer portal or the dashboard.",
}

MOST_UNITS: Final = 2**31 - 1
"""The provider's quantities are int32."""

MOST_SEATS: Final = 10**12
"""The largest plausible number of seats; a larger figure is a mistake. (A bigint holds far more.)"""


class FindingKind(StrEnum):
    """The kinds of findings. `_HELD` has those that wait for a person; syncs close the others."""

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


# While a finding of these kinds is open, the last good values stay, until a person does what it says.
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
"""Differences that the provider's list shows and a sync repairs."""

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
# Findings about a snapshot that could be counted.
_OF_THE_COUNT: Final = frozenset(
    {FindingKind.BELOW_MINIMUM, FindingKind.ABOVE_MAXIMUM, FindingKind.UNPAID_GROWTH}
)
COUNTING: Final = _UNCOUNTABLE | _OF_THE_COUNT
"""The findings of counting a stored snapshot; they depend on nothing but the snapshot and the catalogue."""

OWNERSHIP: Final = frozenset({FindingKind.METADATA_MISSING, FindingKind.UNPROVED_ACCOUNT})
"""The findings that the app closes by linking or refusing an account."""

SYNCED: Final = frozenset(FindingKind) - DIFFERENCES
"""The findings that every sync determines again, all of them."""

_CATALOGUE: Final = {FindingKind.UNKNOWN_STATUS, FindingKind.UNKNOWN_PRODUCT, FindingKind.UNKNOWN_ADDON}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should see.

    `value` is the provider's value of `field`, `ours` the value this service uses. `message` says what to do.
    `cause` is why the difference was not announced, if known.
    """

    kind: FindingKind
    field: str
    value: str | int | None
    message: str
    ours: str | None = None
    cause: LikelyCause | None = None

    @property
    def held_because(self) -> str | None:
        """Why the difference is not repaired; None if it is repaired, or needs no repair."""
        return self.message if self.kind in _HELD else None

    @property
    def likely_cause(self) -> LikelyCause:
        if self.cause is None and self.kind in _CATALOGUE:
            return LikelyCause.CATALOGUE_CHANGE
        return self.cause or LikelyCause.UNKNOWN


def answered_kinds(kinds: Collection[FindingKind], seen: Iterable[Finding]) -> Collection[FindingKind]:
    """The kinds for which `seen` is complete. A snapshot that could not be counted yields no findings about
    its count, so open ones must not be closed.
    """
    is_counted = not any(one.kind in _UNCOUNTABLE for one in seen)
    return kinds if is_counted else frozenset(kinds) - _OF_THE_COUNT


class Uncountable(SeatSyncError):
    """The snapshot's seats cannot be counted: the last good figures stay, and `findings` are recorded.

    Its status may be adopted nevertheless, if `Catalog.effect` knows it.
    """

    code = "uncountable"

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__(" ".join(finding.message for finding in self.findings))


def unknown_status(status: str) -> Finding:
    """A status that the catalogue does not describe."""
    message = (
        f"The catalogue does not know status '{status}', so the last good state stays: "
        f"add it under [status] as one of {', '.join(StatusEffect)}."
    )
    return Finding(FindingKind.UNKNOWN_STATUS, "status", status, message)


def unknown_product(product_id: str) -> Finding:
    """A product that the catalogue does not describe."""
    message = (
        f"The catalogue does not know product '{product_id}', so the last good count stays: "
        f"describe its seats under [{dotted(('products', product_id))}]."
    )
    return Finding(FindingKind.UNKNOWN_PRODUCT, "product_id", product_id, message)


def unknown_addon(product: Product, addon_id: str, units: int) -> Finding:
    """An add-on that the catalogue does not describe for this product."""
    field = addon_field(addon_id)
    message = (
        f"The catalogue does not know add-on '{addon_id}' of product '{product.product_id}', so the last "
        f"good count stays: give {field} a size under [{dotted(('products', product.product_id))}], "
        "or {} if it is not a seat."
    )
    return Finding(FindingKind.UNKNOWN_ADDON, field, units, message)


def addons_missing() -> Finding:
    """Add-ons that the provider did not list at all."""
    message = (
        "The snapshot does not list the subscription's add-ons, which does not mean that it has none, so the "
        "last good count stays: sync the subscription."
    )
    return Finding(FindingKind.ADDONS_MISSING, "addons", None, message)


def absurd_quantity(field: str, quantity: int) -> Finding:
    """A quantity outside the possible range."""
    message = (
        f"{field} is {quantity}, but only 0 to {MOST_UNITS} is possible, so the last good count stays: "
        "compare with the provider's dashboard, then sync the subscription."
    )
    return Finding(FindingKind.ABSURD_QUANTITY, field, quantity, message)


def absurd_total(seat_type: str, total: int) -> Finding:
    """A number of seats that is too large to be real."""
    message = (
        f"{total} {seat_type} seats are more than the plausible {MOST_SEATS}, so the last good count "
        "stays: check the sizes in the catalogue and the quantities at the provider."
    )
    return Finding(FindingKind.ABSURD_TOTAL, f"seats.{seat_type}", total, message)


def below_minimum(product: Product, seat_type: str, bought: SeatLimit) -> Finding:
    """Fewer seats than the product's minimum; all of them count."""
    message = _out_of_range(product, seat_type, bought, f"below the minimum of {product.minimum[seat_type]}")
    return Finding(FindingKind.BELOW_MINIMUM, f"seats.{seat_type}", to_json(bought), message)


def above_maximum(product: Product, seat_type: str, bought: SeatLimit) -> Finding:
    """More seats than the product's maximum; all of them count."""
    message = _out_of_range(product, seat_type, bought, f"above the maximum of {product.maximum[seat_type]}")
    return Finding(FindingKind.ABOVE_MAXIMUM, f"seats.{seat_type}", to_json(bought), message)


def differs(one: Difference, cause: LikelyCause) -> Finding:
    """A field that changed at the provider without being announced."""
    message = (
        f"{one.field} is {one.theirs} at the provider; the last known value was {one.ours}. {_WHY[cause]}"
    )
    return Finding(FindingKind.DIFFERS, one.field, one.theirs, message, one.ours, cause)


def unheard_of(subscription_id: str) -> Finding:
    """A subscription that the list shows and no webhook announced."""
    cause = LikelyCause.LOST_WEBHOOK
    message = f"The provider's list shows a subscription that is not known here. {_WHY[cause]}"
    return Finding(FindingKind.UNHEARD_OF, "subscription_id", subscription_id, message, None, cause)


def not_at_provider(
    subscription_id: str,
    *,
    was_there: bool,
    ends_at: datetime | None = None,
    now: datetime | None = None,
) -> Finding:
    """A subscription that the provider does not know. Its last good count stays until `ends_at`."""
    if not was_there:
        message = "The provider does not know this subscription, so it gives no seats"
    elif ends_at is not None and now is not None and now >= ends_at:
        message = f"The provider no longer knows this subscription, so it ended here on {ends_at:%Y-%m-%d}"
    else:
        until = "" if ends_at is None else f" until {ends_at:%Y-%m-%d}"
        message = f"The provider no longer knows this subscription, so its last good count stays{until}"
    return Finding(
        FindingKind.NOT_AT_PROVIDER,
        "subscription_id",
        subscription_id,
        f"{message}: check that DODO_PAYMENTS_API_KEY and DODO_PAYMENTS_ENVIRONMENT belong to the business "
        "and mode that send the webhooks.",
    )


def applied_late(change_id: str, members: int) -> Finding:
    """A reduction that the provider applied after it was believed to have failed or been cancelled."""
    message = (
        f"Seat change {change_id} was applied after it was believed to have failed or been cancelled, so no "
        f"member was released. {members} of the members it names still have a seat: release them, or buy "
        "seats for them."
    )
    return Finding(FindingKind.APPLIED_LATE, f"seat_changes.{change_id}", members, message)


def unpaid_growth(seat_type: str, cart: SeatLimit, paid: SeatLimit) -> Finding:
    """Seats in the cart that are not paid for yet; they do not count."""
    message = (
        f"The cart has {cart} {seat_type} seats, but only {paid} of them were paid for when the payment "
        "failed. Only the paid seats count until a sync shows the subscription as paid. Ask the customer to "
        "pay, or undo the increase at the provider."
    )
    return Finding(FindingKind.UNPAID_GROWTH, f"seats.{seat_type}", to_json(cart), message, str(paid))


def field_missing(field: str, known: str) -> Finding:
    """A needed field that the provider left out or sent malformed."""
    message = (
        f"The provider's response has no usable {field}, so the last known value stays ({known}). Compare "
        "with the provider's dashboard, then sync the subscription."
    )
    return Finding(FindingKind.FIELD_MISSING, field, None, message, known)


def metadata_missing(field: str, account_id: str) -> Finding:
    """Metadata that named an account before and names none now."""
    message = (
        f"The subscription's metadata no longer names an account, so it stays with '{account_id}'. Link it "
        "if that is right (PUT /v1/accounts/ACCOUNT_ID/subscriptions/SUBSCRIPTION_ID), or set the metadata "
        "again."
    )
    return Finding(FindingKind.METADATA_MISSING, field, None, message, account_id)


def unproved_account(field: str, account_id: str, because: str) -> Finding:
    """Metadata that names an account without proof, and may not name it."""
    message = (
        f"The subscription's metadata names account '{account_id}', but that was not accepted: {because}. "
        "Link it if that is right (PUT /v1/accounts/ACCOUNT_ID/subscriptions/SUBSCRIPTION_ID), or refuse it "
        "(DELETE at the same address)."
    )
    return Finding(FindingKind.UNPROVED_ACCOUNT, field, account_id, message)


def other_business(business_id: str | None) -> Finding:
    """Validly signed deliveries of another business."""
    message = (
        f"Deliveries of business '{business_id}' arrive here and are ignored: check the endpoint at the "
        "provider, or DODO_PAYMENTS_BUSINESS_ID."
    )
    return Finding(FindingKind.OTHER_BUSINESS, "business_id", business_id, message)


def rules_differ(seat_type: str, product_ids: Sequence[str], policy: str) -> Finding:
    """Products of one account that give seats of the same type under different rules."""
    message = (
        f"The products {', '.join(product_ids)} give {seat_type} seats under different rules, so the "
        f"strictest apply, with policy {policy} (policy_order under [defaults]): give the products the same "
        "rules, or set the account's own with PUT /v1/accounts/ID/policy."
    )
    return Finding(FindingKind.RULES_DIFFER, f"rules.{seat_type}", ", ".join(product_ids), message, policy)


def _out_of_range(product: Product, seat_type: str, bought: SeatLimit, where: str) -> str:
    return (
        f"{bought} {seat_type} seats were bought, {where} for product '{product.product_id}'. "
        "All of them count: correct the catalogue, or contact the customer."
    )


def addon_field(addon_id: str) -> str:
    """The name of an add-on's field in findings, and of its key in a product of the catalogue."""
    return dotted(("addons", addon_id))
