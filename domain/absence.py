"""Absence is unknown: what the provider left out stays as it was last known, with a finding."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, Final

from domain import findings
from domain.drift import in_words
from domain.findings import Finding, FindingKind
from domain.ownership import named_account
from domain.snapshot import SubscriptionSnapshot

# What every subscription has, and what decides whose it is and which period its payments are about.
_NEVER_LOST: Final = ("customer_id", "previous_billing_date")


def completed(
    snapshot: SubscriptionSnapshot, known: SubscriptionSnapshot | None, account_key: str | None
) -> SubscriptionSnapshot:
    """The snapshot with what it leaves unstated as in `known`; metadata that names no account counts as such.

    What the seats are counted from is not filled in: without it the snapshot cannot be counted.
    """
    if known is None:
        return snapshot
    kept: dict[str, Any] = {field: getattr(known, field) for field in snapshot.unstated}
    if named_account(snapshot.metadata, account_key) is None:
        kept["metadata"] = known.metadata
    kept |= {field: getattr(known, field) for field in _NEVER_LOST if getattr(snapshot, field) is None}
    return replace(snapshot, **kept)


def settled_kinds(snapshot: SubscriptionSnapshot, account_key: str | None) -> Collection[FindingKind]:
    """The kinds of findings that a sync of the snapshot settles. Metadata that names no account does not
    settle that it named one which was not believed.
    """
    if account_key is None or named_account(snapshot.metadata, account_key) is not None:
        return findings.SYNCED
    return findings.SYNCED - {FindingKind.UNPROVED_ACCOUNT}


def missing(snapshot: SubscriptionSnapshot, known: SubscriptionSnapshot | None) -> Iterator[Finding]:
    """A finding for each unstated field of which something is kept."""
    for field in snapshot.unstated if known is not None else ():
        if kept := getattr(known, field):
            yield findings.field_missing(field, in_words(kept))
