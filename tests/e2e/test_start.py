"""What stands in the way of a start is one clear line, and exit code 2."""

import asyncio
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from orchestrator.store import migrate, queries
from tests.e2e import engine
from tests.e2e.program import Program, refused

pytestmark = pytest.mark.e2e

LOCK_MIGRATIONS = queries.load("migrate")["lock"]
NOBODY_LISTENS = "postgresql://postgres@127.0.0.1:1/none"


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Make a folder that the embedded database's user can reach; pytest's own is private."""
    with tempfile.TemporaryDirectory(prefix="orch-start-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"port": "many"}, "ORCHESTRATOR_PORT: Input should be a valid integer"),
        ({"port": "70000"}, "ORCHESTRATOR_PORT: Input should be less than or equal to 65535"),
        ({"prot": "1"}, "ORCHESTRATOR_PROT: there is no such setting"),
        ({"config": "/nowhere.toml"}, "ORCHESTRATOR_CONFIG: there is no file /nowhere.toml"),
        ({"database_url": "mysql://x/y"}, "ORCHESTRATOR_DATABASE_URL: it has the form"),
        ({"secret_keys": "short", "database_url": NOBODY_LISTENS}, "no connection to the database"),
        ({"kafka_bootstrap_servers": "somewhere"}, "ORCHESTRATOR_KAFKA_BOOTSTRAP_SERVERS: "),
        ({"kafka_security_protocol": "SASL_SSL"}, "needs ORCHESTRATOR_KAFKA_SASL_USERNAME"),
        ({"kafka_ssl_keyfile": "/k.pem"}, "needs ORCHESTRATOR_KAFKA_SSL_CERTFILE"),
        ({"host": "no such host"}, "ORCHESTRATOR_HOST: no such host is no address"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    assert said in refused(tmp_path, **settings)


def test_a_wrong_key_of_the_configuration_file_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("partitions = 0\n")
    line = refused(tmp_path, config=file)
    assert "ORCHESTRATOR_PARTITIONS: " in line
    assert f"(in {file})" in line
    file.write_text("prot = 1\n")
    assert refused(tmp_path, config=file) == f"orchestrator: {file}: there is no setting 'prot'"
    file.write_text("partitions = \n")
    assert str(file) in refused(tmp_path, config=file)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        line = refused(tmp_path, port=port)

    assert f"cannot listen on 127.0.0.1:{port}" in line
    assert "ORCHESTRATOR_PORT" in line


async def test_a_port_that_another_took_at_the_same_moment_is_named(
    tmp_path: Path, dsn: str
) -> None:
    conn = await asyncpg.connect(dsn)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))  # which two may do, as long as nobody listens
        port = other.getsockname()[1]
        await conn.execute(LOCK_MIGRATIONS)
        start = asyncio.ensure_future(
            asyncio.to_thread(refused, tmp_path, port=port, database_url=dsn)
        )
        while not await conn.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not start.done(), start.result()
            await asyncio.sleep(0.01)
        other.listen()
        await conn.close()

        assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in await start


def test_a_second_process_on_the_same_data_is_told_so(data_dir: Path) -> None:
    with Program(data_dir):
        assert "in use by another orchestrator" in refused(data_dir)


def test_a_second_process_on_the_same_database_is_told_so(tmp_path: Path, dsn: str) -> None:
    with Program(tmp_path / "one", database_url=dsn):
        line = refused(tmp_path / "two", database_url=dsn)
        assert "another orchestrator already serves this database" in line


def test_a_database_that_is_newer_refuses_or_is_missing_is_told_so(
    tmp_path: Path, empty_dsn: str
) -> None:
    missing = re.sub(r"/test_\d+\?", "/missing?", empty_dsn)
    assert 'database "missing" does not exist' in refused(tmp_path, database_url=missing)
    stranger = empty_dsn.replace("postgres@", "stranger@")
    assert "stranger" in refused(tmp_path, database_url=stranger)
    with Program(tmp_path, database_url=empty_dsn):
        pass
    engine.rows(
        empty_dsn,
        "INSERT INTO schema_migration (version, name, sha256) VALUES ($1, 'later', 'x')",
        len(migrate.known()) + 1,
    )

    assert "newer version" in refused(tmp_path, database_url=empty_dsn)


def test_fewer_partitions_than_unfinished_runs_need_are_refused(tmp_path: Path, dsn: str) -> None:
    with Program(tmp_path, database_url=dsn, partitions=16):
        pass
    engine.rows(
        dsn,
        "INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key,"
        " workflow_name, status, seq, input, created_at, updated_at)"
        " VALUES (new_run_id(), 9, gen_random_uuid(), 1, 'k', 'n', 'PENDING', 1,"
        " '{}', now(), now())",
    )

    line = refused(tmp_path, database_url=dsn, partitions=8)

    assert "ORCHESTRATOR_PARTITIONS" in line
