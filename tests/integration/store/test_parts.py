"""Daily parts: made ahead and on demand, by many at once, dropped whole."""

import pytest
from asyncpg import Connection

pytestmark = pytest.mark.integration


async def test_an_id_carries_its_time(conn: Connection) -> None:
    row = await conn.fetchrow(
        "SELECT id, run_id_time(id) AS at, clock_timestamp() - run_id_time(id) AS ago,"
        " partition_of(id, 16) AS partition FROM new_run_id() AS id"
    )

    assert row is not None
    assert row["id"].version == 7
    assert row["at"].microsecond % 1000 == 0
    assert 0 <= row["ago"].total_seconds() < 1
    assert row["partition"] == (row["id"].int & 0xFFFFFFFF) % 16
