"""Checks of the connection to the provider: mode, secrets, permissions of the API key, clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from cli.doctor.result import Level, Result, ok
from domain.provider_errors import BudgetSpent, ProviderError
from providers.dodo.urls import BASE_URLS
from runtime.settings import Settings
from runtime.wiring import Runtime

_MAX_SKEW = timedelta(minutes=1)
_RESOLUTION = 1  # second: the header with the provider's time has whole seconds


def check(runtime: Runtime) -> Iterator[Result]:
    """Check the settings, then ask the provider what the key may do, and compare its clock."""
    settings, provider = runtime.settings, runtime.provider
    yield mode(settings)
    yield secrets(settings)
    try:
        may_read = provider.may_read()
        yield _reading(settings, may_read=may_read)
        if may_read:
            yield _writing(may_write=provider.may_write())
    except ProviderError as error:
        yield _unreachable(error)
    yield clock(provider.clock_skew, settings.tolerance)


def mode(settings: Settings) -> Result:
    """The provider's mode, and whether the two settings for it contradict each other."""
    environment, url = settings.environment, settings.provider_url
    if url == BASE_URLS[environment]:
        return ok("mode", f"{environment}, {url}")
    advice = "Unset DODO_PAYMENTS_BASE_URL, or set DODO_PAYMENTS_ENVIRONMENT to the mode of that URL."
    if url in BASE_URLS.values():
        return Result(
            Level.FAILURE,
            "mode",
            f"{environment}, but DODO_PAYMENTS_BASE_URL belongs to the other mode.",
            advice,
        )
    if environment == "live_mode":
        found = f"live_mode, but DODO_PAYMENTS_BASE_URL is {url}."
        return Result(Level.WARNING, "mode", found, f"{advice} Ignore this if it is your own proxy.")
    return Result(Level.NOTE, "mode", f"{environment}; DODO_PAYMENTS_BASE_URL is {url}.")


def secrets(settings: Settings) -> Result:
    """The number of webhook secrets. Their form was checked when the settings were read."""
    number = len(settings.webhook_secrets)
    if number == 1:
        return ok("webhook secrets", "one, well-formed")
    return Result(
        Level.NOTE,
        "webhook secrets",
        f"{number}, well-formed, the newest first",
        "One day after a rotation the provider signs only with the newest secret. Then remove the others.",
    )


def clock(skew: timedelta | None, tolerance: timedelta) -> Result:
    """Compare the provider's clock with this machine's, which may differ by `tolerance` at most."""
    if skew is None:
        return Result(Level.NOTE, "provider's clock", "Unknown: no response contained the time.")
    seconds = abs(skew.total_seconds())
    found = f"{seconds:.0f} s {'ahead of' if skew > timedelta() else 'behind'} this machine's clock"
    advice = (
        "Use NTP on this machine: a delivery is refused if its timestamp differs by more than "
        f"{tolerance.total_seconds():.0f} s."
    )
    if abs(skew) > tolerance / 2:
        return Result(Level.FAILURE, "provider's clock", found, advice)
    if abs(skew) > _MAX_SKEW:
        return Result(Level.WARNING, "provider's clock", found, advice)
    return ok("provider's clock", found if seconds > _RESOLUTION else "same as this machine's clock")


def _reading(settings: Settings, *, may_read: bool) -> Result:
    if may_read:
        return ok("API key, reading", "The provider accepts the key.")
    return Result(
        Level.FAILURE,
        "API key, reading",
        "The provider refuses the key.",
        "Check DODO_PAYMENTS_API_KEY. A key is valid in one mode only; the configured mode is "
        f"{settings.environment} at {settings.provider_url}.",
    )


def _writing(*, may_write: bool) -> Result:
    if may_write:
        return ok("API key, writing", "The key may write too.")
    return Result(
        Level.NOTE,
        "API key, writing",
        "The key may only read, which is enough for correct counts.",
        "Nothing to do, unless seats are to be bought through this service: that needs write access.",
    )


def _unreachable(error: ProviderError) -> Result:
    if isinstance(error, BudgetSpent):
        advice = "Other processes use the request budget. Run this again in a minute."
        return Result(Level.WARNING, "provider", error.message, advice)
    return Result(
        Level.FAILURE,
        "provider",
        error.message,
        "Check DNS, proxy, firewall and DODO_PAYMENTS_BASE_URL, then the provider's status page. "
        "Deliveries are stored meanwhile.",
    )
