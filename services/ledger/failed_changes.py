"""Failed changes: what follows when a seat change that was sent comes to nothing."""

from __future__ import annotations

from sqlalchemy.orm import Session

from domain.notices import Notice, NoticeType
from domain.purchase.daily_limit import STOP_AFTER
from models import notice, purchase_queue, seat_change
from models.seat_change import ChangeState, SeatChange
from services.ledger import purchase_limits


def fail(session: Session, change: SeatChange, code: str, message: str, *, helps: bool) -> None:
    """The change, whose row is locked, has failed; `helps` is whether the same wish may be granted later.

    After the third automatic purchase in a row the app is notified that no more are made.
    """
    seat_change.set_state(session, change, ChangeState.FAILED, code=code, message=message, retry_helps=helps)
    if not change.is_automatic:
        return
    if change.failed_permanently:
        purchase_queue.retry_now(session, change.account_id)
    failures = purchase_limits.failures_of(session, change.account_id)
    if change.may_have_tried_card and len(failures) == STOP_AFTER:
        facts = {"failures": len(failures), "change_id": change.id, "code": code, "reason": message}
        notice.add(session, change.account_id, [Notice(NoticeType.PURCHASES_STOPPED, facts)])


def fail_unheard(session: Session, change: SeatChange, code: str, message: str, *, helps: bool) -> None:
    """The same where no caller waits for the answer any more: the app gets a notice of it.

    Of automatic purchases those whose claims were waiting for them are notified instead.
    """
    fail(session, change, code, message, helps=helps)
    if not change.is_automatic:
        facts = {"change_id": change.id, "code": code, "reason": message, "retry_helps": helps}
        notice.add(session, change.account_id, [Notice(NoticeType.CHANGE_FAILED, facts)])
