"""Accounts: create before any purchase, list, delete, set rules, and resume automatic purchases."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from domain.catalog.model import Catalog, Rules
from domain.errors import UnknownSeatType
from domain.seat_rules import AccountRules
from models import account, purchase_reset
from models.account import Account
from models.account_rules import Override
from models.api_key import Scope
from models.audit import Cause
from services.ledger import accounts as ledger_accounts
from services.ledger import entitlements, purchase_limits
from webhook_app.auth import caller, needs
from webhook_app.context import app_context
from webhook_app.idempotency import Result, respond_once
from webhook_app.responses import KEYED, WITH_BODY, WRITING, json_response, responses
from webhook_app.routes import Routes
from webhook_app.schemas.accounts import (
    AccountDeleted,
    Accounts,
    AccountShown,
    AccountsQuery,
    NewAccountPath,
    PolicyBody,
    PolicyInForce,
    PurchasesResumed,
)
from webhook_app.schemas.common import AccountPath

accounts_api = Routes("accounts", tag="Accounts")


@accounts_api.put(
    "/v1/accounts/<account_id>",
    summary="Create an account if it does not exist",
    description="201 if it is new, 200 if it exists. A new account has the seats that the catalogue and its "
    "contracts give without a subscription.",
    responses=responses(AccountShown, *WRITING, also=201),
)
@needs(Scope.CLAIM)
def put_account(path: NewAccountPath) -> Response:
    def work(session: Session) -> Result:
        is_new = ledger_accounts.open_account(
            session, path.account_id, app_context().runtime.catalog, _cause("created by the app")
        )
        status = HTTPStatus.CREATED if is_new else HTTPStatus.OK
        return Result(status, _shown(account.get(session, path.account_id)))

    return respond_once(work, still_holds=lambda session, _: account.exists(session, path.account_id))


@accounts_api.delete(
    "/v1/accounts/<account_id>",
    summary="Delete an empty account",
    description="409 `account_not_empty` while it has a subscription, a member or a contract. The audit is "
    "kept, and continues if the account is created again.",
    responses=responses(AccountDeleted, *WRITING, 404, 409),
)
@needs(Scope.ADMIN)
def delete_account(path: AccountPath) -> Response:
    def work(session: Session) -> Result:
        ledger_accounts.delete_account(
            session, path.account_id, app_context().runtime.catalog, _cause("deleted by the app")
        )
        return Result(HTTPStatus.OK, {"account_id": path.account_id, "deleted": True})

    return respond_once(work, still_holds=lambda session, _: not account.exists(session, path.account_id))


@accounts_api.put(
    "/v1/accounts/<account_id>/policy",
    summary="Set the account's own rules",
    description="Replaces all of the account's own rules. With `{}` it has none, and the catalogue's rules "
    "apply again. Audited.",
    responses=responses(PolicyInForce, *WITH_BODY, 404),
)
@needs(Scope.ADMIN)
def put_policy(path: AccountPath, body: PolicyBody) -> Response:
    catalog = app_context().runtime.catalog
    override = Override(**body.model_dump())

    def work(session: Session) -> Result:
        _check_seat_types(override, catalog)
        rules = ledger_accounts.set_policy(
            session, path.account_id, override, catalog, _cause("policy set by the app")
        )
        return Result(HTTPStatus.OK, _rules_shown(path.account_id, rules, override.to_json()))

    return respond_once(work)


@accounts_api.get(
    "/v1/accounts/<account_id>/policy",
    summary="Get the rules in force for the account",
    responses=responses(PolicyInForce, *KEYED, 404),
)
@needs(Scope.READ)
def get_policy(path: AccountPath) -> Response:
    with app_context().runtime.sessions() as session:
        found = account.get(session, path.account_id)
        rules = entitlements.rules_of(session, found.id, found.override, app_context().runtime.catalog)
    return json_response(_rules_shown(path.account_id, rules, found.override))


@accounts_api.post(
    "/v1/accounts/<account_id>/purchases/resume",
    summary="Resume automatic purchases",
    description="After three consecutive failed purchases, `auto_expand` stops buying for the account. This "
    "call resets the failures and resumes it. So do a payment, a new payment method, and an applied seat "
    "change.",
    responses=responses(PurchasesResumed, *WRITING, 404),
)
@needs(Scope.BILLING)
def resume_purchases(path: AccountPath) -> Response:
    def work(session: Session) -> Result:
        account.get(session, path.account_id)
        failures = len(purchase_limits.failures_of(session, path.account_id))
        purchase_reset.reset(session, path.account_id, caller().actor)
        return Result(HTTPStatus.OK, {"account_id": path.account_id, "failures_forgiven": failures})

    return respond_once(work)


def _check_seat_types(override: Override, catalog: Catalog) -> None:
    for seat_type in override.seat_types:
        if seat_type not in catalog.seat_types:
            raise UnknownSeatType(
                f"The catalogue has no seat type {seat_type!r}. Use one of: {', '.join(catalog.seat_types)}.",
                details={"seat_type": seat_type, "known_seat_types": catalog.seat_types},
            )


def _rules_shown(account_id: str, rules: AccountRules, override: dict[str, Any] | None) -> dict[str, Any]:
    general = rules.general
    differing = {name: one.policy for name, one in rules.by_type.items() if one.policy != general.policy}
    return {
        "account_id": account_id,
        "policy": general.policy,
        "seat_types": {**differing, **(override or {}).get("seat_types", {})},
        **_terms(general),
        "payment_grace_days": general.payment_grace.days,
        "rules": {name: {"policy": one.policy, **_terms(one)} for name, one in rules.by_type.items()},
        "override": override,
    }


def _terms(rules: Rules) -> dict[str, Any]:
    return {
        "grace_days": rules.grace.days,
        "suspend_after_grace": rules.suspend_after_grace,
        "hold_days": rules.hold.days,
    }


@accounts_api.get(
    "/v1/accounts",
    summary="List accounts, ordered by id",
    responses=responses(Accounts, *KEYED),
)
@needs(Scope.READ)
def accounts(query: AccountsQuery) -> Response:
    with app_context().runtime.sessions() as session:
        page = account.page(session, status=query.status, after=query.cursor, limit=query.limit)
    return json_response(
        {"accounts": [_shown(one) for one in page.accounts], "next_cursor": page.next_cursor}
    )


def _shown(found: Account) -> dict[str, Any]:
    return {
        "account_id": found.id,
        "status": found.status,
        "policy": found.policy,
        "version": found.version,
        "created_at": found.created_at,
    }


def _cause(reason: str) -> Cause:
    return Cause(actor=caller().actor, source="app", reason=reason)
