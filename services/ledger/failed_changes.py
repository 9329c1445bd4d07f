"""Failed changes: what follows when a seat change that was sent has failed."""

from __future__ import annotations

from sqlalchemy.orm import Session

from domain.notices import Notice, NoticeType
from domain.purchase.daily_limit import STOP_AFTER
from models import notice, purchase_queue, seat_change
from models.seat_change import ChangeState, SeatChange
from services.ledger import change_notices, purchase_limits


def fail(session: Session, change: SeatChange, code: str, message: str, *, helps: bool) -> None:
    """Mark the change as failed, with a notice; its row is locked. `helps` is true if the same request may
    succeed later.

    After the third failed automatic purchase in a row the app is notified that no more are made.
    """
    seat_change.set_state(session, change, ChangeState.FAILED, code=code, message=message, retry_helps=helps)
    change_notices.add_notice(session, change)
    if not change.is_automatic:
        return
    if change.failed_permanently:
        purchase_queue.retry_now(session, change.account_id)
    failures = purchase_limits.failures_of(session, change.account_id)
    if change.may_have_tried_card and len(failures) == STOP_AFTER:
        facts = {"failures": len(failures), "change_id": change.id, "code": code, "reason": message}
        notice.add(session, change.account_id, [Notice(NoticeType.PURCHASES_STOPPED, facts)])
