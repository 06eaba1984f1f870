"""Folds the events of a stream into the task that they tell of."""

from collections.abc import Mapping
from typing import Any

from orchestrator.agents import answers
from orchestrator.agents.answers import Message, Task
from orchestrator.agents.failures import malformed


class Folding:
    """Events in, the task as it is known so far out."""

    def __init__(self) -> None:
        self._task: dict[str, Any] = {}
        self._artifacts: dict[Any, dict[str, Any]] = {}  # by artifactId, in order of appearance

    def add(self, event: dict[str, Any]) -> Message | Task:
        """Take the next event, of any version; raise `Fault` for one that is none."""
        status, artifact = event.get("statusUpdate"), event.get("artifactUpdate")
        kind = event.get("kind")
        if kind == "status-update" or isinstance(status, dict):
            return self._status(event if kind == "status-update" else status)
        if kind == "artifact-update" or isinstance(artifact, dict):
            return self._artifact(event if kind == "artifact-update" else artifact)
        answer = answers.understood(event)
        if isinstance(answer, Task):
            self._begin(answer.body)
        return answer

    def _begin(self, task: Mapping[str, Any]) -> None:
        self._task = {k: v for k, v in task.items() if k != "artifacts"}
        self._artifacts = {}
        listed = task.get("artifacts")
        for artifact in listed if isinstance(listed, list) else ():
            if not isinstance(artifact, dict):
                raise malformed("answered artifacts that are no objects")
            key = artifact.get("artifactId", object())
            self._artifacts[_key(key)] = {**artifact, "parts": _parts(artifact)}

    def _status(self, update: Any) -> Task:
        self._named(update)
        self._task["status"] = update.get("status")
        return self._known()

    def _artifact(self, update: Any) -> Task:
        self._named(update)
        given = update.get("artifact")
        if not isinstance(given, dict):
            raise malformed("sent an artifact update without an artifact")
        key = _key(given.get("artifactId"))
        before = self._artifacts.get(key)
        parts = _parts(given)
        if update.get("append") is True and before is not None:
            before["parts"] += parts
        else:
            self._artifacts[key] = {**given, "parts": parts}
        return self._known()

    def _named(self, update: Mapping[str, Any]) -> None:
        for name, said in (("id", "taskId"), ("contextId", "contextId")):
            if update.get(said):
                self._task[name] = update[said]

    def _known(self) -> Task:
        status = self._task.get("status") or {"state": "working"}
        body = {**self._task, "status": status, "artifacts": list(self._artifacts.values())}
        return answers.task_of(body)


def _key(value: Any) -> Any:
    return value if isinstance(value, str) or type(value) is object else None


def _parts(artifact: Mapping[str, Any]) -> list[Any]:
    parts = artifact.get("parts")
    if parts is None:
        return []
    if not isinstance(parts, list):
        raise malformed("answered parts that are no list")
    return list(parts)
