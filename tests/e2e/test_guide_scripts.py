"""The guide's snippets, verbatim, with bash, curl and jq against the running program."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import guide, guide_world
from tests.e2e.guide import RUN_ID, Snippet
from tests.e2e.guide_world import Shell
from tests.e2e.program import Program

pytestmark = pytest.mark.e2e

SNIPPETS = {snippet.name: snippet for snippet in guide.snippets()}
# HTTPie is none of the three tools that the scripts need.
OTHER_TOOLS = {"Testing Tools (2)"}


@dataclass(frozen=True, slots=True)
class Expected:
    """The status of each request, in order, and words of the output."""

    statuses: list[int]
    words: tuple[str, ...] = ()
    run: str = "FAILED"
    code: int = 0


EXPECTED = {
    "Quick Start": Expected([200], ('"status":"healthy"', '"version":"1.0.0"')),
    "Quick Start (2)": Expected([201], ('"name":"my-first-agent"', '"timeout_ms":30000')),
    "Create Agent": Expected([201], ('"auth_type":"none"', '"timeout_ms":60000')),
    "List Agents": Expected([200], ('"total":4', '"total_pages":1')),
    "Get Agent": Expected([200], (guide.AGENT_ID, "seeded-agent")),
    "Update Agent": Expected([200], ('"description":"Updated description"', "60000")),
    "Delete Agent": Expected([200], (f"Agent '{guide.AGENT_ID}' deleted successfully",)),
    "Check Agent Health": Expected([200], ('"healthy":true', '"status_code":200')),
    "Create Workflow": Expected([201], ('"version":1', "${workflow.input.data_source}")),
    "List Workflows": Expected([200], (guide.WORKFLOW_ID,)),
    "Get Workflow": Expected([200], (guide.WORKFLOW_ID, "seeded-pipeline")),
    "Update Workflow": Expected([200], ("Updated ETL pipeline", '"version":1')),
    "Delete Workflow": Expected([200], (f"Workflow '{guide.WORKFLOW_ID}' deleted successfully",)),
    "Get Workflow Versions": Expected([200], ('"total":1', '"page_size":10')),
    "Execute Workflow": Expected([202], ('"status":"PENDING"', '"triggered_by":"system"')),
    "List Runs": Expected([200], (RUN_ID, "Step 'extract' failed: Connection timeout")),
    "Get Run": Expected([200], (RUN_ID, "wf-data-pipeline-001"), run="COMPLETED"),
    "Get Run Steps": Expected([200], ("step-exec-", '"step_id":"extract"')),
    "Retry Run": Expected([202], (RUN_ID, '"status":"PENDING"')),
    "Cancel Run": Expected([200], ("Cancelled: Incorrect input data provided",), run="PENDING"),
    "Get Run Logs": Expected([200], ('"total":1',)),
    "Basic Health Check": Expected([200], ('"status":"healthy"', '"services":null')),
    "Readiness Check": Expected([200], ('"ready":true', "Database connection active")),
    "Prometheus Metrics": Expected([200], ('api_info{version="1.0.0"} 1', "api_requests_total ")),
    "Workflow 1: Complete Setup and Execution": Expected(
        [], ("Run status: COMPLETED", '"step_name": "transform"', '"record_count": 3')
    ),
    "Workflow 2: Monitor and Retry Failed Runs": Expected(
        [], ("Connection timeout", '"status": "PENDING"', "Retry status: COMPLETED")
    ),
    "Workflow 3: Update Workflow Version": Expected(
        [200, 200, 200], ('"version": 1', '"version": 2', '"inactive"')
    ),
    "Workflow 4: Cancel Long-Running Workflow": Expected(
        [202, 200, 200, 200],
        ("Cancelling run...", "Cancelled: Dataset too large, need to optimize first"),
    ),
    "Workflow 5: Health Check All Agents": Expected([], ("DataExtractorAgent is healthy (",)),
    "1. Always Check Health Before Operations": Expected([200, 200], ('"ready":true',)),
    "2. Use Pagination for Large Result Sets": Expected([200], ('"page_size":50',)),
    "3. Filter Results to Reduce Response Size": Expected([200, 200], (RUN_ID,)),
    "5. Handle Errors Gracefully": Expected([], ("Success: Agent created", '"test-agent"')),
    "9. Review Step Executions for Debugging": Expected([200, 200], ('"step_id": "extract"',)),
    "Client SDK Generation": Expected([200], ('"3.1.0"\n"3.1.0"\n"3.1.0"',)),
    "Testing Tools": Expected([201], ('"name":"from-a-file"',)),
}


@pytest.fixture(scope="module")
def program(module_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Run the program, where the guide's host names are agents of this test."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "sitecustomize.py").write_text(guide_world.RESOLVER)
    with guide_world.agents() as agents, pytest.MonkeyPatch.context() as patch:
        ports = {host: agent.server_port for host, agent in agents.items()}
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        patch.setenv("PYTHONPATH", path)
        patch.setenv("TEST_HOSTS", json.dumps(ports))
        with Program(folder / "data", database_url=module_dsn) as program:
            yield program


@pytest.fixture
def shell(program: Program, module_dsn: str, tmp_path: Path) -> Shell:
    guide_world.clear(module_dsn)
    return Shell(tmp_path, program.port)


def test_no_snippet_is_forgotten() -> None:
    assert SNIPPETS.keys() == EXPECTED.keys() | OTHER_TOOLS


@pytest.mark.parametrize("name", EXPECTED)
def test_a_snippet_does_what_the_guide_says(name: str, shell: Shell, module_dsn: str) -> None:
    snippet, expected = SNIPPETS[name], EXPECTED[name]
    # The first workflow makes its own agents, under the names that the others find.
    guide_world.seed(module_dsn, expected.run, agents_too=not _makes_agents(snippet))

    outcome = shell.run(snippet.text)

    assert outcome.code == expected.code, outcome
    if expected.statuses:
        assert outcome.statuses == expected.statuses, outcome
    assert set(outcome.statuses) <= {200, 201, 202}, outcome
    for word in expected.words:
        assert word in outcome.output, outcome


def _makes_agents(snippet: Snippet) -> bool:
    return '"name": "DataExtractorAgent"' in snippet.text
