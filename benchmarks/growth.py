"""The same calls at 1,000 and at 100,000 accounts, in turns, in this process.

The larger database has 1,000,000 events, 2,000,000 audit rows and 1,000,000 members; one account of both has
20,000 members. What is measured is how much longer a call takes in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from itertools import count
from typing import Final

from flask.testing import FlaskClient
from sqlalchemy import text

from benchmarks.bodies import API_KEY
from benchmarks.fill import LARGEST, fill, schedule_verification
from benchmarks.pace import Pace
from benchmarks.report import Row, compare
from benchmarks.servers import Servers
from models import inbox, row_count
from models.audit import Cause
from runtime.wiring import Runtime
from services.ledger import claims
from services.ledger.claims import ClaimRequest
from services.reports import seats_document
from services.sync import reconcile
from webhook_app.app import create_app
from worker.housekeeping import housekeep
from worker.sweep import Sweep
from worker.wake_ups import WakeUps

BAR = 0.667
"""A call may take 1.5 times as long in the larger database."""

_SMALL: Final = 1_000
_LARGE: Final = 100_000
_LARGE_QUICK: Final = 3_000
_MEMBERS: Final = 20_000
_MEMBERS_QUICK: Final = 3_000

# A turn of one side repeats its call for about so long.
_TURN_SECONDS: Final = 0.05
_EVENTS_PER_SLICE: Final = 500
_CLAIMED_IN: Final = 100  # so many accounts of each database, spread over all of it
_CAUSE: Final = Cause(actor="key:benchmark", source="api", reason="claimed by the app")

Call = Callable[[], object]


def run(servers: Servers, pace: Pace) -> list[Row]:
    accounts, members = (_LARGE_QUICK, _MEMBERS_QUICK) if pace.size < 1 else (_LARGE, _MEMBERS)
    with ExitStack() as stack:
        small = stack.enter_context(_business(servers, "growth_small", _SMALL, members)).calls()
        large = stack.enter_context(_business(servers, "growth_large", accounts, members)).calls()
        heading = f"calls at {accounts:,} accounts, against {_SMALL:,}"
        return [
            Row(what=heading, ours=""),
            *(_compared(f"  {name}", large[name], small[name], pace) for name in small),
        ]


def _compared(what: str, large: Call, small: Call, pace: Pace) -> Row:
    for _ in range(2):  # plans, caches and compiled statements
        large(), small()
    began = time.perf_counter()
    small()
    repeats = max(1, round(_TURN_SECONDS / (time.perf_counter() - began)))
    return compare(what, lambda: _rate(large, repeats), lambda: _rate(small, repeats), pace=pace, bar=BAR)


def _rate(call: Call, repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    return repeats / (time.perf_counter() - began)


@contextmanager
def _business(servers: Servers, name: str, accounts: int, members: int) -> Iterator[_Business]:
    with servers.site(name) as site, site.runtime() as runtime:
        url = str(site.settings.database_url)
        fill(url, runtime.catalog, accounts=accounts, largest_members=members)
        schedule_verification(url)
        with runtime.sessions.begin() as session:  # as the sweeper and housekeeping do
            row_count.count_accounts(session)
            row_count.advance_deliveries(session)
        client = create_app(runtime, WakeUps(lambda _ids: None)).test_client()
        yield _Business(runtime, client, accounts)


@dataclass
class _Business:
    """A filled database, and the calls that are measured on it."""

    runtime: Runtime
    client: FlaskClient
    accounts: int
    _claimed: Iterator[int] = field(default_factory=count)

    def calls(self) -> Mapping[str, Call]:
        """The calls by name. Old events are deleted in between: the last call finds nothing to delete."""
        filters = ("", "?state=released", "?state=held", "?state=suspended", "?role=member")
        accounts = {"an account": "team-11", "the largest account": LARGEST}
        return {
            "sweep, nothing due": Sweep(
                self.runtime, lambda _due: None, lambda: None, lambda: None, lambda: None
            ).once,
            "`/readyz`": self._get("/readyz"),
            "`/metrics`": self._get("/metrics"),
            "seats from the database": self._read_seats,
            "claim": self._claim,
            **{
                f"members{query} of {name}": self._get(f"/v1/accounts/{account_id}/members{query}")
                for name, account_id in accounts.items()
                for query in filters
            },
            **{
                f"explanation of {name}": self._get(f"/v1/accounts/{account_id}/explain")
                for name, account_id in accounts.items()
            },
            "audit page": self._get("/v1/accounts/team-11/audit"),
            "accounts": self._get("/v1/accounts?limit=100&cursor=team-5"),
            "accounts?status=blocked (none)": self._get("/v1/accounts?status=blocked"),
            "drift": self._get("/v1/drift"),
            "notices": self._get("/v1/notices"),
            "notices?state=dead (none)": self._get("/v1/notices?state=dead"),
            "inbox": self._get("/v1/inbox"),
            "inbox?state=dead": self._get("/v1/inbox?state=dead"),
            "inbox?state=ignored": self._get("/v1/inbox?state=ignored"),
            "verification turn, nothing due": self._verify,
            f"deletion of {_EVENTS_PER_SLICE} old events": self._delete_events,
            "housekeeping, nothing old": self._housekeep,
        }

    def _get(self, path: str) -> Call:
        headers = {"Authorization": f"Bearer {API_KEY}"}

        def get() -> None:
            status = self.client.get(path, headers=headers).status_code
            assert status == HTTPStatus.OK, (path, status)

        return get

    def _read_seats(self) -> None:
        with self.runtime.sessions() as session:
            seats_document.read(session, "team-11", self.runtime.catalog, stale_after=timedelta(days=1))

    def _claim(self) -> None:
        number = next(self._claimed)
        account_id = f"team-{1 + number % _CLAIMED_IN * (self.accounts // _CLAIMED_IN)}"
        request = ClaimRequest(member_id=f"claimed-{number}", role="member")
        with self.runtime.transaction() as session:
            claims.claim(session, account_id, request, self.runtime.catalog, _CAUSE)

    def _verify(self) -> None:
        with self.runtime.sessions.begin() as session:
            session.execute(text("DELETE FROM ticks WHERE name = 'verify'"))
        reconcile.verify(self.runtime)

    def _delete_events(self) -> None:
        """Rolled back, so that the next turn finds the same events."""
        with self.runtime.sessions() as session:
            inbox.delete_old(session, timedelta(days=30), limit=_EVENTS_PER_SLICE)
            session.rollback()

    def _housekeep(self) -> None:
        housekeep(self.runtime)
