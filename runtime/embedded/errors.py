"""Errors of embedded servers."""

from __future__ import annotations

from domain.errors import SeatSyncError


class EmbeddedServerError(SeatSyncError):
    """A server could not be found, started or reached. The message says which, and what to do."""

    code = "embedded_server_failed"
