"""Definitions: read once and kept, since a version never changes."""

from datetime import timedelta
from uuid import uuid4

import pytest

from orchestrator.domain.errors import NotFound, Refused
from orchestrator.store.definitions import Definitions
from tests.integration.store.stage import HOUR, WORKFLOW, Stage

pytestmark = [
    pytest.mark.integration,
    pytest.mark.parametrize("each_dsn", ["dsn"], indirect=True),  # one server is enough
]


async def test_a_definition_is_read_once(stage: Stage) -> None:
    kept = Definitions(timedelta(minutes=5))
    assert kept.known(stage.workflow_id, 1) is None

    first = await kept.get(stage.conn, stage.workflow_id, 1)
    await stage.conn.execute("DELETE FROM workflow WHERE id = $1", stage.workflow_id)

    assert await kept.get(stage.conn, stage.workflow_id, 1) is first
    assert kept.known(stage.workflow_id, 1) is first
    assert {step.timeout for step in first.steps.values()} == {timedelta(minutes=5)}


async def test_a_version_that_is_not_there_is_not_kept(stage: Stage) -> None:
    kept = Definitions(HOUR)

    with pytest.raises(NotFound, match="has no version 2"):
        await kept.get(stage.conn, stage.workflow_id, 2)

    assert kept.known(stage.workflow_id, 2) is None


@pytest.mark.parametrize("data", ["[]", '"text"', "{}", '{"start_step":"a","steps":{"a":7}}'])
async def test_data_that_is_no_workflow_is_refused(stage: Stage, data: str) -> None:
    odd = uuid4()
    await stage.conn.execute(WORKFLOW, odd, f"wf-{odd}", data)

    with pytest.raises(Refused):
        await Definitions(HOUR).get(stage.conn, odd, 1)


async def test_those_used_longest_ago_are_forgotten_first(stage: Stage) -> None:
    kept = Definitions(HOUR, size=2)
    others = [uuid4(), uuid4()]
    for other in others:
        await stage.conn.execute(
            WORKFLOW.replace(
                "VALUES ($1, $1, 1, $2, $2, $3", "SELECT $1, $1, 1, $2, $2, data"
            ).replace(
                "'active', now(), now())", "status, now(), now() FROM workflow WHERE id = $3"
            ),
            other,
            f"wf-{other}",
            stage.workflow_id,
        )

    for wanted in (stage.workflow_id, others[0], stage.workflow_id, others[1]):
        await kept.get(stage.conn, wanted, 1)

    assert kept.known(others[0], 1) is None
    assert kept.known(stage.workflow_id, 1) is not None
    assert kept.known(others[1], 1) is not None
