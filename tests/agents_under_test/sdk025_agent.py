# mypy: ignore-errors
# (the SDK 0.2.5 that it stands on cannot be installed beside the 1.x that is checked against)
"""An agent on the official SDK 0.2.5: A2A 0.2 over JSON-RPC, its card at /.well-known/agent.json.

`cmd` of the input chooses what it does; everything is counted by messageId. Run it in the
environment .venvs/a2a025.
"""

import asyncio
from typing import Any

from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.apps import A2AStarletteApplication
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
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

ENDS = {
    "reject": (TaskState.rejected, "not my kind of work"),
    "fail": (TaskState.failed, "it broke"),
    "input": (TaskState.input_required, "which colour?"),
    "auth": (TaskState.auth_required, "log in at https://example.com/login"),
    "canceled": (TaskState.canceled, "changed my mind"),
    "say": (TaskState.completed, "done, nothing to show"),
}


def _data(value: dict[str, Any]) -> Part:
    return Part(root=DataPart(data=value))


def _text(words: str) -> Part:
    return Part(root=TextPart(text=words))


class Executor(AgentExecutor):
    recorder: Recorder

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        message = context.message
        self.recorder.executions[message.messageId] += 1
        data, texts = {}, []
        for part in message.parts:
            if part.root.kind == "data":
                data.update(part.root.data)
            elif part.root.kind == "text":
                texts.append(part.root.text)
        text = "\n".join(texts)
        data = data or told(text)
        if data.get("cmd") == "message":
            event_queue.enqueue_event(
                Message(
                    messageId=f"answer-{message.messageId}",
                    role=Role.agent,
                    contextId=context.context_id,
                    parts=[_data({"echo": data, "text": text})],
                )
            )
            return
        task = TaskUpdater(event_queue, context.task_id, context.context_id)
        if context.current_task is not None:
            task.start_work()
            task.add_artifact([_data({"answered": data, "text": text})])
            task.complete()
            return
        event_queue.enqueue_event(
            Task(
                id=context.task_id,
                contextId=context.context_id,
                status=TaskStatus(state=TaskState.submitted),
                history=[message],
            )
        )
        task.start_work()
        await self._work(task, data, text)

    async def _work(self, task: TaskUpdater, data: dict[str, Any], text: str) -> None:
        cmd = data.get("cmd")
        if cmd in ENDS:
            self._end(task, cmd)
            return
        match cmd:
            case "raise":
                raise RuntimeError("boom in the executor")
            case "login":  # goes on by itself, as after a login somewhere else
                self._end(task, "auth")
                await asyncio.sleep(float(data.get("seconds", 1)))
                task.start_work()
                task.add_artifact([_data({"logged": "in"})])
            case "slow":
                seconds = data.get("seconds", 30)
                await asyncio.sleep(float(seconds))
                task.add_artifact([_data({"slept": seconds})])
            case "text":
                task.add_artifact([_text("plain answer")])
            case "nothing":
                pass
            case "chunks":  # its updater cannot append
                task.add_artifact([_text("chunk0 "), _text("chunk1 "), _text("chunk2 ")], "a1")
                task.add_artifact([_data({"chunks": 3})], "a2")
            case "many":
                pdf = FileWithUri(uri="https://x/f.pdf", name="f.pdf", mimeType="application/pdf")
                task.add_artifact([_data({"a": 1}), _data({"b": {"c": [1, 2.5]}})], "a1")
                task.add_artifact(
                    [_data({"a": 2}), _text("some text"), Part(root=FilePart(file=pdf))], "a2"
                )
            case _:
                task.add_artifact([_data({"echo": data, "text": text})])
        task.complete()

    def _end(self, task: TaskUpdater, cmd: str) -> None:
        state, words = ENDS[cmd]
        final = state not in (TaskState.input_required, TaskState.auth_required)
        task.update_status(state, task.new_agent_message([_text(words)]), final=final)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        TaskUpdater(event_queue, context.task_id, context.context_id).update_status(
            TaskState.canceled, final=True
        )


def main() -> None:
    options = arguments().parse_args()
    sock = listen(options.port)
    card = AgentCard(
        name="sdk025",
        description="An agent on the SDK 0.2.5",
        version="1.0.0",
        url=f"http://127.0.0.1:{sock.getsockname()[1]}/",
        capabilities=AgentCapabilities(streaming=True),
        defaultInputModes=["text/plain"] if options.text_only else ["application/json"],
        defaultOutputModes=["application/json", "text/plain"],
        skills=[AgentSkill(id="test", name="test", description="does as told", tags=["test"])],
    )
    executor = Executor()
    handler = DefaultRequestHandler(agent_executor=executor, task_store=InMemoryTaskStore())
    app = A2AStarletteApplication(agent_card=card, http_handler=handler).build()
    executor.recorder = Recorder(app)
    serve(executor.recorder, sock)


if __name__ == "__main__":
    main()
