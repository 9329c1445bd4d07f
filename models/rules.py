"""The rules of an account: what its products say, with the app's own word on top."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from models.base import Json
from seats.catalog import Rules, RulesInForce


class Override(BaseModel):
    """What the app decided for one account; None leaves a rule to the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: str | None = None
    grace_days: int | None = None
    suspend_after_grace: bool | None = None
    hold_days: int | None = None
    seat_types: dict[str, str] = {}

    def to_json(self) -> Json | None:
        """As it is kept; None when it overrides nothing."""
        return self.model_dump(exclude_defaults=True) or None


def in_force(rules: Rules, kept: Json | None) -> RulesInForce:
    """The rules with the account's override applied."""
    override = Override.model_validate(kept or {})
    changed: dict[str, Any] = {
        "policy": override.policy,
        "grace": _days(override.grace_days),
        "suspend_after_grace": override.suspend_after_grace,
        "hold": _days(override.hold_days),
    }
    return RulesInForce(
        **{**asdict(rules), **{rule: value for rule, value in changed.items() if value is not None}},
        seat_policies=override.seat_types,
    )


def _days(number: int | None) -> timedelta | None:
    return None if number is None else timedelta(days=number)
