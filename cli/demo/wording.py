"""The texts of the demo: what a webhook changed, an account's seats, and why a claim was refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cli.demo.api_documents import Account, Seats

NO_CHANGE = "no change"
SAME_CHANGE = "same change"


def effect(before: Account | None, after: Account) -> str:
    """What changed in an account, such as `full 10 -> 15`; empty if neither its seats nor its status changed.

    Used seats are not compared: the app changes them, not the billing provider.
    """
    known = before or Account(account_id=after.account_id)
    seats = list(_seat_changes(known, after))
    texts = [*seats, *_status_changes(before, after, seats_changed=bool(seats))]
    if seats and after.overage:
        texts.append(f"{after.overage} over the limit")
    return ", ".join(texts)


def _seat_changes(before: Account, after: Account) -> Iterator[str]:
    """The changes of purchased seats, by type."""
    for seat_type in dict.fromkeys((*before.seats, *after.seats)):
        old = before.seats.get(seat_type, Seats(0))
        new = after.seats.get(seat_type, Seats(0))
        if old.purchased != new.purchased:
            yield f"{seat_type} {old.purchased_text} -> {new.purchased_text}"


def _status_changes(before: Account | None, after: Account, *, seats_changed: bool) -> Iterator[str]:
    """The changes of subscription statuses, with their effect on the seats if the figures did not change."""
    if before is None:
        return
    for subscription_id, status in after.subscriptions.items():
        if before.subscriptions.get(subscription_id, status) != status:
            yield status if seats_changed else f"{status}, {_effect_on_seats(before, after)}"
    if after.is_leaving != before.is_leaving:
        yield "ends with its period" if after.is_leaving else "does not end with its period any more"


def _effect_on_seats(before: Account, after: Account) -> str:
    if after.status == "suspended":
        return "seats suspended"
    return "seats count again" if before.status == "suspended" else "seats kept"


def seats_of(account: Account, seat_type: str | None) -> str:
    """`full 11 of 15`; empty for a role that takes no seat."""
    seats = account.seats.get(seat_type or "")
    if seats is None:
        return ""
    over = f", {seats.overage} over" if seats.overage else ""
    return f"{seat_type} {seats.used} of {seats.purchased_text}{over}"


def refusal(problem: Mapping[str, Any]) -> str:
    """Why a claim was refused: the first part of the API's reason, or the figures if no seat is available."""
    if problem["code"] != "no_seat_available":
        reason = str(problem["detail"]).partition(":")[0]
        return reason[:1].lower() + reason[1:]
    return f"no seat available ({problem['seat_type']} {problem['used']} of {problem['purchased']})"


def permission(document: Mapping[str, Any]) -> str:
    """`yes` or `no` with the available seats, from the response of can-add."""
    if document["code"] == "granted_over_limit":
        return "yes, over the limit"
    left = "" if document["available"] is None else f", {document['available']} available"
    return ("yes" if document["allowed"] else "no") + left
