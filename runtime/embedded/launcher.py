"""Parent process of an embedded server: switches to its user, starts it, stops it when nobody uses it.

A script: `python -I -S launcher.py SPEC`, with only the standard library. As a program, and not a
`preexec_fn`, it can switch users without interfering with other threads. As the server's parent it outlives
the process that started the server, even if that one is killed with SIGKILL.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import sys
from typing import Any, NoReturn

POLL_SECONDS = 0.5

# From linux/prctl.h, linux/securebits.h, linux/capability.h and linux/sched.h.
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
CLONE_NEWUSER = 0x10000000

libc = ctypes.CDLL(None, use_errno=True)


def main(spec: dict[str, Any]) -> int:
    """Check what a user can access, run a command, or be the parent of a server, as the spec says."""
    if "reach" in spec:
        return 0 if reaches(spec["identity"], spec["reach"]) else 1
    # Every process of the server inherits this lock, so it is released when the last of them ends.
    alive = os.open(spec["alive"], os.O_RDWR)
    os.set_inheritable(alive, True)
    if not seize(alive):
        sys.exit(f"{spec['alive']} is held by another process")
    if "users" not in spec:
        execute(spec)
    return serve(spec)


def reaches(identity: dict[str, Any], paths: list[str]) -> bool:
    """True if this process may become that user, and the user may execute or enter all of the paths."""
    try:
        become(**identity)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return False
    return all(os.access(path, os.X_OK) for path in paths)


def execute(spec: dict[str, Any]) -> NoReturn:
    """Replace this process by the command, as its user and in an environment without HOME or PGDATA."""
    if identity := spec["identity"]:
        become(**identity)
    os.umask(0o077)
    os.chdir("/")
    os.execve(spec["command"][0], spec["command"], {"LC_ALL": "C", "PATH": os.defpath})  # noqa: S606


def become(way: str, uid: int, gid: int) -> None:
    """Become a user in one of the ways that `runtime.embedded.run_as` describes."""
    if way == "alias":
        map_to(uid, gid)
        return
    if way == "reach":
        # Without the fixup, setuid keeps the capabilities, and access(2), which PostgreSQL calls before it
        # starts its own programs, respects them.
        prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if way == "reach":
        keep_only(CAP_DAC_OVERRIDE)


def map_to(uid: int, gid: int) -> None:
    """Enter a user namespace in which this process has these ids. Outside of it, its ids stay the same."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(descriptor, text.encode())
        os.close(descriptor)


def keep_only(capability: int) -> None:
    """Drop every other capability, and keep this one across the exec that follows."""
    mask = 1 << capability
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    effective_permitted_inheritable = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    if libc.capset(header, effective_permitted_inheritable) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def prctl(*arguments: int) -> None:
    if libc.prctl(*[ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:5]]) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def serve(spec: dict[str, Any]) -> int:
    """Start the server, write its pid to standard output, and wait until it ends."""
    lock, users = (os.open(spec[name], os.O_RDWR) for name in ("lock", "users"))
    output = os.dup(1)
    os.dup2(2, 1)  # the server's own output belongs into its log
    server = os.fork()
    if server == 0:
        execute(spec)
    # If the process that started us has ended, it holds no locks either, and the server is stopped below.
    with contextlib.suppress(BrokenPipeError):
        os.write(output, f"{server}\n".encode())
    os.close(output)

    def end() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.kill(server, spec["stop_signal"])

    def end_if_unused() -> None:
        # A process that starts or stops the server holds the lock. If we stop it, we keep both locks until
        # then.
        if not seize(lock):
            return
        if seize(users):
            end()
        else:
            fcntl.flock(lock, fcntl.LOCK_UN)

    signal.signal(signal.SIGTERM, lambda *_: end())
    signal.signal(signal.SIGALRM, lambda *_: end_if_unused())
    signal.setitimer(signal.ITIMER_REAL, POLL_SECONDS, POLL_SECONDS)
    _, status = os.waitpid(server, 0)
    return os.waitstatus_to_exitcode(status)


def seize(descriptor: int) -> bool:
    """Lock the file. False if another process holds the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
