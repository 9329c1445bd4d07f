"""Read the catalogue: turn TOML text into a checked `Catalog`, or report all its mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

from domain import policies
from domain.billing_terms import Proration, When
from domain.catalog.checks import SEAT_SOURCES, check
from domain.catalog.model import (
    CONTRACT_NOTICE,
    FREE,
    Billing,
    Catalog,
    Contract,
    MetadataNames,
    Product,
    Rules,
)
from domain.catalog.toml_table import Table, read
from domain.errors import CatalogError
from domain.ids import problem_of
from domain.seat_limit import UNLIMITED, SeatLimit
from domain.statuses import DEFAULT_EFFECTS, StatusEffect

MOST_SEATS: Final = 1_000_000_000
"""The largest number of seats that the catalogue accepts; use "unlimited" for more."""

MOST_DAYS: Final = 365

_WORD: Final = re.compile(r"[a-z][a-z0-9_]*")
_RULE_KEYS: Final = (
    "policy",
    "grace_days",
    "suspend_after_grace",
    "payment_grace_days",
    "hold_days",
    "auto_expand_limit",
    "proration_increase",
    "proration_decrease",
    "decrease_when",
)
_NAMING_KEYS: Final = ("account_key", "metadata_names", "metadata_accounts_per_hour")
_SEATS: Final = "{ full = 5 }"
_CONTRACT: Final = '{ account = "acme", seats = { full = 5 } }'
_INCLUDED: Final = "{ included = { full = 5 } }"


def parse(text: str, source: str) -> Catalog:
    """The catalogue in `text`. Raises `CatalogError` with all mistakes and their places.

    `source` names the text in that error, for example its path. Every section is optional, but at least one
    must give seats.
    """
    root = read(text, source)
    root.only("defaults", "roles", "status", *SEAT_SOURCES)
    catalog = _catalog(root)
    check(catalog, root)
    if mistakes := root.mistakes.in_order():
        raise CatalogError(source, mistakes)
    return catalog


def _catalog(root: Table) -> Catalog:
    defaults = root.table("defaults", such_as='{ policy = "strict" }')
    defaults.only(*_RULE_KEYS, "policy_order", *_NAMING_KEYS)
    rules = _rules(defaults, Rules())
    return Catalog(
        defaults=rules,
        policy_order=defaults.order("policy_order", policies.by_strictness()),
        account_key=_account_key(defaults),
        metadata_names=MetadataNames(
            defaults.choice("metadata_names", Catalog.metadata_names, allowed=tuple(MetadataNames))
        ),
        metadata_accounts_per_hour=defaults.number(
            "metadata_accounts_per_hour", Catalog.metadata_accounts_per_hour, most=MOST_SEATS
        ),
        roles=_roles(root.table("roles", such_as='{ member = "full" }')),
        effects=_effects(root.table("status", such_as='{ paused = "suspended" }')),
        products={
            product_id: _product(product_id, table, rules)
            for product_id, table in _named_tables(root, "products", such_as=_INCLUDED)
        },
        free=_free(root.table("free", such_as=_INCLUDED)) if "free" in root else None,
        contracts={
            name: _contract(name, table)
            for name, table in _named_tables(root, "contracts", such_as=_CONTRACT)
        },
    )


def _rules(table: Table, base: Rules) -> Rules:
    return Rules(
        policy=table.choice("policy", base.policy, allowed=policies.names()),
        grace=_days(table, "grace_days", base.grace, least=0),
        suspend_after_grace=table.flag("suspend_after_grace", base.suspend_after_grace),
        payment_grace=_days(table, "payment_grace_days", base.payment_grace, least=0),
        hold=_days(table, "hold_days", base.hold, least=1),
        auto_expand_limit=table.number("auto_expand_limit", base.auto_expand_limit, least=1, most=MOST_SEATS),
        proration_increase=_proration(table, "proration_increase", base.proration_increase),
        proration_decrease=_proration(table, "proration_decrease", base.proration_decrease),
        decrease_when=When(table.choice("decrease_when", base.decrease_when, allowed=tuple(When))),
    )


def _proration(table: Table, key: str, default: Proration) -> Proration:
    return Proration(table.choice(key, default, allowed=tuple(Proration)))


def _account_key(defaults: Table) -> str | None:
    key = defaults.text("account_key", Catalog.account_key, what='a string, "" for never', may_be_empty=True)
    return key or None


def _days(table: Table, key: str, default: timedelta, *, least: int) -> timedelta:
    days = table.number(key, None, least=least, most=MOST_DAYS)
    return default if days is None else timedelta(days=days)


def _roles(table: Table) -> Mapping[str, str | None]:
    _check_names(table)
    seat_types = {role: table.text(role, FREE, what=f'a seat type or "{FREE}"') for role in table.values}
    return {role: None if seat_type == FREE else seat_type for role, seat_type in seat_types.items()}


def _effects(table: Table) -> Mapping[str, StatusEffect]:
    effects = dict(DEFAULT_EFFECTS)
    for status in table.values:
        if not _WORD.fullmatch(status):
            table.wrong(status, f"a status is a lower-case word such as on_hold; '{status}' is not.")
        effects[status] = StatusEffect(table.choice(status, StatusEffect.ENDED, allowed=tuple(StatusEffect)))
    return effects


def _product(product_id: str, table: Table, defaults: Rules) -> Product:
    table.only("name", "included", "per_unit", "addons", "minimum", "maximum", *_RULE_KEYS)
    return Product(
        product_id=product_id,
        name=table.text("name", product_id),
        included=_limits(table, "included"),
        per_unit=_sizes(table, "per_unit"),
        addons=_addons(table),
        minimum=_bounds(table, "minimum"),
        maximum=_bounds(table, "maximum"),
        rules=_rules(table, defaults),
    )


def _addons(table: Table) -> Mapping[str, Mapping[str, int]]:
    addons = table.table("addons", such_as="{ adn_seat = { full = 1 } }")
    _check_names(addons)
    return {addon_id: _sizes(addons, addon_id) for addon_id in addons.values}


def _free(table: Table) -> Mapping[str, SeatLimit]:
    table.only("included")
    _require_seats(table, "included", otherwise="leave [free] out for none")
    return _limits(table, "included")


def _contract(name: str, table: Table) -> Contract:
    table.only("account", "seats", "starts", "ends", "billing", "notice_days")
    table.require("account", "the id of the account that has the seats")
    _require_seats(table, "seats", otherwise="leave the contract out")
    starts, ends = table.day("starts"), table.day("ends")
    if starts and ends and ends < starts:
        table.wrong("ends", f"ends {ends} is before starts {starts}.")
    billing = table.choice("billing", None, allowed=tuple(Billing))
    account_id = table.text("account", "")
    if account_id and (problem := problem_of(account_id)) is not None:
        table.wrong("account", f"account {problem}.")
    return Contract(
        name=name,
        account_id=account_id,
        seats=_limits(table, "seats"),
        starts=starts,
        ends=ends,
        billing=None if billing is None else Billing(billing),
        notice=_days(table, "notice_days", CONTRACT_NOTICE, least=1),
    )


# Seats by type.


def _limits(table: Table, key: str) -> Mapping[str, SeatLimit]:
    """Seats by type, where unlimited is allowed. A wrong number counts as 0, so the seat type stays known."""
    seats = table.table(key, such_as=_SEATS)
    return {seat_type: _limit(seats, seat_type) for seat_type in _seat_types(seats)}


def _limit(seats: Table, seat_type: str) -> SeatLimit:
    if seats.values[seat_type] == UNLIMITED.value:
        return UNLIMITED
    return seats.number(seat_type, 0, most=MOST_SEATS, or_else=f' or "{UNLIMITED}"')


def _sizes(table: Table, key: str) -> Mapping[str, int]:
    """Seats per unit by type. A wrong number counts as 0, so the seat type stays known."""
    return {seat_type: size or 0 for seat_type, size in _numbers(table, key)}


def _bounds(table: Table, key: str) -> Mapping[str, int]:
    """A minimum or maximum per seat type. A wrong number is left out."""
    return {seat_type: bound for seat_type, bound in _numbers(table, key) if bound is not None}


def _numbers(table: Table, key: str) -> Iterator[tuple[str, int | None]]:
    seats = table.table(key, such_as=_SEATS)
    return ((seat_type, _number(seats, seat_type)) for seat_type in _seat_types(seats))


def _number(seats: Table, seat_type: str) -> int | None:
    if seats.values[seat_type] != UNLIMITED.value:
        return seats.number(seat_type, None, most=MOST_SEATS)
    problem = f"{seat_type} cannot be unlimited here, only in included, [free] and contracts."
    seats.wrong(seat_type, problem)
    return None


def _seat_types(seats: Table) -> Iterator[str]:
    """The keys that can be seat types; each other key is recorded as a mistake."""
    for word in seats.values:
        if word == FREE:
            problem = f"'{FREE}' is the word for roles that take no seat; a seat type needs another name."
            seats.wrong(word, problem)
        elif not _WORD.fullmatch(word):
            seats.wrong(word, f"a seat type is a lower-case word such as full or guest_2; '{word}' is not.")
        else:
            yield word


def _require_seats(table: Table, key: str, *, otherwise: str) -> None:
    table.require(key, f"the seats given, such as {_SEATS}")
    if table.values.get(key) == {}:
        table.wrong(key, f"{key} gives no seats; {otherwise}.")


def _named_tables(root: Table, key: str, *, such_as: str) -> Iterator[tuple[str, Table]]:
    section = root.table(key, such_as=f"[{key}.NAME]")
    _check_names(section)
    return ((name, section.table(name, such_as=such_as)) for name in section.values)


def _check_names(table: Table) -> None:
    for name in table.values:
        if not name.strip():
            table.wrong(name, "the name is empty.")
