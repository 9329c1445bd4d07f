"""Choose the user and the data folder of embedded PostgreSQL, which refuses to run as root or as a user
without a name.

An ordinary user runs it as themselves. For root, the first of these ways that works is taken; none of them
changes existing permissions:

- `setuid`: as `nobody`, if every folder on the way is open to all users;
- `reach`: as `nobody`, with the capability to enter closed folders (`/root` has mode 700);
- `alias`: as the same user, in a user namespace in which that user is called `nobody`. This is also the way
  for users without a name, as in a container started with `--user 1234`;
- otherwise the data and a copy of the programs go to a fallback folder that all users can enter.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from runtime.embedded import launcher
from runtime.embedded.errors import EmbeddedServerError

logger = logging.getLogger(__name__)

NOBODY = 65534
FALLBACK_DIRS = Path("/var/tmp")  # noqa: S108  the folder in it is ours alone, and must survive a reboot


class Way(StrEnum):
    """How to become a user."""

    SETUID = "setuid"
    REACH = "reach"
    ALIAS = "alias"


@dataclass(frozen=True, slots=True)
class Identity:
    """A user to become, and how."""

    way: Way
    uid: int
    gid: int

    @property
    def owner(self) -> tuple[int, int]:
        """The user and group that the files must belong to, outside of any user namespace."""
        return (os.geteuid(), os.getegid()) if self.way is Way.ALIAS else (self.uid, self.gid)


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of the data, the folder with `bin/postgres`, and the user to become; None for the present
    one.
    """

    data: Path
    programs: Path
    identity: Identity | None

    def hand_over(self, path: Path) -> None:
        """Change the owner of a file, or of a folder with its contents, to the user of the server."""
        if self.identity is None or not path.exists() or path.stat().st_uid == self.identity.owner[0]:
            return
        for each in (path, *path.rglob("*")):
            os.chown(each, *self.identity.owner, follow_symlinks=False)


def find_place(folder: Path, programs: Path) -> Place:
    """The first place and user for which all files are accessible. Raises `EmbeddedServerError` if there is
    none.
    """
    data = folder / "data"
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return Place(data, programs, identity=None)
    candidates = list(_candidates())
    if not data.is_symlink():  # a symlink leads to the fallback folder, chosen before
        for identity in candidates:
            if _reaches(identity, folder, programs / "bin" / "postgres", programs / "share" / "postgresql"):
                return Place(data, programs, identity)
    if data.exists() and not data.is_symlink():
        raise EmbeddedServerError(
            f"PostgreSQL cannot run as root, and no other user can be given access to the data in {data}: "
            "run seatsync as an ordinary user, or set DATABASE_URL to a PostgreSQL server of yours"
        )
    return _fallback_dir(folder, programs, candidates)


def _candidates() -> Iterator[Identity]:
    """The users to try, the least privileged way first."""
    nobody = _nobody()
    if os.geteuid() == 0:
        yield Identity(Way.SETUID, *nobody)
    if sys.platform == "linux":
        if os.geteuid() == 0:
            yield Identity(Way.REACH, *nobody)
        yield Identity(Way.ALIAS, *nobody)


def _nobody() -> tuple[int, int]:
    with contextlib.suppress(KeyError):
        nobody = pwd.getpwnam("nobody")
        return nobody.pw_uid, nobody.pw_gid
    return NOBODY, NOBODY


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _reaches(identity: Identity, *paths: Path) -> bool:
    """True if that user may enter or execute all of the paths. A launcher becomes the user to check this."""
    spec = {"identity": asdict(identity), "reach": [str(path) for path in paths]}
    result = subprocess.run(launcher_command(spec), capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode != 0:
        logger.debug("user cannot run the server", extra={"way": identity.way, "reason": result.stderr})
    return result.returncode == 0


def _fallback_dir(folder: Path, programs: Path, candidates: list[Identity]) -> Place:
    """A place in the fallback folder, with a copy of the programs: their own folder may be closed, too."""
    possible = [identity for identity in candidates if _reaches(identity)]
    if not possible:
        raise _no_place(folder, "this process may not switch to another user")
    link = folder / "data"
    if link.is_symlink():
        fallback = link.readlink().parent  # the folder may have moved since, and its name changed
    else:
        fallback = FALLBACK_DIRS / f"seatsync-{hashlib.sha256(bytes(folder)).hexdigest()[:16]}"
    try:
        copied = _make_fallback_dir(fallback, programs)
    except OSError as error:
        raise _no_place(folder, f"{fallback} cannot be used ({error})") from error
    for identity in possible:
        if _reaches(identity, fallback, copied / "bin" / "postgres", copied / "share" / "postgresql"):
            break
    else:
        raise _no_place(folder, f"nor can {fallback} be reached")
    if not link.is_symlink():
        link.symlink_to(fallback / "data")
    logger.warning("data directory moved", extra={"folder": str(folder), "moved_to": str(fallback)})
    return Place(fallback / "data", copied, identity)


def _make_fallback_dir(fallback: Path, programs: Path) -> Path:
    """Create the folder, or raise `PermissionError` if somebody else has; copy the programs into it."""
    with contextlib.suppress(FileExistsError):
        fallback.mkdir(mode=0o711)
    found = fallback.lstat()
    if fallback.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{fallback} was made by somebody else")
    fallback.chmod(0o711)
    package = fallback / "programs" / programs.parent.name
    shutil.rmtree(fallback / "programs", ignore_errors=True)
    for part in ("bin", "lib", "share"):
        shutil.copytree(programs / part, package / programs.name / part, symlinks=True)
    # The programs look for libpq in `../../../<package>.libs`, as wheels repaired by auditwheel do.
    libraries = programs.parent.with_name(f"{programs.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, package.with_name(libraries.name), symlinks=True)
    return package / programs.name


def _no_place(folder: Path, reason: str) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"PostgreSQL refuses to run as {'root' if os.geteuid() == 0 else 'a user without a name'}, "
        f"and no other user can reach {folder}: {reason}. Run seatsync as an ordinary user, "
        "or set DATABASE_URL to a PostgreSQL server of yours"
    )


def launcher_command(spec: Mapping[str, object]) -> list[str]:
    """The command that runs the launcher. With `-I -S`, without site-packages, it starts in a few
    milliseconds.
    """
    return [sys.executable, "-I", "-S", launcher.__file__, json.dumps(spec)]
