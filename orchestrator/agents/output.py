"""Makes a step's output of the parts that an agent answered.

One data part alone is the output exactly. Otherwise data objects are merged in order (the last one
wins), other data goes to `items`, text to `text`, files to `files`; text that is nothing but a JSON
object is taken as that object.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator import json_text
from orchestrator.agents.answers import Message, Task
from orchestrator.agents.failures import malformed
from orchestrator.domain.agent import Output

_EXACT_BELOW = 2**53  # where doubles still are exact integers
_FENCE = re.compile(r"\s*```[A-Za-z0-9_-]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\s*", re.DOTALL)


@dataclass(slots=True)
class _Collected:
    data: list[Any] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # one an artifact
    files: list[dict[str, Any]] = field(default_factory=list)


def of(answer: Message | Task) -> Output:
    """Return the output of a message or a completed task; raise `Fault` for malformed parts."""
    value = _value(_collect(_groups(answer)))
    return Output(value, json_text.dumps(value), _artifacts(answer))


def _artifacts(answer: Message | Task) -> str | None:
    """Return the artifacts as the agent sent them, but for numbers; None without any."""
    artifacts = None if isinstance(answer, Message) else answer.body.get("artifacts")
    return json_text.dumps(repaired(artifacts)) if artifacts else None


def said(task: Task) -> str:
    """Return what the task's own message says, as text; empty if it says nothing."""
    found = _collect(iter([_status_parts(task)]))
    texts = [*found.texts, *(json_text.dumps(value) for value in found.data if not found.texts)]
    return " ".join(texts).strip()


def question(task: Task) -> dict[str, Any]:
    """Return what the task's own message asks: as text, and part by part."""
    parts: list[dict[str, Any]] = []
    for part in _status_parts(task):
        found, texts = _Collected(), list[str]()
        _sort(part, found, texts)
        parts += [{"data": value} for value in found.data]
        parts += [{"text": text} for text in texts]
        parts += found.files
    return {"text": said(task), "parts": parts}


def _groups(answer: Message | Task) -> Iterator[list[Any]]:
    """Yield the parts, those of one artifact together."""
    if isinstance(answer, Message):
        yield answer.body["parts"]
        return
    groups = [_list(a.get("parts"), "parts") for a in _objects(answer.body, "artifacts")]
    if any(groups):
        yield from groups
    else:  # results should be artifacts, but some agents only say them
        yield _status_parts(answer)


def _status_parts(task: Task) -> list[Any]:
    message = task.body["status"].get("message")
    return _list(message.get("parts"), "parts") if isinstance(message, dict) else []


def _collect(groups: Iterator[list[Any]]) -> _Collected:
    found = _Collected()
    for parts in groups:
        texts: list[str] = []
        for part in parts:
            _sort(part, found, texts)
        if texts:
            found.texts.append("".join(texts))  # streamed chunks belong together
    return found


def _sort(part: Any, found: _Collected, texts: list[str]) -> None:
    if not isinstance(part, dict):
        raise malformed("answered a part that is no object")
    if "data" in part and part.get("kind", "data") == "data":
        found.data.append(_data(part))
    elif isinstance(part.get("text"), str):
        if part["text"]:
            texts.append(part["text"])
    elif isinstance(file := part.get("file"), dict):
        found.files.append(_file(file, file.get("uri"), file.get("bytes")))
    elif part.get("url") or part.get("raw"):
        found.files.append(_file(part, part.get("url"), part.get("raw")))


def _data(part: Mapping[str, Any]) -> Any:
    value = part["data"]
    metadata = part.get("metadata")
    if (
        isinstance(metadata, dict)
        and metadata.get("data_part_compat")
        and isinstance(value, dict)
        and value.keys() == {"value"}
    ):
        value = value["value"]  # how 1.x servers put what is no object into a 0.3 part
    return repaired(value)


def _file(part: Mapping[str, Any], url: Any, raw: Any) -> dict[str, Any]:
    named = {
        "url": url,
        "raw": raw,
        "name": part.get("filename") or part.get("name"),
        "mediaType": part.get("mediaType") or part.get("mimeType"),
    }
    return {key: value for key, value in named.items() if value}


def _value(found: _Collected) -> Any:
    if len(found.data) == 1 and not found.texts and not found.files:
        return found.data[0]
    value: dict[str, Any] = {}
    for data in found.data:
        if isinstance(data, dict):
            value.update(data)
    if items := [data for data in found.data if not isinstance(data, dict)]:
        value.setdefault("items", items)
    told = _object_in(found.texts[0]) if len(found.texts) == 1 and not found.data else None
    if told is not None:
        value.update(told)
    elif found.texts:
        value.setdefault("text", "\n".join(found.texts))
    if found.files:
        value.setdefault("files", found.files)
    return value


def _object_in(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text consists of, plain or fenced; None if it does not."""
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1]
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json_text.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def repaired(value: Any) -> Any:
    """Return JSON with doubles that are integers as integers.

    Servers built on protobuf send every number as a double: 42 comes as 42.0.
    """
    match value:
        case float():
            return int(value) if value.is_integer() and abs(value) < _EXACT_BELOW else value
        case dict():
            return {key: repaired(member) for key, member in value.items()}
        case list():
            return [repaired(item) for item in value]
        case _:
            return value


def _list(value: Any, name: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise malformed(f"answered {name} that are no list")
    return value


def _objects(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    items = _list(body.get(name), name)
    if not all(isinstance(item, dict) for item in items):
        raise malformed(f"answered {name} that are no objects")
    return items
