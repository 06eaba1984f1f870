"""What a stream tells of a task, put together."""

from typing import Any

import pytest

from orchestrator.agents import output
from orchestrator.agents.answers import Message, Task
from orchestrator.agents.failures import Fault
from orchestrator.agents.folding import Folding


def _fold(*events: dict[str, Any]) -> Message | Task:
    folding = Folding()
    known: Message | Task | None = None
    for event in events:
        known = folding.add(event)
    assert known is not None
    return known


def _status(state: str, **more: Any) -> dict[str, Any]:
    return {"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": state, **more}}}


def _chunk(text: str, artifact: str = "a", **more: Any) -> dict[str, Any]:
    given = {"artifactId": artifact, "parts": [{"text": text}]}
    return {"artifactUpdate": {"taskId": "t", "contextId": "c", "artifact": given, **more}}


def test_chunks_are_appended_to_their_artifact_and_others_replace_it() -> None:
    known = _fold(
        {"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_SUBMITTED"}}},
        _chunk("lost"),
        _chunk("one "),
        _chunk("two", append=True),
        _chunk("other", artifact="b", append=True),
        _status("TASK_STATE_COMPLETED"),
    )

    assert isinstance(known, Task)
    assert (known.id, known.context_id, known.state) == ("t", "c", "completed")
    assert output.of(known).value == {"text": "one two\nother"}


def test_0_3_events_are_understood_by_their_kind() -> None:
    known = _fold(
        {"kind": "task", "id": "t", "contextId": "c", "status": {"state": "submitted"}},
        {
            "kind": "artifact-update",
            "taskId": "t",
            "artifact": {"artifactId": "a", "parts": [{"kind": "data", "data": {"n": 1.0}}]},
        },
        {"kind": "status-update", "taskId": "t", "final": True, "status": {"state": "completed"}},
    )

    assert output.of(known).value == {"n": 1}


def test_a_stream_may_begin_with_an_update() -> None:
    assert _fold(_chunk("x")) == Task(
        "t",
        "c",
        "working",
        {
            "id": "t",
            "contextId": "c",
            "status": {"state": "working"},
            "artifacts": [{"artifactId": "a", "parts": [{"text": "x"}]}],
        },
    )


def test_a_task_in_the_middle_is_the_new_beginning() -> None:
    task = {"id": "t", "status": {"state": "working"}, "artifacts": [{"parts": [{"text": "new"}]}]}

    assert output.of(_fold(_chunk("old"), {"task": task}, _status("completed"))).value == {
        "text": "new"
    }


def test_artifacts_that_came_are_not_changed_by_what_is_appended() -> None:
    listed = {"artifactId": "a", "parts": [{"text": "1"}]}
    task = {"task": {"id": "t", "status": {"state": "working"}, "artifacts": [listed]}}

    _fold(task, _chunk("2", append=True))

    assert listed["parts"] == [{"text": "1"}]


def test_a_message_is_the_answer() -> None:
    assert isinstance(_fold({"message": {"parts": [{"text": "hi"}]}}), Message)


@pytest.mark.parametrize(
    "event",
    [
        {"future": 1},
        {"artifactUpdate": {"taskId": "t"}},
        {"artifactUpdate": {"artifact": {"parts": 7}}},
        {"statusUpdate": {"status": "done"}},
        {"task": {"status": {"state": "working"}, "artifacts": ["x"]}},
    ],
)
def test_nonsense_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises(Fault):
        Folding().add(event)
