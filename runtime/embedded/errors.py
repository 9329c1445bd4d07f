"""What goes wrong around embedded servers."""

from __future__ import annotations

from domain.errors import SeatSyncError


class EmbeddedServerError(SeatSyncError):
    """A server could not be found, started or reached; the message says where and what to do instead."""

    code = "embedded_server_failed"
