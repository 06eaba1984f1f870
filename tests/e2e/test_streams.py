"""Steps by stream, through the running program: a kill in the middle, artifacts, a push address."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agents_under_test import launch
from tests.agents_under_test.launch import AgentProcess
from tests.e2e import engine
from tests.e2e.program import Program
from tests.e2e.test_engine import until

pytestmark = pytest.mark.e2e


@pytest.fixture
def agent() -> Iterator[AgentProcess]:
    with launch.sdk1() as agent:
        yield agent


def _one_step(program: Program, **step: Any) -> dict[str, Any]:
    steps = {"only": {"id": "only", "agent_name": "sdk", "next_step": None} | step}
    body = {"name": "one", "start_step": "only", "steps": steps}
    status, answer = program.call("POST", "/api/v1/workflows", body)
    assert status == 201, answer
    return dict(answer)


def _methods(agent: AgentProcess) -> list[str]:
    return [request["body"]["method"] for request in agent.get("/record")["requests"]]


def test_a_task_that_is_streamed_is_followed_after_a_kill_and_run_once(
    tmp_path: Path, dsn: str, agent: AgentProcess
) -> None:
    program = Program(tmp_path, database_url=dsn).start()
    engine.register(program, agent, name="sdk")
    workflow = _one_step(program, input_mapping={"cmd": "slow", "seconds": 3})
    run_id = engine.execute(program, workflow)
    query = "SELECT FROM step_execution WHERE task_id IS NOT NULL"
    until("the task is known", lambda: engine.rows(dsn, query))
    program.kill()

    with Program(tmp_path, database_url=dsn) as again:
        assert again.ended(run_id)["status"] == "COMPLETED"
        _, steps = again.call("GET", f"/api/v1/runs/{run_id}/steps")

    assert steps[0]["output_data"] == {"slept": 3}
    assert [artifact["name"] for artifact in steps[0]["artifacts"]] == ["result"]
    assert set(agent.get("/record")["executions"].values()) == {1}
    assert _methods(agent) == ["SendStreamingMessage", "SubscribeToTask", "GetTask"]


def test_a_step_says_what_its_agent_reads(tmp_path: Path, dsn: str, agent: AgentProcess) -> None:
    with Program(tmp_path, database_url=dsn) as program:
        engine.register(program, agent, name="sdk", headers={"X-Tenant": "blue"})
        workflow = _one_step(
            program,
            input_mapping={"cmd": "echo"},
            input_as="both",
            prompt="Look at ${workflow.input.source}!",
            skill="test",
            context="step",
        )
        run_id = engine.execute(program, workflow, source={"a": 1})
        assert program.ended(run_id)["status"] == "COMPLETED"
        _, steps = program.call("GET", f"/api/v1/runs/{run_id}/steps")

    text = 'Look at {"a":1}!\n\n{"cmd":"echo"}'
    assert steps[0]["output_data"] == {"echo": {"cmd": "echo"}, "text": text}
    sent = agent.get("/record")["requests"][0]
    message = sent["body"]["params"]["message"]
    assert message["contextId"] == f"{run_id}.only"
    assert message["metadata"]["skillId"] == "test"
    assert sent["headers"]["x-tenant"] == "blue"


def test_news_of_a_task_is_taken_at_the_public_url(
    tmp_path: Path, dsn: str, agent: AgentProcess
) -> None:
    with Program(tmp_path, database_url=dsn, public_url="http://127.0.0.1:9") as program:
        engine.register(program, agent, name="sdk", push=True)
        workflow = _one_step(program, input_mapping={"cmd": "echo"})
        assert program.ended(engine.execute(program, workflow))["status"] == "COMPLETED"
        sent = agent.get("/record")["requests"][0]["body"]["params"]["configuration"]
        target = sent["taskPushNotificationConfig"]
        assert target["url"].startswith("http://127.0.0.1:9/api/v1/push/")
        path = target["url"].removeprefix("http://127.0.0.1:9")

        news = {"statusUpdate": {"taskId": "t", "status": {"state": "TASK_STATE_WORKING"}}}
        wrong, _ = program.call("POST", path, news, Authorization="Bearer wrong")
        right, _ = program.call("POST", path, news, Authorization=f"Bearer {target['token']}")

    assert (wrong, right) == (404, 200)
