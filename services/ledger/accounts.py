"""Accounts: open and delete accounts, set their rules, and evaluate what they may use."""

from __future__ import annotations

from sqlalchemy.orm import Session

from domain.catalog.model import Catalog
from domain.errors import AccountNotEmpty
from domain.seat_rules import AccountRules
from models import account as account_rows
from models import assignment
from models.account_rules import Override
from models.audit import Cause
from models.subscription import of_account
from services.ledger import pending_claims, role_moves
from services.ledger.deadlines import apply_deadlines, request_sync_after_deadline
from services.ledger.entitlements import evaluate, rules_of
from services.ledger.evaluation_inputs import Inputs, load
from services.ledger.locked_account import NOBODY, LockedAccount, Subject, changing, lock_account


def open_account(session: Session, account_id: str, catalog: Catalog, cause: Cause) -> bool:
    """Create the account with its free or contract seats; False if it exists already."""
    is_new = account_rows.insert_if_absent(session, account_id, catalog.defaults)
    if is_new:
        with changing(session, account_id) as account:
            evaluate_or_defer(account, inputs_of(account, catalog), catalog, cause)
    return is_new


def delete_account(session: Session, account_id: str, catalog: Catalog, cause: Cause) -> None:
    """Delete an account without subscriptions, members and contracts. Its audit rows are kept.

    Raises `AccountNotFound`, and `AccountNotEmpty` with what the account still has.
    """
    with changing(session, account_id) as account:
        left = [
            what
            for what, is_there in {
                "subscriptions": bool(of_account(session, account_id)),
                "members": assignment.has_members(session, account_id),
                "contracts": bool(catalog.contracts_of(account_id)),
            }.items()
            if is_there
        ]
        if left:
            raise AccountNotEmpty(
                f"Account {account_id!r} still has {' and '.join(left)}. Only an empty account can be "
                "deleted: release its members and unlink its subscriptions first.",
                details={"account_id": account_id, "has": left},
            )
        account.override = None
        account.record(cause, Subject(before={"deleted": False}, after={"deleted": True}))
    account_rows.mark_deleted(session, account_id)


def reevaluate(session: Session, account_id: str, catalog: Catalog, cause: Cause) -> bool:
    """Lock, evaluate and save the account, see `reevaluate_locked`. Returns whether it changed."""
    account = lock_account(session, account_id)
    reevaluate_locked(account, catalog, cause)
    return account.save()


def reevaluate_locked(account: LockedAccount, catalog: Catalog, cause: Cause) -> None:
    """Evaluate the account because time passed or the catalogue changed. Does nothing if a newer generation
    has taken over.

    A passed payment deadline only requests a sync; the result of the sync decides.
    """
    inputs = inputs_of(account, catalog)
    if inputs.may_evaluate:
        _evaluate(account, inputs, catalog, cause, NOBODY)


def set_policy(
    session: Session, account_id: str, override: Override, catalog: Catalog, cause: Cause
) -> AccountRules:
    """Replace the app's own rules for the account; an empty override removes them. Returns the rules that
    apply now. Raises `AccountNotFound`.
    """
    with changing(session, account_id) as account:
        before, account.override = account.override, override.to_json()
        if account.override != before:
            account.restart_clocks()
        subject = Subject(before={"override": before}, after={"override": account.override})
        evaluate_or_defer(account, inputs_of(account, catalog), catalog, cause, subject)
    return rules_of(session, account_id, account.override, catalog)


def inputs_of(account: LockedAccount, catalog: Catalog) -> Inputs:
    """Load what an evaluation of the locked account reads."""
    (inputs,) = load(account.session, [account.account_id], catalog)
    return inputs


def evaluate_or_defer(
    account: LockedAccount, inputs: Inputs, catalog: Catalog, cause: Cause, subject: Subject = NOBODY
) -> None:
    """Evaluate the account, or, if a newer generation has taken over, mark it as due for that generation."""
    if inputs.may_evaluate:
        _evaluate(account, inputs, catalog, cause, subject)
    else:
        account.evaluate_by(account.now)
        account.record(cause, subject)


def _evaluate(
    account: LockedAccount, inputs: Inputs, catalog: Catalog, cause: Cause, subject: Subject
) -> None:
    """Evaluate the account, record it, resolve pending claims, and apply passed deadlines.

    If the catalogue changed, members whose roles mean another seat type now are moved first.
    """
    has_pending_claims = any(balance.waiting for balance in account.balances.values())
    if account.catalog_digest != catalog.digest:
        role_moves.move_all(account, catalog, cause)
    rules = evaluate(account.session, account, inputs, catalog)
    request_sync_after_deadline(account, inputs, catalog)
    account.record(cause, subject)
    if account.unverified:
        return
    if has_pending_claims:
        pending_claims.resolve(account)
        account.compute_status()
    apply_deadlines(account, inputs, rules, catalog)
