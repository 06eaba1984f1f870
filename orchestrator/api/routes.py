"""Every operation of the API, in the order of the guide."""

from orchestrator.api import (
    agent_probes,
    agents,
    executions,
    inbox,
    push,
    runs,
    system,
    workflows,
)

OPERATIONS = (
    *agents.OPERATIONS,
    *agent_probes.OPERATIONS,
    *workflows.OPERATIONS,
    *executions.OPERATIONS,
    *runs.OPERATIONS,
    *inbox.OPERATIONS,
    *push.OPERATIONS,
    *system.OPERATIONS,
)
