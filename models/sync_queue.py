"""Sync queue. These columns of `subscriptions` say which subscription is due for a sync.

`hint` counts the requests for a sync, and `synced` is the hint that the stored snapshot covers: a
subscription is due while `hint` > `synced`. `fence` is the fencing token of the current lease; a result is
written only if its token is still in the row. `routine` marks low-priority requests from the timer,
`rung_at` when workers were last woken for the row. All times come from the database clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, case, func, literal, select, update
from sqlalchemy import Row as SqlRow
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from domain.ownership import Placement
from models.base import affected
from models.driver import Row, all_rows
from models.inbox import InboxEvent, InboxState
from models.subscription import Subscription, placement_from

# Requesting a sync.

# Rows are locked in id order to avoid deadlocks. Routine requests leave `next_at` and `attempts` of pending
# rows alone; otherwise the timer would reset every backoff during an outage.
_RAISE_HINTS = sql(
    """
    INSERT INTO subscriptions AS known (id, hint, routine)
    SELECT id, 1, :routine FROM unnest(cast(:ids AS text[])) AS requested (id) ORDER BY id
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
    """Request a sync of the subscription now. Adds a row for an unknown subscription."""
    raise_hints(session, [subscription_id])


def raise_hints(session: Session, subscription_ids: Collection[str], *, routine: bool = False) -> None:
    """Request a sync of each subscription. A routine request never delays one that is already pending."""
    if subscription_ids:
        session.execute(_RAISE_HINTS, {"ids": list(subscription_ids), "routine": routine})


def hints_of(session: Session, subscription_ids: Collection[str]) -> dict[str, int]:
    """The current hint of each subscription. Once `synced` reaches it, all requests so far are covered."""
    wanted = select(Subscription.id, Subscription.hint).where(Subscription.id.in_(subscription_ids))
    return {row.id: row.hint for row in session.execute(wanted)}


@dataclass(frozen=True, slots=True)
class PendingSync:
    """A subscription whose requested sync is still pending.

    `reason` is the error of the last failed attempt, if any; `due_in` the time until the next attempt.
    """

    subscription_id: str
    reason: str | None
    is_dead: bool
    due_in: timedelta = timedelta()


def pending_syncs(session: Session, hints: Mapping[str, int]) -> Sequence[PendingSync]:
    """The subscriptions that are not yet synced to the given hint (`hints` maps ids to hints), by id."""
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


# Syncing.


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to sync a subscription once. It is valid while `fence` is still the row's.

    `covers_hint` is the hint that the coming retrieve covers. `events` are the ids of the inbox rows behind
    it, dead letters included; `event_id` is the newest of these webhooks, `oldest_event_at` the time the
    oldest occurred (the provider's clock). `young_bodies` are the bodies of the newest 5 of them that arrived
    within a minute, newest first. `taken_at` is when the lease began (database clock), `placement` what the
    row said then about the owner.
    """

    subscription_id: str
    placement: Placement
    fence: int
    covers_hint: int
    attempt: int
    taken_at: datetime
    routine: bool = False
    events: tuple[int, ...] = ()
    event_id: str | None = None
    oldest_event_at: datetime | None = None
    young_bodies: tuple[bytes, ...] = ()


# The attempt is counted here and not when it fails, so that an attempt that kills its process counts too.
_LEASE = """
WITH due AS MATERIALIZED (
    SELECT id FROM subscriptions
    WHERE id = ANY (%(ids)s) AND hint > synced AND dead_reason IS NULL
      AND (lease_until IS NULL OR lease_until < now()) AND next_at <= now()
    FOR UPDATE {or_skip}
)
UPDATE subscriptions AS leased
SET fence = fence + 1, lease_until = now() + %(duration)s, attempts = attempts + 1, rung_at = NULL
FROM due WHERE leased.id = due.id
RETURNING leased.id, account_id, linked_by, refused_accounts, fence, hint, attempts, now(), routine
"""
_LEASE_ONE = _LEASE.format(or_skip="")
# A batch does not wait for a row that somebody else has locked: meanwhile it would lock the others.
_LEASE_BATCH = _LEASE.format(or_skip="SKIP LOCKED")
# The states are literals, so that every plan may use the index `inbox_unfinished`.
_EVENTS = """
SELECT subscription_id, id, event_id, occurred_at,
       CASE WHEN received_at > now() - interval '1 minute'
             AND row_number() OVER (PARTITION BY subscription_id ORDER BY id DESC) <= 5 THEN body END
FROM inbox WHERE subscription_id = ANY (%(ids)s) AND state IN ('pending', 'dead')
ORDER BY id
"""


def lease(session: Session, subscription_ids: Sequence[str], duration: timedelta) -> Sequence[Lease]:
    """Lease those of the subscriptions that are due and that nobody else has leased, in the given order.

    One alone waits until its row is free. Of several, those whose rows are locked are left out.
    """
    # The first statement locks the rows, so no delivery can raise a hint before the second one reads the
    # inbox: the events read are exactly those that `covers_hint` covers. As one statement, it would not see
    # an event that was stored while it waited for a lock.
    statement = _LEASE_ONE if len(subscription_ids) == 1 else _LEASE_BATCH
    wanted = {"ids": list(subscription_ids), "duration": duration}
    leases = {
        row[0]: Lease(row[0], placement_from(*row[:4]), *row[4:])
        for row in all_rows(session, statement, wanted)
    }
    events: dict[str, list[Row]] = {}
    if leases:
        for subscription_id, *event in all_rows(session, _EVENTS, {"ids": list(leases)}):
            events.setdefault(subscription_id, []).append(tuple(event))
    return [
        _with_events(leases[one], events.get(one, ()))
        for one in dict.fromkeys(subscription_ids)
        if one in leases
    ]


def _with_events(lease: Lease, events: Sequence[Row]) -> Lease:
    if not events:
        return lease
    ids, event_ids, occurred_at, bodies = zip(*events, strict=True)
    return replace(
        lease,
        events=ids,
        event_id=event_ids[-1],
        oldest_event_at=min(filter(None, occurred_at), default=None),
        young_bodies=tuple(body for body in reversed(bodies) if body is not None),
    )


def release(session: Session, held: Lease, *, delay: timedelta, error: str) -> bool:
    """End the lease of a sync that failed. The subscription is due again after `delay`.

    Returns False if another worker has leased the subscription since; nothing is written then.
    """
    return _end(session, held, next_at=func.now() + delay, last_error=error)


def release_refused(session: Session, held: Lease, *, delay: timedelta, error: str) -> bool:
    """Like `release`, for a retrieve that the provider refused. Also records when the refusals began."""
    since = func.coalesce(Subscription.refused_since, held.taken_at)
    return _end(session, held, next_at=func.now() + delay, last_error=error, refused_since=since)


def refused_for(session: Session, held: Lease) -> timedelta:
    """How long the provider had refused every retrieve when this lease began; zero if it had not."""
    since = session.scalar(select(Subscription.refused_since).where(Subscription.id == held.subscription_id))
    return timedelta() if since is None else held.taken_at - since


def is_newly_announced(session: Session, subscription_id: str, *, within: timedelta) -> bool:
    """Whether the subscription became known less than `within` ago and was never synced."""
    young = select(Subscription.id).where(
        Subscription.id == subscription_id,
        Subscription.looked_at.is_(None),
        Subscription.created_at > func.now() - within,
    )
    return session.scalar(young) is not None


_SYNC_AGAIN = sql(
    """
    UPDATE subscriptions
    SET hint = hint + 1, routine = false,
        next_at = CASE WHEN hint > synced THEN least(next_at, now() + :delay) ELSE now() + :delay END
    WHERE id = :id
    """
)


def sync_again(session: Session, subscription_id: str, *, delay: timedelta) -> None:
    """Request another sync after `delay`, for a sync whose result may already be out of date."""
    session.execute(_SYNC_AGAIN, {"id": subscription_id, "delay": delay})


def release_uncounted(session: Session, held: Lease, *, delay: timedelta) -> bool:
    """End a lease without counting an attempt: the request budget is spent, or the database failed.

    Returns False if another worker has leased the subscription since.
    """
    # A request that arrived meanwhile may be a waiting person's, who has a part of the budget of their own.
    has_newer = Subscription.hint > held.covers_hint
    later = func.now() + delay
    next_at = case((has_newer, func.least(Subscription.next_at, later)), else_=later)
    attempts = func.greatest(Subscription.attempts - 1, 0)
    return _end(session, held, next_at=next_at, attempts=attempts)


def _end(session: Session, held: Lease, *, next_at: ColumnElement[datetime], **values: object) -> bool:
    # A non-routine request that arrived during a routine sync is due at once, not after the timer's delay.
    became_urgent = and_(literal(held.routine), Subscription.routine.is_(False))
    ended = (
        update(Subscription)
        .where(Subscription.id == held.subscription_id, Subscription.fence == held.fence)
        .values(
            lease_until=None,
            next_at=case((became_urgent, func.now()), else_=next_at),
            **values,
        )
    )
    return bool(affected(session, ended))


def mark_dead(session: Session, held: Lease, reason: str) -> bool:
    """Give up: mark the subscription and its pending events as dead letters. They can be replayed.

    If a new hint arrived during this lease, release the lease for a retry instead and return False.
    """
    ended = (
        update(Subscription)
        .where(
            Subscription.id == held.subscription_id,
            Subscription.fence == held.fence,
            Subscription.hint == held.covers_hint,
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


# Finding what is due.


@dataclass(frozen=True, slots=True)
class Due:
    """Ids of subscriptions to wake workers for: `awaited` by webhooks or callers, `routine` from the timer.

    `neglected` are those among them that no worker has leased although workers were woken before.
    """

    awaited: Sequence[str]
    routine: Sequence[str]
    neglected: Sequence[str] = ()

    @property
    def all(self) -> Sequence[str]:
        return [*self.awaited, *self.routine]


# The CTE is materialized so that the rows are selected exactly once. With IN (SELECT ... LIMIT), the planner
# may run the subquery again for every row and exceed the limit.
_CLAIM_DUE = sql(
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


def due_to_wake(session: Session, *, limit: int, routine_limit: int, again: timedelta) -> Due:
    """Claim due subscriptions for which no worker was woken within the time `again`, and mark them as woken.

    At most `limit` awaited ones per call. `routine_limit` bounds all routine ones woken within `again`. With
    limits of their own, neither kind can crowd out the other.
    """
    awaited = _claim(session, routine=False, limit=limit, again=again)
    routine = _claim(session, routine=True, limit=routine_limit, again=again)
    return Due(
        awaited=[row.id for row in awaited],
        routine=[row.id for row in routine],
        neglected=[row.id for row in (*awaited, *routine) if row.is_neglected],
    )


def _claim(
    session: Session, *, routine: bool, limit: int, again: timedelta
) -> Sequence[SqlRow[tuple[str, bool]]]:
    return session.execute(_CLAIM_DUE, {"routine": routine, "limit": limit, "again": again}).all()


_LONGEST_OVERDUE = sql(
    """
    SELECT coalesce(extract(epoch FROM now() - min(greatest(next_at, lease_until))), 0) FROM subscriptions
    WHERE hint > synced AND dead_reason IS NULL AND NOT routine AND next_at <= now()
      AND (lease_until IS NULL OR lease_until < now())
    """
)


def longest_overdue(session: Session) -> timedelta:
    """How long the most overdue subscription has been waiting for a worker. Routine requests do not count."""
    return timedelta(seconds=float(session.execute(_LONGEST_OVERDUE).scalar_one()))


_RETRY_FAILED = sql(
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
    """Retry at once every failed sync that has more than `longer_than` left of its backoff.

    For the moment when the provider responds again after an outage.
    """
    session.execute(_RETRY_FAILED, {"longer_than": longer_than})


# Each subscription is due after 50 % to 95 % of the period, a share that its id determines. This spreads out
# subscriptions that were synced together, for example by a backfill. `verify_due_at` keeps the timer from
# computing that for all of them every minute: it is when one is checked next, and the check itself writes it.
# A sync only makes that too early, so it need not write it, and nor need an older release.
#
# The second query is for periods that became shorter since `verify_due_at` was written. The rows are locked
# in id order to avoid deadlocks.
_CHECK_VERIFICATION = sql(
    """
    WITH checked AS MATERIALIZED (
        (SELECT id FROM subscriptions WHERE verify_due_at <= now() ORDER BY verify_due_at LIMIT :limit)
        UNION
        (SELECT id FROM subscriptions
         WHERE looked_at < now() - cast(:period AS interval) * 0.95
           AND (hint = synced OR dead_reason IS NOT NULL)
         ORDER BY looked_at LIMIT :limit)
    ), known AS MATERIALIZED (
        SELECT id, hint > synced AND dead_reason IS NULL AS is_pending, looked_at,
               cast(:period AS interval) * (0.5 + 0.45 * (hashtext(id)::bigint + 2147483648) / 4294967296)
                   AS due_after
        FROM subscriptions WHERE id IN (SELECT id FROM checked) ORDER BY id FOR UPDATE
    )
    UPDATE subscriptions
    SET verify_due_at = CASE WHEN known.looked_at + due_after > now() THEN known.looked_at + due_after
                             ELSE now() + due_after END
    FROM known WHERE subscriptions.id = known.id
    RETURNING subscriptions.id,
              NOT is_pending AND coalesce(known.looked_at + due_after <= now(), true) AS is_due
    """
)


def due_for_verification(session: Session, period: timedelta, *, limit: int) -> Sequence[str]:
    """Subscriptions due for a routine sync, which each one gets within `period`. Request their syncs in the
    same transaction: none of them is checked again before half of the period has passed.

    Skips subscriptions with a pending sync, unless it is a dead letter. Checks at most `limit` whose check is
    due, and as many of those that are nearly overdue.
    """
    checked = session.execute(_CHECK_VERIFICATION, {"period": period, "limit": limit})
    return [row.id for row in checked if row.is_due]
