"""Sixteen callers that claim seats: two processes of eight threads, like the web processes.

The same threads run both sides, so that the GIL, the number of connections and the two cores affect both
equally. The service's side claims through `services.ledger.claims`. The bare side sends the statements that
were recorded from it, with the same parameters in the same transactions, over its own psycopg connections.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection as Pipe
from typing import Any, Self

import psycopg
from sqlalchemy import event

from domain.catalog.model import Catalog
from domain.catalog.reader import parse
from models.audit import Cause
from models.database import Sessions, connect, session_factory
from services.ledger import claims as ledger_claims
from services.ledger.claims import ClaimRequest

PROCESSES, THREADS = 2, 8
CALLERS = PROCESSES * THREADS

Claim = tuple[str, str]
"""The ids of an account and of the member to claim a seat for."""
Sent = list[tuple[str, dict[str, object]]]
"""The statements of one transaction, each with its parameters."""

_CAUSE = Cause(actor="key:benchmark", source="app", reason="claim")
_SPAWN = multiprocessing.get_context("spawn")


class Side(StrEnum):
    OURS = "ours"
    BARE = "bare"


def claim(sessions: Sessions, catalog: Catalog, wanted: Claim) -> None:
    """Make one claim in its own transaction, like the API."""
    account_id, member_id = wanted
    with sessions.begin() as session:
        request = ClaimRequest(member_id=member_id, role="member")
        ledger_claims.claim(session, account_id, request, catalog, _CAUSE)


def record(database_url: str, catalog: Catalog, claims: Sequence[Claim]) -> list[Sent]:
    """Make the claims once; return the statements that reached the driver, per transaction."""
    transactions: list[Sent] = []
    engine = connect(database_url, pool_size=1)

    class RecordingCursor(psycopg.Cursor[tuple[Any, ...]]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
            if transactions:
                transactions[-1].append((query, params))
            return super().execute(query, params, **options)

    @event.listens_for(engine, "connect")
    def _record_cursors(connection: psycopg.Connection, _record: object) -> None:
        connection.cursor_factory = RecordingCursor

    sessions = session_factory(engine)
    for wanted in claims:
        transactions.append([])
        claim(sessions, catalog, wanted)
    engine.dispose()
    return transactions


def send(connection: psycopg.Connection, transaction: Sent) -> None:
    """Run the transaction's statements over the bare driver and fetch their results."""
    for statement, parameters in transaction:
        cursor = connection.execute(statement, parameters)
        if cursor.description is not None:
            cursor.fetchall()
    connection.commit()


@dataclass(frozen=True, slots=True)
class Crowd:
    """The callers' processes, ready to start a round."""

    pipes: Sequence[Pipe]
    claims: int

    def rate(self, side: Side) -> float:
        """Run one round with all callers at once; return the claims per second.

        Raises RuntimeError if a caller failed.
        """
        began = time.perf_counter()
        for pipe in self.pipes:
            pipe.send(side)
        for pipe in self.pipes:
            if (failure := pipe.recv()) is not None:
                raise RuntimeError(failure)
        return self.claims / (time.perf_counter() - began)


@contextmanager
def crowd(
    database_url: str, catalog_text: str, claims: Sequence[Sequence[Claim]], sent: Sequence[Sequence[Sent]]
) -> Iterator[Crowd]:
    """Start the callers, each with its own claims; they end with the block."""
    with ExitStack() as stack:
        pipes = []
        for n in range(PROCESSES):
            here, there = _SPAWN.Pipe()
            own = slice(n * THREADS, (n + 1) * THREADS)
            process = _SPAWN.Process(
                target=_caller_process,
                args=[there, database_url, catalog_text, claims[own], sent[own]],
                daemon=True,
            )
            process.start()
            there.close()
            stack.callback(process.join)
            stack.callback(here.close)
            pipes.append(here)
        for pipe in pipes:
            pipe.recv()
        yield Crowd(pipes, sum(map(len, claims)))


def _caller_process(
    pipe: Pipe,
    database_url: str,
    catalog_text: str,
    claims: Sequence[Sequence[Claim]],
    sent: Sequence[Sequence[Sent]],
) -> None:
    threads = len(claims)
    engine = connect(database_url, pool_size=threads)
    sessions, catalog = session_factory(engine), parse(catalog_text, "benchmarks")
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    bare = [psycopg.connect(url) for _ in range(threads)]

    def ours(n: int) -> None:
        for wanted in claims[n]:
            claim(sessions, catalog, wanted)

    def replay(n: int) -> None:
        for transaction in sent[n]:
            send(bare[n], transaction)

    sides: dict[Side, Callable[[int], None]] = {Side.OURS: ours, Side.BARE: replay}
    with ThreadPoolExecutor(threads) as pool:
        pipe.send(None)
        while True:
            try:
                side = pipe.recv()
            except (EOFError, OSError):
                break
            try:
                list(pool.map(sides[side], range(threads)))
            except Exception as error:  # noqa: BLE001  reported to the measuring process
                pipe.send(repr(error))
            else:
                pipe.send(None)
    for connection in bare:
        connection.close()
    engine.dispose()
