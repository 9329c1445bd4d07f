"""The environment variables of the demo's processes: those that are set, and generated ones."""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runtime.embedded.server import free_port
from runtime.embedded.shared_state import write_private

# The demo uses its own servers and a simulated provider, so it never uses these.
NOT_USED: Final = frozenset(
    {
        "DATABASE_URL",
        "REDIS_URL",
        "CELERY_BROKER_URL",
        "DODO_PAYMENTS_ENVIRONMENT",
        "DODO_PAYMENTS_BASE_URL",
        "DODO_PAYMENTS_BUSINESS_ID",
    }
)

_CATALOG: Final = Path(__file__).parents[2] / "catalog.example.toml"
_MIN_KEY_LENGTH: Final = 16
_KEY_LENGTH: Final = 12  # short, so that a call with it fits into 80 characters


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The given variables, and generated values for the missing ones that the service needs."""
    existing = given.get("no_proxy") or given.get("NO_PROXY")
    no_proxy = f"{existing},127.0.0.1" if existing else "127.0.0.1"
    return {
        "DODO_PAYMENTS_API_KEY": secrets.token_urlsafe(18),
        "DODO_PAYMENTS_WEBHOOK_KEY": f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}",
        "SEATSYNC_CATALOG": str(_CATALOG),
        **given,
        "DODO_PAYMENTS_BASE_URL": f"http://127.0.0.1:{free_port(None)}",
        # Calls to the simulator must not go through a proxy. If both names are set, the lower-case one wins.
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def stored_key(path: Path) -> str:
    """The API key of earlier demos in this folder, so that copied calls still work; otherwise a new one."""
    with contextlib.suppress(FileNotFoundError):
        if len(stored := path.read_text(encoding="ascii").strip()) >= _MIN_KEY_LENGTH:
            return stored
    key = f"demo-{base64.b32encode(secrets.token_bytes(10)).decode().lower()[:_KEY_LENGTH]}"
    write_private(path, f"{key}\n")
    return key
