"""Migrations: in order, once, by one process at a time; a database that does not fit is refused."""

import asyncio
import re
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from orchestrator.domain.errors import Misconfigured
from orchestrator.store import migrate
from orchestrator.store.migrate import Migration

pytestmark = pytest.mark.integration


async def run(dsn: str, statement: str) -> object:
    conn = await asyncpg.connect(dsn)
    try:
        return await conn.fetchval(statement)
    finally:
        await conn.close()


async def refusal(dsn: str) -> str:
    with pytest.raises(Misconfigured) as refused:
        await migrate.migrate(dsn)
    assert "\n" not in refused.value.message
    return refused.value.message


def migrations(*statements: str) -> Callable[[], list[Migration]]:
    return lambda: [Migration(n, f"m{n}", sql) for n, sql in enumerate(statements, 1)]


async def test_the_schema_is_made_once_by_processes_that_start_together(empty_dsn: str) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(migrate.migrate(empty_dsn))

    versions = await run(empty_dsn, "SELECT array_agg(version ORDER BY 1) FROM schema_migration")
    assert versions == [m.version for m in migrate.known()]
    assert await run(empty_dsn, "SELECT count(*) FROM deployment") == 1


async def test_a_second_start_keeps_the_deployment(empty_dsn: str) -> None:
    await migrate.migrate(empty_dsn)
    deployment = await run(empty_dsn, "SELECT id FROM deployment")

    await migrate.migrate(empty_dsn)

    assert await run(empty_dsn, "SELECT id FROM deployment") == deployment


async def test_a_migration_that_fails_leaves_those_before_it(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = "CREATE TABLE a ()"
    monkeypatch.setattr(migrate, "known", migrations(whole, "CREATE TABLE b (); SELECT 1/0"))

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate.migrate(empty_dsn)

    assert await run(empty_dsn, "SELECT to_regclass('a') IS NOT NULL AND to_regclass('b') IS NULL")
    monkeypatch.setattr(migrate, "known", migrations(whole, "CREATE TABLE b ()"))
    await migrate.migrate(empty_dsn)
    assert await run(empty_dsn, "SELECT max(version) FROM schema_migration") == 2


async def test_a_migration_and_its_record_go_together(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = "SELECT $1::int / 0, $2::text, $3::text"
    monkeypatch.setattr(migrate, "SQL", {**migrate.SQL, "record": fails})

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate.migrate(empty_dsn)

    assert await run(empty_dsn, "SELECT to_regclass('deployment') IS NULL")


async def test_a_newer_schema_is_refused(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "known", migrations("SELECT 1", "SELECT 2"))
    await migrate.migrate(empty_dsn)
    monkeypatch.setattr(migrate, "known", migrations("SELECT 1"))

    message = await refusal(empty_dsn)

    assert "was made by a newer version of this program (schema 2, this one knows 1)" in message


async def test_a_migration_that_was_edited_is_refused(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "known", migrations("SELECT 1"))
    await migrate.migrate(empty_dsn)
    monkeypatch.setattr(migrate, "known", migrations("SELECT 1 -- edited", "CREATE TABLE b ()"))

    message = await refusal(empty_dsn)

    assert "migration 0001_m1.sql is not the one that was applied" in message
    assert await run(empty_dsn, "SELECT to_regclass('b') IS NULL")


async def test_an_old_server_is_refused(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "OLDEST_SERVER", 99)

    assert re.fullmatch(
        r"the database is PostgreSQL \d\d: 99 or newer is needed", await refusal(empty_dsn)
    )


async def test_a_database_that_cannot_hold_every_text_is_refused(empty_dsn: str) -> None:
    latin = urlsplit(empty_dsn).path.strip("/") + "_latin"
    await run(empty_dsn, f"CREATE DATABASE {latin} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        message = await refusal(empty_dsn.replace("?", "_latin?"))
    finally:
        await run(empty_dsn, f"DROP DATABASE {latin}")

    assert message.startswith("the database's encoding is LATIN1")
    assert "createdb --encoding UTF8" in message


async def test_a_database_of_something_else_is_refused(empty_dsn: str) -> None:
    await run(empty_dsn, "CREATE TABLE workflow (x int)")

    message = await refusal(empty_dsn)

    assert 'holds something else (relation "workflow" already exists)' in message
    assert await run(empty_dsn, "SELECT to_regclass('deployment') IS NULL")


async def test_a_database_that_does_not_exist(empty_dsn: str) -> None:
    message = await refusal(empty_dsn.replace("/test_", "/missing_"))

    assert "does not exist: create it (createdb), or correct ORCHESTRATOR_DATABASE_URL" in message


async def test_a_login_that_is_refused(empty_dsn: str) -> None:
    message = await refusal(empty_dsn.replace("postgres@", "stranger:s3cret@"))

    assert 'refuses the login (role "stranger" does not exist)' in message
    assert "ORCHESTRATOR_DATABASE_URL" in message
    assert "s3cret" not in message


async def test_a_user_who_may_not_make_tables(empty_dsn: str) -> None:
    database = urlsplit(empty_dsn).path.strip("/")
    await run(empty_dsn, f"CREATE ROLE guest_{database} LOGIN")
    try:
        message = await refusal(empty_dsn.replace("postgres@", f"guest_{database}@"))
    finally:
        await run(empty_dsn, f"DROP ROLE guest_{database}")

    assert "may not make tables" in message
    assert "GRANT CREATE ON SCHEMA public" in message


async def test_nobody_listening() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

        message = await refusal(f"postgresql://user:s3cret@127.0.0.1:{port}/db")

    assert message == (
        f"no connection to the database at 127.0.0.1:{port} (Connection refused):"
        " start it, or correct ORCHESTRATOR_DATABASE_URL"
    )


@pytest.mark.parametrize("setting", ["sslmode=sometimes", "no_such_thing=1"])
async def test_a_setting_in_the_url_that_nobody_knows(empty_dsn: str, setting: str) -> None:
    message = await refusal(f"{empty_dsn}&{setting}")

    assert message.startswith("ORCHESTRATOR_DATABASE_URL: ")


@pytest.mark.parametrize("url", ["u:s3cret/pa@h/db", "u@127.0.0.1:many/db", "u@127.0.0.1:99999/db"])
async def test_a_port_that_is_none_is_said_without_what_stands_there(url: str) -> None:
    message = await refusal(f"postgresql://{url}?sslmode=disable")

    assert message.startswith("ORCHESTRATOR_DATABASE_URL: the port is no number")
    assert "s3cret" not in message


@pytest.mark.parametrize(
    ("sslmode", "said"),
    [("disable", "seems not to be PostgreSQL"), ("require", "does not speak TLS")],
)
async def test_something_else_that_listens(sslmode: str, said: str) -> None:
    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        message = await refusal(f"postgresql://u:s3cret@127.0.0.1:{port}/db?sslmode={sslmode}")

    assert said in message
    assert f"127.0.0.1:{port}" in message
    assert "correct ORCHESTRATOR_DATABASE_URL" in message
    assert "s3cret" not in message


def test_files_are_numbered_without_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.resources.folder", lambda _: tmp_path)
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_one.sql").write_text("SELECT 1")
    assert [str(m) for m in migrate.known()] == ["0001_one.sql"]

    (folder / "0003_three.sql").write_text("SELECT 3")
    with pytest.raises(ValueError, match="numbers are missing or doubled"):
        migrate.known()

    (folder / "two.sql").write_text("SELECT 2")
    with pytest.raises(ValueError, match=r"the name is not NNNN_name\.sql"):
        migrate.known()


async def test_the_oldest_server_takes_the_schema(dsn_15: str) -> None:
    assert await run(dsn_15, "SHOW server_version_num") >= "150000"  # type: ignore[operator]
    assert await run(dsn_15, "SELECT max(version) FROM schema_migration") == len(migrate.known())
