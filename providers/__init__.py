"""The billing provider: webhook signatures, HTTP client, translation into our snapshots. Uses no database."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import cast

from domain.errors import SettingsError
from providers.base import Provider


def load(name: str) -> Callable[..., Provider]:
    """The `build` function of the package `providers/NAME/`. A package without one is not a provider.

    Every `build` takes these settings as keywords: base_url, api_key, secrets, tolerance, rate, redis,
    prefix, proxy. Raises `SettingsError` if there is no such provider.
    """
    builders = {module: build for module in _modules() if (build := _builder(module)) is not None}
    if name not in builders:
        raise SettingsError(f"There is no provider {name!r}. Known providers: {', '.join(sorted(builders))}.")
    return builders[name]


def _modules() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__) if module.ispkg]


def _builder(module: str) -> Callable[..., Provider] | None:
    return cast(
        "Callable[..., Provider] | None", getattr(import_module(f"{__name__}.{module}"), "build", None)
    )
