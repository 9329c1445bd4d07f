"""Imports a staged file batch by batch. Each batch and its progress are committed in one transaction."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from psycopg.errors import LockNotAvailable
from sqlalchemy import Engine
from sqlalchemy import text as sql
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.orm import Session

from cli.member_import.files import ImportRefused
from cli.member_import.rows import BadRow, MemberRow
from cli.member_import.staging import Staged, Staging, Watcher
from domain.catalog.model import Catalog
from domain.errors import AccountNotFound, NotFound, Refused, SeatSyncError, UnknownRole
from models import member_import
from models.audit import Cause
from models.database import dedicated_connection
from models.member_import import Import, ImportKind, Step
from runtime.wiring import Runtime
from services.ledger import accounts, claims
from services.ledger.claims import ClaimRequest
from services.ledger.locked_account import LockedAccount, lock_account

CAUSE: Final = Cause(actor="cli:import", source="import", reason="imported from a file")
_ATTEMPTS: Final = 5
_FIRST_PAUSE_SECONDS: Final = 0.2


class ImportStopped(SeatSyncError):
    """The import stopped early. Completed batches are kept, and the next run continues after them."""

    code = "import_stopped"


class RowOutcome(StrEnum):
    """The outcome of a row. `updated`: the member existed and something about them was changed."""

    ADDED = "added"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class RowResult:
    """The outcome of a row; for a rejected one with the reason."""

    outcome: RowOutcome
    reason: str = ""


def result_of(row: MemberRow, claim: Callable[[ClaimRequest], RowOutcome]) -> RowResult:
    """The result of claiming the seat for a row with `claim`. A refusal is a result, not an error."""
    try:
        return RowResult(claim(row.claim_request(datetime.now(UTC))))
    except BadRow as bad:
        return RowResult(RowOutcome.REJECTED, str(bad))
    except AccountNotFound:
        hint = "--create-accounts creates missing accounts"
        return RowResult(RowOutcome.REJECTED, f"there is no account {row.account_id!r}; {hint}")
    except (NotFound, Refused, UnknownRole) as refusal:
        return RowResult(RowOutcome.REJECTED, refusal.message)


class RowImporter:
    """Imports rows, sorted by account, in the caller's transaction. `save` must be called after the last row.

    With `savepoints`, a row whose values the database refuses is rejected. Without, which is faster, such a
    row raises `DataError` and the transaction has to be rolled back.
    """

    def __init__(
        self, session: Session, catalog: Catalog, *, create_accounts: bool, savepoints: bool
    ) -> None:
        self._session = session
        self._catalog = catalog
        self._create_accounts = create_accounts
        self._savepoints = savepoints
        self._account_id = ""
        self._account: LockedAccount | None = None

    def import_row(self, row: MemberRow) -> RowResult:
        """Claim the member's seat. If the claim is refused, nothing is written for the row."""
        if self._account_id != row.account_id:
            self.save()
            self._account_id = row.account_id
            if self._create_accounts:
                accounts.open_account(self._session, row.account_id, self._catalog, CAUSE)
        if not self._savepoints:
            return self._claim(row)
        try:
            with self._session.begin_nested():
                result = self._claim(row)
                self.save()
                return result
        except DataError as error:
            self._account = None
            return RowResult(
                RowOutcome.REJECTED, f"the database refuses its values: {type(error.orig).__name__}"
            )

    def save(self) -> None:
        """Write the changes of the current account."""
        if self._account is not None:
            self._account.save()
        self._account = None

    def _claim(self, row: MemberRow) -> RowResult:
        def claim(request: ClaimRequest) -> RowOutcome:
            account = self._account = self._account or lock_account(self._session, row.account_id)
            entries_before = account.entry_count
            if claims.claim_locked(account, request, self._catalog, CAUSE).is_new:
                return RowOutcome.ADDED
            return RowOutcome.UNCHANGED if account.entry_count == entries_before else RowOutcome.UPDATED

        return result_of(row, claim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    """Imports one staged file. The caller holds its `exclusive_lock`."""

    runtime: Runtime
    staging: Staging
    run: Import
    batch: int
    create_accounts: bool

    def import_all(self, watch: Watcher) -> Import:
        """Import the remaining rows and return the run with its final counts.

        Raises `ImportStopped` on Ctrl-C and if the database stays unavailable.
        """
        run = self.run
        try:
            while page := self.staging.after(run.place, self.batch):
                run = self._import_with_retries(run, page)
                watch(run.bytes_done)
        except KeyboardInterrupt:
            raise _stopped("Interrupted.", run) from None
        return run

    def _import_with_retries(self, run: Import, page: Sequence[Staged]) -> Import:
        """Import one batch. It is repeated if another transaction holds an account lock for too long."""
        for attempt in range(_ATTEMPTS):
            try:
                return self._import_with_fallback(run, page)
            except OperationalError as error:
                last = error
                time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
        raise _stopped(f"The next rows could not be written: {type(last.orig).__name__}.", run)

    def _import_with_fallback(self, run: Import, page: Sequence[Staged]) -> Import:
        """Import one batch; if the database refuses the values of a row, again with savepoints."""
        try:
            return self._import_batch(run, page, savepoints=False)
        except DataError:
            return self._import_batch(run, page, savepoints=True)

    def _import_batch(self, run: Import, page: Sequence[Staged], *, savepoints: bool) -> Import:
        counts = Counter[str](run.counts)
        rejected: list[tuple[int, str]] = []
        with self.runtime.transaction() as session:
            rows = RowImporter(
                session,
                self.runtime.catalog,
                create_accounts=self.create_accounts,
                savepoints=savepoints,
            )
            for staged in page:
                result = rows.import_row(staged.row)
                counts[result.outcome.value] += 1
                if result.outcome is RowOutcome.REJECTED:
                    rejected.append((staged.line, result.reason))
            rows.save()
            size = sum(staged.size for staged in page)
            member_import.advance(session, run, Step(page[-1].place, len(page), size, counts, rejected))
            return member_import.current(session, run)


def _stopped(reason: str, run: Import) -> ImportStopped:
    return ImportStopped(
        f"{reason} {run.rows_done} rows are imported. Run the same command again to continue."
    )


def begin_or_resume(runtime: Runtime, file_digest: str) -> Import:
    """The unfinished import of this file, or a new one."""
    with runtime.transaction() as session:
        return member_import.begin(session, ImportKind.MEMBERS, file_digest)


def collect_rejects(runtime: Runtime, staging: Staging, run: Import) -> None:
    """Add the rows whose claims were refused to the unreadable ones in `staging`."""
    with runtime.sessions() as session:
        for line, reason in member_import.rejects(session, run):
            staging.reject(line, reason)


def finish(runtime: Runtime, run: Import) -> None:
    """Mark the import as finished: importing the file once more is a new import."""
    with runtime.transaction() as session:
        member_import.finish(session, run)


@contextmanager
def exclusive_lock(engine: Engine, file_digest: str) -> Iterator[None]:
    """Lock the file, so that one process at a time imports it. The lock ends with its connection, so also if
    the process is killed. Raises `ImportRefused` if another process holds it.
    """
    key = int.from_bytes(hashlib.sha256(f"import {file_digest}".encode()).digest()[:8], signed=True)
    with dedicated_connection(engine) as connection:
        # The connection of an import that was just killed may take a moment to end.
        connection.execute(sql("SET lock_timeout = '2s'"))
        try:
            connection.execute(sql("SELECT pg_advisory_lock(:key)"), {"key": key})
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable):
                raise
            raise ImportRefused(
                "This file is being imported by another process. Wait until that import has ended."
            ) from None
        yield
