"""Housekeeping: delete rows that are past their retention time."""

from __future__ import annotations

import logging
from datetime import timedelta

from models import (
    cancellation,
    drift_finding,
    idempotency_key,
    inbox,
    notice,
    reconcile_pass,
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


def housekeep_if_due(runtime: Runtime) -> int:
    """Run `housekeep` at most once per hour; return how many rows were deleted."""
    with runtime.sessions.begin() as session:
        is_due = scheduled_job.start_if_due(
            session, scheduled_job.HOUSEKEEPING, scheduled_job.EVERY_HOUSEKEEPING
        )
    return housekeep(runtime) if is_due else 0


def housekeep(runtime: Runtime) -> int:
    """Delete old rows that need no more work; return how many."""
    with runtime.sessions.begin() as session:
        deleted = idempotency_key.delete_old(session) + scheduled_job.delete_old(session)
        deleted += inbox.delete_old(session, _INBOX_KEPT)
        deleted += notice.delete_old(session, _NOTICES_KEPT, occasions=_OCCASIONS_KEPT)
        deleted += drift_finding.delete_old(session, _FINDINGS_KEPT)
        deleted += reconcile_pass.delete_old(session, _PASSES_KEPT)
        deleted += seat_change.delete_previews(session, _PREVIEWS_KEPT)
        deleted += cancellation.delete_previews(session, _PREVIEWS_KEPT)
    log.info("housekeeping done", extra={"rows": deleted})
    return deleted
