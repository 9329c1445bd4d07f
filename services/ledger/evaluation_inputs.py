"""Inputs: what an evaluation of a locked account reads, loaded at once after the lock.

One query tells whether there are findings or sent changes; callers load these rare rows only if so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from domain.catalog.model import Catalog
from models import assignment, drift_finding, generation, seat_change, subscription
from models.driver import first_row
from models.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of one account.

    `locked` are its subscriptions and the one that the transaction is about, from
    `models.subscription.lock`. `may_evaluate` is false if a newer generation has replaced this process's.
    `has_findings`: the account or that subscription may have drift findings to close. `has_sent_changes`:
    that subscription may show a seat change that was sent. `next_expiry` is when the account's next
    invitation lapses.
    """

    account_id: str
    locked: Sequence[Subscription]
    may_evaluate: bool
    has_findings: bool
    has_sent_changes: bool
    next_expiry: datetime | None

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """The account's subscriptions by id, including any change of account in this transaction."""
        return [one for one in self.locked if one.account_id == self.account_id]


_OTHER_INPUTS = f"""
SELECT coalesce((SELECT (catalog_digest, release) = (%(digest)s, %(release)s)
                 FROM generations ORDER BY number DESC LIMIT 1), false),
       EXISTS (SELECT FROM drift_findings
               WHERE subject = ANY (%(subjects)s) AND {drift_finding.MAY_BE_SETTLED}),
       EXISTS (SELECT FROM seat_changes
               WHERE subscription_id = %(subscription_id)s AND {seat_change.MAY_SHOW}),
       (SELECT min(expires_at) FROM assignments WHERE account_id = %(account_id)s AND {assignment.LAPSES})
"""  # noqa: S608  constant conditions


def load(session: Session, account_ids: Collection[str], catalog: Catalog) -> Sequence[Inputs]:
    """Load the inputs of accounts that the caller has locked, and lock their subscriptions."""
    return load_with(session, account_ids, subscription.lock(session, account_ids), catalog)


def load_with(
    session: Session,
    account_ids: Collection[str],
    locked: Sequence[Subscription],
    catalog: Catalog,
    subscription_id: str | None = None,
) -> Sequence[Inputs]:
    """Like `load`, with the locked subscriptions. `subscription_id` is the one among them that the
    transaction is about; it may belong to any account.
    """
    return [_inputs(session, account_id, locked, catalog, subscription_id) for account_id in account_ids]


def _inputs(
    session: Session,
    account_id: str,
    locked: Sequence[Subscription],
    catalog: Catalog,
    subscription_id: str | None,
) -> Inputs:
    row = first_row(
        session,
        _OTHER_INPUTS,
        {
            "digest": catalog.digest,
            "release": catalog.release,
            "account_id": account_id,
            "subscription_id": subscription_id,
            "subjects": [f"account:{account_id}", *([subscription_id] if subscription_id else [])],
        },
    )
    assert row is not None
    is_in_force, *others = row
    return Inputs(account_id, locked, is_in_force or generation.may_evaluate(session, catalog), *others)
