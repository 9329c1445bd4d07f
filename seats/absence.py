"""Absence is unknown: what the provider left out stays as it was last known, with a finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from seats import findings
from seats.drift import in_words
from seats.findings import Finding
from seats.ownership import named_account
from seats.snapshot import SubscriptionSnapshot


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
    return replace(snapshot, **kept)


def missing(snapshot: SubscriptionSnapshot, known: SubscriptionSnapshot | None) -> Iterator[Finding]:
    """A finding for each unstated field of which something is kept."""
    for field in snapshot.unstated if known is not None else ():
        if kept := getattr(known, field):
            yield findings.field_missing(field, in_words(kept))
