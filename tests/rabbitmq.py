"""A RabbitMQ of a test's own: one node on free loopback ports, with all its files in one folder."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

import psutil
import pytest

from tests.stack import free_port
from tests.waiting import wait_until

# Debian's own commands switch to the user of the system's service and to its folder; these do not.
_SCRIPTS: Final = Path("/usr/lib/rabbitmq/bin")

needs_rabbitmq = pytest.mark.skipif(
    not (_SCRIPTS / "rabbitmq-server").is_file() or shutil.which("epmd") is None,
    reason="needs RabbitMQ: apt-get install rabbitmq-server (.ci/install-servers does it)",
)


class RabbitMQ:
    """One node with its port mapper (epmd). Both run from `with` to its end; the node may be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, distribution_port, mapper_port = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._mapper: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),  # of the cookie, by which node and rabbitmqctl trust each other
            "RABBITMQ_NODENAME": f"seatsync-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "ERL_EPMD_PORT": str(mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
            "RABBITMQ_SCHEMA_DIR": str(folder / "schema"),
            # Without these three, files of the system's service would be read.
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(folder / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                # Loopback only, and no processor time while idle.
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"
            ),
        }

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        # A node would start the port mapper as a daemon that outlives it, unless one runs already.
        self._mapper = self._start(["epmd"])
        wait_until(lambda: _answers(int(self._environment["ERL_EPMD_PORT"])), "epmd answers", self.log)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait(10)

    def start(self) -> None:
        """Start the node, with what it stored before, and wait until it answers."""
        self._node = self._start([str(_SCRIPTS / "rabbitmq-server")])
        wait_until(self._is_ready, "RabbitMQ answers", self.log)

    def kill(self) -> None:
        """kill -9 of the node with all its processes."""
        if self._node is None:
            return
        processes = psutil.Process(self._node.pid).children(recursive=True)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=10)
        self._node.kill()
        self._node.wait(10)
        self._node = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the node for as long as the block runs. Its connections stay open."""
        assert self._node is not None
        node = psutil.Process(self._node.pid).children()[0]
        node.suspend()
        try:
            yield
        finally:
            node.resume()

    def queues(self) -> dict[str, str]:
        """The type of each queue, by its name."""
        done = subprocess.run(
            [str(_SCRIPTS / "rabbitmqctl"), "--quiet", "--formatter=json", "list_queues", "name", "type"],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return {one["name"]: one["type"] for one in json.loads(done.stdout)}

    def log(self) -> str:
        """The last lines of the node's output, for a failure's message."""
        return "\n".join((self.folder / "output").read_text(errors="replace").splitlines()[-40:])

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                command,
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _is_ready(self) -> bool:
        assert self._node is not None
        if self._node.poll() is not None:
            raise AssertionError(f"RabbitMQ ended with exit code {self._node.returncode}\n{self.log()}")
        return _answers(self.port)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
