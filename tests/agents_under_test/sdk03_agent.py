# mypy: ignore-errors
# (the SDK 0.3 that it stands on cannot be installed beside the 1.x that is checked against)
"""An agent on the official SDK 0.3: A2A 0.3 over JSON-RPC.

`cmd` of the input chooses what it does (see `Executor._work`); everything is counted by messageId.
Run it in the environment .venvs/a2a03.
"""

import asyncio
from typing import Any

import httpx
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.apps import A2AStarletteApplication
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import (
    BasePushNotificationSender,
    InMemoryPushNotificationConfigStore,
    InMemoryTaskStore,
    TaskUpdater,
)
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentSkill,
    DataPart,
    FilePart,
    FileWithUri,
    Message,
    Part,
    Role,
    Task,
    TaskState,
    TaskStatus,
    TextPart,
)
from serving import Recorder, arguments, listen, serve, told


def _data(value: dict[str, Any]) -> Part:
    return Part(root=DataPart(data=value))


def _text(words: str) -> Part:
    return Part(root=TextPart(text=words))


def _read(message: Message) -> tuple[dict[str, Any], str]:
    data: dict[str, Any] = {}
    texts = []
    for part in message.parts:
        if part.root.kind == "data":
            data.update(part.root.data)
        elif part.root.kind == "text":
            texts.append(part.root.text)
    text = "\n".join(texts)
    return data or told(text), text


class Executor(AgentExecutor):
    recorder: Recorder

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        message = context.message
        self.recorder.executions[message.message_id] += 1
        data, text = _read(message)
        if data.get("cmd") == "message":
            answer = Message(
                message_id=f"answer-{message.message_id}",
                role=Role.agent,
                context_id=context.context_id,
                parts=[_data({"echo": data, "text": text})],
            )
            await event_queue.enqueue_event(answer)
            return
        task = TaskUpdater(event_queue, context.task_id, context.context_id)
        if context.current_task is not None:
            await self._go_on(task, data, text)
            return
        await event_queue.enqueue_event(
            Task(
                id=context.task_id,
                context_id=context.context_id,
                status=TaskStatus(state=TaskState.submitted),
                history=[message],
            )
        )
        await task.start_work()
        await self._work(task, data, text)

    async def _go_on(self, task: TaskUpdater, data: dict[str, Any], text: str) -> None:
        """Do what an answer says: think first, ask once more, or be done."""
        await asyncio.sleep(float(data.get("think", 0)))
        if data.get("then") == "ask":
            await task.requires_input(task.new_agent_message([_text("sure?")]))
            return
        await task.start_work()
        await asyncio.sleep(float(data.get("work", 0)))
        await _finish(task, _data({"answered": data, "text": text}))

    async def _work(  # noqa: C901, PLR0912 - one command a case
        self, task: TaskUpdater, data: dict[str, Any], text: str
    ) -> None:
        def say(words: str) -> Message:
            return task.new_agent_message([_text(words)])

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
                ask = [_text("which colour?"), _data({"choose": ["red", "blue"]})]
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
            case "slow":
                await asyncio.sleep(float(data.get("seconds", 30)))
                await _finish(task, _data({"slept": data.get("seconds", 30)}))
            case "chunks":
                for i in range(3):
                    await task.add_artifact(
                        [_text(f"chunk{i} ")], "a1", "text", append=i > 0, last_chunk=i == 2
                    )
                await _finish(task, _data({"chunks": 3}))
            case "text":
                await _finish(task, _text("plain answer"))
            case "json-text":
                await _finish(task, _text('```json\n{"from": "text"}\n```'))
            case "say":
                await task.complete(say("done, nothing to show"))
            case "nothing":
                await task.complete()
            case "many":
                pdf = FileWithUri(uri="https://x/f.pdf", name="f.pdf", mime_type="application/pdf")
                await task.add_artifact([_data({"a": 1}), _data({"b": {"c": [1, 2.5]}})])
                await task.add_artifact(
                    [_data({"a": 2}), _text("some text"), Part(root=FilePart(file=pdf))]
                )
                await task.complete()
            case _:
                await _finish(task, _data({"echo": data, "text": text}))

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


async def _finish(task: TaskUpdater, part: Part) -> None:
    await task.add_artifact([part], name="result", last_chunk=True)
    await task.complete()


def main() -> None:
    options = arguments().parse_args()
    sock = listen(options.port)
    card = AgentCard(
        name="sdk03",
        description="An agent on the SDK 0.3",
        version="1.0.0",
        url=f"http://127.0.0.1:{sock.getsockname()[1]}/",
        capabilities=AgentCapabilities(streaming=True, push_notifications=True),
        default_input_modes=["text/plain"] if options.text_only else ["application/json"],
        default_output_modes=["application/json", "text/plain"],
        skills=[AgentSkill(id="test", name="test", description="does as told", tags=["test"])],
    )
    executor = Executor()
    configs = InMemoryPushNotificationConfigStore()
    handler = DefaultRequestHandler(
        agent_executor=executor,
        task_store=InMemoryTaskStore(),
        push_config_store=configs,
        push_sender=BasePushNotificationSender(httpx.AsyncClient(), configs),
    )
    app = A2AStarletteApplication(agent_card=card, http_handler=handler).build()
    executor.recorder = Recorder(app)
    serve(executor.recorder, sock)


if __name__ == "__main__":
    main()
