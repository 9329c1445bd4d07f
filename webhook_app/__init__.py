"""The door: HTTP in, HTTP out. `create_app(runtime, doorbell)` is the whole of it."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from runtime.wiring import Runtime
    from worker.doorbell import Doorbell


def create_app(runtime: Runtime, doorbell: Doorbell) -> Flask:
    """The web application over one runtime.

    It is imported when it is called: commands use single modules of this package, and all of them together
    take a second of CPU time.
    """
    app: Flask = pkgutil.resolve_name("webhook_app.app:create_app")(runtime, doorbell)
    return app
