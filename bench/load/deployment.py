"""The deployment that is loaded, through its API: what is registered for a load, and counted."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson

from bench.load.failure import LoadFailed

STEPS = ("extract", "transform", "load")
_CALL_S = 60.0
_ERROR = 400
_STATUSES = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")


class Deployment:
    """The first of its orchestrators that takes connections is asked."""

    def __init__(self, session: aiohttp.ClientSession, *urls: str) -> None:
        self._session = session
        self._urls = urls

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer; raise `LoadFailed` with the deployment's own reason."""
        failed = LoadFailed("there is nobody to ask")
        for url in self._urls:
            try:
                return await self._call(method, url + path, body)
            except aiohttp.ClientConnectorError as error:  # nothing was sent
                failed = LoadFailed(f"{method} {url}{path}: {error}")
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                reason = str(error) or type(error).__name__
                raise LoadFailed(f"{method} {url}{path}: {reason}") from error
        raise failed

    async def _call(self, method: str, url: str, body: object) -> Any:
        data = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=_CALL_S)
        async with self._session.request(
            method, url, data=data, headers=headers, timeout=timeout
        ) as response:
            text = await response.read()
            answer = orjson.loads(text) if text else None
        if response.status >= _ERROR:
            raise LoadFailed(f"{method} {url}: {response.status} {answer}")
        return answer

    @asynccontextmanager
    async def three_steps(self, agents: Sequence[str]) -> AsyncIterator[str]:
        """Register agents, and a workflow of three steps on them, for as long as the load takes.

        Give the workflow's id. Runs stay in the history. What cannot be removed is warned of.
        """
        tag = secrets.token_hex(4)
        made: list[str] = []
        try:
            names = []
            for number, url in enumerate(agents, 1):
                body = {"name": f"bench-{tag}-{number}", "url": url}
                agent = await self.call("POST", "/api/v1/agents", body)
                made.append(f"/api/v1/agents/{agent['id']}")
                names.append(agent["name"])
            definition = _definition(f"bench-{tag}", names)
            workflow = await self.call("POST", "/api/v1/workflows", definition)
            made.append(f"/api/v1/workflows/{workflow['id']}")
            yield str(workflow["id"])
        finally:
            for path in reversed(made):
                try:
                    await self.call("DELETE", path)
                except LoadFailed as failed:
                    sys.stderr.write(f"load: it could not be removed: {failed}\n")

    async def statuses(self, workflow: str, since: datetime) -> dict[str, int]:
        """Count the workflow's runs created since then, by status."""
        after = since.astimezone(UTC).isoformat().replace("+00:00", "Z")
        query = f"workflow_definition_id={workflow}&created_after={after}&page_size=1"
        found = {}
        for status in _STATUSES:  # in the order of a run's life: none slips through while it ends
            page = await self.call("GET", f"/api/v1/runs?{query}&status={status}")
            found[status] = int(page["total"])
        return found

    async def ended(self, run: str, within: float) -> str | None:
        """Wait for a run's end; return its status, or None if it has not ended by then."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while (left := deadline - loop.time()) > 0:
            asked = loop.time()
            answer = await self.call("GET", f"/api/v1/runs/{run}?wait={min(left, 30.0):.3f}")
            if answer["status"] not in {"PENDING", "RUNNING"}:
                return str(answer["status"])
            if loop.time() - asked < 1.0:  # it has too many waiters, and answered at once
                await asyncio.sleep(0.2)
        return None


def _definition(name: str, agents: Sequence[str]) -> dict[str, Any]:
    steps: dict[str, Any] = {}
    for index, step in enumerate(STEPS):
        before = STEPS[index - 1] if index else None
        mapping = {"source": "${workflow.input.source}"}
        if before is not None:
            mapping["before"] = f"${{{before}.output.call}}"
        steps[step] = {
            "id": step,
            "agent_name": agents[index % len(agents)],
            "next_step": STEPS[index + 1] if index + 1 < len(STEPS) else None,
            "input_mapping": mapping,
        }
    return {"name": name, "start_step": STEPS[0], "steps": steps}
