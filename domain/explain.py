"""Explain the number of purchased seats: its terms, their sources, and why each source counts or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from domain.catalog.model import Catalog, Contract, Product
from domain.catalog.toml_lines import dotted
from domain.counts import (
    NO_SEATS,
    AccountSeats,
    Seats,
    SubscriptionShare,
    account_seats,
    growth_findings,
    subscription_seats,
)
from domain.findings import Uncountable
from domain.seat_limit import SeatLimit, add
from domain.snapshot import SubscriptionSnapshot
from domain.statuses import Phase, Standing, StatusEffect

_CHANGED: Final = "the catalogue has changed, and they will be counted again shortly"


class SourceKind(StrEnum):
    """The kinds of sources that give seats."""

    SUBSCRIPTION = "subscription"
    CONTRACT = "contract"
    FREE = "free"


@dataclass(frozen=True, slots=True)
class Term:
    """One term of the sum: a number of seats, a description, and the place in the catalogue that defines it;
    None if that is no longer known.
    """

    seats: SeatLimit
    text: str
    place: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source of seats, whether it `gives` them now or not. `because` says why, and `rule` names the place
    in the catalogue that decides it. `kept` says why the last good figures are used; None if they are not.
    """

    kind: SourceKind
    name: str
    gives: bool
    because: str
    rule: str | None
    terms: Mapping[str, Sequence[Term]]
    kept: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A subscription of the account: what is stored about it, and the seats it adds."""

    subscription_id: str
    snapshot: SubscriptionSnapshot | None
    status: str | None
    effect: StatusEffect | None
    provider_deadline: datetime | None
    is_counted: bool
    share: SubscriptionShare
    is_gone: bool = False
    """True if the provider has not known it for a whole term, so that it ended here."""


def sources(
    catalog: Catalog, account_id: str, holdings: Sequence[Holding], *, now: datetime
) -> Sequence[Source]:
    """All sources of the account's seats, whether they give seats now or not, and why.

    The terms of those that do add up to `account_seats`.
    """
    contracts = catalog.contracts_of(account_id)
    evaluated = account_seats(catalog, account_id, [holding.share for holding in holdings], now=now)
    counting = any(one.share.standing.counts for one in holdings) or any(
        contract.is_in_term(now) for contract in contracts
    )
    return [
        *(_of_subscription(catalog, holding, evaluated) for holding in holdings),
        *(_of_contract(contract, now) for contract in contracts),
        *_of_free_seats(catalog, evaluated, counting=counting),
    ]


def terms_of(given: Iterable[Source], seat_type: str) -> Sequence[Term]:
    """The terms that add up to the purchased seats of a type."""
    return [term for source in given if source.gives for term in source.terms.get(seat_type, ())]


def total(terms: Iterable[Term]) -> SeatLimit:
    """The sum of the terms."""
    result: SeatLimit = 0
    for term in terms:
        result = add(result, term.seats)
    return result


def formula(terms: Sequence[Term]) -> str:
    """`5 included in Team (pdt_team) + 10 x 1 seat of adn_seat = 15`."""
    text = " + ".join(term.text for term in terms) or "no source"
    return f"{text} = {total(terms)}"


# What a subscription bought.


def _of_subscription(catalog: Catalog, holding: Holding, evaluated: AccountSeats) -> Source:
    phase = holding.share.standing.phase
    is_suspended = evaluated.standing is Standing.SUSPENDED and phase is Phase.SUSPENDED
    gives = holding.share.standing.counts or is_suspended
    terms, kept = _bought(catalog, holding)
    effect = holding.effect
    return Source(
        kind=SourceKind.SUBSCRIPTION,
        name=holding.subscription_id,
        gives=gives,
        because=_standing(holding, gives=gives),
        rule=f"[status] {dotted((holding.status,))} = {effect}" if holding.status and effect else None,
        terms=terms,
        kept=kept,
    )


def _bought(catalog: Catalog, holding: Holding) -> tuple[Mapping[str, Sequence[Term]], str | None]:
    """The terms of each seat type. If the snapshot gives other figures than those in use: the last good ones,
    and the reason.
    """
    if holding.snapshot is None:
        return {}, None
    figures = holding.share.seats
    try:
        counted = subscription_seats(catalog, holding.snapshot)
    except Uncountable as uncountable:
        return _last_good(figures), " ".join(finding.message for finding in uncountable.findings)
    if growth := growth_findings(counted, figures):
        is_unpaid = holding.effect is not StatusEffect.COUNTS
        return _last_good(figures), " ".join(one.message for one in growth) if is_unpaid else _CHANGED
    if {**counted} != {**figures}:
        return _last_good(figures), _CHANGED
    product = catalog.products[holding.snapshot.product_id]
    return {seat_type: [*_terms(product, holding.snapshot, seat_type)] for seat_type in counted}, None


def _terms(product: Product, snapshot: SubscriptionSnapshot, seat_type: str) -> Iterator[Term]:
    place = f"[{dotted(('products', product.product_id))}]"
    name = f"{product.name} ({product.product_id})"
    if included := product.included.get(seat_type):
        yield Term(included, f"{included} included in {name}", f"{place} included")
    if size := product.per_unit.get(seat_type):
        seats = size * snapshot.quantity
        yield Term(seats, f"{snapshot.quantity} x {_seats(size)} per unit of {name}", f"{place} per_unit")
    for addon in snapshot.addons or ():
        if (size := product.addons[addon.addon_id].get(seat_type)) and addon.quantity:
            text = f"{addon.quantity} x {_seats(size)} of {addon.addon_id}"
            yield Term(size * addon.quantity, text, f"{place} {dotted(('addons', addon.addon_id))}")


def _last_good(figures: Mapping[str, Seats]) -> Mapping[str, Sequence[Term]]:
    return {
        seat_type: [Term(seats.purchased, f"{seats.purchased} as last counted", None)]
        for seat_type, seats in figures.items()
        if seats != NO_SEATS
    }


def _seats(number: int) -> str:
    return "1 seat" if number == 1 else f"{number} seats"


def _standing(holding: Holding, *, gives: bool) -> str:
    """The effect of the subscription's status on its seats, in words."""
    standing, status = holding.share.standing, f"status {holding.status}"
    if holding.is_gone:
        return "the provider no longer knows it, and its term is over"
    if not holding.is_counted:
        return "its seats have never been counted, and it gives none"
    if standing.phase is Phase.COUNTS:
        return f"{status}: its seats count"
    if standing.phase is Phase.GRACE:
        is_theirs = standing.until == holding.provider_deadline
        whose = "the provider's deadline" if is_theirs else "the end of payment_grace_days"
        return f"{status}: its seats count until {standing.until:%Y-%m-%dT%H:%M:%SZ}, {whose}"
    if standing.phase is Phase.SUSPENDED:
        effect = "its figures stay, new claims are refused" if gives else "only other sources count"
        return f"{status}: suspended, {effect}"
    is_to_come = standing.phase is Phase.NOT_YET
    return f"{status}: it " + (
        "has not begun and gives no seats yet" if is_to_come else "is over and gives no seats"
    )


# Contracts and free seats.


def _of_contract(contract: Contract, now: datetime) -> Source:
    place = f"[{dotted(('contracts', contract.name))}]"
    begins, ends = (f"{day}" if day else "an open date" for day in (contract.starts, contract.ends))
    term = f"its term is from {begins} to {ends}"
    return Source(
        kind=SourceKind.CONTRACT,
        name=contract.name,
        gives=contract.is_in_term(now),
        because=_term(contract, now) + term,
        rule=f"{place} starts, ends",
        terms={
            seat_type: [Term(limit, f"{limit} by contract {contract.name}", f"{place} seats")]
            for seat_type, limit in contract.seats.items()
        },
    )


def _term(contract: Contract, now: datetime) -> str:
    if contract.is_over(now):
        return "over: "
    return "in force: " if contract.has_begun(now) else "not in force yet: "


def _of_free_seats(catalog: Catalog, evaluated: AccountSeats, *, counting: bool) -> Iterator[Source]:
    if catalog.free is None:
        return
    gives = not counting and evaluated.standing is not Standing.SUSPENDED
    others = "other seats count" if counting else "the figures of suspended subscriptions stay"
    yield Source(
        kind=SourceKind.FREE,
        name="free",
        gives=gives,
        because="no subscription and no contract counts" if gives else others,
        rule="[free]",
        terms={
            seat_type: [Term(limit, f"{limit} free", "[free] included")]
            for seat_type, limit in catalog.free.items()
        },
    )
