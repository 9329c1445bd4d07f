"""Where PostgreSQL can keep its data, and as whom it can run: it refuses root and users without a name.

An ordinary user runs it as themselves. For root we look for a way that changes no existing permissions:

- `setuid`: it runs as `nobody`, if all folders on the way are open to everybody;
- `reach`: it runs as `nobody` but keeps the capability to pass closed folders (`/root` has mode 700);
- `alias`: it runs as ourselves, in a user namespace in which we are called `nobody`. This is also for people
  whose number has no name, as in a container started with `--user 1234`;
- if none of these is allowed, the data and a copy of the programs go to a shelter that everybody may pass.
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
FALLBACK_DIRS = Path("/var/tmp")  # noqa: S108 - the shelter itself is private, and must outlive a restart


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
        """Whom the files have to belong to, seen from outside."""
        return (os.geteuid(), os.getegid()) if self.way is Way.ALIAS else (self.uid, self.gid)


@dataclass(frozen=True, slots=True)
class Place:
    """The data, the programs (`bin/postgres` and what it needs), and the user to become, if any."""

    data: Path
    programs: Path
    identity: Identity | None

    def hand_over(self, path: Path) -> None:
        """Give a file, or a folder with all that is in it, to the user that the server runs as."""
        if self.identity is None or not path.exists() or path.stat().st_uid == self.identity.owner[0]:
            return
        for each in (path, *path.rglob("*")):
            os.chown(each, *self.identity.owner, follow_symlinks=False)


def find_place(folder: Path, programs: Path) -> Place:
    """The first place and user for which everything is in reach."""
    data = folder / "data"
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return Place(data, programs, identity=None)
    candidates = list(_candidates())
    if not data.is_symlink():  # a symlink means that the data went to the shelter before
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
    """Whom to become and how, the least powerful way first."""
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
    """Ask the guard, by becoming that user, whether they may pass and run all of this."""
    question = {"identity": asdict(identity), "reach": [str(path) for path in paths]}
    answer = subprocess.run(launcher_command(question), capture_output=True, text=True, check=False)  # noqa: S603
    if answer.returncode != 0:
        logger.debug("user cannot run the server", extra={"way": identity.way, "reason": answer.stderr})
    return answer.returncode == 0


def _fallback_dir(folder: Path, programs: Path, candidates: list[Identity]) -> Place:
    """Put the data where everybody may pass, with a copy of the programs, which may be out of reach too."""
    possible = [identity for identity in candidates if _reaches(identity)]
    if not possible:
        raise _no_place(folder, "this process may not take on another user")
    link = folder / "data"
    if link.is_symlink():
        shelter = link.readlink().parent  # the folder may have moved since, and its name changed
    else:
        shelter = FALLBACK_DIRS / f"seatsync-{hashlib.sha256(bytes(folder)).hexdigest()[:16]}"
    try:
        copied = _make_fallback_dir(shelter, programs)
    except OSError as error:
        raise _no_place(folder, f"{shelter} cannot be used ({error})") from error
    for identity in possible:
        if _reaches(identity, shelter, copied / "bin" / "postgres", copied / "share" / "postgresql"):
            break
    else:
        raise _no_place(folder, f"neither can {shelter} be reached")
    if not link.is_symlink():
        link.symlink_to(shelter / "data")
    logger.warning("data kept in a shelter", extra={"folder": str(folder), "shelter": str(shelter)})
    return Place(shelter / "data", copied, identity)


def _make_fallback_dir(shelter: Path, programs: Path) -> Path:
    """Make the folder, or refuse one that somebody else has put there; copy the programs into it."""
    with contextlib.suppress(FileExistsError):
        shelter.mkdir(mode=0o711)
    found = shelter.lstat()
    if shelter.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{shelter} was made by somebody else")
    shelter.chmod(0o711)
    package = shelter / "programs" / programs.parent.name
    shutil.rmtree(shelter / "programs", ignore_errors=True)
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
    """`-I -S`: no site-packages and no PYTHON* variables, and it starts in a few milliseconds."""
    return [sys.executable, "-I", "-S", launcher.__file__, json.dumps(spec)]
