"""The dry run: what an import would do to each account. Reads each account once and locks none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from cli.member_import.importer import RowOutcome, RowResult, result_of
from cli.member_import.staging import Staged, Staging
from domain.errors import AccountNotFound
from domain.seat_limit import to_json
from runtime.wiring import Runtime
from services.ledger import claim_preview
from services.ledger.account_state import AccountState
from services.ledger.claim_preview import ClaimPreview, Effect
from services.ledger.claims import ClaimRequest

_OUTCOMES: Final = {
    Effect.NEW: RowOutcome.ADDED,
    Effect.CHANGED: RowOutcome.UPDATED,
    Effect.NOTHING: RowOutcome.UNCHANGED,
}


@dataclass(slots=True)
class AccountPreview:
    """What an import would do to one account.

    `first_added` are the first new members; `before` and `after` are the seats in use of each type.
    """

    account_id: str
    counts: Counter[str] = field(default_factory=Counter)
    first_added: list[Staged] = field(default_factory=list)
    before: str = ""
    after: str = ""


def preview(
    runtime: Runtime, staging: Staging, *, create_accounts: bool, names: int
) -> Iterator[AccountPreview]:
    """Preview the import account by account, with at most `names` new members each.

    Rejected rows are added to `staging`.
    """
    for account_id, rows in groupby(staging.all(), key=lambda staged: staged.row.account_id):
        found = AccountPreview(account_id)
        account = _read(runtime, account_id, create_accounts=create_accounts)
        found.before = "none" if account is None or account.is_new else _in_words(account.state)
        for staged in rows:
            _add(found, staged, _result(account, staged), names, staging.reject)
        found.after = "none" if account is None else _in_words(account.state)
        yield found


def _read(runtime: Runtime, account_id: str, *, create_accounts: bool) -> ClaimPreview | None:
    with runtime.sessions() as session:  # never committed: it only reads
        try:
            return claim_preview.read(session, account_id, runtime.catalog, create=create_accounts)
        except AccountNotFound:
            return None


def _result(account: ClaimPreview | None, staged: Staged) -> RowResult:
    def claim(request: ClaimRequest) -> RowOutcome:
        if account is None:
            raise AccountNotFound(staged.row.account_id)
        return _OUTCOMES[account.claim(request)]

    return result_of(staged.row, claim)


def _add(
    found: AccountPreview, staged: Staged, result: RowResult, names: int, reject: Callable[[int, str], None]
) -> None:
    found.counts[result.outcome.value] += 1
    if result.outcome is RowOutcome.REJECTED:
        reject(staged.line, result.reason)
    elif result.outcome is RowOutcome.ADDED and len(found.first_added) < names:
        found.first_added.append(staged)


def _in_words(account: AccountState) -> str:
    """`full 3/5` (used/purchased) for every seat type of the account; `none` if it has no seat types."""
    figures = (
        f"{name} {balance.used}/{to_json(balance.purchased)}"
        for name, balance in sorted(account.balances.items())
    )
    return ", ".join(figures) or "none"
