"""The schedule: which subscription is to be looked at, when, and by whom.

It lies in the subscription's own row. `hint` counts reasons to look, `synced` is the hint that the stored
snapshot covers, `fence` numbers the leases: a result is written only while its fence is still the row's.
`routine` says that only the timer asks, so that everybody else goes first. All times are the database's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Row, and_, case, func, literal, select, update
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from models.base import affected
from models.inbox import InboxEvent, InboxState
from models.subscription import Subscription

# Asking.

# In the order of their ids, so that two who ask for many never wait for each other. The timer hastens nobody
# who waits already: a provider that is away would else be asked about everybody at each of its rounds.
_ASK = sql(
    """
    INSERT INTO subscriptions AS known (id, hint, routine)
    SELECT id, 1, :routine FROM unnest(cast(:ids AS text[])) AS asked (id) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        hint = known.hint + 1,
        next_at = CASE WHEN excluded.routine AND known.hint > known.synced AND known.dead_reason IS NULL
                       THEN known.next_at ELSE now() END,
        attempts = CASE WHEN excluded.routine AND known.hint > known.synced AND known.dead_reason IS NULL
                        THEN known.attempts ELSE 0 END,
        dead_reason = NULL,
        routine = excluded.routine
            AND (known.routine OR known.hint = known.synced OR known.dead_reason IS NOT NULL)
    """
)


def raise_hint(session: Session, subscription_id: str) -> None:
    """Ask for one more look, now; an unknown subscription becomes known by it."""
    raise_hints(session, [subscription_id])


def raise_hints(session: Session, subscription_ids: Collection[str], *, routine: bool = False) -> None:
    """Ask for one more look at each. A routine one makes nobody wait who asked before."""
    if subscription_ids:
        session.execute(_ASK, {"ids": list(subscription_ids), "routine": routine})


def hints_of(session: Session, subscription_ids: Collection[str]) -> dict[str, int]:
    """What each has to be synced to before everything asked for until now is seen."""
    wanted = select(Subscription.id, Subscription.hint).where(Subscription.id.in_(subscription_ids))
    return {row.id: row.hint for row in session.execute(wanted)}


@dataclass(frozen=True, slots=True)
class PendingSync:
    """A subscription that was not looked at since it was asked for; why the last look failed, if it did, and
    how long it is before the next.
    """

    subscription_id: str
    reason: str | None
    is_dead: bool
    due_in: timedelta = timedelta()


def pending_syncs(session: Session, hints: Mapping[str, int]) -> Sequence[PendingSync]:
    """Those of the subscriptions that no look has brought to their hint yet."""
    found = session.execute(
        select(
            Subscription.id,
            Subscription.synced,
            Subscription.last_error,
            Subscription.dead_reason,
            (Subscription.next_at - func.now()).label("due_in"),
        )
        .where(Subscription.id.in_(hints))
        .order_by(Subscription.id)
    )
    return [
        PendingSync(row.id, row.last_error, row.dead_reason is not None, row.due_in)
        for row in found
        if row.synced < hints[row.id]
    ]


# Looking.


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to look at a subscription once: valid while the row still carries its fence.

    `mark` is the hint that the coming retrieve will cover, `events` the inbox rows behind it, dead letters
    among them, `event_id` the newest of them, `told_of` when the oldest of them occurred (the provider's
    clock), `taken_at` when the look began (database time).
    """

    subscription_id: str
    fence: int
    mark: int
    attempt: int
    taken_at: datetime
    events: tuple[int, ...]
    event_id: str | None
    told_of: datetime | None = None
    routine: bool = False


# A literal, so that every plan may use the index `inbox_unfinished`.
_UNFINISHED = sql("inbox.state IN ('pending', 'dead')")

_LEASE = sql(
    """
    UPDATE subscriptions
    SET fence = fence + 1, lease_until = now() + :duration, attempts = attempts + 1, rung_at = NULL
    WHERE id = :id AND hint > synced AND dead_reason IS NULL
      AND (lease_until IS NULL OR lease_until < now()) AND next_at <= now()
    RETURNING fence, hint, attempts, now() AS taken_at, routine
    """
)


def lease(session: Session, subscription_id: str, duration: timedelta) -> Lease | None:
    """Take the subscription to look at it, unless nothing is due or somebody else has it.

    The attempt is counted here, not at its failure, so that one which kills its process counts too.
    The update holds the row while the inbox is read: no delivery can raise the hint in between, so
    the events seen are exactly those that `mark` covers.
    """
    row = session.execute(_LEASE, {"id": subscription_id, "duration": duration}).one_or_none()
    if row is None:
        return None
    pending = session.execute(
        select(InboxEvent.id, InboxEvent.event_id, InboxEvent.occurred_at)
        .where(InboxEvent.subscription_id == subscription_id, _UNFINISHED)
        .order_by(InboxEvent.id)
    ).all()
    return Lease(
        subscription_id=subscription_id,
        fence=row.fence,
        mark=row.hint,
        attempt=row.attempts,
        taken_at=row.taken_at,
        events=tuple(event.id for event in pending),
        event_id=pending[-1].event_id if pending else None,
        told_of=min((event.occurred_at for event in pending if event.occurred_at), default=None),
        routine=row.routine,
    )


def release(session: Session, held: Lease, *, delay: timedelta, error: str) -> bool:
    """End a lease that got no answer: due again after `delay`. False if another lease has begun since."""
    return _end(session, held, delay=delay, last_error=error)


def release_refused(session: Session, held: Lease, *, delay: timedelta, error: str) -> bool:
    """The same for a lease whose retrieve the provider refused."""
    since = func.coalesce(Subscription.refused_since, held.taken_at)
    return _end(session, held, delay=delay, last_error=error, refused_since=since)


def refused_for(session: Session, held: Lease) -> timedelta:
    """How long the provider had refused every retrieve when this lease began; 0 if it had not."""
    since = session.scalar(select(Subscription.refused_since).where(Subscription.id == held.subscription_id))
    return timedelta() if since is None else held.taken_at - since


def is_newly_announced(session: Session, subscription_id: str, *, within: timedelta) -> bool:
    """Whether nothing was ever seen of the subscription, which became known so short a time ago."""
    young = select(Subscription.id).where(
        Subscription.id == subscription_id,
        Subscription.looked_at.is_(None),
        Subscription.created_at > func.now() - within,
    )
    return session.scalar(young) is not None


_LOOK_ONCE_MORE = sql(
    """
    UPDATE subscriptions
    SET hint = hint + 1, routine = false,
        next_at = CASE WHEN hint > synced THEN least(next_at, now() + :delay) ELSE now() + :delay END
    WHERE id = :id
    """
)


def sync_again(session: Session, subscription_id: str, *, delay: timedelta) -> None:
    """Request a further sync after `delay`, at the end of one whose result may not be the newest."""
    session.execute(_LOOK_ONCE_MORE, {"id": subscription_id, "delay": delay})


def release_unasked(session: Session, held: Lease, *, delay: timedelta) -> bool:
    """End a lease in which the provider was not asked for want of budget: no attempt, and no failure."""
    return _end(session, held, delay=delay, attempts=func.greatest(Subscription.attempts - 1, 0))


def _end(session: Session, held: Lease, *, delay: timedelta, **values: object) -> bool:
    """Somebody who began to wait during a routine look need not wait as long as the timer."""
    waited_for = and_(literal(held.routine), Subscription.routine.is_(False))
    ended = (
        update(Subscription)
        .where(Subscription.id == held.subscription_id, Subscription.fence == held.fence)
        .values(
            lease_until=None,
            next_at=case((waited_for, func.now()), else_=func.now() + delay),
            **values,
        )
    )
    return bool(affected(session, ended))


def mark_dead(session: Session, held: Lease, reason: str) -> bool:
    """Give up: the row and the events behind it become dead letters, for a person to replay.

    A hint that came meanwhile deserves a look of its own: then this lease just ends, and False is said.
    """
    ended = (
        update(Subscription)
        .where(
            Subscription.id == held.subscription_id,
            Subscription.fence == held.fence,
            Subscription.hint == held.mark,
        )
        .values(
            lease_until=None,
            dead_reason=reason,
            last_error=reason,
            looked_at=held.taken_at,
            refused_since=None,
        )
    )
    if not affected(session, ended):
        release(session, held, delay=timedelta(seconds=1), error=reason)
        return False
    session.execute(
        update(InboxEvent)
        .where(InboxEvent.id.in_(held.events), InboxEvent.state == InboxState.PENDING)
        .values(state=InboxState.DEAD, reason=reason)
    )
    return True


# Whose turn it is.


@dataclass(frozen=True, slots=True)
class Due:
    """Whom to wake workers for: those somebody waits for, and those that only the timer asks for.

    `neglected` are those of them that workers were woken for before, and that nobody has touched since.
    """

    awaited: Sequence[str]
    routine: Sequence[str]
    neglected: Sequence[str] = ()

    @property
    def all(self) -> Sequence[str]:
        return [*self.awaited, *self.routine]


# Chosen first and once, as only a WITH promises: within IN (...) a plan may choose again for every row, and
# come to more than the limit.
_TAKE_DUE = sql(
    """
    WITH due AS MATERIALIZED (
        SELECT id, rung_at IS NOT NULL AS is_neglected FROM subscriptions
        WHERE hint > synced AND dead_reason IS NULL AND routine = :routine AND next_at <= now()
          AND (lease_until IS NULL OR lease_until < now())
          AND (rung_at IS NULL OR rung_at < now() - :again)
        ORDER BY next_at
        LIMIT greatest(:limit - (SELECT count(*) FROM subscriptions
                                 WHERE routine AND :routine AND hint > synced AND dead_reason IS NULL
                                   AND rung_at >= now() - :again), 0)
        FOR UPDATE SKIP LOCKED)
    UPDATE subscriptions SET rung_at = now() FROM due WHERE subscriptions.id = due.id
    RETURNING subscriptions.id, due.is_neglected
    """
)


def claim_due(session: Session, *, limit: int, routine_limit: int, again: timedelta) -> Due:
    """Subscriptions that are due and for which no sweep has woken a worker for the time `again`.

    The routine ones have a limit of their own, for all that are rung for at a time: so they can neither stand
    in the way of the others nor be left out for them.
    """

    def taken(*, routine: bool, limit: int) -> Sequence[Row[tuple[str, bool]]]:
        asked = {"routine": routine, "limit": limit, "again": again}
        return session.execute(_TAKE_DUE, asked).all()

    awaited, for_the_timer = taken(routine=False, limit=limit), taken(routine=True, limit=routine_limit)
    return Due(
        [row.id for row in awaited],
        [row.id for row in for_the_timer],
        [row.id for row in (*awaited, *for_the_timer) if row.is_neglected],
    )


_LONGEST_UNTOUCHED = sql(
    """
    SELECT coalesce(extract(epoch FROM now() - min(greatest(next_at, lease_until))), 0) FROM subscriptions
    WHERE hint > synced AND dead_reason IS NULL AND NOT routine AND next_at <= now()
      AND (lease_until IS NULL OR lease_until < now())
    """
)


def longest_overdue(session: Session) -> timedelta:
    """How long the subscription that has been due longest has been touched by nobody, the timer's aside."""
    return timedelta(seconds=float(session.execute(_LONGEST_UNTOUCHED).scalar_one()))


_HASTEN = sql(
    """
    UPDATE subscriptions SET next_at = now(), rung_at = NULL
    WHERE id IN (
        SELECT id FROM subscriptions
        WHERE hint > synced AND dead_reason IS NULL AND attempts > 0 AND lease_until IS NULL
          AND refused_since IS NULL AND next_at > now() + :longer_than
        FOR UPDATE SKIP LOCKED)
    """
)


def retry_failed_now(session: Session, *, longer_than: timedelta) -> None:
    """The provider answers again: who has longer than this to wait out of a backoff is due at once."""
    session.execute(_HASTEN, {"longer_than": longer_than})


# Each has a share of the period of its own, from a half to nearly all of it, found by its id. So those that
# were looked at in one go, as after a backfill, come up one by one and not all at once a day later.
_DUE_TO_BE_VERIFIED = sql(
    """
    SELECT id FROM subscriptions
    WHERE (hint = synced OR dead_reason IS NOT NULL)
      AND (looked_at IS NULL
           OR looked_at < now() - cast(:period AS interval)
                                  * (0.5 + 0.45 * (hashtext(id)::bigint + 2147483648) / 4294967296))
    ORDER BY looked_at NULLS FIRST LIMIT :limit
    """
)


def due_for_verification(session: Session, period: timedelta, *, limit: int) -> Sequence[str]:
    """Subscriptions whose turn it is, the oldest first, so that none goes without a look for a `period`.

    Only those that nothing asks for, or in vain.
    """
    return session.execute(_DUE_TO_BE_VERIFIED, {"period": period, "limit": limit}).scalars().all()
