"""Billing terms: when a change of the cart takes effect, and how the provider bills it."""

from __future__ import annotations

from enum import StrEnum


class When(StrEnum):
    """When a change of the cart takes effect."""

    NOW = "now"
    AT_RENEWAL = "at_renewal"


class Proration(StrEnum):
    """How the provider bills a change within a period (Dodo documentation, change plan)."""

    PRORATED_IMMEDIATELY = "prorated_immediately"
    PRORATED_IMMEDIATELY_KEEP_CYCLE = "prorated_immediately_keep_cycle"
    DIFFERENCE_IMMEDIATELY = "difference_immediately"
    FULL_IMMEDIATELY = "full_immediately"
    DO_NOT_BILL = "do_not_bill"
