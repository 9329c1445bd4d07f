"""Reconcile: find what no webhook told us. It only raises hints, so the sync's fence guards every write.

Two gears: the provider's list gives most changes cheaply; and each subscription is retrieved at least
once per `verify_every`, oldest first, because the list does not show add-ons.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from models import account, subscription, tick
from runtime.wiring import Runtime
from seats.drift import differing_fields
from seats.errors import BudgetSpent, ProviderError
from seats.snapshot import SubscriptionSnapshot

log = logging.getLogger(__name__)

_TICK: Final = "reconcile"
_FEWEST_TO_VERIFY: Final = 200
_CATCHING_UP: Final = 2  # times what an even pace would be, so that a missed pass is made good


def reconcile(runtime: Runtime, *, until: float) -> int:
    """One pass per period, whoever rings first; how many subscriptions it asks to have looked at.

    Ends early when the monotonic clock reaches `until`, or when the provider cannot be had.
    """
    with runtime.sessions.begin() as session:
        if not tick.take(session, _TICK, timedelta(seconds=runtime.settings.reconcile_seconds)):
            return 0
        started = account.now(session)
    try:
        hinted = _verify_oldest(runtime) + _compare_all(runtime, started, until)
    except SQLAlchemyError:
        with runtime.sessions.begin() as session:
            tick.give_back(session, _TICK)
        raise
    log.info("reconciled", extra={"hinted": hinted})
    return hinted


def _compare_all(runtime: Runtime, started: datetime, until: float) -> int:
    """Walk the list page by page, waiting where the budget has nothing left for it."""
    hinted = page = 0
    while time.monotonic() < until:
        try:
            for listed in runtime.provider.pages(created_before=started, first_page=page):
                hinted += _compare(runtime, listed)
                page += 1
                if time.monotonic() >= until:
                    break
            break
        except BudgetSpent as spent:
            time.sleep(max(0.0, min(spent.retry_after or 1.0, until - time.monotonic())))
        except ProviderError as error:
            log.warning("reconcile ended early", extra={"error": error.message, "page": page})
            break
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
    """Hint at those whose turn it is, so many per pass that all get theirs in time."""
    settings = runtime.settings
    passes = settings.verify_every.total_seconds() / settings.reconcile_seconds
    with runtime.sessions.begin() as session:
        pace = math.ceil(subscription.count(session) / max(passes, 1.0))
        limit = max(_FEWEST_TO_VERIFY, _CATCHING_UP * pace)
        oldest = subscription.not_looked_at_for(session, settings.verify_every, limit=limit)
        for subscription_id in sorted(oldest):
            subscription.raise_hint(session, subscription_id)
    return len(oldest)
