"""Housekeeping: delete rows that are past their retention time."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from models import (
    cancellation,
    drift_finding,
    idempotency_key,
    inbox,
    notice,
    reconcile_pass,
    row_count,
    scheduled_job,
    seat_change,
)
from runtime.wiring import Runtime

log = logging.getLogger(__name__)

# The provider can repeat a message for two weeks, so ids must be kept longer to recognise it. Bodies hold
# personal data, so not much longer. Dead letters stay until somebody has replayed them.
_INBOX_KEPT = timedelta(days=30)
_NOTICES_KEPT = timedelta(days=30)
_FINDINGS_KEPT = timedelta(days=400)
_PASSES_KEPT = timedelta(days=30)
_PREVIEWS_KEPT = timedelta(days=2)
# A notice that is sent once per occasion must be remembered until the occasion has passed. The longest is the
# end of a contract, announced up to a year ahead.
_OCCASIONS_KEPT = timedelta(days=400)


# Rows per transaction. Each takes some tens of milliseconds, so nobody waits long for its locks.
_SLICE = 5_000
# A run ends well within the time limit of tasks. What it leaves is deleted by the next one.
_MOST_SECONDS = 8.0

_DELETIONS: tuple[partial[int], ...] = (
    partial(idempotency_key.delete_old),
    partial(inbox.delete_old, age=_INBOX_KEPT),
    partial(notice.delete_old, age=_NOTICES_KEPT, occasions=_OCCASIONS_KEPT),
    partial(drift_finding.delete_old, age=_FINDINGS_KEPT),
    partial(seat_change.delete_previews, age=_PREVIEWS_KEPT),
    partial(cancellation.delete_previews, age=_PREVIEWS_KEPT),
)


def housekeep_if_due(runtime: Runtime) -> int:
    """Run `housekeep` at most once per hour, for a few seconds; return how many rows were deleted."""
    with runtime.sessions.begin() as session:
        is_due = scheduled_job.start_if_due(
            session, scheduled_job.HOUSEKEEPING, scheduled_job.EVERY_HOUSEKEEPING
        )
    return housekeep(runtime, until=time.monotonic() + _MOST_SECONDS) if is_due else 0


def housekeep(runtime: Runtime, *, until: float = math.inf) -> int:
    """Delete old rows that need no more work, until the monotonic time `until`. Return how many.

    If one deletion fails, the others are done all the same; then the first error is raised.
    """
    with runtime.sessions.begin() as session:  # before old events are deleted
        row_count.advance_deliveries(session)
    deletions: list[Callable[[Runtime], int]] = [_delete_jobs_and_passes]
    deletions += [partial(_in_slices, delete, until) for delete in _DELETIONS]
    deleted, first_error = 0, None
    for deletion in deletions:
        try:
            deleted += deletion(runtime)
        except SQLAlchemyError as error:
            log.warning("old rows not deleted", extra={"error": type(error).__name__})
            first_error = first_error or error
    log.info("housekeeping done", extra={"rows": deleted})
    if first_error is not None:
        raise first_error
    return deleted


def _delete_jobs_and_passes(runtime: Runtime) -> int:
    with runtime.sessions.begin() as session:
        return scheduled_job.delete_old(session) + reconcile_pass.delete_old(session, _PASSES_KEPT)


def _in_slices(delete: partial[int], until: float, runtime: Runtime) -> int:
    """Delete slice by slice, each in a transaction of its own."""
    total, last = 0, _SLICE
    while last == _SLICE and time.monotonic() < until:
        with runtime.sessions.begin() as session:
            last = delete(session, limit=_SLICE)
        total += last
    return total
