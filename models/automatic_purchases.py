"""Automatic purchases: the seat changes that were sent to buy seats for pending claims (`auto_expand`).

They are the rows of `seat_changes` with `is_automatic`. These queries tell how much was bought since a given
time, and whether failures stop further purchases.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from models.seat_change import NOT_APPLIED, ChangeState, SeatChange

# More than enough to find three failures in a row.
_NEWEST_ATTEMPTS: Final = 10


def attempts_since(session: Session, account_id: str, moment: datetime) -> Sequence[SeatChange]:
    """Automatic purchases that count against the daily limit: those sent at `moment` or later that were
    applied, are in flight, or failed and may have tried the card; and any older one still in flight.
    """
    sent = session.scalars(
        select(SeatChange).where(
            SeatChange.account_id == account_id,
            SeatChange.is_automatic,
            SeatChange.sent_at.is_not(None),
            or_(SeatChange.sent_at >= moment, SeatChange.state == ChangeState.SUBMITTED),
        )
    ).all()
    counted = (ChangeState.APPLIED, ChangeState.SUBMITTED)
    return [change for change in sent if change.state in counted or change.may_have_tried_card]


def consecutive_failures(session: Session, account_id: str, since: datetime | None) -> Sequence[SeatChange]:
    """Automatic purchases that failed in a row, newest first: back to the last one that was applied, or to
    `since`. Purchases in flight and temporary refusals are left out.
    """
    failures = []
    for change in _newest(session, account_id, _NEWEST_ATTEMPTS):
        is_reset = since is not None and change.moved_at <= since
        if is_reset or change.state == ChangeState.APPLIED:
            break
        if change.may_have_tried_card:
            failures.append(change)
    return failures


def newest(session: Session, account_id: str) -> SeatChange | None:
    """The account's newest automatic purchase in any state; None if it never had one."""
    return next(iter(_newest(session, account_id, 1)), None)


def blocks_retry(session: Session, change: SeatChange) -> bool:
    """Whether `change`, the account's newest automatic purchase, forbids an immediate retry.

    True if it failed permanently, or if it and the one before it failed unconfirmed for some of the same
    pending claims. A single unconfirmed failure may be retried at once.
    """
    if change.failed_permanently:
        return True
    newer, *earlier = _newest(session, change.account_id, 2)
    return any(
        _failed_unconfirmed(newer)
        and _failed_unconfirmed(older)
        and set(newer.buys_for) & set(older.buys_for)
        for older in earlier
    )


def _failed_unconfirmed(change: SeatChange) -> bool:
    return change.state == ChangeState.FAILED and change.code == NOT_APPLIED


def _newest(session: Session, account_id: str, limit: int) -> Sequence[SeatChange]:
    return session.scalars(
        select(SeatChange)
        .where(SeatChange.account_id == account_id, SeatChange.is_automatic, SeatChange.sent_at.is_not(None))
        .order_by(SeatChange.sent_at.desc())
        .limit(limit)
    ).all()
