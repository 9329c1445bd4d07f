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
"""The word that stands for a seat type in roles that take no seat."""

ANY_ROLE: Final = "*"
"""The key in `[roles]` that stands for every role not named."""


CONTRACT_NOTICE: Final = timedelta(days=30)
"""How long before a contract's end the app is notified, unless the contract says otherwise."""


class Billing(StrEnum):
    """How often a contract is invoiced. It is for information and affects no seats."""

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
    """The policy and its settings: those of `[defaults]`, or of a product with the defaults filled in."""

    policy: str = "strict"
    grace: timedelta = timedelta(days=14)
    payment_grace: timedelta = timedelta(days=7)
    hold: timedelta = timedelta(days=7)
    suspend_after_grace: bool = False
    """Whether members over the limit are suspended after `grace`; otherwise only new claims are refused."""
    auto_expand_limit: int = 10
    """The most seats that the policy `auto_expand` buys for one account on one UTC day."""
    proration_increase: Proration = Proration.PRORATED_IMMEDIATELY
    proration_decrease: Proration = Proration.PRORATED_IMMEDIATELY
    decrease_when: When = When.AT_RENEWAL
    """When a reduction applies, unless its request says otherwise. Added seats always apply at once."""

    def proration(self, when: When, *, is_increase: bool) -> Proration:
        """How a change is billed. A change at the renewal costs the full new price in every mode, and only
        `full_immediately` can always be scheduled (Dodo documentation, error codes).
        """
        if when is When.AT_RENEWAL:
            return Proration.FULL_IMMEDIATELY
        return self.proration_increase if is_increase else self.proration_decrease


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """The seats that one product of the provider gives.

    `per_unit` is multiplied by the product's quantity. `addons` holds the seats of one unit of each add-on;
    an empty mapping means that the add-on gives no seats. `minimum` and `maximum` limit new purchases; they
    never change the count of what was bought.
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
    """How long before its end the app is notified."""

    @property
    def notice_at(self) -> datetime | None:
        """When the app is notified that the contract will end; None for a contract without an end."""
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
    """A checked catalogue. Two catalogues are equal if they mean the same."""

    defaults: Rules = Rules()
    policy_order: tuple[str, ...] = field(default_factory=policies.by_strictness)
    """All policies. If products that give seats of the same type differ, the one named first here applies."""
    account_key: str | None = "account_id"
    """The subscription metadata key that may name the account; None if metadata never names one."""
    metadata_names: MetadataNames = MetadataNames.FIRST
    """Which accounts plain metadata may name under that key."""
    metadata_accounts_per_hour: int = 1000
    """The most new accounts that plain metadata may create per hour, not counting older subscriptions."""
    roles: Mapping[str, str | None] = field(default_factory=dict)
    """Role to seat type, None for a free role; the key `*` is every role not named."""
    products: Mapping[str, Product] = field(default_factory=dict)
    free: Mapping[str, SeatLimit] | None = None
    """Seats of an account without a live subscription or contract; None when there are none."""
    contracts: Mapping[str, Contract] = field(default_factory=dict)
    effects: Mapping[str, StatusEffect] = field(default_factory=lambda: dict(DEFAULT_EFFECTS))
    release: str = field(default="", compare=False)
    """The release that read the catalogue; not compared."""

    def product(self, product_id: str) -> Product | None:
        """The product; None if the catalogue does not know it, which does not mean zero seats."""
        return self.products.get(product_id)

    def rules(self, product_id: str | None) -> Rules:
        """The product's rules; the defaults for an unknown product, or for none."""
        product = self.products.get(product_id) if product_id is not None else None
        return self.defaults if product is None else product.rules

    def payment_grace(self, product_id: str | None) -> timedelta:
        """How long the seats count after a failed payment if the provider set no deadline."""
        return self.rules(product_id).payment_grace

    def seat_type(self, role: str) -> str | None:
        """The seat type that the role takes; None for a free role. Raises `UnknownRole`."""
        if role in self.roles:
            return self.roles[role]
        if ANY_ROLE in self.roles:
            return self.roles[ANY_ROLE]
        known = sorted(self.roles)
        raise UnknownRole(
            f"The catalogue has no role '{role}'. Known roles: {', '.join(known) or 'none'}. "
            f"Add it under [roles], or add '{ANY_ROLE}' for all roles that are not named.",
            details={"role": role, "known_roles": known},
        )

    def effect(self, status: str) -> StatusEffect | None:
        """The effect of the status; None if the catalogue does not describe it: keep the last good state."""
        return self.effects.get(status)

    def contracts_of(self, account_id: str) -> tuple[Contract, ...]:
        """All contracts of the account, whether in term or not."""
        return tuple(contract for contract in self.contracts.values() if contract.account_id == account_id)

    @cached_property
    def seat_types(self) -> tuple[str, ...]:
        """All seat types of products, free seats and contracts, in the order of the catalogue."""
        sold = (dict.fromkeys(product.seat_types) for product in self.products.values())
        contracted = (contract.seats for contract in self.contracts.values())
        return _in_order(*sold, self.free or {}, *contracted)

    @cached_property
    def digest(self) -> str:
        """A hash of the catalogue's meaning. Equal catalogues have equal digests."""
        stated = {name: value for name, value in asdict(self).items() if name != "release"}
        meaning = json.dumps(stated, sort_keys=True, default=str)
        return hashlib.sha256(meaning.encode()).hexdigest()


def _in_order(*seats: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(seat_type for mapping in seats for seat_type in mapping))
