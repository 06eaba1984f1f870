"""Every statement of the program against the schema that the migrations make."""

from pathlib import Path

import asyncpg
import pytest

from orchestrator.domain.run import RunId, message_id
from orchestrator.store import queries
from tests.integration.store.stage import Stage

pytestmark = pytest.mark.integration

QUERIES = Path(__file__).parents[3] / "sql" / "queries"
STATEMENTS = [
    (file.stem, name) for file in sorted(QUERIES.glob("*.sql")) for name in queries.load(file.stem)
]
MADE_BY_A_STATEMENT = {"schema_migration"}


@pytest.mark.parametrize(("module", "name"), STATEMENTS)
async def test_every_statement_can_be_prepared(wide_dsn: str, module: str, name: str) -> None:
    conn = await asyncpg.connect(wide_dsn)
    try:
        await conn.prepare(queries.load(module)[name])
    finally:
        conn.terminate()


async def test_sql_and_domain_name_a_message_alike(wide: Stage) -> None:
    run_id = RunId(wide.workflow_id)

    named = await wide.conn.fetchval("SELECT message_id_of($1, 'a.b', 7)", run_id)

    assert named == message_id(run_id, "a.b", 7)
