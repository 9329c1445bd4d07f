"""One-line messages for errors of the database, Redis and the disk, so that commands need no traceback.

Messages of libraries are not repeated, since they may contain URLs with passwords.
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
    "The temporary folder is not usable, or its disk is full. Free some space, or set TMPDIR to another "
    "folder, then try again."
)
_BUSY: Final = "The database is busy. Try again in a minute."
# Messages for PostgreSQL's errors, the more specific classes first.
_OF_DATABASE: Final[Sequence[tuple[tuple[type[psycopg.Error], ...], str]]] = (
    (
        (sqlstates.UndefinedTable, sqlstates.UndefinedColumn, sqlstates.UndefinedFunction),
        "The database schema does not match this release. Run `seatsync migrate` first.",
    ),
    (
        (sqlstates.DiskFull,),
        "The database's disk is full. Free some space on the database server, then try again.",
    ),
    (
        (sqlstates.InsufficientPrivilege,),
        "The user in DATABASE_URL lacks a privilege. Grant it, or use the user that owns the tables.",
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
        "The database is unreachable or refuses the connection. Check PostgreSQL and DATABASE_URL.",
    ),
)


_OTHERS: Final[Sequence[tuple[type[Exception], str]]] = (
    (PoolTimeout, _BUSY),
    (RedisError, "Redis does not respond. Check that it runs, and REDIS_URL."),
    (sqlite3.OperationalError, _TEMPORARY),
    (UnicodeEncodeError, "An argument contains bytes that are not UTF-8 text. Pass it in UTF-8."),
)


def explain(error: Exception) -> str | None:
    """What is wrong and what to do. None for any other error, which is then a bug."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.Error):
        return _of_database(cause)
    if isinstance(cause, OSError):
        return _of_files(cause)
    return next((message for kind, message in _OTHERS if isinstance(cause, kind)), None)


def _of_database(error: psycopg.Error) -> str | None:
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return (
            "DATABASE_URL contains an option that PostgreSQL does not know. Correct the part after its `?`."
        )
    return next((message for kinds, message in _OF_DATABASE if isinstance(error, kinds)), None)


def _of_files(error: OSError) -> str | None:
    """The message for an error of a file. None for a broken pipe: the reader of the output has closed it."""
    if error.errno is None or error.errno == errno.EPIPE:
        return None
    where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else "the output"
    what = os.strerror(error.errno)
    if error.errno in _DISK_FULL:
        return f"Cannot write to {where}: {what}. Free some space, then try again."
    return f"Cannot use {where}: {what}."
