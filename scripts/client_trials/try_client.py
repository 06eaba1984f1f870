"""Uses the generated Python client against the server at the address given: `scripts/clients`."""

import sys
from http import HTTPStatus
from uuid import uuid4

from orchestrator_client import (  # type: ignore[import-not-found]
    AgentCreate,
    AgentsApi,
    ApiClient,
    ApiException,
    CancelRequest,
    Configuration,
    ExecuteRequest,
    RunsApi,
    Step,
    WorkflowCreate,
    WorkflowsApi,
)


def main(address: str) -> None:
    with ApiClient(Configuration(host=address)) as client:
        agents, workflows, runs = AgentsApi(client), WorkflowsApi(client), RunsApi(client)

        agent = agents.create_agent(AgentCreate(name="python", url="http://127.0.0.1:9"))
        assert agents.get_agent(agent.id) == agent
        assert [each.id for each in agents.list_agents(name="python").items] == [agent.id]

        step = Step(id="only", agent_name="python", input_mapping={"x": "${workflow.input.x}"})
        new = WorkflowCreate(name="python", start_step="only", steps={"only": step})
        workflow = workflows.create_workflow(new)
        assert workflows.get_workflow(workflow.id).workflow_data.steps["only"] == step

        run = workflows.execute_workflow(workflow.id, ExecuteRequest(input_data={"x": [1, None]}))
        assert runs.cancel_run(run.id, CancelRequest(reason="tried")).status == "CANCELLED"
        assert runs.get_run(run.id).input_data == {"x": [1, None]}
        assert [each.step_id for each in runs.list_run_steps(run.id)] == ["only"]
        assert runs.list_run_logs(run.id).items[0].event == "RunCreated"

        missing = uuid4()
        try:
            agents.get_agent(missing)
        except ApiException as error:
            assert error.status == HTTPStatus.NOT_FOUND
            assert error.data.detail == f"Agent with id '{missing}' not found"
        else:
            raise AssertionError("an agent that nobody made was found")


if __name__ == "__main__":
    main(sys.argv[1])
