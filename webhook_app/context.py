"""What every view needs: the runtime, the sender of wake-ups and the API key check."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final, cast

from flask import current_app

from runtime.refusal_log import RefusalLog
from runtime.wiring import Runtime
from webhook_app.auth import ApiKeyAuth
from webhook_app.slow_calls import SlowCalls
from worker.wake_ups import WakeUps

log = logging.getLogger(__name__)

NAME: Final = "seatsync"


@dataclass(frozen=True, slots=True)
class AppContext:
    runtime: Runtime
    wake_ups: WakeUps
    auth: ApiKeyAuth
    refusals: RefusalLog = field(default_factory=lambda: RefusalLog("delivery refused"))
    slow_calls: SlowCalls = field(default_factory=SlowCalls)
    reserved: Runtime | None = None

    @property
    def priority_runtime(self) -> Runtime:
        """The runtime for deliveries and for reading seats. With `reserved` they have database connections of
        their own, and never wait for a connection that other calls use.
        """
        return self.reserved or self.runtime

    def wake_worker(self, subscription_id: str, delay: float = 0.0) -> None:
        """Wake a worker to sync the subscription, after `delay` seconds. Never raises: the request for the
        sync is committed, so the sweep finds it even if the wake-up is lost.
        """
        try:
            self.wake_ups.wake(subscription_id, delay)
        except Exception as error:  # noqa: BLE001  most likely a thread that cannot start
            log.warning("wake-up not sent", extra={"error": type(error).__name__})


def app_context() -> AppContext:
    """The context of the app that serves the current request."""
    return cast("AppContext", current_app.extensions[NAME])
