"""What the demo's processes are told: what is set already, and what is made up beside it."""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runtime.embedded.server import free_port
from runtime.embedded.shared_state import write_private

# The demo starts from empty servers and plays against its own provider; it keeps its hands off these.
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
_SHORTEST_KEY: Final = 16
_KEY_LENGTH: Final = 12  # a call with it fits a line of 80 characters


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Everything that is set stays as it is; what the service needs besides is made up for this run."""
    beside = given.get("no_proxy") or given.get("NO_PROXY")
    no_proxy = f"{beside},127.0.0.1" if beside else "127.0.0.1"
    return {
        "DODO_PAYMENTS_API_KEY": secrets.token_urlsafe(18),
        "DODO_PAYMENTS_WEBHOOK_KEY": f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}",
        "SEATSYNC_CATALOG": str(_CATALOG),
        **given,
        "DODO_PAYMENTS_BASE_URL": f"http://127.0.0.1:{free_port(None)}",
        # The simulator must not be looked for behind a proxy; the lower-case name wins where both are set.
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def kept_key(path: Path) -> str:
    """The API key of earlier demos in this folder, so that copied calls work again; else a new one."""
    with contextlib.suppress(FileNotFoundError):
        if len(known := path.read_text(encoding="ascii").strip()) >= _SHORTEST_KEY:
            return known
    key = f"demo-{base64.b32encode(secrets.token_bytes(10)).decode().lower()[:_KEY_LENGTH]}"
    write_private(path, f"{key}\n")
    return key
