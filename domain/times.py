"""Times as text: for people, and as the API and the provider write them. Always in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_time(moment: datetime) -> str:
    """`2026-12-12T09:30:00Z`, with microseconds if there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment_words(moment: datetime) -> str:
    """`12 Dec 2026 09:30 UTC`."""
    return f"{day_words(moment)} {moment.astimezone(UTC):%H:%M} UTC"


def day_words(moment: datetime) -> str:
    """`12 Dec 2026`, the day in UTC."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%b %Y}"
