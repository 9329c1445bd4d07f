"""Giving back seats: who has to leave for it, and which of them the caller named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from domain import reduction
from domain.errors import (
    ReleaseRefused,
    SeatsInUse,
)
from domain.purchase.steps import (
    Steps,
)
from domain.reduction import Leaver
from domain.seat_limit import add
from services.ledger import seat_holders
from services.ledger.locked_account import LockedAccount

_MOST_NAMED: Final = 100
_MOST_LEAVERS: Final = 10_000


def members_to_release(
    locked: LockedAccount, steps: Steps, asked: Sequence[str] | Literal["suggested"]
) -> list[str]:
    """Those whose seats go with the change; raises `SeatsInUse` where that is not enough."""
    if asked == "suggested":
        return [leaver.holder.member_id for leaver in too_many(locked, steps, ())]
    refuse_if_in_use(locked, steps, asked)
    return list(dict.fromkeys(asked))


def refuse_if_in_use(locked: LockedAccount, steps: Steps, release: Sequence[str]) -> None:
    """Raises `SeatsInUse` with those who would have to leave beside the ones to be released, and
    `ReleaseRefused` where one of these has no seat that is given back.
    """
    over = too_many(locked, steps, release)
    if over:
        raise SeatsInUse(
            f"{len(over)} more people sit there than seats would be left: name those whose seats are given "
            'back in "release", or say "suggested" for the ones listed.',
            details={"leavers": [_leaver(one) for one in over[:_MOST_NAMED]], "total": len(over)},
        )
    there = {one.member_id for one in seat_holders.on_types(locked.session, locked.account_id, _fewer(steps))}
    if others := [member_id for member_id in release if member_id not in there]:
        raise ReleaseRefused(
            "Only who sits on a seat that is given back can be released with a change: take the others out "
            'of "release".',
            details={"members": others[:_MOST_NAMED]},
        )


def too_many(locked: LockedAccount, steps: Steps, release: Sequence[str]) -> Sequence[Leaver]:
    """Who would have to leave beside those to be released, in the usual order, if the change was made now."""
    limits = {name: add(locked.of(name).purchased, steps[name].difference) for name in _fewer(steps)}
    gone = set(release)
    there = seat_holders.on_types(locked.session, locked.account_id, list(limits))
    people = [one for one in there if one.member_id not in gone]
    going = reduction.leavers(people, limits, at_most=_MOST_LEAVERS)
    return [one for name in sorted(going) for one in going[name]]


def _fewer(steps: Steps) -> list[str]:
    return [name for name, step in steps.items() if step.difference < 0]


def _leaver(one: Leaver) -> dict[str, Any]:
    person = one.holder
    return {
        "member_id": person.member_id,
        "name": person.name,
        "role": person.role,
        "seat_type": person.seat_type,
        "protected": person.protected,
        "reason": one.reason,
    }
