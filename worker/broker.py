"""Check whether the message broker is reachable."""

from __future__ import annotations

from kombu import Connection


def answers(url: str | None) -> bool:
    """True if a broker answers at this URL; False after at most two seconds without an answer."""
    options = {"socket_timeout": 1, "socket_connect_timeout": 1}
    try:
        with Connection(url, connect_timeout=1, transport_options=options) as broker:
            broker.ensure_connection(max_retries=1, interval_start=0, timeout=1)
    except Exception:  # noqa: BLE001  every broker client has errors of its own
        return False
    return True
