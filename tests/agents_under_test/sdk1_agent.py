"""An agent on the official SDK 1.x: A2A 1.0 over JSON-RPC, and 0.3 beside it with --compat.

With --rest it offers HTTP+JSON only; it sends push notifications.

`cmd` of the input chooses what it does (see `Executor._work`); everything is counted by messageId.
Run it in the environment .venvs/a2a1.
"""

import asyncio
from typing import Any

import httpx
from a2a.helpers.proto_helpers import get_data_parts, get_text_parts, new_data_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import (
    create_agent_card_routes,
    create_jsonrpc_routes,
    create_rest_routes,
)
from a2a.server.tasks import (
    BasePushNotificationSender,
    InMemoryPushNotificationConfigStore,
    InMemoryTaskStore,
    TaskUpdater,
)
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    Message,
    Part,
    Role,
    Task,
    TaskState,
    TaskStatus,
)
from a2a.utils.errors import TaskNotCancelableError
from serving import Recorder, arguments, listen, serve, told
from starlette.applications import Starlette


def _data(value: Any) -> Part:
    return new_data_part(value, "application/json")


def _read(message: Message) -> tuple[dict[str, Any], str]:
    data: dict[str, Any] = {}
    for value in get_data_parts(message.parts):
        data.update(value if isinstance(value, dict) else {"value": value})
    text = "\n".join(get_text_parts(message.parts))
    return data or told(text), text


class Executor(AgentExecutor):
    recorder: Recorder

    def __init__(self) -> None:
        self._stubborn: set[str] = set()

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        message, task_id, context_id = context.message, context.task_id, context.context_id
        assert message is not None
        assert task_id is not None
        assert context_id is not None
        self.recorder.executions[message.message_id] += 1
        data, text = _read(message)
        if data.get("cmd") == "message":
            echo = _data({"echo": data, "text": text})
            await event_queue.enqueue_event(
                Message(
                    message_id=f"answer-{message.message_id}",
                    role=Role.ROLE_AGENT,
                    context_id=context_id,
                    parts=[echo],
                )
            )
            return
        task = TaskUpdater(event_queue, task_id, context_id)
        if context.current_task is not None:
            await self._go_on(task, data, text)
            return
        await event_queue.enqueue_event(
            Task(
                id=task_id,
                context_id=context_id,
                status=TaskStatus(state=TaskState.TASK_STATE_SUBMITTED),
                history=[message],
            )
        )
        await task.start_work()
        await self._work(task, data, text)

    async def _go_on(self, task: TaskUpdater, data: dict[str, Any], text: str) -> None:
        """Do what an answer says: think first, ask once more, or be done."""
        await asyncio.sleep(float(data.get("think", 0)))
        if data.get("then") == "ask":
            await task.requires_input(task.new_agent_message([Part(text="sure?")]))
            return
        await task.start_work()
        await asyncio.sleep(float(data.get("work", 0)))
        await _finish(task, _data({"answered": data, "text": text}))

    async def _work(  # noqa: C901, PLR0912 - one command a case
        self, task: TaskUpdater, data: dict[str, Any], text: str
    ) -> None:
        def say(words: str) -> Message:
            return task.new_agent_message([Part(text=words)])

        match data.get("cmd"):
            case "raise":
                raise RuntimeError("boom in the executor")
            case "reject":
                await task.reject(say("not my kind of work"))
            case "fail":
                await task.failed(say("it broke"))
            case "fail-silently":
                await task.failed()
            case "input":
                ask = [Part(text="which colour?"), _data({"choose": ["red", "blue"]})]
                await task.requires_input(task.new_agent_message(ask))
            case "auth":
                await task.requires_auth(say("log in at https://example.com/login"))
            case "login":  # goes on by itself, as after a login somewhere else
                await task.requires_auth(say("log in at https://example.com/login"))
                await asyncio.sleep(float(data.get("seconds", 1)))
                await task.start_work()
                await _finish(task, _data({"logged": "in"}))
            case "canceled":
                await task.cancel(say("changed my mind"))
            case "slow" | "stubborn" as cmd:
                if cmd == "stubborn":
                    self._stubborn.add(task.task_id)
                await asyncio.sleep(float(data.get("seconds", 30)))
                await _finish(task, _data({"slept": data.get("seconds", 30)}))
            case "chunks":
                for i in range(3):
                    await task.add_artifact(
                        [Part(text=f"chunk{i} ")], "a1", "text", append=i > 0, last_chunk=i == 2
                    )
                await _finish(task, _data({"chunks": 3}))
            case "text":
                await _finish(task, Part(text="plain answer"))
            case "json-text":
                await _finish(task, Part(text='```json\n{"from": "text"}\n```'))
            case "say":
                await task.complete(say("done, nothing to show"))
            case "nothing":
                await task.complete()
            case "many":
                pdf = Part(url="https://x/f.pdf", filename="f.pdf", media_type="application/pdf")
                await task.add_artifact([_data({"a": 1}), _data({"b": {"c": [1, 2.5]}})])
                await task.add_artifact([_data({"a": 2}), Part(text="some text"), pdf])
                await task.complete()
            case "value":
                await _finish(task, _data(data.get("of")))
            case _:
                await _finish(task, _data({"echo": data, "text": text}))

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.task_id is not None
        assert context.context_id is not None
        if context.task_id in self._stubborn:
            raise TaskNotCancelableError
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


async def _finish(task: TaskUpdater, part: Part) -> None:
    await task.add_artifact([part], name="result", last_chunk=True)
    await task.complete()


def main() -> None:
    parser = arguments()
    parser.add_argument("--compat", action="store_true", help="speaks 0.3 too")
    parser.add_argument("--rest", action="store_true", help="offers HTTP+JSON only")
    options = parser.parse_args()
    sock = listen(options.port)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    modes = ["text/plain"] if options.text_only else ["application/json", "text/plain"]
    versions = ["1.0", "0.3"] if options.compat else ["1.0"]
    binding, place = ("HTTP+JSON", url + "rest") if options.rest else ("JSONRPC", url)
    card = AgentCard(
        name="sdk1",
        description="An agent on the SDK 1.x",
        version="1.0.0",
        supported_interfaces=[
            AgentInterface(url=place, protocol_binding=binding, protocol_version=v)
            for v in versions
        ],
        capabilities=AgentCapabilities(streaming=True, push_notifications=True),
        default_input_modes=modes,
        default_output_modes=["application/json", "text/plain"],
        skills=[AgentSkill(id="test", name="test", description="does as told", tags=["test"])],
    )
    executor = Executor()
    configs = InMemoryPushNotificationConfigStore()
    handler = DefaultRequestHandler(
        agent_executor=executor,
        task_store=InMemoryTaskStore(),
        agent_card=card,
        push_config_store=configs,
        push_sender=BasePushNotificationSender(httpx.AsyncClient(), configs),
    )
    routes = [
        *create_agent_card_routes(card),
        *create_jsonrpc_routes(handler, "/", enable_v0_3_compat=options.compat),
        *create_rest_routes(handler, path_prefix="/rest"),
    ]
    executor.recorder = Recorder(Starlette(routes=routes))
    serve(executor.recorder, sock)


if __name__ == "__main__":
    main()
