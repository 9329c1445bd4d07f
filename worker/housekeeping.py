"""Housekeeping: forget what is past its time."""

from __future__ import annotations

import logging
from datetime import timedelta

from models import drift_finding, idempotency_key, inbox, notice, reconcile_pass, scheduled_job, seat_change
from runtime.wiring import Runtime

log = logging.getLogger(__name__)

# The provider can replay a message for two weeks; ids must outlive that. Bodies hold personal data, so
# they are not kept longer. Dead letters stay until somebody has dealt with them.
_INBOX_KEPT = timedelta(days=30)
_NOTICES_KEPT = timedelta(days=30)
_FINDINGS_KEPT = timedelta(days=400)
_PASSES_KEPT = timedelta(days=30)
_PREVIEWS_KEPT = timedelta(days=2)
# What may be said only once must be remembered until its occasion is over: a contract's end may be announced
# a year ahead.
_OCCASIONS_KEPT = timedelta(days=400)


def housekeep_if_due(runtime: Runtime) -> int:
    """Housekeep unless somebody has within this hour; how many rows went."""
    with runtime.sessions.begin() as session:
        is_due = scheduled_job.claim_run(
            session, scheduled_job.HOUSEKEEPING, scheduled_job.EVERY_HOUSEKEEPING
        )
    return housekeep(runtime) if is_due else 0


def housekeep(runtime: Runtime) -> int:
    """Drop what is old and needs no work any more; how many rows went."""
    with runtime.sessions.begin() as session:
        gone = idempotency_key.delete_old(session) + scheduled_job.delete_old(session)
        gone += inbox.delete_old(session, _INBOX_KEPT)
        gone += notice.delete_old(session, _NOTICES_KEPT, occasions=_OCCASIONS_KEPT)
        gone += drift_finding.delete_old(session, _FINDINGS_KEPT)
        gone += reconcile_pass.delete_old(session, _PASSES_KEPT)
        gone += seat_change.delete_previews(session, _PREVIEWS_KEPT)
    log.info("housekeeping done", extra={"rows": gone})
    return gone
