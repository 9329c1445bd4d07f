"""Grace: time in which use may exceed what was paid for, with a warning before it ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, overload

_WARNING: Final = timedelta(days=3)


@overload
def ending_at(deadline: datetime, grace: timedelta) -> datetime: ...
@overload
def ending_at(deadline: None, grace: timedelta) -> None: ...
def ending_at(deadline: datetime | None, grace: timedelta) -> datetime | None:
    """When to warn that a grace period ends: three days before, or in the last quarter of a short one."""
    return None if deadline is None else deadline - min(_WARNING, grace / 4)
