"""The web server's worker: what slow clients may take, and what must not be imported before it patches."""

from __future__ import annotations

import subprocess
import sys
import time

import gevent
import pytest

from runtime import web_worker


class DrippingReader:
    def read(self, size: int) -> bytes:
        gevent.sleep(0.02)
        return b"x"


class SilentReader:
    def read(self, size: int) -> bytes:
        gevent.sleep(30)
        return b""


def read_on(reader: web_worker._TimedReader) -> None:
    while True:
        reader.read(1024)


@pytest.mark.parametrize("reader", [DrippingReader(), SilentReader()])
def test_a_body_has_bounded_time_however_it_arrives(
    monkeypatch: pytest.MonkeyPatch, reader: DrippingReader | SilentReader
):
    monkeypatch.setattr(web_worker, "BODY_SECONDS", 0.3)
    timed = web_worker._TimedReader(reader)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        read_on(timed)
    assert time.monotonic() - began < 10


def test_nothing_is_imported_that_blocks_the_event_loop():
    """The worker patches sockets after gunicorn has imported its module: what is imported with it stays as it
    was, so psycopg would stop the whole process while it waits.
    """
    unpatched = "{'psycopg', 'redis', 'requests', 'sqlalchemy', 'urllib3'}"
    program = f"import runtime.web_worker, sys; print({unpatched} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
