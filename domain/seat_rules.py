"""Rules per seat type: which products decide them, and which rules apply if these products differ."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Self

from domain import findings, policies
from domain.catalog.model import Catalog, Rules
from domain.counts import Seats, SubscriptionShare
from domain.findings import Finding
from domain.statuses import Phase

Overlay = Callable[[Rules, str | None], Rules]
"""Applies the app's override to the rules of a seat type (None: to those of the account)."""


@dataclass(frozen=True, slots=True)
class SeatRules:
    """The rules for claims on one seat type, and for an overage of it."""

    policy: str
    grace: timedelta
    suspend_after_grace: bool
    hold: timedelta

    @classmethod
    def of(cls, rules: Rules) -> Self:
        """The part of a product's rules that applies to a seat type."""
        return cls(rules.policy, rules.grace, rules.suspend_after_grace, rules.hold)


@dataclass(frozen=True, slots=True)
class Offer:
    """The product of one subscription: its rules, and the seats it gives to the account."""

    product_id: str
    rules: Rules
    share: SubscriptionShare


@dataclass(frozen=True, slots=True)
class AccountRules:
    """The rules of one account.

    `general` applies to every seat type that `by_type` does not name. `findings` report products that give
    seats of the same type under different rules.
    """

    general: Rules
    by_type: Mapping[str, Rules] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def of(self, seat_type: str | None) -> Rules:
        """The rules of one seat type; None stands for roles that take no seat."""
        return self.general if seat_type is None else self.by_type.get(seat_type, self.general)


def account_rules(
    catalog: Catalog,
    offers: Sequence[Offer],
    overlay: Overlay,
    *,
    given: Mapping[str, Seats],
    named: Iterable[str] = (),
) -> AccountRules:
    """Compute an account's rules from its products. `given` are all seats that count now, `named` further
    seat types that the overlay may name.

    The rules of a seat type come from the products that give seats of it:
    - if these products differ, the strictest rules apply, with a finding;
    - seats of contracts and free seats, which no product gives, follow the catalogue's defaults;
    - a type of which the account has no seats follows the products of its other types, else the defaults;
    - while the account has seats, a product that has ended can only make rules stricter.
    """
    sold = {name for offer in offers if offer.share.standing.counts for name in _types_given(offer)}
    unsold = {name for name, seats in given.items() if seats.purchased != 0} - sold
    of_account = [] if unsold and not sold else deciding(offers)
    general = _strictest(catalog, _decided(catalog, of_account, overlay, None))
    by_type, found = {}, []
    for seat_type in sorted({*named, *given, *(name for offer in offers for name in offer.share.seats)}):
        offered = [] if seat_type in unsold else deciding(offers, seat_type) or of_account
        live = [one for one in offered if one.share.standing.phase is not Phase.ENDED]
        rules = _decided(catalog, offered, overlay, seat_type)
        if offered and not live and (sold or unsold):
            rules = [*rules, *_decided(catalog, of_account, overlay, seat_type)]
        by_type[seat_type] = _strictest(catalog, rules)
        is_given = any(seat_type in _types_given(one) for one in live)
        if is_given and len({_relevant(one) for one in rules}) > 1:
            product_ids = sorted({offer.product_id for offer in offered})
            found.append(findings.rules_differ(seat_type, product_ids, by_type[seat_type].policy))
    return AccountRules(general, by_type, tuple(found))


def deciding(offers: Iterable[Offer], seat_type: str | None = None) -> Sequence[Offer]:
    """The offers that decide the rules of the seat type; None stands for the account as a whole.

    Offers whose seats count now take precedence over suspended ones, and these over ended ones, whose members
    may still hold seats. Within each group, products that give at least one seat take precedence.
    """
    ranked = [(rank, offer) for offer in offers if (rank := _rank(offer.share, seat_type)) is not None]
    best = min((rank for rank, _ in ranked), default=None)
    return [offer for rank, offer in ranked if rank == best]


def _types_given(offer: Offer) -> Collection[str]:
    """The seat types of which the product gives at least one seat."""
    return {name for name, seats in offer.share.seats.items() if seats.purchased != 0}


def _rank(share: SubscriptionShare, seat_type: str | None) -> tuple[bool, bool, bool] | None:
    """The precedence among the offers, lowest first; None if the offer does not decide this type."""
    phase = share.standing.phase
    seats = [found for name, found in share.seats.items() if seat_type in (None, name)]
    if phase is Phase.NOT_YET or not seats:
        return None
    gives_none = all(found.purchased == 0 for found in seats)
    return phase is Phase.ENDED, not share.standing.counts, gives_none


def _decided(
    catalog: Catalog, offers: Sequence[Offer], overlay: Overlay, seat_type: str | None
) -> Collection[Rules]:
    rules = [offer.rules for offer in offers] or [catalog.defaults]
    return [overlay(one, seat_type) for one in rules]


def _strictest(catalog: Catalog, rules: Collection[Rules]) -> Rules:
    """The strictest policy, the strictest settings of its rules, and the shortest hold of all rules."""
    policy = min((one.policy for one in rules), key=catalog.policy_order.index)
    of_policy = [one for one in rules if one.policy == policy]
    return replace(
        of_policy[0],
        grace=min(one.grace for one in of_policy),
        suspend_after_grace=any(one.suspend_after_grace for one in of_policy),
        auto_expand_limit=min(one.auto_expand_limit for one in of_policy),
        hold=min(one.hold for one in rules),
        payment_grace=min(one.payment_grace for one in rules),
    )


def _relevant(rules: Rules) -> tuple[object, ...]:
    """The settings that have an effect under the rules' policy. Differences in others are no finding."""
    policy = policies.load(rules.policy)
    return (
        rules.policy,
        rules.hold,
        (rules.grace, rules.suspend_after_grace) if policy.HAS_DEADLINE else None,
        rules.auto_expand_limit if policy.BUYS else None,
    )
