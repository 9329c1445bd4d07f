"""Dodo Payments, the billing provider. `build` makes it from the settings."""

from providers.dodo.provider import build

__all__ = ["build"]
