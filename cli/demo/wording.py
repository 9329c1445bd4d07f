"""The demo's words: what a webhook changed, how an account's seats stand, why a claim was refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cli.demo.api_documents import Account, Seats

NOTHING_NEW = "nothing new"
SAME_NEWS = "same news"


def effect(before: Account | None, after: Account) -> str:
    """What became of an account, as in `full 10 -> 15`; empty if its seats and standing are the same.

    Who sits in the seats is not told here: that is the app's doing, not billing's.
    """
    known = before or Account(account_id=after.account_id)
    moved = list(_moved(known, after))
    told = [*moved, *_turned(before, after, has_moved=bool(moved))]
    if moved and after.overage:
        told.append(f"{after.overage} over the limit")
    return ", ".join(told)


def _moved(before: Account, after: Account) -> Iterator[str]:
    """The purchased seats that changed."""
    for seat_type in dict.fromkeys((*before.seats, *after.seats)):
        old = before.seats.get(seat_type, Seats(0))
        new = after.seats.get(seat_type, Seats(0))
        if old.purchased != new.purchased:
            yield f"{seat_type} {old.purchased_words} -> {new.purchased_words}"


def _turned(before: Account | None, after: Account, *, has_moved: bool) -> Iterator[str]:
    """What became of the subscription, and what that does to the seats."""
    if before is None:
        return
    for subscription_id, status in after.subscriptions.items():
        if before.subscriptions.get(subscription_id, status) != status:
            yield f"{status}, {_standing(before, after)}" if not has_moved else status
    if after.is_leaving != before.is_leaving:
        yield "leaves when the period ends" if after.is_leaving else "leaves no more"


def _standing(before: Account, after: Account) -> str:
    if after.status == "suspended":
        return "seats suspended"
    return "seats count again" if before.status == "suspended" else "seats kept"


def seats_of(account: Account, seat_type: str | None) -> str:
    """`full 11 of 15`; empty for a role that takes no seat."""
    seats = account.seats.get(seat_type or "")
    if seats is None:
        return ""
    over = f", {seats.overage} over" if seats.overage else ""
    return f"{seat_type} {seats.used} of {seats.purchased_words}{over}"


def refusal(problem: Mapping[str, Any]) -> str:
    """Why a claim was refused: the API's own reason, shortened to the first of what it says."""
    if problem["code"] != "no_seat_available":
        reason = str(problem["detail"]).partition(":")[0]
        return reason[:1].lower() + reason[1:]
    return f"no seat available ({problem['seat_type']} {problem['used']} of {problem['purchased']})"


def permission(told: Mapping[str, Any]) -> str:
    """The answer to whether more people may be added."""
    if told["code"] == "granted_over_limit":
        return "yes, over the limit"
    left = "" if told["available"] is None else f", {told['available']} available"
    return ("yes" if told["allowed"] else "no") + left
