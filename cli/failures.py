"""Errors from outside in one line for the command line: database, Redis, disk. Nobody needs their traceback.

Messages of other libraries are not repeated: they may hold addresses and passwords.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import errors as sqlstates
from redis import RedisError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_DISK_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TEMPORARY: Final = (
    "The temporary folder cannot be used, or its disk is full. Free space there, or set TMPDIR to another "
    "folder, then try again."
)
_BUSY: Final = "The database is busy. Try again in a minute."
# What PostgreSQL says, the narrower errors first.
_OF_DATABASE: Final[Sequence[tuple[tuple[type[psycopg.Error], ...], str]]] = (
    (
        (sqlstates.UndefinedTable, sqlstates.UndefinedColumn, sqlstates.UndefinedFunction),
        "The database is not migrated, or not to this release's schema. Run `seatsync migrate` first.",
    ),
    (
        (sqlstates.DiskFull,),
        "The database's disk is full. Free space on the database's machine, then try again.",
    ),
    (
        (sqlstates.InsufficientPrivilege,),
        "The user in DATABASE_URL lacks a right. Grant it, or use the user that owns the tables.",
    ),
    (
        (sqlstates.ReadOnlySqlTransaction,),
        "The database is read-only. Set DATABASE_URL to the primary server, not to a replica.",
    ),
    (
        (
            sqlstates.LockNotAvailable,
            sqlstates.QueryCanceled,
            sqlstates.DeadlockDetected,
            sqlstates.TooManyConnections,
        ),
        _BUSY,
    ),
    (
        (psycopg.OperationalError, psycopg.InterfaceError),
        "The database is away, or refuses the connection: see that PostgreSQL runs, and DATABASE_URL.",
    ),
)


_OTHERS: Final[Sequence[tuple[type[Exception], str]]] = (
    (PoolTimeout, _BUSY),
    (RedisError, "Redis does not answer. Check that it runs, and REDIS_URL."),
    (sqlite3.OperationalError, _TEMPORARY),
    (UnicodeEncodeError, "An argument holds bytes that are no text in UTF-8."),
)


def explain(error: Exception) -> str | None:
    """What is wrong and what to do. None if the error is none of these, and so a fault of this program."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.Error):
        return _of_database(cause)
    if isinstance(cause, OSError):
        return _of_files(cause)
    return next((message for kind, message in _OTHERS if isinstance(cause, kind)), None)


def _of_database(error: psycopg.Error) -> str | None:
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return "DATABASE_URL holds an option that PostgreSQL does not know. Correct what follows its `?`."
    return next((message for kinds, message in _OF_DATABASE if isinstance(error, kinds)), None)


def _of_files(error: OSError) -> str | None:
    """A broken pipe is no fault: the reader of the output has closed it."""
    if error.errno is None or error.errno == errno.EPIPE:
        return None
    where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else "the output"
    what = os.strerror(error.errno)
    if error.errno in _DISK_FULL:
        return f"Cannot write to {where}: {what}. Free some space, then try again."
    return f"Cannot use {where}: {what}."
