"""What every view needs: the runtime behind this app, and its doorbell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from flask import current_app

from runtime.wiring import Runtime
from worker.doorbell import Doorbell

NAME: Final = "seatsync"


@dataclass(frozen=True, slots=True)
class Door:
    runtime: Runtime
    doorbell: Doorbell


def door() -> Door:
    """The door of the app that serves the present request."""
    return cast("Door", current_app.extensions[NAME])
