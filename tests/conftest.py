"""Fixtures for all tests. Real PostgreSQL and Redis start once; each test that uses them gets them empty."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from redis import Redis
from sqlalchemy import Engine

import migrations
from domain.catalog.model import Catalog
from models.database import Sessions, connect, session_factory
from runtime.seat_cache import SeatCache
from runtime.settings import Settings
from runtime.wiring import Runtime, redis_client
from simulator.server import Simulator
from simulator.world import Settings as SimulatorSettings
from tests import parallel
from tests.clock import Clock, empty, give_own_clock
from tests.factories import CATALOG_TEXT, a_catalog
from tests.fakes import FakeProvider
from tests.parallel import (  # noqa: F401  pytest finds its hooks in this file
    pytest_collection_modifyitems,
    pytest_terminal_summary,
    pytest_testnodedown,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
)
from tests.servers import Databases, RedisDatabases, Servers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
API_KEY = "a-bootstrap-key-for-tests"
PROVIDER_KEY = "a-provider-key"

# A test run in the background of a shell ignores SIGINT. Processes that tests start would inherit that and
# could not be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Property tests use the same examples in every run, so that a failure comes from a change of the code. They
# have no deadline, which would only measure how busy the machine is. `--hypothesis-profile=search` draws new
# examples.
hypothesis_settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.register_profile(
    "search", deadline=None, derandomize=False, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Servers]:
    """The run's PostgreSQL and Redis, and this process's share of them."""
    process = os.environ.get("PYTEST_XDIST_WORKER", "main")
    own_folder = tmp_path_factory.getbasetemp()
    folder = own_folder if process == "main" else own_folder.parent
    with Servers.shared(folder / "servers", process, parallel.number_of(process)) as servers:
        parallel.note_start(request.config, servers.seconds_to_start)
        yield servers


@pytest.fixture(scope="session")
def postgres(servers: Servers) -> Databases:
    return servers.databases


@pytest.fixture(scope="session")
def redis_databases(servers: Servers) -> RedisDatabases:
    return servers.redis


@pytest.fixture(scope="session")
def migrated_engine(postgres: Databases) -> Iterator[Engine]:
    engine = connect(postgres.create_database("main", is_migrated=True), pool_size=20)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(migrated_engine: Engine) -> Engine:
    """The database with its schema and without rows."""
    empty(migrated_engine)
    return migrated_engine


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    return session_factory(engine)


@pytest.fixture(scope="session")
def lasting_redis(redis_databases: RedisDatabases) -> Iterator[Redis]:
    """One client for all tests of this process: to connect anew takes longer than what most of them ask."""
    with redis_client(redis_databases.url) as client:
        yield client


@pytest.fixture
def redis_url(redis_databases: RedisDatabases, lasting_redis: Redis) -> str:
    """An empty Redis database."""
    lasting_redis.flushdb()
    return redis_databases.url


@pytest.fixture
def catalog() -> Catalog:
    return a_catalog()


@pytest.fixture
def catalog_file(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.toml"
    path.write_text(CATALOG_TEXT, encoding="utf-8")
    return path


@pytest.fixture
def environment(
    migrated_engine: Engine, redis_url: str, catalog_file: Path, tmp_path: Path
) -> dict[str, str]:
    """The environment variables that a process of the service needs."""
    return {
        "DATABASE_URL": migrated_engine.url.render_as_string(hide_password=False),
        "REDIS_URL": redis_url,
        "DODO_PAYMENTS_API_KEY": PROVIDER_KEY,
        "DODO_PAYMENTS_WEBHOOK_KEY": SECRET,
        "DODO_PAYMENTS_BASE_URL": "http://127.0.0.1:9",
        "SEATSYNC_CATALOG": str(catalog_file),
        "SEATSYNC_API_KEY": API_KEY,
        "SEATSYNC_HOME": str(tmp_path / "home"),
        "PATH": os.environ["PATH"],
    }


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    return Settings.from_env(environment)


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """A simulated provider. Its webhooks go to a port where nothing listens."""
    settings = SimulatorSettings(
        webhook_url="http://127.0.0.1:9/", webhook_secret=SECRET, api_key=PROVIDER_KEY
    )
    with Simulator(settings) as running:
        yield running


@pytest.fixture
def runtime(
    settings: Settings,
    engine: Engine,
    lasting_redis: Redis,
    catalog: Catalog,
    provider: FakeProvider,
) -> Runtime:
    """A runtime in which everything but the provider is real."""
    return Runtime(
        settings=settings,
        catalog=catalog,
        engine=engine,
        sessions=session_factory(engine),
        redis=lasting_redis,
        cache=SeatCache(lasting_redis),
        provider=provider,
    )


# The same with a database whose clock the test moves.


@pytest.fixture(scope="session")
def clocked_engine(postgres: Databases) -> Iterator[Engine]:
    url = postgres.create_database("clocked")
    give_own_clock(url)
    engine = connect(url, pool_size=20)
    migrations.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def clock(clocked_engine: Engine) -> Clock:
    """The clock of an empty database; it starts at noon."""
    empty(clocked_engine)
    return Clock(clocked_engine)


@pytest.fixture
def clocked_runtime(runtime: Runtime, clock: Clock) -> Runtime:
    """A runtime in which everything but the provider and the time is real."""
    return replace(runtime, engine=clock.engine, sessions=session_factory(clock.engine))
