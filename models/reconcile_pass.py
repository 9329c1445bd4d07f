"""Passes over the provider's list. Each is a row, so that one that was stopped goes on where it was.

A pass fixes its moment: subscriptions created after it are the next one's. `next_page` moves in the
transaction that compares the page before it, and only while the walker's `fence` is still the row's. What
the list shows is noted, so that in the end we know what it did not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    ForeignKey,
    Identity,
    Index,
    Text,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.findings import FindingKind
from domain.snapshot import SubscriptionSnapshot
from models.base import Base, Counter, Moment, Written, affected


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
    # The list is read as it was at this moment: what was created later is not asked for.
    started_at: Mapped[Written]
    # A pause between two pages, so that a pass is spread over its period, and the moment from which there
    # is none: the list may have grown since its pages were counted.
    spacing: Mapped[timedelta]
    pauses_until: Mapped[Moment]

    next_page: Mapped[Counter]
    fence: Mapped[Counter]
    lease_until: Mapped[Moment | None]
    next_at: Mapped[Written]
    failures: Mapped[Counter]
    last_error: Mapped[str | None]
    finished_at: Mapped[Moment | None]
    # It came to no end: the provider failed for too long, and the next pass may do better.
    given_up: Mapped[bool] = mapped_column(server_default=sql("false"))

    # What it has found so far.
    listed: Mapped[Counter]
    unheard_of: Mapped[Counter]
    differing: Mapped[Counter]
    vanished: Mapped[Counter]

    # The last subscription of the list, and when a page behind it was last seen to be empty.
    ends_with: Mapped[str | None]
    end_seen_at: Mapped[Moment | None]
    # Whether the list has shown the newest first so far, and when the last one shown was created.
    newest_first: Mapped[bool] = mapped_column(server_default=sql("true"))
    oldest: Mapped[Moment | None]
    # How many pages in a row have ended like the one before them.
    repeated: Mapped[Counter]


class Sighting(Base):
    """The list has shown these subscriptions in the pass that is under way."""

    __tablename__ = "reconcile_sightings"

    pass_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("reconcile_passes.id", ondelete="CASCADE"), primary_key=True
    )
    first_page: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    subscription_ids: Mapped[list[str]] = mapped_column(ARRAY(Text))


@dataclass(frozen=True, slots=True)
class PassLease:
    """The right to go on with a pass, valid while the row still carries its fence.

    `as_of` is a moment before the next page is asked for (database time), `pause` the time to wait after
    it. `is_first`: no pass has listed anything before, so that nothing new to us is a surprise. `known_end`
    is the last subscription of the list as the pass before saw it, where it looked behind it lately. `last`
    is the last one listed until now, created at `oldest`; `newest_first` says that it went so all along.
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

    def past(self, page: Sequence[SubscriptionSnapshot]) -> PassLease:
        """The same after one page more."""
        born = [*([self.oldest] if self.oldest else []), *(listed.created_at for listed in page)]
        goes_on = all(one and after and one > after for one, after in pairwise(born))
        is_repeated = bool(page) and page[-1].subscription_id == self.last
        return replace(
            self,
            next_page=self.next_page + 1,
            repeated=self.repeated + 1 if is_repeated else 0,
            failures=0,
            last=page[-1].subscription_id if page else self.last,
            oldest=page[-1].created_at if page else self.oldest,
            newest_first=self.newest_first and goes_on,
        )

    @property
    def is_at_the_known_end(self) -> bool:
        """Whether the pages end with what was lately seen to be the end of the list.

        That saves the empty page after a full last one. It holds only for a list with the newest first,
        where nothing comes in behind what was the oldest before.
        """
        return self.last is not None and self.last == self.known_end and self.newest_first


def begin(session: Session, provider: str, *, spread_over: timedelta) -> bool:
    """Begin a pass unless one is under way; its pages are spread over that time, as the last pass counted
    them. False if there is one already.
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
    """Somebody waits for the pass that is under way: no pause between its pages."""
    under_way = update(ReconcilePass).where(
        ReconcilePass.provider == provider, ReconcilePass.finished_at.is_(None)
    )
    affected(session, under_way.values(pauses_until=func.now(), next_at=func.now()))


def is_due(session: Session, provider: str) -> bool:
    """Whether a pass is under way that nobody is at, and that may go on."""
    due = select(ReconcilePass.id).where(
        ReconcilePass.provider == provider,
        ReconcilePass.finished_at.is_(None),
        ReconcilePass.next_at <= func.now(),
        or_(ReconcilePass.lease_until.is_(None), ReconcilePass.lease_until < func.now()),
    )
    return session.scalar(due) is not None


_TAKE = sql(
    """
    UPDATE reconcile_passes AS taken SET fence = fence + 1, lease_until = now() + :lease
    FROM (SELECT :provider AS name) AS asked
    LEFT JOIN LATERAL (
        SELECT ends_with, end_seen_at FROM reconcile_passes
        WHERE provider = asked.name AND finished_at IS NOT NULL AND NOT given_up ORDER BY id DESC LIMIT 1
    ) AS before ON true
    WHERE taken.provider = asked.name AND taken.finished_at IS NULL AND taken.next_at <= now()
      AND (taken.lease_until IS NULL OR taken.lease_until < now())
    RETURNING taken.id, taken.fence, taken.started_at, now() AS as_of, taken.next_page, taken.failures,
              CASE WHEN taken.pauses_until > now() THEN taken.spacing ELSE interval '0' END AS pause,
              taken.ends_with AS last, taken.oldest, taken.newest_first, taken.repeated,
              NOT EXISTS (SELECT FROM reconcile_passes AS earlier
                          WHERE earlier.provider = asked.name AND earlier.id < taken.id
                            AND earlier.listed > 0) AS is_first,
              CASE WHEN before.end_seen_at > now() - cast(:trusted AS interval) THEN before.ends_with END
                  AS known_end
    """
)


def lease(
    session: Session, provider: str, *, lease: timedelta, end_trusted_for: timedelta
) -> PassLease | None:
    """Take the pass that is under way, to go on with it; None if nothing is due or somebody else has it."""
    asked = {"provider": provider, "lease": lease, "trusted": end_trusted_for}
    row = session.execute(_TAKE, asked).one_or_none()
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


_TURN = sql(
    """
    UPDATE reconcile_passes
    SET next_page = :next_page, lease_until = now() + :lease, failures = 0, last_error = NULL,
        listed = listed + :listed, ends_with = :last, oldest = :oldest, newest_first = :newest_first,
        repeated = :repeated
    WHERE id = :pass_id AND fence = :fence AND finished_at IS NULL
    RETURNING now() AS as_of, CASE WHEN pauses_until > now() THEN spacing ELSE interval '0' END AS pause
    """
)


def advance(
    session: Session, walk: PassLease, after: PassLease, listed: Sequence[str], *, lease: timedelta
) -> PassLease | None:
    """The pages from one walk to the other, which listed these, are compared in this transaction.

    None if somebody else has the pass by now: then nothing of it may be written. Else how it goes on.
    """
    turned = session.execute(
        _TURN,
        {
            "pass_id": walk.pass_id,
            "fence": walk.fence,
            "lease": lease,
            "next_page": after.next_page,
            "listed": len(listed),
            "last": after.last,
            "oldest": after.oldest,
            "newest_first": after.newest_first,
            "repeated": after.repeated,
        },
    ).one_or_none()
    if turned is None:
        return None
    shown = {"pass_id": walk.pass_id, "first_page": walk.next_page, "subscription_ids": list(listed)}
    affected(session, insert(Sighting).values(shown))
    return replace(after, as_of=turned.as_of, pause=turned.pause)


def add_differences(session: Session, walk: PassLease, *, unheard_of: int, differing: int) -> None:
    """Remember how many of the listed were news."""
    _write(
        session,
        walk,
        unheard_of=ReconcilePass.unheard_of + unheard_of,
        differing=ReconcilePass.differing + differing,
    )


def pause(session: Session, walk: PassLease) -> None:
    """Let go of the pass until its next page is to be read."""
    pause_ends = func.least(
        func.now() + ReconcilePass.spacing, func.greatest(ReconcilePass.pauses_until, func.now())
    )
    _write(session, walk, lease_until=None, next_at=pause_ends)


def release(session: Session, walk: PassLease, *, delay: timedelta, error: str, failed: bool = False) -> None:
    """Let go of the pass; whoever comes first after `delay` goes on with it."""
    _write(
        session,
        walk,
        lease_until=None,
        next_at=func.now() + delay,
        failures=ReconcilePass.failures + int(failed),
        last_error=error,
    )


def give_up(session: Session, walk: PassLease, *, older_than: timedelta) -> bool:
    """End a pass that has failed for so long, lest one page that always fails keeps all others from being
    read for ever; False for a younger one. Nothing is concluded from what it did not list.
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
        _forget_sightings(session, walk)
    return is_over


# Sets taken from each other are hashed whatever the planner thinks of their sizes; asked row by row, it took
# seconds for 20 000 where the statistics of a table that is mostly empty were old. Locked in the order of
# their ids, since a sync locks all subscriptions of its account.
_VANISHED = sql(
    """
    WITH chosen AS MATERIALIZED (
        SELECT id FROM subscriptions WHERE id IN (
            SELECT id FROM subscriptions
            WHERE snapshot IS NOT NULL AND unlisted_since IS NULL AND created_at < :started_at
            EXCEPT SELECT unnest(subscription_ids) FROM reconcile_sightings WHERE pass_id = :pass_id
            EXCEPT SELECT subject FROM drift_findings WHERE kind = :missing AND closed_at IS NULL)
        ORDER BY looked_at LIMIT :limit
    ), vanished AS MATERIALIZED (
        SELECT id FROM subscriptions WHERE id IN (SELECT id FROM chosen) ORDER BY id FOR UPDATE
    )
    UPDATE subscriptions SET unlisted_since = now() FROM vanished WHERE subscriptions.id = vanished.id
    RETURNING subscriptions.id
    """
)


def next_vanished(session: Session, walk: PassLease, *, limit: int) -> Sequence[str]:
    """What we have seen before and the list did not show, but for what is known to be missing; each once,
    until the list shows it again.
    """
    asked: dict[str, Any] = {
        "pass_id": walk.pass_id,
        "started_at": walk.started_at,
        "missing": FindingKind.NOT_AT_PROVIDER.value,
        "limit": limit,
    }
    return session.execute(_VANISHED, asked).scalars().all()


def finish(
    session: Session, walk: PassLease, *, saw_the_end: bool, most_vanished: int
) -> Sequence[str] | None:
    """The list is read to its end: what it did not show, for a look; None if somebody else has the pass."""
    before = select(func.max(ReconcilePass.end_seen_at)).where(ReconcilePass.id < walk.pass_id)
    provider = select(ReconcilePass.provider).where(ReconcilePass.id == walk.pass_id).scalar_subquery()
    is_mine = _write(
        session,
        walk,
        finished_at=func.now(),
        lease_until=None,
        end_seen_at=func.now()
        if saw_the_end
        else before.where(ReconcilePass.provider == provider).scalar_subquery(),
    )
    if not is_mine:
        return None
    gone = next_vanished(session, walk, limit=most_vanished)
    affected(
        session,
        update(ReconcilePass).where(ReconcilePass.id == walk.pass_id).values(vanished=len(gone)),
    )
    _forget_sightings(session, walk)
    return gone


def _forget_sightings(session: Session, walk: PassLease) -> None:
    affected(session, delete(Sighting).where(Sighting.pass_id == walk.pass_id))


def completed_passes(provider: str) -> tuple[ColumnElement[bool], ...]:
    """The passes that read the whole list; one that was given up is over without having done so."""
    return (
        ReconcilePass.provider == provider,
        ReconcilePass.finished_at.is_not(None),
        ReconcilePass.given_up.is_(False),
    )


def newest(session: Session, provider: str) -> ReconcilePass | None:
    """The pass under way, or else the last one."""
    return session.scalar(
        select(ReconcilePass)
        .where(ReconcilePass.provider == provider)
        .order_by(ReconcilePass.id.desc())
        .limit(1)
    )


def delete_old(session: Session, age: timedelta) -> int:
    """Drop passes that ended so long ago, but for the newest of each provider."""
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
