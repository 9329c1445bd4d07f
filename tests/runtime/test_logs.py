"""Logs: our own packages log what they do, libraries only what goes wrong."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The migrations and the simulator log for themselves.
PACKAGES = {
    name.removesuffix("*")
    for name in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"][
        "find"
    ]["include"]
} - {"migrations", "simulator"}

IS_LOGGED = """
import logging, sys
from runtime.logs import configure
configure()
print(logging.getLogger(sys.argv[1]).isEnabledFor(logging.INFO))
"""


def is_logged(logger: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", IS_LOGGED, logger], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.strip() == "True"


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_what_a_package_of_ours_does_is_logged(package: str):
    assert is_logged(f"{package}.anything")


def test_what_a_library_does_is_not_logged():
    assert not is_logged("urllib3.connectionpool")
