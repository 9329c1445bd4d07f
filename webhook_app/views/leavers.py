"""Who would have to leave if the account had fewer seats, in order and with reasons."""

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
from webhook_app.responses import KEYED, json_response, responses
from webhook_app.routes import Routes
from webhook_app.schemas.common import AccountPath
from webhook_app.schemas.members import Leavers, LeaversQuery

leavers_api = Routes("leavers", tag="Members")

_MOST_LISTED: Final = 1000


@leavers_api.get(
    "/v1/accounts/<account_id>/leavers",
    summary="List who would have to leave after a reduction",
    description="Order: held seats first, then the least recently active members, protected members last. "
    f"At most {_MOST_LISTED} are listed per seat type. The call only reads; it releases nobody.",
    responses=responses(Leavers, *KEYED, 404),
)
@needs(Scope.READ)
def leavers(path: AccountPath, query: LeaversQuery) -> Response:
    runtime = app_context().runtime
    with runtime.sessions() as session:
        # Figures and members must belong to the same moment.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        balances = _balances(account.get(session, path.account_id), query.type, runtime.catalog)
        targets = {name: one.purchased if query.to is None else query.to for name, one in balances.items()}
        over = [name for name, one in balances.items() if overage(targets[name], one.used)]
        holders = seat_holders.on_types(session, path.account_id, over)
    found = reduction.leavers(holders, targets, at_most=_MOST_LISTED)
    shown = {name: _of_type(one, targets[name], found[name]) for name, one in balances.items()}
    return json_response({"account_id": path.account_id, "order": reduction.DEFAULT, "seat_types": shown})


def _balances(found: Account, seat_type: str | None, catalog: Catalog) -> Mapping[str, Balance]:
    """The balance of the requested seat type, empty if the account has none of it. By default, all."""
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


def _of_type(balance: Balance, target: SeatLimit, found: Sequence[Leaver]) -> dict[str, Any]:
    return {
        "used": balance.used,
        "purchased": to_json(balance.purchased),
        "target": to_json(target),
        "total": overage(target, balance.used),
        "leavers": [_leaver(one) for one in found],
    }


def _leaver(leaver: Leaver) -> dict[str, Any]:
    holder = leaver.holder
    return {
        "place": leaver.place,
        "member_id": holder.member_id,
        "name": holder.name,
        "role": holder.role,
        "state": holder.state,
        "protected": holder.protected,
        "claimed_at": holder.claimed_at,
        "last_active_at": holder.last_active_at,
        "reason": leaver.reason,
    }
