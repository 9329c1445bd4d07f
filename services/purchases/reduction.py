"""Which members have to leave when seats are given back, compared with the ones that the caller named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from domain import reduction
from domain.errors import ReleaseRefused, SeatsInUse
from domain.purchase.steps import Steps
from domain.reduction import Leaver
from services.ledger import seat_holders
from services.ledger.locked_account import LockedAccount

_MOST_NAMED: Final = 100
_MOST_LEAVERS: Final = 10_000


def members_to_release(
    locked: LockedAccount, steps: Steps, requested: Sequence[str] | Literal["suggested"]
) -> list[str]:
    """The ids of the members to release with the change. Raises like `refuse_if_in_use`."""
    if requested == "suggested":
        return [leaver.holder.member_id for leaver in too_many(locked, steps, ())]
    refuse_if_in_use(locked, steps, requested)
    return list(dict.fromkeys(requested))


def refuse_if_in_use(locked: LockedAccount, steps: Steps, release: Sequence[str]) -> None:
    """Raise `SeatsInUse` if, without the members in `release`, the change would still leave members without a
    seat; `ReleaseRefused` if one of them holds no seat of a type that is reduced.
    """
    over = too_many(locked, steps, release)
    if over:
        members = "1 member" if len(over) == 1 else f"{len(over)} members"
        raise SeatsInUse(
            f'The change would leave {members} without a seat. List them in "release", or send "release": '
            '"suggested" to release the members listed here.',
            details={"leavers": [_leaver(one) for one in over[:_MOST_NAMED]], "total": len(over)},
        )
    holders = {
        one.member_id
        for one in seat_holders.on_types(locked.session, locked.account_id, _reduced_types(steps))
    }
    if others := [member_id for member_id in release if member_id not in holders]:
        raise ReleaseRefused(
            "A change can release only members who hold a seat of a type that it reduces. Remove the others "
            'from "release".',
            details={"members": others[:_MOST_NAMED]},
        )


def too_many(locked: LockedAccount, steps: Steps, release: Sequence[str]) -> Sequence[Leaver]:
    """The members, in reduction order, who would be left without a seat if the change were made now, after
    those in `release` have left.
    """
    limits = {
        name: steps[name].applied_to(locked.balance_of(name).purchased) for name in _reduced_types(steps)
    }
    released = set(release)
    holders = seat_holders.on_types(locked.session, locked.account_id, list(limits))
    remaining = [one for one in holders if one.member_id not in released]
    leavers = reduction.leavers(remaining, limits, at_most=_MOST_LEAVERS)
    return [one for name in sorted(leavers) for one in leavers[name]]


def _reduced_types(steps: Steps) -> list[str]:
    return [name for name, step in steps.items() if step.is_less]


def _leaver(leaver: Leaver) -> dict[str, Any]:
    holder = leaver.holder
    return {
        "member_id": holder.member_id,
        "name": holder.name,
        "role": holder.role,
        "seat_type": holder.seat_type,
        "protected": holder.protected,
        "reason": leaver.reason,
    }
