"""Every operation of the API, in the order of the guide."""

from orchestrator.api import agents, executions, inbox, runs, system, workflows

OPERATIONS = (
    *agents.OPERATIONS,
    *workflows.OPERATIONS,
    *executions.OPERATIONS,
    *runs.OPERATIONS,
    *inbox.OPERATIONS,
    *system.OPERATIONS,
)
