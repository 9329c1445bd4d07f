"""Cancellations: recognise in a retrieved snapshot that a subscription is to end, goes on, or has ended.

Each state that a cancellation enters is one notice, added in the transaction that stores the snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy.orm import Session

from domain.billing_terms import When
from domain.catalog.model import Catalog
from domain.drift import RETRIEVED
from domain.notices import Notice, NoticeType
from domain.snapshot import SubscriptionSnapshot, SubscriptionStatus
from domain.statuses import StatusEffect
from models import cancellation, notice
from models.account import now
from models.audit import Cause
from models.cancellation import Cancellation, CancellationState
from models.subscription import Subscription

_FLAG: Final = frozenset({"cancel_at_next_billing_date"})
_TYPES: Final[Mapping[str, NoticeType]] = {
    CancellationState.SCHEDULED: NoticeType.CANCELLATION_SCHEDULED,
    CancellationState.APPLIED: NoticeType.CANCELLATION_APPLIED,
    CancellationState.UNDONE: NoticeType.CANCELLATION_UNDONE,
    CancellationState.FAILED: NoticeType.CANCELLATION_FAILED,
}
_REPLACED: Final = "Another cancellation of the subscription took its place."
_LATE: Final = "The cancellation was believed to have failed, but the provider has made it."


@dataclass(frozen=True, slots=True)
class OwnCancellation:
    """What a snapshot shows of a cancellation, or an undo, that this service sent.

    `fields` of the snapshot differ because of it, so they are no drift. `cause` names who asked for it; None
    if the snapshot shows nothing new of ours.
    """

    fields: frozenset[str] = frozenset()
    cause: Cause | None = None


_NOTHING: Final = OwnCancellation()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A snapshot about to be stored: what was `known` of the subscription before, the account that owns it,
    and the cause of the sync. `may_show`: some stored cancellation may show in it.
    """

    session: Session
    subscription: Subscription
    owner_id: str
    snapshot: SubscriptionSnapshot
    known: SubscriptionSnapshot | None
    catalog: Catalog
    cause: Cause
    may_show: bool

    @property
    def is_ended(self) -> bool:
        return self.catalog.effect(self.snapshot.status) is StatusEffect.ENDED

    @property
    def ends_now(self) -> bool:
        """True if this is the first snapshot after the subscription has ended."""
        was_running = self.known is not None and not self.was_ended
        return self.is_ended and was_running

    @property
    def was_ended(self) -> bool:
        return self.known is not None and self.catalog.effect(self.known.status) is StatusEffect.ENDED

    @property
    def is_leaving(self) -> bool:
        """True if the subscription ends at its next billing date."""
        return self.snapshot.cancel_at_next_billing_date and not self.is_ended


def apply_shown(seen: Sighting) -> OwnCancellation:
    """Update the state of the subscription's cancellations from what the snapshot shows of them.

    A cancellation that was made at the provider is stored when it is first seen.
    """
    if not (seen.may_show or seen.is_leaving or seen.ends_now):
        return _NOTHING
    rows = cancellation.of_subscription(seen.session, seen.subscription.id) if seen.may_show else ()
    for row in rows:
        if row.state in cancellation.OPEN:
            row.account_id = seen.owner_id
    if seen.is_ended:
        return _apply(seen, rows)
    if seen.is_leaving:
        return _schedule(seen, rows)
    return _undo(seen, rows)


def end_missing(session: Session, subscription_id: str) -> None:
    """Mark the open cancellations of a subscription as applied: the provider no longer has it."""
    for row in cancellation.of_subscription(session, subscription_id):
        if row.state in cancellation.OPEN:
            _move(session, row, CancellationState.APPLIED, message="The provider no longer has it.")


def fail(session: Session, row: Cancellation, code: str, message: str, *, helps: bool) -> None:
    """Mark the cancellation as failed, with a notice; its row is locked. `helps` is true if the same request
    may succeed later.
    """
    _move(session, row, CancellationState.FAILED, code=code, message=message, helps=helps)


def fail_undo(session: Session, row: Cancellation, code: str, message: str, *, helps: bool) -> None:
    """Record that the undo of the scheduled cancellation has failed, with a notice; its row is locked."""
    row.undo_sent_at, row.attempts = None, 0
    row.code, row.message, row.retry_helps = code, message, helps
    session.flush()
    _add_notice(session, row, NoticeType.CANCELLATION_UNDO_FAILED)


# What a snapshot shows.


def _apply(seen: Sighting, rows: Sequence[Cancellation]) -> OwnCancellation:
    """The subscription has ended: one cancellation is applied, and further open ones are closed quietly."""
    still_open = [row for row in rows if row.state in cancellation.OPEN]
    if still_open:
        first, *others = still_open
        _move(seen.session, first, CancellationState.APPLIED)
        for row in others:
            cancellation.set_state(
                seen.session,
                row,
                CancellationState.APPLIED,
                code=cancellation.REPLACED,
                message=_REPLACED,
            )
        return _own(seen, first, frozenset(RETRIEVED))
    if not seen.ends_now:
        return _NOTHING
    if (late := _late(seen, rows)) is not None:
        _move(seen.session, late, CancellationState.APPLIED, code=cancellation.APPLIED_LATE, message=_LATE)
        return _own(seen, late, frozenset(RETRIEVED))
    if seen.snapshot.status == SubscriptionStatus.CANCELLED:
        _add_found(seen, When.NOW, CancellationState.APPLIED, is_news=True)
    return _NOTHING


def _schedule(seen: Sighting, rows: Sequence[Cancellation]) -> OwnCancellation:
    """The subscription ends at its next billing date: there is one scheduled cancellation."""
    scheduled = next((row for row in rows if row.state == CancellationState.SCHEDULED), None)
    sent = next((row for row in rows if _is_sent_for_renewal(row)), None)
    late = _late(seen, [row for row in rows if row.kind == When.AT_RENEWAL])
    ours = sent or (late if scheduled is None else None)
    if scheduled is not None:
        scheduled.ends_at = seen.snapshot.next_billing_date
    if ours is None:
        if scheduled is None:
            is_news = seen.known is not None and (
                not seen.known.cancel_at_next_billing_date
                or cancellation.has_any(seen.session, seen.subscription.id)
            )
            _add_found(seen, When.AT_RENEWAL, CancellationState.SCHEDULED, is_news=is_news)
        return _NOTHING
    if scheduled is not None:
        cancellation.set_state(
            seen.session,
            scheduled,
            CancellationState.UNDONE,
            code=cancellation.REPLACED,
            message=_REPLACED,
        )
    ours.ends_at = seen.snapshot.next_billing_date
    code, message = (None, None) if ours is sent else (cancellation.APPLIED_LATE, _LATE)
    _move(seen.session, ours, CancellationState.SCHEDULED, code=code, message=message)
    return _own(seen, ours, _FLAG)


def _undo(seen: Sighting, rows: Sequence[Cancellation]) -> OwnCancellation:
    """The subscription goes on: no cancellation is scheduled any more."""
    own = _NOTHING
    for row in rows:
        if row.state == CancellationState.SCHEDULED:
            was_ours = row.undo_sent_at is not None
            _move(seen.session, row, CancellationState.UNDONE)
            if was_ours:
                own = OwnCancellation(_FLAG, _cause(seen.cause, row, row.undo_actor, "undo of cancellation"))
    return own


def _is_sent_for_renewal(row: Cancellation) -> bool:
    return row.state == CancellationState.SUBMITTED and row.kind == When.AT_RENEWAL


def _late(seen: Sighting, rows: Sequence[Cancellation]) -> Cancellation | None:
    """The newest one that no sync had shown in time, if it may still be the one that the snapshot shows."""
    unseen = [
        row for row in rows if row.state == CancellationState.FAILED and row.code in cancellation.UNSEEN
    ]
    if not unseen or now(seen.session) - unseen[0].moved_at >= cancellation.MAY_SHOW_LATE:
        return None
    return unseen[0]


def _add_found(seen: Sighting, when: When, state: CancellationState, *, is_news: bool) -> None:
    """Store a cancellation that was made at the provider; with a notice if it `is_news`."""
    found = Cancellation(
        account_id=seen.owner_id,
        subscription_id=seen.subscription.id,
        kind=when.value,
        ends_at=seen.snapshot.next_billing_date if when is When.AT_RENEWAL else now(seen.session),
    )
    cancellation.add_found(seen.session, found, state)
    if is_news:
        _add_notice(seen.session, found, _TYPES[found.state])


def _own(seen: Sighting, row: Cancellation, fields: frozenset[str]) -> OwnCancellation:
    if row.was_found:
        return _NOTHING
    return OwnCancellation(fields, _cause(seen.cause, row, row.actor, "cancellation"))


def _cause(sync: Cause, row: Cancellation, actor: str | None, what: str) -> Cause:
    """The cause of a sync, with the actor who asked for what it shows."""
    return replace(sync, actor=actor or sync.actor, source="cancellation", reason=f"{what} {row.id}")


def _move(
    session: Session,
    row: Cancellation,
    state: CancellationState,
    *,
    code: str | None = None,
    message: str | None = None,
    helps: bool | None = None,
) -> None:
    cancellation.set_state(session, row, state, code=code, message=message, retry_helps=helps)
    _add_notice(session, row, _TYPES[row.state])


def _add_notice(session: Session, row: Cancellation, kind: NoticeType) -> None:
    notice.add(session, row.account_id, [Notice(kind, facts_of(row))])


def facts_of(row: Cancellation) -> dict[str, Any]:
    """The data of a notice about the cancellation."""
    return {
        "cancellation_id": row.id,
        "subscription_id": row.subscription_id,
        "when": row.kind,
        "ends_at": row.ends_at,
        "at_provider": row.was_found,
        "code": row.code,
        "reason": row.message,
        "retry_helps": row.retry_helps,
    }
