"""The whole service as real processes, for tests to talk to and to kill."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil
import requests

from simulator.server import Simulator
from simulator.world import Settings as SimulatorSettings
from tests.conftest import API_KEY, PROVIDER_KEY, SECRET
from tests.waiting import wait_until

SEATSYNC = str(Path(sys.executable).parent / "seatsync")

# By what argument each process is told from the others.
_MARKS = {"web": "webhook_app.main:create()", "worker": "worker", "beat": "beat", "sweeper": "sweeper"}


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
        self._up: subprocess.Popen[bytes] | None = None
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["Authorization"] = f"Bearer {API_KEY}"

    def __enter__(self) -> Self:
        (self.folder / "home").mkdir(parents=True, exist_ok=True)
        self.simulator.start()
        self.turn(rate_limits=[])
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.stop()
        self.simulator.stop()

    # Processes.

    def start(self) -> None:
        """`seatsync up`, ready: it keeps its processes running, as a process manager would."""
        with (self.folder / "up.log").open("ab") as log:
            self._up = subprocess.Popen(
                [SEATSYNC, "up"],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        ready = "seatsync is ready on"
        wait_until(lambda: ready in self.log(None), "the service is ready", self.log, seconds=60)
        wait_until(self._workers_are_whole, "both workers have their children", self.log)

    def stop(self) -> None:
        """SIGTERM, patience, and nothing is left; a hung process is a failure."""
        if self._up is not None:
            self._up.terminate()
            self._up.wait(30)

    def kill(self, name: str) -> None:
        """kill -9 of the parents; their children are left to find out by themselves."""
        processes = self.processes(name)
        assert processes, f"no {name} to kill"
        for process in processes:
            process.kill()

    def kill_children(self, name: str) -> None:
        children = self.children(name)
        assert children, f"no children of {name} to kill"
        for child in children:
            child.kill()

    def _workers_are_whole(self) -> bool:
        with suppress(psutil.NoSuchProcess):
            workers = self.processes("worker")
            return len(workers) == 2 and all(one.children() for one in workers)
        return False

    def children(self, name: str) -> list[psutil.Process]:
        children = []
        for process in self.processes(name):
            with suppress(psutil.NoSuchProcess):
                children += process.children()
        return children

    def processes(self, name: str) -> list[psutil.Process]:
        """The running web, beat or sweeper process, or both workers."""
        assert self._up is not None
        found = []
        for process in psutil.Process(self._up.pid).children():
            with suppress(psutil.NoSuchProcess):
                if _MARKS[name] in process.cmdline():
                    found.append(process)
        return found

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `seatsync` with these arguments beside the service, and wait for it."""
        return subprocess.run(
            [SEATSYNC, *arguments], env=self.environment, capture_output=True, text=True, check=False
        )

    def log(self, lines: int | None = 40) -> str:
        """The last lines of all processes, for a failure's message."""
        text = (self.folder / "up.log").read_text(errors="replace").splitlines()
        return "\n".join(text if lines is None else text[-lines:])

    # What an app backend and the provider's owner would do.

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.http.get(f"{self.url}{path}", timeout=10, **more)

    def seats(self, account_id: str) -> dict[str, Any]:
        return self.get(f"/v1/accounts/{account_id}/seats").json()

    def purchased(self, account_id: str, seat_type: str = "full") -> int | None:
        """The seats shown; None while nobody answers, or nothing is known of the account."""
        try:
            shown = self.seats(account_id)
        except requests.RequestException:
            return None
        return shown.get("seats", {}).get(seat_type, {}).get("purchased")

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


def cart(seats: int) -> list[dict[str, Any]]:
    return [{"addon_id": "adn_seat", "quantity": seats}] if seats else []


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
