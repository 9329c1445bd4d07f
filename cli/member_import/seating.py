"""Seating what a file holds: batch after batch, each with its progress in one transaction."""

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

CAUSE: Final = Cause(actor="cli:import", source="import", reason="a member of an imported file")
_TRIES: Final = 5
_FIRST_PAUSE: Final = 0.2


class ImportStopped(SeatSyncError):
    """The import could not go on; what it did is kept, and it goes on from there when started again."""

    code = "import_stopped"


class RowOutcome(StrEnum):
    """What became of a row. `updated` sat there before, and something about them was written."""

    ADDED = "added"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Result:
    outcome: RowOutcome
    reason: str = ""


def result_of(row: MemberRow, claim: Callable[[ClaimRequest], RowOutcome]) -> Result:
    """What becomes of the row by the claim; a refusal is a result."""
    try:
        return Result(claim(row.wish(datetime.now(UTC))))
    except BadRow as bad:
        return Result(RowOutcome.REJECTED, str(bad))
    except AccountNotFound:
        hint = "--create-accounts opens accounts that are missing"
        return Result(RowOutcome.REJECTED, f"there is no account {row.account_id!r}; {hint}")
    except (NotFound, Refused, UnknownRole) as refusal:
        return Result(RowOutcome.REJECTED, refusal.message)


class Seater:
    """Seats rows in one transaction of the caller's, account by account; `save` writes the last account.

    With `savepoints` a row whose values the database does not take is a refused one; without, which is
    quicker, it raises `DataError` and the transaction is lost.
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

    def seat(self, row: MemberRow) -> Result:
        """Claim the member's seat; a refusal is a result, and nothing of the row is written then."""
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
            return Result(RowOutcome.REJECTED, f"the database does not take it: {type(error.orig).__name__}")

    def save(self) -> None:
        """Write what was done to the account whose rows came last."""
        if self._account is not None:
            self._account.save()
        self._account = None

    def _claim(self, row: MemberRow) -> Result:
        def claim(wish: ClaimRequest) -> RowOutcome:
            account = self._account = self._account or lock_account(self._session, row.account_id)
            entries_before = account.entry_count
            if claims.claim_locked(account, wish, self._catalog, CAUSE).is_new:
                return RowOutcome.ADDED
            return RowOutcome.UNCHANGED if account.entry_count == entries_before else RowOutcome.UPDATED

        return result_of(row, claim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    """An import of a staged file that nobody else carries out at the same time."""

    runtime: Runtime
    stage: Staging
    run: Import
    batch: int
    create_accounts: bool

    def seat_all(self, watch: Watcher) -> Import:
        """Seat what is not seated yet; returns the import with its newest counts."""
        run = self.run
        try:
            while page := self.stage.after(run.place, self.batch):
                run = self._tried(run, page)
                watch(run.bytes_done)
        except KeyboardInterrupt:
            raise _stopped("Stopped.", run) from None
        return run

    def _tried(self, run: Import, page: Sequence[Staged]) -> Import:
        """One batch. Somebody may hold an account for longer than we wait: then all of it once more."""
        for attempt in range(_TRIES):
            try:
                return self._seat_carefully(run, page)
            except OperationalError as error:
                last = error
                time.sleep(_FIRST_PAUSE * 2**attempt)
        raise _stopped(f"The database did not take the next rows: {type(last.orig).__name__}.", run)

    def _seat_carefully(self, run: Import, page: Sequence[Staged]) -> Import:
        """One batch; with a savepoint for every row where the database does not take one of them."""
        try:
            return self._seat(run, page, savepoints=False)
        except DataError:
            return self._seat(run, page, savepoints=True)

    def _seat(self, run: Import, page: Sequence[Staged], *, savepoints: bool) -> Import:
        counts = Counter[str](run.counts)
        refused: list[tuple[int, str]] = []
        with self.runtime.transaction() as session:
            seater = Seater(
                session,
                self.runtime.catalog,
                create_accounts=self.create_accounts,
                savepoints=savepoints,
            )
            for staged in page:
                result = seater.seat(staged.row)
                counts[result.outcome.value] += 1
                if result.outcome is RowOutcome.REJECTED:
                    refused.append((staged.line, result.reason))
            seater.save()
            size = sum(staged.size for staged in page)
            member_import.advance(session, run, Step(page[-1].place, len(page), size, counts, refused))
            return member_import.current(session, run)


def _stopped(why: str, run: Import) -> ImportStopped:
    done = f"{run.rows_done} rows are done and kept; start the same import again to go on."
    return ImportStopped(f"{why} {done}")


def open_import(runtime: Runtime, file_digest: str) -> Import:
    """The file's import under way, else a new one."""
    with runtime.transaction() as session:
        return member_import.begin(session, ImportKind.MEMBERS, file_digest)


def note_rejects(runtime: Runtime, stage: Staging, run: Import) -> None:
    """Put the rows that were refused at their seats beside those that could not be read."""
    with runtime.sessions() as session:
        for line, reason in member_import.rejects(session, run):
            stage.reject(line, reason)


def close_import(runtime: Runtime, run: Import) -> None:
    """The file is done: importing it once more is a new import."""
    with runtime.transaction() as session:
        member_import.finish(session, run)


@contextmanager
def alone(engine: Engine, file_digest: str) -> Iterator[None]:
    """One process at a time imports a file; the lock goes with its connection, and so with the process."""
    key = int.from_bytes(hashlib.sha256(f"import {file_digest}".encode()).digest()[:8], signed=True)
    with dedicated_connection(engine) as connection:
        # An import that was just killed may take a moment to be gone.
        connection.execute(sql("SET lock_timeout = '2s'"))
        try:
            connection.execute(sql("SELECT pg_advisory_lock(:key)"), {"key": key})
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable):
                raise
            raise ImportRefused("This file is being imported by another process already.") from None
        yield
