"""Leavers: who would have to go if there were fewer seats, with names, places and reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flask import Response

from domain import reduction
from domain.balance import EMPTY, Balance, balances_from_json
from domain.catalog.model import Catalog
from domain.errors import UnknownSeatType
from domain.reduction import Leaver
from domain.seat_limit import SeatLimit, overage, to_json
from models import account
from models.account import Account
from models.api_key import Scope
from services.ledger import seat_holders
from webhook_app.auth import needs
from webhook_app.context import app_context
from webhook_app.responses import KEYED, answer, responses
from webhook_app.routes import Routes
from webhook_app.schemas.common import AccountPath
from webhook_app.schemas.members import Leavers, LeaversQuery

leavers_api = Routes("leavers", tag="Members")

_MOST_LISTED: Final = 1000


@leavers_api.get(
    "/v1/accounts/<account_id>/leavers",
    summary="Who would have to leave",
    description="Held seats first, then the least recently active, protected members last; of each seat "
    f"type the first {_MOST_LISTED} are listed. Nobody leaves by being listed.",
    responses=responses(Leavers, *KEYED, 404),
)
@needs(Scope.READ)
def leavers(path: AccountPath, query: LeaversQuery) -> Response:
    runtime = app_context().runtime
    with runtime.sessions() as session:
        # The figures and the people of one moment.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        balances = _balances(account.get(session, path.account_id), query.type, runtime.catalog)
        targets = {one: kept.purchased if query.to is None else query.to for one, kept in balances.items()}
        over = [one for one, kept in balances.items() if overage(targets[one], kept.used)]
        people = seat_holders.on_types(session, path.account_id, over)
    going = reduction.leavers(people, targets, at_most=_MOST_LISTED)
    shown = {one: _of_type(kept, targets[one], going[one]) for one, kept in balances.items()}
    return answer({"account_id": path.account_id, "order": reduction.DEFAULT, "seat_types": shown})


def _balances(found: Account, seat_type: str | None, catalog: Catalog) -> Mapping[str, Balance]:
    """The balances that are asked for: of one seat type, which may have no seats here, or of all."""
    balances = balances_from_json(found.seats)
    if seat_type is None:
        return balances
    known = sorted({*balances, *catalog.seat_types})
    if seat_type not in known:
        raise UnknownSeatType(
            f"There is no seat type '{seat_type}'. Known seat types: {', '.join(known) or 'none'}.",
            details={"seat_type": seat_type, "known_seat_types": known},
        )
    return {seat_type: balances.get(seat_type, EMPTY)}


def _of_type(balance: Balance, target: SeatLimit, going: Sequence[Leaver]) -> dict[str, Any]:
    return {
        "used": balance.used,
        "purchased": to_json(balance.purchased),
        "target": to_json(target),
        "total": overage(target, balance.used),
        "leavers": [_leaver(one) for one in going],
    }


def _leaver(leaver: Leaver) -> dict[str, Any]:
    person = leaver.holder
    return {
        "place": leaver.place,
        "member_id": person.member_id,
        "name": person.name,
        "role": person.role,
        "state": person.state,
        "protected": person.protected,
        "claimed_at": person.claimed_at,
        "last_active_at": person.last_active_at,
        "reason": leaver.reason,
    }
