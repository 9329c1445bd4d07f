"""What every view needs: the runtime behind this app, its wake_ups, and who lets callers in."""

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
    gatekeeper: ApiKeyAuth
    refusals: RefusalLog = field(default_factory=lambda: RefusalLog("delivery refused"))
    slow_calls: SlowCalls = field(default_factory=SlowCalls)
    reserved: Runtime | None = None

    @property
    def priority_runtime(self) -> Runtime:
        """The runtime for deliveries and for reading seats, which have connections of their own if any are
        reserved: however many other calls wait for one, these do not.
        """
        return self.reserved or self.runtime

    def ring(self, subscription_id: str, delay: float = 0.0) -> None:
        """Have the subscription looked at soon. The row that asks for it is committed: a bell that is
        broken must not turn the answer into an error, the sweep will ring.
        """
        try:
            self.wake_ups.ring(subscription_id, delay)
        except Exception as error:  # noqa: BLE001  a thread that cannot start, most likely
            log.warning("wake_ups broken", extra={"error": type(error).__name__})


def app_context() -> AppContext:
    """The door of the app that serves the present request."""
    return cast("AppContext", current_app.extensions[NAME])
