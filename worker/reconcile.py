"""Reconcile: find what no webhook told us. It only raises hints, so the sync's fence guards every write.

Two gears: the provider's list gives most changes cheaply; and each subscription is retrieved at least
once per `verify_every`, oldest first, because the list does not show add-ons.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from models import account, subscription, tick
from runtime.wiring import Runtime
from seats.drift import differing_fields
from seats.errors import TransientError
from seats.snapshot import SubscriptionSnapshot

log = logging.getLogger(__name__)

_VERIFY_AT_ONCE: Final = 200


def reconcile(runtime: Runtime, *, until: float) -> int:
    """One pass per period, whoever rings first; how many subscriptions it asks to have looked at.

    Ends early when the monotonic clock reaches `until`, or when the provider cannot be had.
    """
    with runtime.sessions.begin() as session:
        period = timedelta(seconds=runtime.settings.reconcile_seconds)
        if not tick.take(session, "reconcile", period):
            return 0
        started = account.now(session)
    hinted = 0
    try:
        for page in runtime.provider.pages(created_before=started):
            hinted += _compare(runtime, page)
            if time.monotonic() >= until:
                break
    except TransientError as error:
        log.warning("reconcile ended early", extra={"error": error.message})
    hinted += _verify_oldest(runtime)
    log.info("reconciled", extra={"hinted": hinted})
    return hinted


def _compare(runtime: Runtime, page: Sequence[SubscriptionSnapshot]) -> int:
    """Hint at what is unknown or differs on one page."""
    with runtime.sessions.begin() as session:
        known = subscription.snapshots(session, [listed.subscription_id for listed in page])
        drifted = sorted(
            listed.subscription_id
            for listed in page
            if (ours := known.get(listed.subscription_id)) is None or differing_fields(ours, listed)
        )
        for subscription_id in drifted:
            subscription.raise_hint(session, subscription_id)
    return len(drifted)


def _verify_oldest(runtime: Runtime) -> int:
    with runtime.sessions.begin() as session:
        oldest = subscription.unverified_for(session, runtime.settings.verify_every, limit=_VERIFY_AT_ONCE)
        for subscription_id in sorted(oldest):
            subscription.raise_hint(session, subscription_id)
    return len(oldest)
