"""Notices about confirmed seat changes: one for each state that a change enters, so no polling is needed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from domain.notices import Notice, NoticeType
from models import notice
from models.seat_change import ChangeState, SeatChange

_TYPES: Final[Mapping[str, NoticeType]] = {
    ChangeState.APPLIED: NoticeType.CHANGE_APPLIED,
    ChangeState.SCHEDULED: NoticeType.CHANGE_SCHEDULED,
    ChangeState.FAILED: NoticeType.CHANGE_FAILED,
    ChangeState.CANCELLED: NoticeType.CHANGE_CANCELLED,
}


def add_notice(session: Session, change: SeatChange, *, effective_at: datetime | None = None) -> None:
    """Add the notice that the change has entered its state. The change must be locked, and must have entered
    the state in this transaction, so that the app is notified once.

    `effective_at` is when a scheduled change will be made. Automatic purchases get no notice, because each
    pending claim they were made for gets its own.
    """
    if change.is_automatic:
        return
    facts = facts_of(change, effective_at=effective_at)
    notice.add(session, change.account_id, [Notice(_TYPES[change.state], facts)])


def facts_of(change: SeatChange, *, effective_at: datetime | None = None) -> dict[str, Any]:
    """The data of a notice about the change."""
    return {
        "change_id": change.id,
        "subscription_id": change.subscription_id,
        "when": change.plan["when"],
        "seats": change.seats,
        "effective_at": effective_at,
        "code": change.code,
        "reason": change.message,
        "retry_helps": change.retry_helps,
    }
