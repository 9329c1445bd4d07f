"""PgBouncer in transaction mode before the database: the service works, and no time limit or lock is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.errors import LockNotAvailable, QueryCanceled
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from cli.doctor import database as doctor
from cli.main import cli
from cli.member_import.files import ImportRefused
from cli.member_import.importer import exclusive_lock
from domain.errors import PoolerMisused
from models.database import SERVER_SETTINGS, connect
from runtime.wiring import Runtime
from tests.factories import CATALOG_TEXT
from tests.pgbouncer import POOL_SIZE, PgBouncer, needs_pgbouncer
from tests.receiver import Receiver
from tests.servers import Databases, RedisDatabases
from tests.stack import Stack, all_equal
from tests.waiting import wait_until

CALLERS = 16

pytestmark = [needs_pgbouncer, pytest.mark.long(seconds=30)]


@pytest.fixture(scope="module")
def direct_url(postgres: Databases) -> str:
    """A database without a schema, whose user has the settings that the service needs."""
    url = postgres.create_database("pooled")
    alter_user(url, SERVER_SETTINGS)
    return url


@pytest.fixture(scope="module")
def pooler(direct_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBouncer]:
    with PgBouncer(tmp_path_factory.mktemp("pgbouncer"), direct_url) as pooler:
        yield pooler


@pytest.fixture(scope="module")
def stack(
    pooler: PgBouncer,
    direct_url: str,
    redis_databases: RedisDatabases,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """All processes, which share the pooler's few connections. Their start migrates the database."""
    folder = tmp_path_factory.mktemp("behind-pgbouncer")
    catalog = folder / "catalog.toml"
    catalog.write_text(CATALOG_TEXT, encoding="utf-8")
    with Stack(
        folder,
        database_url=pooler.url(direct_url),
        redis_url=redis_databases.empty_database(1),
        catalog=catalog,
        DATABASE_DIRECT_URL=direct_url,
        SEATSYNC_NOTICES_ALLOW_PRIVATE="true",
    ) as stack:
        stack.start()
        yield stack


@pytest.fixture
def engine(pooler: PgBouncer, direct_url: str) -> Iterator[Engine]:
    engine = connect(pooler.url(direct_url), is_pooled=True)
    yield engine
    engine.dispose()


def alter_user(database_url: str, settings: dict[str, str]) -> None:
    """Give the user these settings in this database, which leaves other tests alone."""
    with psycopg.connect(driver_url(database_url), autocommit=True) as connection:
        one = f"ALTER ROLE {connection.info.user} IN DATABASE {connection.info.dbname}"
        for name, value in settings.items():
            connection.execute(f"{one} SET {name} = '{value}'")


def driver_url(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def run(stack: Stack, *arguments: object, **environment: str | None) -> Result:
    """The result of a command in this process, with these variables changed or, if None, removed."""
    runner = CliRunner(env={**stack.environment, **environment})
    return runner.invoke(cli, list(map(str, arguments)))


# The service behind a pooler.


def test_deliveries_are_taken_and_synced(stack: Stack):
    wanted = {f"account-{number}": 5 + number % 7 for number in range(30)}
    for account_id, seats in wanted.items():
        stack.subscribe(account_id, seats=seats - 5)
    wait_until(all_equal(stack, wanted), "every account is right", stack.log)


def test_many_callers_at_once_get_the_seats_that_there_are(stack: Stack):
    stack.subscribe("crowded")
    wait_until(lambda: stack.purchased("crowded") == 5, "the purchase is seen", stack.log)

    def claim(number: int) -> int:
        claimed = {"member_id": f"member-{number}", "role": "member"}
        return stack.http.post(
            f"{stack.url}/v1/accounts/crowded/claims", json=claimed, timeout=30
        ).status_code

    with ThreadPoolExecutor(CALLERS) as callers:
        statuses = Counter(callers.map(claim, range(CALLERS * 2)))
    assert statuses == {201: 5, 409: CALLERS * 2 - 5}


def test_notices_arrive(stack: Stack):
    with Receiver() as app:
        endpoint = {"url": app.url, "types": ["seat.count_changed"]}
        stack.http.post(f"{stack.url}/v1/notice-endpoints", json=endpoint, timeout=10).raise_for_status()
        subscription_id = stack.subscribe("with an endpoint")
        wait_until(lambda: stack.purchased("with an endpoint") == 5, "the purchase is seen", stack.log)
        stack.buy(subscription_id, 4)
        wait_until(lambda: app.arrived, "the notice comes", stack.log)


def test_members_can_be_imported(stack: Stack, tmp_path: Path):
    stack.subscribe("imported", seats=20)
    wait_until(lambda: stack.purchased("imported") == 25, "the purchase is seen", stack.log)
    file = tmp_path / "members.csv"
    rows = [f"imported,member-{number},member" for number in range(20)]
    file.write_text("\n".join(["account_id,member_id,role", *rows]), encoding="utf-8")
    assert run(stack, "import", "members", file).exit_code == 0
    assert stack.seats("imported")["seats"]["full"]["used"] == 20


def test_migrating_once_more_changes_nothing(stack: Stack):
    assert run(stack, "migrate").stdout == "The database is up to date.\n"


def test_the_service_leaves_nothing_on_the_pooler_s_connections(stack: Stack, engine: Engine):
    assert stack.purchased("crowded") is not None
    with ExitStack() as opened:
        connections = [opened.enter_context(engine.connect()) for _ in range(POOL_SIZE)]
        pids = {connection.scalar(text("SELECT pg_backend_pid()")) for connection in connections}
        settings = [settings_of(connection) for connection in connections]
        held = connections[0].scalars(
            text("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND pid = ANY(:pids)"),
            {"pids": list(pids)},
        )
        assert (len(pids), settings, held.all()) == (POOL_SIZE, [SERVER_SETTINGS] * POOL_SIZE, [])


def settings_of(connection) -> dict[str, str]:
    return {name: connection.scalar(text(f"SHOW {name}")) for name in SERVER_SETTINGS}


# What a pooler would lose.


def test_a_statement_repeated_on_changing_connections_is_not_prepared_on_one(engine: Engine):
    def ask(_number: int) -> object:
        with engine.connect() as connection:
            return [connection.scalar(text("SELECT 7 + :n"), {"n": 1}) for _ in range(10)]

    with ThreadPoolExecutor(POOL_SIZE) as callers:
        assert list(callers.map(ask, range(20))) == [[8] * 10] * 20


@pytest.fixture
def quick_limits(postgres: Databases) -> str:
    """A database whose user has time limits that a test can wait for, shorter than those that are needed."""
    limits = {**SERVER_SETTINGS, "lock_timeout": "100ms", "statement_timeout": "300ms"}
    url = postgres.create_database("quick")
    alter_user(url, limits)
    return url


def test_nobody_waits_for_a_lock_longer_than_its_time_limit(pooler: PgBouncer, quick_limits: str):
    engine = connect(pooler.url(quick_limits), is_pooled=True)
    with engine.begin() as one, engine.begin() as another:
        one.execute(text("CREATE TABLE held ()"))
        with pytest.raises(OperationalError) as failed:
            another.execute(text("CREATE TABLE held ()"))
    assert isinstance(failed.value.orig, LockNotAvailable)
    engine.dispose()


def test_no_statement_takes_longer_than_its_time_limit(pooler: PgBouncer, quick_limits: str):
    engine = connect(pooler.url(quick_limits), is_pooled=True)
    with engine.begin() as connection, pytest.raises(OperationalError) as failed:
        connection.execute(text("SELECT pg_sleep(60)"))
    assert isinstance(failed.value.orig, QueryCanceled)
    engine.dispose()


def test_a_file_is_imported_by_one_process_at_a_time(direct_url: str):
    engines = [connect(direct_url) for _ in range(2)]
    with exclusive_lock(engines[0], "digest"), pytest.raises(ImportRefused):
        exclusive_lock(engines[1], "digest").__enter__()
    for engine in engines:
        engine.dispose()


# What is refused, and how to put it right.


@pytest.mark.parametrize("ignored", ["", "options"], ids=["which refuses", "which ignores"])
def test_a_pooler_is_not_taken_for_a_server(ignored: str, direct_url: str, tmp_path: Path):
    with PgBouncer(tmp_path / "pgbouncer", direct_url, ignored=ignored) as pooler:
        engine = connect(pooler.url(direct_url))
        with pytest.raises(PoolerMisused, match="DATABASE_DIRECT_URL"):
            engine.connect()


def test_a_pooler_without_the_direct_address_is_refused_in_one_line(stack: Stack):
    done = run(stack, "keys", "list", DATABASE_DIRECT_URL=None)
    assert (done.exit_code, done.stderr.count("\n"), "DATABASE_DIRECT_URL" in done.stderr) == (2, 1, True)


def test_a_direct_address_that_leads_to_the_pooler_is_refused(stack: Stack):
    done = run(stack, "migrate", DATABASE_DIRECT_URL=stack.environment["DATABASE_URL"])
    assert (done.exit_code, "DATABASE_DIRECT_URL" in done.stderr) == (2, True)


def test_the_doctor_finds_a_direct_address_that_leads_to_the_pooler(
    runtime: Runtime, pooler: PgBouncer, direct_url: str
):
    misled = replace(runtime, direct_engine=connect(pooler.url(direct_url)))
    told = {one.check: one.level for one in doctor.check(misled)}
    assert (told["database"], told["direct database"]) == ("ok", "failure")


def test_the_doctor_warns_of_a_direct_address_that_may_lead_to_a_pooler(
    runtime: Runtime, direct_url: str, tmp_path: Path
):
    with PgBouncer(tmp_path / "pgbouncer", direct_url, ignored="options") as pooler:
        unsure = connect(pooler.url(direct_url), is_declared_direct=True)
        told = {one.check: one.level for one in doctor.check(replace(runtime, direct_engine=unsure))}
        unsure.dispose()
    assert told["direct database"] == "warning"


def database_whose_user_has(postgres: Databases, setting: str, value: str) -> str:
    """A database whose user has what the service needs, except for this setting."""
    # The name is a new one: for a name that it knows, PgBouncer goes on with the time zone of before.
    url = postgres.create_database(f"{setting}_{value}".lower().replace("/", "_"))
    alter_user(url, {**SERVER_SETTINGS, setting: value})
    return url


@pytest.mark.parametrize(
    ("setting", "value"), [("timezone", "Etc/UTC"), ("random_page_cost", "4"), ("lock_timeout", "4999ms")]
)
def test_a_setting_that_harms_nothing_is_taken(
    pooler: PgBouncer, postgres: Databases, setting: str, value: str
):
    url = database_whose_user_has(postgres, setting, value)
    engine = connect(pooler.url(url), is_pooled=True)
    with engine.connect() as connection:
        assert connection.scalar(text(f"SHOW {setting}")) == value
    engine.dispose()


@pytest.mark.parametrize(
    ("setting", "value"), [("timezone", "Europe/Berlin"), ("lock_timeout", "0"), ("lock_timeout", "5001ms")]
)
def test_a_setting_that_the_service_cannot_work_with_is_refused(
    pooler: PgBouncer, postgres: Databases, setting: str, value: str
):
    url = database_whose_user_has(postgres, setting, value)
    with pytest.raises(PoolerMisused, match=f"SET {setting} = '{SERVER_SETTINGS[setting]}'"):
        connect(pooler.url(url), is_pooled=True).connect()


def test_what_the_refusal_says_puts_missing_time_limits_right(pooler: PgBouncer, postgres: Databases):
    url = postgres.create_database("unlimited")
    engine = connect(pooler.url(url), is_pooled=True)
    with pytest.raises(PoolerMisused) as refused:
        engine.connect()
    statements = [line for line in refused.value.message.splitlines() if line.startswith("  ALTER ROLE")]
    assert len(statements) >= 3
    with psycopg.connect(driver_url(url), autocommit=True) as connection:
        for statement in statements:
            # In this test's database only, since other tests have the same user.
            connection.execute(statement.replace(" SET ", f" IN DATABASE {connection.info.dbname} SET ", 1))
    pooler.reconnect()
    engine.connect().close()
    engine.dispose()
