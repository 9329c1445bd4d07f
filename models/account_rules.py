"""The rules of an account: the app's overrides of its products' rules, and how both are stored as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from domain.catalog.model import Rules
from domain.seat_rules import SeatRules
from models.base import Json


class Override(BaseModel):
    """The app's overrides for one account. None leaves a rule to the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: str | None = None
    grace_days: int | None = None
    suspend_after_grace: bool | None = None
    hold_days: int | None = None
    seat_types: dict[str, str] = {}

    def to_json(self) -> Json | None:
        """The JSON to store; None if nothing is overridden."""
        return self.model_dump(exclude_defaults=True) or None

    def applied_to(self, rules: Rules, seat_type: str | None) -> Rules:
        """The rules of a seat type, or of the account if `seat_type` is None, with the overrides applied."""
        own_policy = self.seat_types.get(seat_type) if seat_type is not None else None
        overrides: dict[str, Any] = {
            "policy": own_policy or self.policy,
            "grace": _days(self.grace_days),
            "suspend_after_grace": self.suspend_after_grace,
            "hold": _days(self.hold_days),
        }
        return replace(rules, **{rule: value for rule, value in overrides.items() if value is not None})


def read_seat_rules(general: SeatRules, policies: Json, terms: Json) -> Mapping[str, SeatRules]:
    """The rules per seat type, for the types that differ from `general`.

    `policies` and `terms` are the results of `policies_to_json` and `terms_to_json`.
    """
    return {
        seat_type: _seat_rules(
            policies.get(seat_type, general.policy), {**_terms(general), **terms.get(seat_type, {})}
        )
        for seat_type in {*policies, *terms}
    }


def policies_to_json(general: SeatRules, by_type: Mapping[str, SeatRules]) -> Json:
    """The policies of the seat types whose policy differs from the account's."""
    return {name: rules.policy for name, rules in sorted(by_type.items()) if rules.policy != general.policy}


def terms_to_json(general: SeatRules, by_type: Mapping[str, SeatRules]) -> Json:
    """The other rules of each seat type, as far as they differ from the account's."""
    common = _terms(general)
    differing = {
        name: {term: value for term, value in _terms(rules).items() if value != common[term]}
        for name, rules in sorted(by_type.items())
    }
    return {seat_type: terms for seat_type, terms in differing.items() if terms}


def _terms(rules: SeatRules) -> Json:
    return {
        "grace_days": rules.grace.days,
        "suspend_after_grace": rules.suspend_after_grace,
        "hold_days": rules.hold.days,
    }


def _seat_rules(policy: str, terms: Json) -> SeatRules:
    grace, hold = timedelta(days=terms["grace_days"]), timedelta(days=terms["hold_days"])
    return SeatRules(policy, grace, terms["suspend_after_grace"], hold)


def _days(number: int | None) -> timedelta | None:
    return None if number is None else timedelta(days=number)
