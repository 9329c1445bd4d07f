"""Describe in words what an audit row changed, even if purchased and used seats stayed the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from domain.balance import EMPTY, Balance
from models.audit import AuditRow
from models.base import Json

_NAMES: Final = {"waiting": "seats to be bought", "warned": "members warned of suspension"}


def in_words(row: AuditRow) -> Sequence[str]:
    """The changes, such as `full used 3 -> 4` or `status ok -> grace`; other changes only if there are none
    of these. Never empty.
    """
    before, after = row.before or {"seats": {}, "status": None}, row.after
    types = sorted({*before["seats"], *after["seats"]})
    pairs = {one: (before["seats"].get(one, {}), after["seats"].get(one, {})) for one in types}
    figures = [text for one, pair in pairs.items() for text in _figures(one, *pair)]
    if before["status"] not in (None, after["status"]):
        figures.append(f"status {before['status']} -> {after['status']}")
    return figures or [*_of_the_member(row)] or [*_of_the_account(row, pairs)] or ["no figure changed"]


def _figures(seat_type: str, was: Json, is_now: Json) -> Iterator[str]:
    before, after = (Balance.from_json(stored) if stored else EMPTY for stored in (was, is_now))
    if before.purchased != after.purchased:
        yield f"{seat_type} purchased {before.purchased} -> {after.purchased}"
    if before.used != after.used:
        yield f"{seat_type} used {before.used} -> {after.used}"


def _of_the_member(row: AuditRow) -> Iterator[str]:
    """A change of the member's state that left the number of used seats the same."""
    before, after = row.subject_before or {}, row.subject_after or {}
    if row.member_id is None or before.get("state") == after.get("state"):
        return
    if (before.get("state"), after.get("state")) == ("held", "active"):
        yield "the invitation was confirmed"
    else:
        yield f"{before.get('state', 'no seat')} -> {after.get('state', 'no seat')}"


def _of_the_account(row: AuditRow, pairs: Mapping[str, tuple[Json, Json]]) -> Iterator[str]:
    if row.before is None:
        yield "the account was created"
        return
    for seat_type, (was, is_now) in pairs.items():
        for name in sorted({*was, *is_now}):
            if was.get(name) != is_now.get(name):
                yield _detail(seat_type, name, was.get(name), is_now.get(name))


def _detail(seat_type: str, name: str, was: Any, is_now: Any) -> str:
    if name != "deadline":
        return f"{seat_type} {_NAMES.get(name, name)} {was or 0} -> {is_now or 0}"
    if was is None:
        return f"a grace period of {seat_type} began, until {is_now}"
    return (
        f"the grace period of {seat_type} ended"
        if is_now is None
        else f"{seat_type} deadline {was} -> {is_now}"
    )
