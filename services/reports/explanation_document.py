"""The explanation of an account as JSON: the formula of each figure, and the changes that led to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from domain.balance import EMPTY, Balance, balances_from_json
from domain.explain import Source, SourceKind, Term, formula, terms_of, total
from domain.seat_limit import to_json
from models.audit import AuditRow
from models.base import Json
from runtime.wiring import Runtime
from services.reports import seats_document
from services.reports.explanation import (
    ExplainedMember,
    Explanation,
    MemberList,
    Moves,
    Origin,
    explain_account,
)
from services.reports.moves_in_words import in_words

_MOST_LISTED: Final = 100


def document(runtime: Runtime, account_id: str, *, since: datetime | None) -> dict[str, Any]:
    """The explanation as the API returns it, read in one snapshot of the database. Changes are listed from
    `since` on; None: of the last 30 days. Raises `AccountNotFound`.
    """
    with runtime.sessions() as session:
        explanation = explain_account(session, account_id, runtime.catalog, since=since, at_most=_MOST_LISTED)
    seats = {seat_type: _of_type(explanation, seat_type) for seat_type in explanation.balances}
    return {
        "account_id": explanation.account.id,
        "status": explanation.account.status,
        "policy": explanation.account.policy,
        "version": explanation.account.version,
        "as_of": explanation.now,
        "is_current": all(_is_current(explanation, seat_type) for seat_type in _known_types(explanation)),
        "seats": seats,
        "sources": [_source(one, explanation) for one in explanation.sources],
        "moves": _moves(explanation.moves),
        "counted": _people(explanation.counted),
        "not_counted": _people(explanation.not_counted),
    }


def _known_types(explanation: Explanation) -> set[str]:
    return {
        *explanation.balances,
        *(seat_type for one in explanation.sources if one.gives for seat_type in one.terms),
    }


def _is_current(explanation: Explanation, seat_type: str) -> bool:
    return (
        total(terms_of(explanation.sources, seat_type))
        == explanation.balances.get(seat_type, EMPTY).purchased
    )


def _of_type(explanation: Explanation, seat_type: str) -> dict[str, Any]:
    balance, past = explanation.balances[seat_type], explanation.moves.before
    before = past.balances.get(seat_type, EMPTY) if past else None
    return {
        **seats_document.seats_of(balance, explanation.account.rules_of(seat_type).policy),
        "formula": formula(terms_of(explanation.sources, seat_type)),
        "terms": [
            _term(term, source)
            for source in explanation.sources
            if source.gives
            for term in source.terms.get(seat_type, ())
        ],
        "use": _use(balance),
        "before": {"purchased": to_json(before.purchased), "used": before.used} if before else None,
    }


def _term(term: Term, source: Source) -> dict[str, Any]:
    return {
        "seats": to_json(term.seats),
        "text": term.text,
        "catalog": term.place,
        "source": source.name,
    }


def _use(balance: Balance) -> str:
    """`9 active + 1 held = 10 used; 15 purchased - 10 used = 5 available`."""
    to_be_bought = f" ({balance.waiting} of them to be bought)" if balance.waiting else ""
    used = f"{balance.active} active + {balance.held} held{to_be_bought} = {balance.used} used"
    if balance.overage:
        left = f"{balance.used} used - {balance.purchased} purchased = {balance.overage} over"
    else:
        left = f"{balance.purchased} purchased - {balance.used} used = "
        left += f"{balance.available} available"
    return f"{used}; {left}"


def _source(source: Source, explanation: Explanation) -> dict[str, Any]:
    is_subscription = source.kind is SourceKind.SUBSCRIPTION
    return {
        "kind": source.kind,
        "name": source.name,
        "gives": source.gives,
        "because": source.because,
        "rule": source.rule,
        "kept": source.kept,
        "subscription": _subscription(explanation.origins[source.name]) if is_subscription else None,
    }


def _subscription(origin: Origin) -> dict[str, Any]:
    subscription = origin.subscription
    newest = subscription.newest
    addons = newest.addons if newest else None
    return {
        "product_id": newest.product_id if newest else None,
        "quantity": newest.quantity if newest else None,
        "addons": None
        if addons is None
        else [{"addon_id": one.addon_id, "quantity": one.quantity} for one in addons],
        "linked_by": subscription.linked_by,
        "verified_at": subscription.verified_at,
        "verified": subscription.unverified is None and subscription.verified_at is not None,
        "last_change": _change(origin.last_change) if origin.last_change else None,
    }


def _change(row: AuditRow) -> dict[str, Any]:
    return {
        "audit_id": row.id,
        "at": row.at,
        "actor": row.actor,
        "source": row.source,
        "reason": row.reason,
        "event_id": row.event_id,
        "fence": row.fence,
    }


def _moves(moves: Moves) -> dict[str, Any]:
    return {"since": moves.since, "total": moves.total, "rows": [_move(row) for row in moves.newest]}


def _move(row: AuditRow) -> dict[str, Any]:
    return {
        **_change(row),
        "member_id": row.member_id,
        "subscription_id": row.subscription_id,
        "status": (row.before["status"] if row.before else None, row.after["status"]),
        "seats": _moved(_balances(row.before), _balances(row.after)),
        "text": "; ".join(in_words(row)),
    }


def _balances(facts: Json | None) -> Mapping[str, Balance]:
    return balances_from_json(facts["seats"] if facts else {})


def _moved(before: Mapping[str, Balance], after: Mapping[str, Balance]) -> dict[str, Any]:
    """The seat types whose purchased or used seats differ, each figure before and after."""
    pairs = {one: (before.get(one, EMPTY), after.get(one, EMPTY)) for one in sorted({*before, *after})}
    return {
        seat_type: {
            "purchased": (to_json(was.purchased), to_json(now.purchased)),
            "used": (was.used, now.used),
        }
        for seat_type, (was, now) in pairs.items()
        if (was.purchased, was.used) != (now.purchased, now.used)
    }


def _people(people: MemberList) -> dict[str, Any]:
    return {"total": people.total, "members": [_person(one) for one in people.listed]}


def _person(person: ExplainedMember) -> dict[str, Any]:
    seat, row = person.assignment, person.since
    return {
        "member_id": seat.member_id,
        "role": seat.role,
        "seat_type": seat.seat_type,
        "state": seat.state,
        "reason": seat.reason,
        "since": row.at if row else seat.released_at or seat.claimed_at,
        "by": _change(row) if row else None,
    }
