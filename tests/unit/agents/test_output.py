"""What becomes of the parts that agents answer."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import json_text
from orchestrator.agents import output
from orchestrator.agents.answers import Message, Task
from orchestrator.agents.failures import Fault

URL_PART = {"url": "https://x/f.pdf", "filename": "f.pdf", "mediaType": "application/pdf"}
FILE_PART = {
    "kind": "file",
    "file": {"uri": "https://x/f.pdf", "name": "f.pdf", "mimeType": "application/pdf"},
}
FILE = {"url": "https://x/f.pdf", "name": "f.pdf", "mediaType": "application/pdf"}


def _message(*parts: Any) -> Any:
    return output.of(Message({"parts": list(parts)})).value


def _task(artifacts: Any, status: dict[str, Any] | None = None) -> Any:
    body = {"artifacts": artifacts, "status": status or {}}
    return output.of(Task("t", None, "completed", body)).value


@pytest.mark.parametrize(
    ("parts", "value"),
    [
        ([{"data": {"b": 1, "a": [True, None]}}], {"b": 1, "a": [True, None]}),
        ([{"kind": "data", "data": [1, 2]}], [1, 2]),
        ([{"data": None}], None),
        ([{"data": "word"}], "word"),
        ([{"data": {"a": 1, "b": 1}}, {"data": {"b": 2}}], {"a": 1, "b": 2}),
        ([{"data": [1]}, {"data": {"a": 1}}, {"data": 2}], {"a": 1, "items": [[1], 2]}),
        ([{"text": "plain"}], {"text": "plain"}),
        ([{"kind": "text", "text": "a "}, {"text": "b"}], {"text": "a b"}),
        ([{"data": {"a": 1}}, {"text": "t"}], {"a": 1, "text": "t"}),
        ([{"data": {"text": "data's"}}, {"text": "t"}], {"text": "data's"}),
        ([{"text": '{"a": 1}'}], {"a": 1}),
        ([{"text": "{}"}], {}),
        ([{"text": '```json\n{"a": 1}\n```'}], {"a": 1}),
        ([{"text": '  ```\n{"a": 1}```\n'}], {"a": 1}),
        ([{"text": '{"a": '}, {"text": "1}"}], {"a": 1}),
        ([{"text": "[1]"}], {"text": "[1]"}),
        ([{"text": "{broken"}], {"text": "{broken"}),
        ([{"data": {"b": 1}}, {"text": '{"a": 1}'}], {"b": 1, "text": '{"a": 1}'}),
        ([URL_PART], {"files": [FILE]}),
        ([FILE_PART, {"data": {"a": 1}}], {"a": 1, "files": [FILE]}),
        (
            [{"raw": "aGk=", "mediaType": "text/plain"}],
            {"files": [{"raw": "aGk=", "mediaType": "text/plain"}]},
        ),
        ([{"kind": "file", "file": {"bytes": "aGk="}}], {"files": [{"raw": "aGk="}]}),
        ([{"kind": "hologram", "data": {"a": 1}}], {}),
        ([], {}),
    ],
)
def test_a_messages_parts_become_the_output(parts: list[Any], value: Any) -> None:
    assert _message(*parts) == value


def test_a_1_x_servers_wrapping_of_values_is_undone() -> None:
    part = {"kind": "data", "data": {"value": [1.0]}, "metadata": {"data_part_compat": True}}

    assert _message(part) == [1]
    assert _message({"kind": "data", "data": {"value": [1]}}) == {"value": [1]}


def test_artifacts_are_the_output_and_the_message_is_not() -> None:
    status = {"message": {"parts": [{"text": "done"}]}}

    assert _task([{"parts": [{"data": {"a": 1}}]}], status) == {"a": 1}


@pytest.mark.parametrize("artifacts", [None, [], [{"parts": []}], [{}]])
def test_without_artifacts_the_message_is_the_output(artifacts: Any) -> None:
    status = {"message": {"parts": [{"text": "done"}]}}

    assert _task(artifacts, status) == {"text": "done"}


def test_a_task_that_says_nothing_has_an_empty_output() -> None:
    assert _task(None) == {}


def test_texts_of_artifacts_stand_on_lines_of_their_own() -> None:
    artifacts = [{"parts": [{"text": "a"}, {"text": "b"}]}, {"parts": [{"text": "c"}]}]

    assert _task(artifacts) == {"text": "ab\nc"}


@pytest.mark.parametrize(
    "body",
    [
        {"artifacts": {}},
        {"artifacts": ["a"]},
        {"artifacts": [{"parts": "p"}]},
        {"artifacts": [{"parts": [1]}]},
        {"status": {"message": {"parts": {}}}},
    ],
)
def test_malformed_parts_are_a_fault(body: dict[str, Any]) -> None:
    with pytest.raises(Fault, match="answered"):
        output.of(Task("t", None, "completed", {"status": {}, **body}))


def test_doubles_that_are_integers_are_integers_again() -> None:
    value = {"a": 42.0, "b": [1.5, -3.0], "c": 2.0**53, "d": True, "e": 9007199254740993}

    fixed = output.of(Message({"parts": [{"data": value}]})).text

    assert fixed == '{"a":42,"b":[1.5,-3],"c":9007199254740992.0,"d":true,"e":9007199254740993}'


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text()
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=15,
)


@given(JSON)
def test_one_data_part_is_the_output_exactly(value: Any) -> None:
    made = output.of(Message({"parts": [{"data": value}]}))

    assert made.value == value
    assert made.text == json_text.dumps(value)


def test_what_a_task_says_is_its_text_or_else_its_data() -> None:
    def said(*parts: Any) -> str:
        body = {"status": {"message": {"parts": list(parts)}}}
        return output.said(Task("t", None, "failed", body))

    assert said({"text": "it broke"}, {"data": {"code": 1}}) == "it broke"
    assert said({"data": {"code": 1}}) == '{"code":1}'
    assert said() == ""
