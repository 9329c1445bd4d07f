"""The catalogue as data: what products, add-ons, roles, statuses and contracts mean in seats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Final

from domain import policies
from domain.billing_terms import Proration, When
from domain.errors import UnknownRole
from domain.seat_limit import SeatLimit
from domain.statuses import DEFAULT_EFFECTS, StatusEffect

FREE: Final = "free"
"""The word a role carries in place of a seat type when it takes no seat."""

ANY_ROLE: Final = "*"
"""The key in `[roles]` that stands for every role not named."""


CONTRACT_NOTICE: Final = timedelta(days=30)
"""How long before a contract's end the app is told of it, unless the contract says otherwise."""


class Billing(StrEnum):
    """How often a contract is invoiced; for people, no seat depends on it."""

    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    HALF_YEARLY = "half_yearly"
    YEARLY = "yearly"
    ONCE = "once"


class MetadataNames(StrEnum):
    """Which accounts plain subscription metadata may name. Buyers can set it on static payment links."""

    FIRST = "first"
    """An account that has no subscription of another customer of the provider."""

    TRUSTED = "trusted"
    """Any account: only the app's own code can set metadata."""

    NEVER = "never"
    """None: the app links subscriptions, or sells through this service's checkout."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The policy and its periods: `[defaults]`, or a product's own with the defaults filled in."""

    policy: str = "strict"
    grace: timedelta = timedelta(days=14)
    payment_grace: timedelta = timedelta(days=7)
    hold: timedelta = timedelta(days=7)
    suspend_after_grace: bool = False
    """Whether people beyond the limit are suspended after `grace`; else new claims are refused."""
    auto_expand_limit: int = 10
    """The most seats that the policy `auto_expand` buys for one account on one UTC day."""
    proration_increase: Proration = Proration.PRORATED_IMMEDIATELY
    proration_decrease: Proration = Proration.PRORATED_IMMEDIATELY
    decrease_when: When = When.AT_RENEWAL
    """When fewer seats take effect, unless the wish says otherwise; more seats do at once."""

    def proration(self, when: When, *, is_increase: bool) -> Proration:
        """How a change is billed. One at the renewal costs the whole new price in any mode, and only this
        mode can be scheduled for sure (Dodo documentation, error codes).
        """
        if when is When.AT_RENEWAL:
            return Proration.FULL_IMMEDIATELY
        return self.proration_increase if is_increase else self.proration_decrease


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What one product of the provider is worth in seats.

    `per_unit` is multiplied by the product's quantity; `addons` gives the size of one unit of each
    add-on, the empty mapping meaning that it is not a seat. `minimum` and `maximum` bound what may be
    bought in all; they never alter what the provider says was bought.
    """

    product_id: str
    name: str
    included: Mapping[str, SeatLimit] = field(default_factory=dict)
    per_unit: Mapping[str, int] = field(default_factory=dict)
    addons: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    minimum: Mapping[str, int] = field(default_factory=dict)
    maximum: Mapping[str, int] = field(default_factory=dict)
    rules: Rules = Rules()

    @property
    def seat_types(self) -> tuple[str, ...]:
        """The seat types this product can sell, in the order of the catalogue."""
        return _in_order(self.included, self.per_unit, *self.addons.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Seats sold outside the provider, from the start of `starts` to the end of `ends`, both UTC days.

    A date that is None leaves that side of the term open.
    """

    name: str
    account_id: str
    seats: Mapping[str, SeatLimit]
    starts: date | None = None
    ends: date | None = None
    billing: Billing | None = None
    notice: timedelta = CONTRACT_NOTICE
    """How long before its end the app is told of it."""

    @property
    def notice_at(self) -> datetime | None:
        """When the app is told that the contract ends; None for one without an end."""
        return None if self.ends_at is None else self.ends_at - self.notice

    @property
    def starts_at(self) -> datetime | None:
        """The first moment of the term."""
        return None if self.starts is None else datetime.combine(self.starts, time(), UTC)

    @property
    def ends_at(self) -> datetime | None:
        """The first moment after the term."""
        if self.ends is None or self.ends == date.max:
            return None
        return datetime.combine(self.ends, time(), UTC) + timedelta(days=1)

    def has_begun(self, now: datetime) -> bool:
        """Whether the first day has come."""
        return self.starts_at is None or self.starts_at <= now

    def is_over(self, now: datetime) -> bool:
        """Whether the last day has passed."""
        return self.ends_at is not None and self.ends_at <= now

    def is_in_term(self, now: datetime) -> bool:
        """Whether its seats count at `now`."""
        return self.has_begun(now) and not self.is_over(now)


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """The whole catalogue, checked. Two catalogues are equal when they mean the same."""

    defaults: Rules = Rules()
    policy_order: tuple[str, ...] = field(default_factory=policies.by_strictness)
    """Every policy: where products that give the same seats differ, the policy that is named first holds."""
    account_key: str | None = "account_id"
    """The subscription metadata key that may name the account; None when metadata never does."""
    metadata_names: MetadataNames = MetadataNames.FIRST
    """Which accounts plain metadata may name under that key."""
    metadata_accounts_per_hour: int = 1000
    """How many new accounts plain metadata may name within an hour, subscriptions older than that aside."""
    roles: Mapping[str, str | None] = field(default_factory=dict)
    """Role to seat type, None for a free role; the key `*` is every role not named."""
    products: Mapping[str, Product] = field(default_factory=dict)
    free: Mapping[str, SeatLimit] | None = None
    """Seats of an account without a live subscription or contract; None when there are none."""
    contracts: Mapping[str, Contract] = field(default_factory=dict)
    effects: Mapping[str, StatusEffect] = field(default_factory=lambda: dict(DEFAULT_EFFECTS))
    release: str = field(default="", compare=False)
    """Which release reads it; no part of its meaning."""

    def product(self, product_id: str) -> Product | None:
        """What the product is worth; None for one the catalogue does not know, which is never zero seats."""
        return self.products.get(product_id)

    def rules(self, product_id: str | None) -> Rules:
        """The product's rules; the defaults for an unknown product, or for none."""
        product = self.products.get(product_id) if product_id is not None else None
        return self.defaults if product is None else product.rules

    def payment_grace(self, product_id: str | None) -> timedelta:
        """Time the seats are kept after a failed payment when the provider set no deadline."""
        return self.rules(product_id).payment_grace

    def seat_type(self, role: str) -> str | None:
        """The seat type the role takes, None when it is free; raises UnknownRole, naming those known."""
        if role in self.roles:
            return self.roles[role]
        if ANY_ROLE in self.roles:
            return self.roles[ANY_ROLE]
        known = sorted(self.roles)
        raise UnknownRole(
            f"The catalogue knows no role '{role}'. Known roles: {', '.join(known) or 'none'}. "
            f"Add it under [roles], or a '{ANY_ROLE}' for every role not named.",
            details={"role": role, "known_roles": known},
        )

    def effect(self, status: str) -> StatusEffect | None:
        """What the status does; None for a status nobody has described, which keeps the last good state."""
        return self.effects.get(status)

    def contracts_of(self, account_id: str) -> tuple[Contract, ...]:
        """The account's contracts, in term or not."""
        return tuple(contract for contract in self.contracts.values() if contract.account_id == account_id)

    @cached_property
    def seat_types(self) -> tuple[str, ...]:
        """Every seat type that is sold or given, in the order of the catalogue."""
        sold = (dict.fromkeys(product.seat_types) for product in self.products.values())
        contracted = (contract.seats for contract in self.contracts.values())
        return _in_order(*sold, self.free or {}, *contracted)

    @cached_property
    def digest(self) -> str:
        """A hash of the meaning: equal catalogues have equal digests, however they are written."""
        stated = {name: value for name, value in asdict(self).items() if name != "release"}
        meaning = json.dumps(stated, sort_keys=True, default=str)
        return hashlib.sha256(meaning.encode()).hexdigest()


def _in_order(*seats: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(seat_type for mapping in seats for seat_type in mapping))
