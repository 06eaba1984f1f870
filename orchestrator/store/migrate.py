"""Migrations: `sql/migrations/NNNN_name.sql`, forward only, in order, each in a transaction.

An applied file is never edited: its digest is kept and compared. Processes that start together
take turns under an advisory lock.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import asyncpg
import structlog
from asyncpg import Connection

from orchestrator import resources
from orchestrator.domain.errors import Misconfigured
from orchestrator.domain.record import record
from orchestrator.store import pool, queries

SQL = queries.load("migrate")
OLDEST_SERVER = 15
_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_HINT = "correct ORCHESTRATOR_DATABASE_URL"

log = structlog.get_logger(__name__)


@record
class Migration:
    """One file of `sql/migrations`."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.version:04}_{self.name}.sql"


async def migrate(dsn: str) -> None:
    """Bring the database to this program's schema; raise `Misconfigured`, in one line."""
    with _one_line(dsn):
        conn = await _connect(dsn)
        try:
            await _bring_up(conn, known())
        finally:
            await conn.close(timeout=pool.CONNECT_TIMEOUT)


async def _connect(dsn: str) -> Connection:
    """Open the first session; here every refusal is the address's or the server's, not ours."""
    try:
        return await asyncpg.connect(
            dsn,
            timeout=pool.CONNECT_TIMEOUT,
            server_settings={"application_name": "orchestrator migrate", "lock_timeout": "60s"},
        )
    except asyncpg.UndefinedObjectError as error:  # what the URL asks for beyond the usual
        raise Misconfigured(f"ORCHESTRATOR_DATABASE_URL: {error}") from error
    except asyncpg.ConnectionDoesNotExistError as error:
        raise Misconfigured(
            f"what listens at {_place(dsn)} hangs up and seems not to be PostgreSQL: {_HINT}"
        ) from error
    except asyncpg.ClientConfigurationError:
        raise
    except (ValueError, OverflowError) as error:
        # Without what was found in its place: that may be a piece of the password.
        raise Misconfigured(
            "ORCHESTRATOR_DATABASE_URL: the port is no number from 1 to 65535 (in a user's name or"
            " password, / is written %2F, : %3A and @ %40)"
        ) from error


def known() -> Sequence[Migration]:
    """Read the program's migrations; raise `ValueError` unless they are numbered 1, 2, 3 …."""
    found = []
    for file in (resources.folder("sql") / "migrations").iterdir():
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise ValueError(f"sql/migrations/{file.name}: the name is not NNNN_name.sql")
        found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    found.sort(key=lambda m: m.version)
    if [m.version for m in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"sql/migrations: numbers are missing or doubled: {[*map(str, found)]}")
    return found


async def _bring_up(conn: Connection, migrations: Sequence[Migration]) -> None:
    version = conn.get_server_version()
    if version.major < OLDEST_SERVER:
        raise Misconfigured(
            f"the database is PostgreSQL {version.major}: {OLDEST_SERVER} or newer is needed"
        )
    encoding = conn.get_settings().server_encoding
    if encoding != "UTF8":
        raise Misconfigured(
            f"the database's encoding is {encoding}, which cannot hold every text: UTF8 is needed"
            " (createdb --encoding UTF8 --template template0)"
        )
    await conn.execute(SQL["lock"])
    await conn.execute(SQL["bookkeeping"])
    applied = {row["version"]: row for row in await conn.fetch(SQL["applied"])}
    if applied and max(applied) > len(migrations):
        raise Misconfigured(
            f"the database was made by a newer version of this program (schema {max(applied)},"
            f" this one knows {len(migrations)}): start that version, or give this one a database"
            " of its own"
        )
    for migration in migrations:
        if (row := applied.get(migration.version)) is None:
            await _apply(conn, migration)
        elif row["sha256"] != migration.sha256:
            raise Misconfigured(
                f"migration {migration} is not the one that was applied to this database:"
                " it was made by another build; start that one, or use a new database"
            )


async def _apply(conn: Connection, migration: Migration) -> None:
    async with conn.transaction():
        await conn.execute(migration.sql)
        await conn.execute(SQL["record"], migration.version, migration.name, migration.sha256)
    log.info("migration_applied", version=migration.version, name=migration.name)


@contextmanager
def _one_line(dsn: str) -> Iterator[None]:
    """Say what is wrong with the database, and what to do about it."""
    try:
        yield
    except asyncpg.InvalidAuthorizationSpecificationError as error:  # wrong passwords too
        raise Misconfigured(f"the database refuses the login ({error}): {_HINT}") from error
    except asyncpg.InvalidCatalogNameError as error:
        raise Misconfigured(f"{error}: create it (createdb), or {_HINT}") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise Misconfigured(
            f"the database user may not make tables ({error}): GRANT CREATE ON SCHEMA public"
        ) from error
    except (
        asyncpg.DuplicateTableError,
        asyncpg.DuplicateObjectError,
        asyncpg.DuplicateFunctionError,
    ) as error:
        raise Misconfigured(
            f"the database holds something else ({error}): give the orchestrator one of its own"
        ) from error
    except asyncpg.ClientConfigurationError as error:
        raise Misconfigured(f"ORCHESTRATOR_DATABASE_URL: {error}") from error
    except asyncpg.PostgresError as error:
        if not (error.sqlstate or "").startswith(pool.NOT_NOW):
            raise
        raise Misconfigured(f"the database cannot be used: {error}") from error
    except OSError as error:
        raise Misconfigured(
            f"no connection to the database at {_place(dsn)} ({pool.reason(error)}):"
            f" start it, or {_HINT}"
        ) from error


def _place(dsn: str) -> str:
    """Where the database is said to be, without the password."""
    url = urlsplit(dsn)
    return url.netloc.rpartition("@")[2] or "its socket"
