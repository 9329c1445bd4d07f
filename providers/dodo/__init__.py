"""Dodo Payments, the billing provider. `build` creates it from the settings."""

from providers.dodo.provider import build

__all__ = ["build"]
