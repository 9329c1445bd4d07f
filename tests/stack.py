"""The whole service as real processes, for tests to talk to and to kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil
import requests
from sqlalchemy import create_engine

import migrations
from cli.fleet import commands
from runtime.settings import Settings
from simulator.server import Simulator
from simulator.world import Settings as SimulatorSettings
from tests.conftest import API_KEY, SECRET

PROVIDER_KEY = "a-provider-key"
ALL = ("web", "worker", "sweeper", "beat")


class Stack:
    """Web, worker, sweeper and beat on given servers, with a simulated provider in this process."""

    def __init__(
        self, folder: Path, *, database_url: str, redis_url: str, catalog: Path, **environment: str
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.simulator = Simulator(
            SimulatorSettings(
                webhook_url=f"{self.url}/webhooks/dodo",
                webhook_secret=SECRET,
                api_key=PROVIDER_KEY,
                speed=60,
            )
        )
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "DODO_PAYMENTS_API_KEY": PROVIDER_KEY,
            "DODO_PAYMENTS_WEBHOOK_KEY": SECRET,
            "DODO_PAYMENTS_BASE_URL": self.simulator.url,
            "SEATSYNC_CATALOG": str(catalog),
            "SEATSYNC_API_KEY": API_KEY,
            "SEATSYNC_HOME": str(folder / "home"),
            "SEATSYNC_PROVIDER_RATE": "1000/second;60000/minute",
            "PORT": str(self.port),
            **environment,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["Authorization"] = f"Bearer {API_KEY}"

    def __enter__(self) -> Self:
        (self.folder / "home").mkdir(parents=True, exist_ok=True)
        engine = create_engine(self.environment["DATABASE_URL"])
        migrations.upgrade(engine)
        engine.dispose()
        self.simulator.start()
        self.turn(rate_limits=[])
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.stop(*self.processes)
        self.simulator.stop()

    # Processes.

    def start(self, *names: str) -> None:
        settings = Settings.from_env(self.environment)
        for command in commands(settings, self.environment):
            if command.name in names:
                with (self.folder / f"{command.name}.log").open("ab") as log:
                    self.processes[command.name] = subprocess.Popen(
                        command.argv, env=command.env, stdout=log, stderr=log, start_new_session=True
                    )
        if "web" in names:
            wait_until(self._web_answers, "the web process answers", self.log)
        if "worker" in names:
            wait_until(lambda: self.children("worker"), "the worker has its children", self.log)

    def stop(self, *names: str) -> None:
        """SIGTERM, patience, and SIGKILL for whatever of the group is left."""
        ending = {name: self.processes.pop(name) for name in names}
        for process in ending.values():
            process.terminate()
        for process in ending.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)

    def kill(self, name: str) -> None:
        """kill -9 of the parent; its children are left to find out by themselves."""
        process = self.processes.pop(name)
        process.kill()
        process.wait(5)

    def kill_a_child(self, name: str) -> int:
        child = self.children(name)[0]
        child.kill()
        return child.pid

    def children(self, name: str) -> list[psutil.Process]:
        try:
            return psutil.Process(self.processes[name].pid).children()
        except psutil.NoSuchProcess:
            return []

    def log(self) -> str:
        """The last lines of every process, for a failure's message."""
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            for path in sorted(self.folder.glob("*.log"))
        )

    # What an app backend and the provider's owner would do.

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.http.get(f"{self.url}{path}", timeout=10, **more)

    def seats(self, account_id: str) -> dict[str, Any]:
        return self.get(f"/v1/accounts/{account_id}/seats").json()

    def purchased(self, account_id: str, seat_type: str = "full") -> int | None:
        return self.seats(account_id).get("seats", {}).get(seat_type, {}).get("purchased")

    def control(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        answer = self.http.request(method, f"{self.simulator.control_url}{path}", json=body or {}, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def turn(self, **knobs: Any) -> None:
        self.control("PATCH", "/knobs", knobs)

    def subscribe(self, account_id: str, *, seats: int = 0, silently: bool = False, **fields: Any) -> str:
        """A Team subscription of the account, with so many extra seats; its id."""
        made = self.control(
            "POST",
            "/subscriptions",
            {
                "product_id": "pdt_team",
                "addons": cart(seats),
                "metadata": {"account_id": account_id},
                "silently": silently,
                **fields,
            },
        )
        return made["subscription_id"]

    def buy(self, subscription_id: str, seats: int, *, silently: bool = False) -> None:
        self.control(
            "POST", f"/subscriptions/{subscription_id}/cart", {"addons": cart(seats), "silently": silently}
        )

    def retrieves(self) -> int:
        routes = self.control("GET", "/requests?limit=0")["routes"]
        return routes.get("GET /subscriptions/<subscription_id>", 0)

    def deliveries(self, limit: int = 100_000) -> list[dict[str, Any]]:
        return self.control("GET", f"/messages?limit={limit}")["messages"]

    def _web_answers(self) -> bool:
        with suppress(requests.RequestException):
            return self.get("/healthz").ok
        return False


def cart(seats: int) -> list[dict[str, Any]]:
    return [{"addon_id": "adn_seat", "quantity": seats}] if seats else []


def wait_until(
    holds: Callable[[], Any], what: str, log: Callable[[], str] = str, *, seconds: float = 30
) -> float:
    """Seconds until it holds; a failure names it and shows the log."""
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"after {seconds} s still not: {what}\n{log()}")
        time.sleep(0.05)
    return time.monotonic() - start


def all_equal(stack: Stack, wanted: Mapping[str, int]) -> Callable[[], bool]:
    """Every account shows what was bought for it."""
    left = dict(wanted)

    def check() -> bool:
        for account_id in list(left):
            if stack.purchased(account_id) != left[account_id]:
                return False
            del left[account_id]
        return True

    return check


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
