"""Claims per second, 16 callers on many accounts, compared with the same SQL sent by a bare psycopg loop."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from sqlalchemy import Engine, text

from benchmarks import bodies, load
from benchmarks.bodies import CATALOG
from benchmarks.callers import CALLERS, Claim, Side, crowd, record
from benchmarks.pace import Pace
from benchmarks.report import Row, client_row, compare
from benchmarks.servers import Servers, Site
from models.audit import Cause
from services.ledger import accounts

BAR = 0.6
_ACCOUNTS_EACH = 25
_CLAIMS_EACH = 100
_ROUNDS = 11
_HTTP_CLAIMS_PER_SECOND = 2_000


def run(servers: Servers, pace: Pace) -> list[Row]:
    with servers.site("claim") as site, site.runtime() as runtime:
        claims = [_claims_of(caller, round(_CLAIMS_EACH * pace.size)) for caller in range(CALLERS)]
        _open_accounts(site, claims)
        _copy_accounts(runtime.engine)
        url = str(site.settings.database_url)
        sent = [record(url, runtime.catalog, own) for own in claims]
        _reset(runtime.engine)
        with crowd(url, CATALOG, claims, sent) as callers:

            def claimed(side: Side) -> float:
                try:
                    return callers.rate(side)
                finally:
                    _reset(runtime.engine)

            for side in Side:
                claimed(side)
            row = compare(
                f"claims, {CALLERS} callers",
                lambda: claimed(Side.OURS),
                lambda: claimed(Side.BARE),
                pace=pace.at_most(_ROUNDS),
                bar=BAR,
            )
        return [row, *_over_http(site, pace, claims)]


def _claims_of(caller: int, number: int) -> list[Claim]:
    """The claims of one caller. Each caller has its own accounts, so a replay meets the same rows."""
    return [(f"acct-{caller}-{n % _ACCOUNTS_EACH}", f"member-{n}") for n in range(number)]


def _open_accounts(site: Site, claims: Sequence[Sequence[Claim]]) -> None:
    cause = Cause(actor="key:benchmark", source="app", reason="created by the app")
    with site.runtime() as runtime, runtime.sessions.begin() as session:
        for account_id in dict.fromkeys(account_id for own in claims for account_id, _ in own):
            accounts.open_account(session, account_id, runtime.catalog, cause)


def _copy_accounts(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE accounts_before AS SELECT * FROM accounts"))


def _reset(engine: Engine) -> None:
    """Restore the accounts as they were before any claim."""
    with engine.begin() as connection:
        # Replica mode disables the trigger that protects the audit from deletion.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("TRUNCATE assignments, audit, accounts CASCADE"))
        connection.execute(text("INSERT INTO accounts SELECT * FROM accounts_before"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE accounts, assignments, audit"))


def _over_http(site: Site, pace: Pace, claims: Sequence[Sequence[Claim]]) -> list[Row]:
    """The same claims through the web processes. For information only: there is no bar for it."""
    accounts = list(dict.fromkeys(account_id for own in claims for account_id, _ in own))
    wanted = round(_HTTP_CLAIMS_PER_SECOND * (pace.seconds + pace.warm_up))
    requests = [bodies.claim(accounts[n % len(accounts)], f"web-member-{n}") for n in range(wanted)]
    first = round(_HTTP_CLAIMS_PER_SECOND * pace.warm_up)
    with site.web() as port:
        load.drive(port, requests[:first], seconds=pace.warm_up, expected=HTTPStatus.CREATED)
        result = load.drive(port, requests[first:], seconds=pace.seconds, expected=HTTPStatus.CREATED)
    return [Row(what="  the same over HTTP", ours=f"{result.rate:,.0f}/s"), client_row([result.busy])]
