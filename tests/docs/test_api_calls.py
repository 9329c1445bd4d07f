"""The API calls in README and manual work: each is run by a shell exactly as written, over HTTP."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from domain.catalog.reader import parse
from runtime.wiring import Runtime
from simulator.world import World
from tests.conftest import API_KEY
from tests.docs.manual import EXAMPLE, blocks, pages_with
from tests.factories import a_snapshot
from tests.fakes import FakeProvider
from tests.simulated import sell
from tests.webhook_app.conftest import RecordedWakeUps, service, world  # noqa: F401  fixtures
from tests.webhook_app.setup_helpers import bought, opened
from webhook_app.app import create_app

# A replacement for curl, which may not be installed. It refuses unknown options and records each status.
CURL = """
import os, sys, urllib.error, urllib.request
method, headers, body, url, words = None, {}, None, None, iter(sys.argv[1:])
for word in words:
    if word == "-X": method = next(words)
    elif word == "-H": name, _, headers[name.strip()] = next(words).partition(": ")
    elif word == "-d": body = next(words).encode()
    elif word.startswith("-") and word != "-s": sys.exit(f"unknown option {word}")
    elif word != "-s": assert url is None, word; url = word
request = urllib.request.Request(url, body, headers, method=method)
try: answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
except urllib.error.HTTPError as error: answer = error
with open(os.environ["STATUSES"], "a") as statuses: print(answer.status, file=statuses)
sys.stdout.buffer.write(answer.read())
"""

Run = Callable[[str, Runtime], list[int]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A function that runs a script against a runtime and returns the status of each call."""
    curl, program = tmp_path / "curl", tmp_path / "curl.py"
    program.write_text(CURL, encoding="utf-8")
    # A #! line with the path of Python itself would fail if that path contains a space.
    curl.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n', encoding="utf-8")
    curl.chmod(curl.stat().st_mode | stat.S_IXUSR)
    statuses = tmp_path / "statuses"

    def run(script: str, runtime: Runtime) -> list[int]:
        statuses.write_text("")
        with serving(runtime) as url:
            folders = [str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]]
            environment = {
                "PATH": os.pathsep.join(folders),
                "STATUSES": str(statuses),
                "KEY": API_KEY,
                "URL": url,
            }
            subprocess.run(["bash", "-euc", script], env=environment, check=True, timeout=120)
        return [int(line) for line in statuses.read_text().split()]

    return run


@contextmanager
def serving(runtime: Runtime) -> Iterator[str]:
    catalog = parse(EXAMPLE.read_text(encoding="utf-8"), EXAMPLE.name)
    app = create_app(replace(runtime, catalog=catalog), RecordedWakeUps())
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def script_of(page: str) -> str:
    """All calls that the page shows, in order, as one script."""
    return "\n".join(blocks(page, "bash"))


# The calls of one page run one after the other in one database. This is the state before the first one.


def sold(runtime: Runtime, provider: FakeProvider) -> None:
    """The account `acme` has bought fifteen seats with the subscription `sub_1`."""
    catalog = parse(EXAMPLE.read_text(encoding="utf-8"), EXAMPLE.name)
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)
    bought(replace(runtime, catalog=catalog), seats=10)


OF_ONE_ACCOUNT = (
    "README.md",
    "docs/api.md",
    "docs/audit.md",
    "docs/getting-started.md",
    "docs/limits.md",
    "docs/operations.md",
)
OF_OWNERSHIP, OF_PURCHASES, OF_NOTICES = "docs/ownership.md", "docs/seat-changes.md", "docs/notices.md"


def test_the_calls_of_every_page_are_tested_here():
    assert {*OF_ONE_ACCOUNT, OF_OWNERSHIP, OF_PURCHASES, OF_NOTICES} == set(pages_with("bash"))


@pytest.mark.parametrize("page", OF_ONE_ACCOUNT)
def test_the_calls_about_an_account_succeed(page: str, run: Run, runtime: Runtime, provider: FakeProvider):
    sold(runtime, provider)
    statuses = run(script_of(page), runtime)
    assert len(statuses) == script_of(page).count("curl -s")
    assert [status for status in statuses if status not in {200, 201}] == []


def test_a_subscription_is_linked_and_unlinked_and_an_account_deleted(
    run: Run, runtime: Runtime, provider: FakeProvider
):
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)
    opened(runtime, "acme", "newcomer")
    assert run(script_of(OF_OWNERSHIP), runtime) == [200, 200, 200]


def test_a_checkout_is_opened_and_a_seat_change_previewed_confirmed_shown_and_cancelled(
    run: Run,
    service: Runtime,  # noqa: F811
    world: World,  # noqa: F811
):
    opened(service, "newcomer")
    sell(world, service, {"adn_seat": 10})
    assert run(script_of(OF_PURCHASES), service) == [200, 200, 201, 200, 200, 200, 200, 200]


def test_an_endpoint_for_notices_is_registered_and_listed(run: Run, runtime: Runtime):
    settings = runtime.settings.model_copy(update={"notices_allow_private": True})
    assert run(script_of(OF_NOTICES), replace(runtime, settings=settings)) == [201, 200]
