"""Every behaviour with every agent: the fast part of `make interop`, in the agents' own way."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import CallMode, Options
from tests.agents_under_test.launch import AgentProcess
from tests.agents_under_test.registered import agent_at
from tests.integration.agents.conftest import MAX_ANSWER
from tests.interop.behaviours import BEHAVIOURS, SUBJECTS, Subject, not_offered

pytestmark = pytest.mark.integration

TIMEOUT = timedelta(seconds=2)  # Python's SDK 0.3 does not stream that a task was cancelled


@pytest.fixture(scope="module", params=SUBJECTS, ids=lambda subject: subject.name)
def subject(request: pytest.FixtureRequest) -> Subject:
    found: Subject = request.param
    return found


@pytest.fixture(scope="module")
def process(subject: Subject) -> Iterator[AgentProcess]:
    with subject.start(*subject.options) as process:
        yield process


@pytest.fixture
async def client() -> AsyncIterator[A2AClient]:
    async with A2AClient(max_answer_bytes=MAX_ANSWER, max_calls=64) as client:
        yield client


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_an_agent_behaves(
    behaviour: str, subject: Subject, process: AgentProcess, client: A2AClient
) -> None:
    mode = CallMode.AUTO
    if not_offered(subject.name, behaviour, mode) is not None:
        return
    agent = agent_at(process.url, options=Options(call_mode=mode), timeout=TIMEOUT)
    await BEHAVIOURS[behaviour](client, agent)
