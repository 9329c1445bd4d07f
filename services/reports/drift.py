"""Drift findings as the API and the command line show them."""

from __future__ import annotations

from typing import Any

from models.drift_finding import DriftFinding


def finding_shown(one: DriftFinding) -> dict[str, Any]:
    """The finding as the API shows it."""
    return {
        "id": one.id,
        "subject": one.subject,
        "kind": one.kind,
        "field": one.field,
        "ours": one.ours,
        "theirs": one.theirs,
        "likely_cause": one.cause,
        "state": one.state,
        "held_because": one.held_because,
        "message": one.message,
        "first_seen": one.first_seen,
        "last_seen": one.last_seen,
        "closed_at": one.closed_at,
        "closed_because": one.closed_because,
    }
