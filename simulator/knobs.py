"""The knobs: settings of the provider's behaviour that can be changed while it runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from simulator.billing.plan_change import Payment
from simulator.json_text import explain
from simulator.refusal import Refusal

Probability = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Windows = tuple[tuple[Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0)]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """The values of all knobs. Rate-limit windows are `[requests, seconds]`; an empty list means no limit."""

    webhook_url: Annotated[str, Field(pattern=r"^http://")]
    speed: Annotated[float, Field(gt=0)] = 1.0

    webhooks_enabled: bool = True
    body: Literal["at_delivery", "at_event"] = "at_delivery"
    delivery_timeout_seconds: Annotated[float, Field(gt=0)] = 15.0
    delivery_latency_seconds: Seconds = 0.0
    reorder_window_seconds: Seconds = 0.0
    drop_probability: Probability = 0.0
    repeat_probability: Probability = 0.0
    repeat_copies: Annotated[int, Field(ge=1)] = 1

    key_is_read_only: bool = False

    rate_limits: Windows = ((40, 1.0), (240, 60.0))
    unauthenticated_rate_limits: Windows = ((20, 1.0), (100, 60.0))
    rate_limit_reset: Literal["seconds", "unix"] = "seconds"
    retry_after: str | None = None

    api_fault_routes: tuple[str, ...] = ("*",)
    api_latency_seconds: Seconds = 0.0
    api_500_probability: Probability = 0.0
    api_429_probability: Probability = 0.0
    api_hang_probability: Probability = 0.0
    api_hang_seconds: Seconds = 4.0
    api_malformed_probability: Probability = 0.0
    api_cut_probability: Probability = 0.0
    api_cut_before_probability: Probability = 0.0
    api_slow_body_probability: Probability = 0.0
    api_slow_body_seconds: Seconds = 30.0

    plan_change_payment: Payment = Payment.SUCCEEDS
    refuse_proration_when_scheduled: bool = False


SETTINGS = TypeAdapter(Knobs)


class KnobBoard:
    """The current knobs, `now`. It is replaced as a whole, so readers need no lock."""

    def __init__(self, start: Knobs) -> None:
        self._start = check(asdict(start))
        self._lock = threading.Lock()
        self.now = self._start

    def turn(self, settings: Mapping[str, object]) -> Knobs:
        """Set the named knobs. Raises `Refusal` and sets none of them if one is invalid."""
        with self._lock:
            self.now = check({**asdict(self.now), **settings})
            return self.now

    def reset(self) -> None:
        self.now = self._start


def check(settings: Mapping[str, object]) -> Knobs:
    if unknown := sorted(settings.keys() - Knobs.__dataclass_fields__.keys()):
        raise Refusal.unprocessable("UNKNOWN_KNOB", f"There is no knob called {', '.join(unknown)}")
    try:
        return SETTINGS.validate_python(settings)
    except ValidationError as error:
        raise Refusal.unprocessable("INVALID_KNOB", explain(error)) from error
