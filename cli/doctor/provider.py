"""Between us and the provider: mode, secrets, what the key may do, whose clock is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from cli.doctor.result import Level, Result, ok
from domain.errors import BudgetSpent, ProviderError
from providers.dodo.urls import BASE_URLS
from runtime.settings import Settings
from runtime.wiring import Runtime

_TOLERABLE_SKEW = timedelta(minutes=1)
_FINENESS = 1  # second: the header that tells the provider's time counts whole ones


def check(runtime: Runtime) -> Iterator[Result]:
    """Mode and secrets as they are set, then the provider's word on the key, and its clock."""
    settings, provider = runtime.settings, runtime.provider
    yield mode(settings)
    yield secrets(settings)
    try:
        may_read = provider.may_read()
        yield _reading(settings, may_read=may_read)
        if may_read:
            yield _writing(may_write=provider.may_write())
    except ProviderError as error:
        yield _away(error)
    yield clock(provider.clock_skew, settings.tolerance)


def mode(settings: Settings) -> Result:
    """Which of the provider's worlds is asked, and whether two settings contradict each other."""
    environment, url = settings.environment, settings.provider_url
    if url == BASE_URLS[environment]:
        return ok("mode", f"{environment}, {url}")
    advice = "Unset DODO_PAYMENTS_BASE_URL, or set DODO_PAYMENTS_ENVIRONMENT to where it leads."
    if url in BASE_URLS.values():
        return Result(
            Level.FAILURE, "mode", f"{environment}, but DODO_PAYMENTS_BASE_URL is the other mode's.", advice
        )
    if environment == "live_mode":
        found = f"live_mode, but DODO_PAYMENTS_BASE_URL leads to {url}."
        return Result(Level.WARNING, "mode", found, f"{advice} If that is a proxy of yours, all is well.")
    return Result(Level.NOTE, "mode", f"{environment}; DODO_PAYMENTS_BASE_URL leads to {url}.")


def secrets(settings: Settings) -> Result:
    """How many there are; that they can be read was seen when the settings were."""
    number = len(settings.webhook_secrets)
    if number == 1:
        return ok("webhook secrets", "one, well-formed")
    return Result(
        Level.NOTE,
        "webhook secrets",
        f"{number}, well-formed, the newest first",
        "A day after a rotation the provider signs with the newest alone: then drop the others.",
    )


def clock(skew: timedelta | None, tolerance: timedelta) -> Result:
    """How far the provider's clock is from ours, beside what a delivery's timestamp may be off."""
    if skew is None:
        return Result(Level.NOTE, "provider's clock", "Not known: no answer told the time.")
    seconds = abs(skew.total_seconds())
    found = f"{seconds:.0f} s {'ahead of' if skew > timedelta() else 'behind'} ours"
    advice = (
        "Let this machine take its time from NTP: a delivery whose timestamp is off by more than "
        f"{tolerance.total_seconds():.0f} s is refused."
    )
    if abs(skew) > tolerance / 2:
        return Result(Level.FAILURE, "provider's clock", found, advice)
    if abs(skew) > _TOLERABLE_SKEW:
        return Result(Level.WARNING, "provider's clock", found, advice)
    return ok("provider's clock", found if seconds > _FINENESS else "as ours")


def _reading(settings: Settings, *, may_read: bool) -> Result:
    if may_read:
        return ok("API key, reading", "The provider takes the key.")
    return Result(
        Level.FAILURE,
        "API key, reading",
        "The provider refuses the key.",
        "Check DODO_PAYMENTS_API_KEY. Each key is for one mode, and the one asked is "
        f"{settings.environment} at {settings.provider_url}.",
    )


def _writing(*, may_write: bool) -> Result:
    if may_write:
        return ok("API key, writing", "The key may write as well.")
    return Result(
        Level.NOTE,
        "API key, writing",
        "The key may read and not write, which is enough for right counts.",
        "Nothing, unless seats are to be bought from here: that takes a key with write access.",
    )


def _away(error: ProviderError) -> Result:
    if isinstance(error, BudgetSpent):
        advice = "Others ask at the same time: run this again in a minute."
        return Result(Level.WARNING, "provider", error.message, advice)
    return Result(
        Level.FAILURE,
        "provider",
        error.message,
        "Check the way to it (DNS, proxy, firewall) and DODO_PAYMENTS_BASE_URL, then its status page. "
        "Deliveries are kept meanwhile.",
    )
