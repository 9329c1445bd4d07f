"""The billing provider: signatures, payload to snapshot, HTTP client. Knows nothing of the database."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import cast

from domain.errors import SettingsError
from providers.base import Provider


def load(name: str) -> Callable[..., Provider]:
    """The `build` function of `providers/NAME/`; a folder here is a provider if it has one.

    Every `build` takes the settings as keywords: base_url, api_key, secrets, tolerance, rate, redis, proxy.
    """
    builders = {module: build for module in _modules() if (build := _builder(module)) is not None}
    if name not in builders:
        raise SettingsError(f"There is no provider {name!r}; known: {', '.join(sorted(builders))}.")
    return builders[name]


def _modules() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__) if module.ispkg]


def _builder(module: str) -> Callable[..., Provider] | None:
    return cast(
        "Callable[..., Provider] | None", getattr(import_module(f"{__name__}.{module}"), "build", None)
    )
