"""Reconcile passes: reads of the provider's whole subscription list, page by page, for comparison with ours.

Each pass is a row, so an interrupted one resumes at its next page. It covers the subscriptions created
before `started_at`; later ones belong to the next pass. The transaction that compares a page also advances
`next_page`, and only if the lease's fencing token is still in the row. The listed ids are stored as
sightings, so that the end of the pass can tell which subscriptions were not listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Protocol

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Identity,
    Index,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models import reconcile_sighting
from models.base import Base, Counter, Moment, Written, affected
from models.driver import first_row


class ReconcilePass(Base):
    __tablename__ = "reconcile_passes"
    __table_args__ = (
        Index(
            "reconcile_passes_one_under_way",
            "provider",
            unique=True,
            postgresql_where=sql("finished_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    provider: Mapped[str]
    # The pass requests only subscriptions created before this time.
    started_at: Mapped[Written]
    # The pause between two pages, which spreads the pass over its period. After `pauses_until` there are no
    # more pauses, since the list may have grown since its pages were counted.
    spacing: Mapped[timedelta]
    pauses_until: Mapped[Moment]

    next_page: Mapped[Counter]
    fence: Mapped[Counter]
    lease_until: Mapped[Moment | None]
    next_at: Mapped[Written]
    failures: Mapped[Counter]
    last_error: Mapped[str | None]
    finished_at: Mapped[Moment | None]
    # Ended without reading the whole list, because the provider failed for too long.
    given_up: Mapped[bool] = mapped_column(server_default=sql("false"))

    # Counts so far: subscriptions listed, unknown to us, and different; at the end, those no longer listed.
    listed: Mapped[Counter]
    unheard_of: Mapped[Counter]
    differing: Mapped[Counter]
    vanished: Mapped[Counter]

    # The last subscription listed, and when the page after it was last seen to be empty.
    ends_with: Mapped[str | None]
    end_seen_at: Mapped[Moment | None]
    # Whether the list has been newest first so far, and when the last subscription listed was created.
    newest_first: Mapped[bool] = mapped_column(server_default=sql("true"))
    oldest: Mapped[Moment | None]
    # How many pages in a row ended with the same subscription as the page before them.
    repeated: Mapped[Counter]


class Listed(Protocol):
    """A subscription on a page of the list."""

    @property
    def subscription_id(self) -> str: ...

    @property
    def created_at(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class PassLease:
    """The right to continue a pass. It is valid while `fence` is still the row's.

    `as_of` is a time before the next page is requested (database clock), `pause` the time to wait after that
    page. `is_first` is true if no pass has listed anything yet, so unknown subscriptions are expected.
    `known_end` is the last subscription of the list according to the previous pass, if that was confirmed
    recently; else None. `last` is the last subscription listed so far, created at `oldest`; `newest_first` is
    true while the list has been in that order, and `repeated` counts pages in a row that ended alike.
    """

    pass_id: int
    fence: int
    started_at: datetime
    as_of: datetime
    next_page: int
    pause: timedelta
    failures: int
    is_first: bool
    known_end: str | None
    last: str | None
    oldest: datetime | None
    newest_first: bool
    repeated: int

    def past(self, page: Sequence[Listed]) -> PassLease:
        """The lease after one more page of the list."""
        created = [*([self.oldest] if self.oldest else []), *(listed.created_at for listed in page)]
        is_descending = all(newer and older and newer > older for newer, older in pairwise(created))
        is_repeated = bool(page) and page[-1].subscription_id == self.last
        return replace(
            self,
            next_page=self.next_page + 1,
            repeated=self.repeated + 1 if is_repeated else 0,
            failures=0,
            last=page[-1].subscription_id if page else self.last,
            oldest=page[-1].created_at if page else self.oldest,
            newest_first=self.newest_first and is_descending,
        )

    @property
    def is_at_the_known_end(self) -> bool:
        """Whether the pages read so far end with the confirmed last subscription of the list.

        This saves requesting an empty page after a full last one. It requires a list that is newest first,
        where new subscriptions are never added behind the oldest one.
        """
        return self.last is not None and self.last == self.known_end and self.newest_first


def begin(session: Session, provider: str, *, spread_over: timedelta) -> bool:
    """Begin a pass, with its pages spread over that time. The previous pass tells how many pages to expect.

    Returns False if a pass is already running.
    """
    pages = session.scalar(
        select(ReconcilePass.next_page)
        .where(*completed_passes(provider))
        .order_by(ReconcilePass.id.desc())
        .limit(1)
    )
    wanted = insert(ReconcilePass).values(
        provider=provider,
        spacing=spread_over / max(pages, 1) if pages is not None else timedelta(0),
        pauses_until=func.now() + spread_over,
    )
    return bool(affected(session, wanted.on_conflict_do_nothing()))


def speed_up(session: Session, provider: str) -> None:
    """Remove the pauses from the running pass, for a caller that waits for it."""
    under_way = update(ReconcilePass).where(
        ReconcilePass.provider == provider, ReconcilePass.finished_at.is_(None)
    )
    affected(session, under_way.values(pauses_until=func.now(), next_at=func.now()))


def is_due(session: Session, provider: str) -> bool:
    """Whether a running pass can be continued now: its next page is due and no worker holds a lease on it."""
    due = select(ReconcilePass.id).where(
        ReconcilePass.provider == provider,
        ReconcilePass.finished_at.is_(None),
        ReconcilePass.next_at <= func.now(),
        or_(ReconcilePass.lease_until.is_(None), ReconcilePass.lease_until < func.now()),
    )
    return session.scalar(due) is not None


_LEASE = sql(
    """
    UPDATE reconcile_passes AS leased SET fence = fence + 1, lease_until = now() + :lease
    FROM (SELECT :provider AS name) AS wanted
    LEFT JOIN LATERAL (
        SELECT ends_with, end_seen_at FROM reconcile_passes
        WHERE provider = wanted.name AND finished_at IS NOT NULL AND NOT given_up ORDER BY id DESC LIMIT 1
    ) AS previous ON true
    WHERE leased.provider = wanted.name AND leased.finished_at IS NULL AND leased.next_at <= now()
      AND (leased.lease_until IS NULL OR leased.lease_until < now())
    RETURNING leased.id, leased.fence, leased.started_at, now() AS as_of, leased.next_page, leased.failures,
              CASE WHEN leased.pauses_until > now() THEN leased.spacing ELSE interval '0' END AS pause,
              leased.ends_with AS last, leased.oldest, leased.newest_first, leased.repeated,
              NOT EXISTS (SELECT FROM reconcile_passes AS earlier
                          WHERE earlier.provider = wanted.name AND earlier.id < leased.id
                            AND earlier.listed > 0) AS is_first,
              CASE WHEN previous.end_seen_at > now() - cast(:trusted AS interval) THEN previous.ends_with END
                  AS known_end
    """
)


def lease(
    session: Session, provider: str, *, lease: timedelta, end_trusted_for: timedelta
) -> PassLease | None:
    """Lease the running pass to continue it. Returns None if no page is due or another worker holds the
    lease.

    `end_trusted_for` is how long the end of the list, once confirmed, is taken as known.
    """
    parameters = {"provider": provider, "lease": lease, "trusted": end_trusted_for}
    row = session.execute(_LEASE, parameters).one_or_none()
    if row is None:
        return None
    return PassLease(
        pass_id=row.id,
        fence=row.fence,
        started_at=row.started_at,
        as_of=row.as_of,
        next_page=row.next_page,
        pause=row.pause,
        failures=row.failures,
        is_first=row.is_first,
        known_end=row.known_end,
        last=row.last,
        oldest=row.oldest,
        newest_first=row.newest_first,
        repeated=row.repeated,
    )


# The ids are one text, which is much faster to build and to parse than an array; no id contains a line end.
_ADVANCE = r"""
    WITH advanced AS (
        UPDATE reconcile_passes
        SET next_page = %(next_page)s, lease_until = now() + %(lease)s, failures = 0, last_error = NULL,
            listed = listed + %(listed)s, ends_with = %(last)s, oldest = %(oldest)s,
            newest_first = %(newest_first)s, repeated = %(repeated)s
        WHERE id = %(pass_id)s AND fence = %(fence)s AND finished_at IS NULL
        RETURNING CASE WHEN pauses_until > now() THEN spacing ELSE interval '0' END AS pause
    ), sighting AS (
        INSERT INTO reconcile_sightings (pass_id, first_page, subscription_ids)
        SELECT %(pass_id)s, %(first_page)s, string_to_array(%(ids)s, E'\n') FROM advanced
    )
    SELECT now(), pause FROM advanced
"""


def advance(
    session: Session, walk: PassLease, after: PassLease, listed: Sequence[str], *, lease: timedelta
) -> PassLease | None:
    """Advance the pass from `walk` to `after`, over pages that listed these ids, and extend the lease.

    Call it in the transaction that compares those pages. Returns the lease to continue with, or None if
    another worker has leased the pass since; then the caller must not write anything about these pages.
    """
    advanced = first_row(
        session,
        _ADVANCE,
        {
            "pass_id": walk.pass_id,
            "fence": walk.fence,
            "lease": lease,
            "first_page": walk.next_page,
            "ids": "\n".join(listed),
            "next_page": after.next_page,
            "listed": len(listed),
            "last": after.last,
            "oldest": after.oldest,
            "newest_first": after.newest_first,
            "repeated": after.repeated,
        },
    )
    if advanced is None:
        return None
    as_of, pause = advanced
    return replace(after, as_of=as_of, pause=pause)


def add_differences(session: Session, walk: PassLease, *, unheard_of: int, differing: int) -> None:
    """Add to the pass's counts of unknown and different subscriptions."""
    _write(
        session,
        walk,
        unheard_of=ReconcilePass.unheard_of + unheard_of,
        differing=ReconcilePass.differing + differing,
    )


def pause(session: Session, walk: PassLease) -> None:
    """Release the pass until its next page is due."""
    pause_ends = func.least(
        func.now() + ReconcilePass.spacing, func.greatest(ReconcilePass.pauses_until, func.now())
    )
    _write(session, walk, lease_until=None, next_at=pause_ends)


def release(session: Session, walk: PassLease, *, delay: timedelta, error: str, failed: bool = False) -> None:
    """Release the pass; any worker may continue it after `delay`. `failed` adds one to its failures."""
    _write(
        session,
        walk,
        lease_until=None,
        next_at=func.now() + delay,
        failures=ReconcilePass.failures + int(failed),
        last_error=error,
    )


def give_up(session: Session, walk: PassLease, *, older_than: timedelta) -> bool:
    """End a failing pass that started more than `older_than` ago. Returns False if it is younger.

    Without this, a page that always fails would block the pages after it forever. Subscriptions that the
    pass did not list are not treated as gone.
    """
    ended = (
        update(ReconcilePass)
        .where(
            ReconcilePass.id == walk.pass_id,
            ReconcilePass.fence == walk.fence,
            ReconcilePass.finished_at.is_(None),
            ReconcilePass.started_at < func.now() - older_than,
        )
        .values(finished_at=func.now(), lease_until=None, given_up=True)
    )
    is_over = bool(affected(session, ended))
    if is_over:
        reconcile_sighting.delete_all(session, walk.pass_id)
    return is_over


def finish(
    session: Session, walk: PassLease, *, saw_the_end: bool, most_vanished: int
) -> Sequence[str] | None:
    """Finish a pass that read the whole list. Returns up to `most_vanished` known subscriptions that it did
    not list, to be synced; None if another worker has leased the pass since.

    `saw_the_end` is true if the pass saw an empty page after the last subscription.
    """
    end_seen_at = func.now() if saw_the_end else _earlier_end_seen_at(walk)
    is_ours = _write(session, walk, finished_at=func.now(), lease_until=None, end_seen_at=end_seen_at)
    if not is_ours:
        return None
    vanished = reconcile_sighting.mark_unlisted(session, walk.pass_id, walk.started_at, limit=most_vanished)
    affected(
        session,
        update(ReconcilePass).where(ReconcilePass.id == walk.pass_id).values(vanished=len(vanished)),
    )
    reconcile_sighting.delete_all(session, walk.pass_id)
    return vanished


def _earlier_end_seen_at(walk: PassLease) -> ColumnElement[datetime | None]:
    """When an earlier pass of the same provider last saw the end of the list."""
    provider = select(ReconcilePass.provider).where(ReconcilePass.id == walk.pass_id).scalar_subquery()
    return (
        select(func.max(ReconcilePass.end_seen_at))
        .where(ReconcilePass.id < walk.pass_id, ReconcilePass.provider == provider)
        .scalar_subquery()
    )


def completed_passes(provider: str) -> tuple[ColumnElement[bool], ...]:
    """The condition for passes that read the whole list, which excludes those given up."""
    return (
        ReconcilePass.provider == provider,
        ReconcilePass.finished_at.is_not(None),
        ReconcilePass.given_up.is_(False),
    )


def newest(session: Session, provider: str) -> ReconcilePass | None:
    """The running pass, or else the last one; None before the first."""
    return session.scalar(
        select(ReconcilePass)
        .where(ReconcilePass.provider == provider)
        .order_by(ReconcilePass.id.desc())
        .limit(1)
    )


def delete_old(session: Session, age: timedelta) -> int:
    """Delete passes that ended more than `age` ago, except each provider's newest. Returns how many."""
    newest_ones = select(func.max(ReconcilePass.id)).group_by(ReconcilePass.provider)
    old = delete(ReconcilePass).where(
        ReconcilePass.finished_at < func.now() - age, ReconcilePass.id.not_in(newest_ones)
    )
    return affected(session, old)


def _write(session: Session, walk: PassLease, **values: object) -> bool:
    mine = update(ReconcilePass).where(
        ReconcilePass.id == walk.pass_id,
        ReconcilePass.fence == walk.fence,
        ReconcilePass.finished_at.is_(None),
    )
    return bool(affected(session, mine.values(**values)))
