"""Absent fields: what the provider leaves out keeps its last known value, with a drift finding."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, Final

from domain import findings
from domain.drift import in_words
from domain.findings import Finding, FindingKind
from domain.ownership import named_account
from domain.snapshot import SubscriptionSnapshot

# Every subscription has these fields; they decide its customer and its billing period.
_NEVER_LOST: Final = ("customer_id", "previous_billing_date")


def completed(
    snapshot: SubscriptionSnapshot, known: SubscriptionSnapshot | None, account_key: str | None
) -> SubscriptionSnapshot:
    """The snapshot, with unstated fields filled in from `known`. Metadata that names no account is filled in
    too. Fields from which seats are counted are not: without them the snapshot is not countable.
    """
    if known is None:
        return snapshot
    filled: dict[str, Any] = {field: getattr(known, field) for field in snapshot.unstated}
    if named_account(snapshot.metadata, account_key) is None:
        filled["metadata"] = known.metadata
    filled |= {field: getattr(known, field) for field in _NEVER_LOST if getattr(snapshot, field) is None}
    return replace(snapshot, **filled)


def settled_kinds(snapshot: SubscriptionSnapshot, account_key: str | None) -> Collection[FindingKind]:
    """The kinds of findings that a sync of the snapshot closes, unless it finds them again. Metadata without
    an account does not close the finding about an account that was not accepted.
    """
    if account_key is None or named_account(snapshot.metadata, account_key) is not None:
        return findings.SYNCED
    return findings.SYNCED - {FindingKind.UNPROVED_ACCOUNT}


def missing(snapshot: SubscriptionSnapshot, known: SubscriptionSnapshot | None) -> Iterator[Finding]:
    """A finding for each unstated field that has a last known value."""
    for field in snapshot.unstated if known is not None else ():
        if value := getattr(known, field):
            yield findings.field_missing(field, in_words(value))
