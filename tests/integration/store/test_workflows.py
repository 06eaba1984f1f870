"""Workflows that are created at the same moment."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from asyncpg import Connection

from orchestrator.domain.errors import Refused
from orchestrator.store import workflows
from orchestrator.store.workflows import NewWorkflow
from tests.integration.store.stage import until_locked

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("committed", [True, False])
async def test_names_that_make_one_key_get_numbers_of_their_own(
    conn: Connection, connect: Callable[[], Awaitable[Connection]], *, committed: bool
) -> None:
    first, second = await connect(), await connect()
    held = first.transaction()
    await held.start()
    one = await workflows.create(first, NewWorkflow("My flow", None, "{}"))

    waits = asyncio.create_task(workflows.create(second, NewWorkflow("my-flow", None, "{}")))
    await until_locked(conn)
    await (held.commit() if committed else held.rollback())
    other = await waits

    assert one.key == "wf-my-flow-001"
    assert other.key == ("wf-my-flow-002" if committed else one.key)


async def test_of_two_with_one_name_the_second_is_refused(
    conn: Connection, connect: Callable[[], Awaitable[Connection]]
) -> None:
    first, second = await connect(), await connect()
    held = first.transaction()
    await held.start()
    await workflows.create(first, NewWorkflow("mine", None, "{}"))

    waits = asyncio.create_task(workflows.create(second, NewWorkflow("mine", None, "{}")))
    await until_locked(conn)
    await held.commit()

    with pytest.raises(Refused, match="mine"):
        await waits
