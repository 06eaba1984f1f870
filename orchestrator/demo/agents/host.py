"""Serves one function as an A2A agent on the official SDK: card, JSON-RPC, /health."""

import asyncio
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn
from a2a.helpers.proto_helpers import (
    get_data_parts,
    new_data_part,
    new_task_from_user_message,
    new_text_part,
)
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from orchestrator.demo.agents.table import Unusable, Work

_JSON = "application/json"
_STOP_S = 3


@dataclass(frozen=True, slots=True)
class Skill:
    """What an agent does: its name, a sentence about it, and the function itself."""

    name: str
    description: str
    perform: Callable[[Work], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent listens, and the url that others reach it at."""

    host: str
    port: int
    url: str


class Executor(AgentExecutor):
    """Runs the skill for each message; its result is one artifact with one data part."""

    def __init__(self, skill: Skill) -> None:
        self._skill = skill

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        message, task_id, context_id = context.message, context.task_id, context.context_id
        if message is None or task_id is None or context_id is None:
            raise ValueError("the request has no message")
        task = TaskUpdater(event_queue, task_id, context_id)
        await event_queue.enqueue_event(new_task_from_user_message(message))
        await task.start_work()
        work = next((d for d in get_data_parts(message.parts) if isinstance(d, dict)), {})
        try:
            result = await asyncio.to_thread(self._skill.perform, work)
        except Unusable as reason:
            await task.failed(task.new_agent_message([new_text_part(str(reason))]))
            return
        await task.add_artifact([new_data_part(result, _JSON)], name="result", last_chunk=True)
        await task.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        task_id, context_id = context.task_id, context.context_id
        if task_id is None or context_id is None:
            raise ValueError("the request names no task")
        await TaskUpdater(event_queue, task_id, context_id).cancel()


def make_app(skill: Skill, url: str) -> Starlette:
    """Return the agent's web application for the address that it will be reached at."""
    card = AgentCard(
        name=f"demo-{skill.name}",
        description=skill.description,
        version="1.0.0",
        supported_interfaces=[
            AgentInterface(url=f"{url}/", protocol_binding="JSONRPC", protocol_version="1.0")
        ],
        capabilities=AgentCapabilities(streaming=False, push_notifications=False),
        default_input_modes=[_JSON],
        default_output_modes=[_JSON],
        skills=[
            AgentSkill(
                id=skill.name, name=skill.name, description=skill.description, tags=["csv", "demo"]
            )
        ],
    )
    handler = DefaultRequestHandler(
        agent_executor=Executor(skill), task_store=InMemoryTaskStore(), agent_card=card
    )
    return Starlette(
        routes=[
            *create_agent_card_routes(card),
            *create_jsonrpc_routes(handler, "/"),
            Route("/health", _health),
        ]
    )


async def _health(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


def serve(skill: Skill, place: Place | None = None) -> None:
    """Serve at `place` until SIGTERM; without one on a free port of 127.0.0.1, for the demo.

    The demo reads the url from stdout, and holds the pipe on stdin: when that ends, so does the
    agent, and none outlives the demo, however it dies.
    """
    host, port = (place.host, place.port) if place else ("127.0.0.1", 0)
    with socket.create_server((host, port)) as listener:
        url = place.url if place else f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            make_app(skill, url), log_level="warning", timeout_graceful_shutdown=_STOP_S
        )
        server = uvicorn.Server(config)
        if place is None:
            threading.Thread(target=_stop_at_end_of_stdin, args=(server,), daemon=True).start()
        sys.stdout.write(url + "\n")
        sys.stdout.flush()
        server.run(sockets=[listener])


def _stop_at_end_of_stdin(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True
