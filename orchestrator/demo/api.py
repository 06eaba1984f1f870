"""The orchestrator's API as the demo uses it: as any client would, over HTTP."""

import asyncio
from asyncio.subprocess import Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from orchestrator.demo import processes
from orchestrator.demo.failure import DemoFailed

_READY_S = 60
_READY_POLL_S = 0.05
_CALL_S = 60
_ERROR = 400


class Api:
    """A client of one orchestrator."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self.base = base

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the answer's JSON; raise `DemoFailed` with the answer's own reason."""
        timeout = aiohttp.ClientTimeout(total=_CALL_S)
        try:
            async with self._session.request(
                method, f"{self.base}{path}", json=body, timeout=timeout
            ) as response:
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise DemoFailed(f"{method} {path}: {str(error) or type(error).__name__}") from error
        if response.status >= _ERROR:
            detail = answer.get("detail") if isinstance(answer, dict) else answer
            raise DemoFailed(f"{method} {path}: {response.status} {detail}")
        return answer

    async def put_agent(self, name: str, url: str, description: str) -> None:
        """Register an agent, or send the one of that name to its new url."""
        found = await self.call("GET", f"/api/v1/agents?name={name}")
        body = {"url": url, "description": description}
        if found["items"]:
            path = f"/api/v1/agents/{found['items'][0]['id']}"
            await self.call("PUT", path, body | {"status": "active"})
        else:
            await self.call("POST", "/api/v1/agents", body | {"name": name})

    async def put_workflow(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        """Create a workflow, or bring the one of that name up to date; return it."""
        found = await self.call("GET", f"/api/v1/workflows?name={definition['name']}")
        if found["items"]:
            path = f"/api/v1/workflows/{found['items'][0]['id']}"
            workflow = await self.call("PUT", path, {**definition, "status": "active"})
        else:
            workflow = await self.call("POST", "/api/v1/workflows", definition)
        return dict(workflow)

    async def wait_until_ready(self, process: Process, log: Path) -> None:
        """Return once the orchestrator is ready; raise `DemoFailed` if it ends or is too slow."""
        try:
            async with asyncio.timeout(_READY_S):
                while not await self._is_ready():
                    if process.returncode is not None:
                        raise DemoFailed(
                            f"the orchestrator ended with code {process.returncode}\n"
                            f"{processes.tail(log)}"
                        )
                    await asyncio.sleep(_READY_POLL_S)
        except TimeoutError:
            raise DemoFailed(
                f"the orchestrator was not ready after {_READY_S} s\n{processes.tail(log)}"
            ) from None

    async def _is_ready(self) -> bool:
        try:
            async with self._session.get(f"{self.base}/health/ready") as response:
                return response.ok
        except aiohttp.ClientError:
            return False
