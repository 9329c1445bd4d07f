"""`python -m benchmarks.import_members`: import a large file, kill the import half-way, restart it, check.

There is no baseline and no bar: an import makes one claim after the other.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click
from sqlalchemy import text

from benchmarks import machine, servers
from benchmarks.servers import Site
from runtime.wiring import Runtime

_SEATSYNC = Path(sys.executable).with_name("seatsync")
_BAD_EVERY = 100
_COUNT = "SELECT count(*) FROM assignments"
_CHECKS = {
    "every good row has one seat": "SELECT count(*) = :good FROM assignments WHERE state = 'active'",
    "every seat has one audit row": "SELECT count(*) = :good FROM audit WHERE member_id IS NOT NULL",
    "every bad row is counted once": "SELECT sum((counts->>'rejected')::int) = :bad FROM imports",
    "the balances count these seats": "SELECT sum((seats->'full'->>'active')::int) = :good FROM accounts",
    "the import is finished": "SELECT count(*) = 1 AND bool_and(finished_at IS NOT NULL) FROM imports",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process: its run time, its output, and its peak memory in MB."""

    seconds: float
    output: str
    peak: float


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rows", default=100_000, show_default=True)
@click.option("--accounts", default=1_000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Import a JSON file instead of CSV.")
def main(rows: int, accounts: int, *, as_json: bool) -> None:
    """Import members, kill the import half-way, start it again, and check the result."""
    with servers.running() as running, running.site("import") as site, site.runtime() as runtime:
        path = running.home / ("members.json" if as_json else "members.csv")
        size = (_write_json if as_json else _write_csv)(path, rows, accounts)
        click.echo(f"{machine.described(running.home)}, {running.version()}")
        click.echo(f"{rows:,} rows over {accounts:,} accounts, {size / 1e6:.1f} MB, every {_BAD_EVERY}th bad")
        killed = _killed_half_way(site, runtime, path, rows)
        rest = _import(site, path)
        click.echo(f"killed after {killed.seconds:.1f} s; {rest.output.splitlines()[0]}")
        click.echo(rest.output.splitlines()[-1])
        seconds, peak = killed.seconds + rest.seconds, max(killed.peak, rest.peak)
        click.echo(f"{seconds:.1f} s in both, {rows / seconds:,.0f} rows/s; peak memory {peak:.0f} MB")
        _check(runtime, rows)


def _write_csv(path: Path, rows: int, accounts: int) -> int:
    with path.open("w", encoding="utf-8") as file:
        file.write("account_id,member_id,role,email,name\n")
        for number in range(rows):
            cells = (f"team-{number % accounts}", f"user-{number}", _role(number))
            file.write(f"{','.join(cells)},user-{number}@example.com,Member {number}\n")
    return path.stat().st_size


def _write_json(path: Path, rows: int, accounts: int) -> int:
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            file.write(
                f'{"," if number else "["}\n{{"account_id": "team-{number % accounts}", '
                f'"member_id": "user-{number}", "role": "{_role(number)}", '
                f'"email": "user-{number}@example.com", "name": "Member {number}"}}'
            )
        file.write("]\n")
    return path.stat().st_size


def _role(number: int) -> str:
    return "wizard" if number % _BAD_EVERY == _BAD_EVERY // 2 else "member"


def _start(site: Site, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [_SEATSYNC, "import", "members", path, "--create-accounts"],
        env=site.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _killed_half_way(site: Site, runtime: Runtime, path: Path, rows: int) -> Run:
    began = time.monotonic()
    process = _start(site, path)
    while process.poll() is None and _count(runtime) < rows // 2:
        time.sleep(0.25)
    process.kill()
    return _ended(process, began)


def _import(site: Site, path: Path) -> Run:
    return _ended(_start(site, path), time.monotonic())


def _ended(process: subprocess.Popen[str], began: float) -> Run:
    """Wait for the process with `wait4`, the only call that also returns its memory use."""
    assert process.stdout is not None
    with process.stdout as pipe:
        output = pipe.read()
    _, process.returncode, usage = os.wait4(process.pid, 0)
    return Run(time.monotonic() - began, output, usage.ru_maxrss / 1024)


def _count(runtime: Runtime) -> int:
    with runtime.sessions() as session:
        return session.scalar(text(_COUNT)) or 0


def _check(runtime: Runtime, rows: int) -> None:
    bad = sum(_role(number) == "wizard" for number in range(rows))
    with runtime.sessions() as session:
        for check, query in _CHECKS.items():
            names = re.findall(r":(good|bad)\b", query)
            parameters = {name: {"good": rows - bad, "bad": bad}[name] for name in names}
            holds = session.scalar(text(query), parameters)
            click.echo(f"{'passed' if holds else 'FAILED'}: {check}")
            if not holds:
                sys.exit(1)


if __name__ == "__main__":
    main()
