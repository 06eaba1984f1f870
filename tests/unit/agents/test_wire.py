"""The bytes of the requests: what the reference shows, with the input as it came."""

import json
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.agents import rest, v03, v1
from orchestrator.agents.dialect import Form, PushTarget, Wire
from orchestrator.domain.agent import Call, InputAs

INPUT = '{"b":1,"a":{"big":123456789012345678901234567890,"f":1.10}}'
CALL = Call(
    run='run-"1"',
    step="schritt ä",
    attempt=2,
    message_id='run-"1".schritt ä.3',
    input=INPUT,
    context_id='run-"1"',
)
MODES = ["application/json", "text/plain"]


def _json(wire: Wire) -> Any:
    assert wire.body is not None
    return json.loads(wire.body)


def test_a_1_0_message_is_as_the_reference_shows() -> None:
    assert _json(v1.send(CALL, Form(tenant="t"))) == {
        "jsonrpc": "2.0",
        "id": CALL.message_id,
        "method": "SendMessage",
        "params": {
            "tenant": "t",
            "message": {
                "messageId": CALL.message_id,
                "contextId": CALL.context_id,
                "role": "ROLE_USER",
                "parts": [{"data": json.loads(INPUT), "mediaType": "application/json"}],
                "metadata": {"runId": CALL.run, "stepId": CALL.step, "attempt": 2},
            },
            "configuration": {
                "acceptedOutputModes": MODES,
                "returnImmediately": True,
                "historyLength": 0,
            },
        },
    }


def test_a_0_3_message_is_as_the_reference_shows() -> None:
    assert _json(v03.send(CALL, Form())) == {
        "jsonrpc": "2.0",
        "id": CALL.message_id,
        "method": "message/send",
        "params": {
            "message": {
                "kind": "message",
                "messageId": CALL.message_id,
                "contextId": CALL.context_id,
                "role": "user",
                "parts": [{"kind": "data", "data": json.loads(INPUT)}],
                "metadata": {"runId": CALL.run, "stepId": CALL.step, "attempt": 2},
            },
            "configuration": {"acceptedOutputModes": MODES, "blocking": False},
        },
    }


@pytest.mark.parametrize("dialect", [v1, v03])
def test_the_input_is_sent_as_it_came(dialect: object) -> None:
    send = v1.send if dialect is v1 else v03.send

    body = send(CALL, Form()).body
    assert body is not None
    assert INPUT.encode() in body


def test_an_agent_that_reads_only_text_gets_the_json_as_text() -> None:
    for send, kind in ((v1.send, {}), (v03.send, {"kind": "text"})):
        body = _json(send(CALL, Form(input_as=InputAs.TEXT)))

        assert body["params"]["message"]["parts"] == [{**kind, "text": INPUT}]


def test_a_message_can_go_without_a_context() -> None:
    for send in (v1.send, v03.send):
        body = _json(send(CALL, Form(with_context=False)))

        assert "contextId" not in body["params"]["message"]


def test_get_and_cancel_name_the_task() -> None:
    task, form = 'task "ä"', Form(tenant="t")

    requests = [
        _json(wire)
        for wire in (
            v1.get(task, form),
            v1.cancel(task, form),
            v03.get(task, form),
            v03.cancel(task, form),
        )
    ]

    assert [(r["method"], r["params"]) for r in requests] == [
        ("GetTask", {"tenant": "t", "id": task, "historyLength": 0}),
        ("CancelTask", {"tenant": "t", "id": task}),
        ("tasks/get", {"id": task, "historyLength": 0}),
        ("tasks/cancel", {"id": task}),
    ]


PUSH = PushTarget("https://me/push?x=1", "s3cret")


def test_who_waits_is_asked_for_and_where_to_send_news() -> None:
    for send, wait, key, auth in (
        (v1.send, {}, "taskPushNotificationConfig", {"scheme": "Bearer"}),
        (v03.send, {"blocking": True}, "pushNotificationConfig", {"schemes": ["Bearer"]}),
    ):
        asked = _json(send(CALL, Form(wait=True, push=PUSH)))["params"]["configuration"]

        assert asked.get("returnImmediately", False) is False
        assert wait.items() <= asked.items()
        assert asked[key] == {
            "url": PUSH.url,
            "token": "s3cret",
            "authentication": {**auth, "credentials": "s3cret"},
        }


@pytest.mark.parametrize(
    ("input_as", "given", "parts"),
    [
        (InputAs.DATA, INPUT, ["data", "Look:"]),
        (InputAs.TEXT, INPUT, [f"Look:\n\n{INPUT}"]),
        (InputAs.BOTH, INPUT, ["data", f"Look:\n\n{INPUT}"]),
        (InputAs.TEXT, "{}", ["Look:"]),
    ],
)
def test_a_prompt_goes_as_text_beside_the_input(
    input_as: InputAs, given: str, parts: list[str]
) -> None:
    call = replace(CALL, input=given, prompt="Look:")
    for send in (v1.send, v03.send):
        sent = _json(send(call, Form(input_as=input_as)))["params"]["message"]["parts"]

        assert [part.get("text", "data") for part in sent] == parts


@pytest.mark.parametrize("given", [None, INPUT])
def test_a_message_may_go_to_a_task_that_is_there(given: str | None) -> None:
    call = replace(CALL, input=given, text="blue", task_id='t"1')
    for send in (v1.send, v03.send):
        message = _json(send(call, Form()))["params"]["message"]

        assert (message["taskId"], message["contextId"]) == ('t"1', CALL.context_id)
        sent = [part.get("text", "data") for part in message["parts"]]
        assert sent == ([] if given is None else ["data"]) + ["blue"]


def test_a_skill_is_named_in_the_metadata() -> None:
    for send in (v1.send, v03.send):
        message = _json(send(replace(CALL, skill="count"), Form()))["params"]["message"]

        assert message["metadata"]["skillId"] == "count"


def test_streams_are_asked_for_with_the_same_message() -> None:
    for dialect, method, again in (
        (v1, "SendStreamingMessage", "SubscribeToTask"),
        (v03, "message/stream", "tasks/resubscribe"),
    ):
        streamed = _json(dialect.stream(CALL, Form()))
        assert streamed.pop("method") == method
        assert streamed["params"] == _json(dialect.send(CALL, Form()))["params"]
        assert _json(dialect.subscribe("t", Form()))["method"] == again


def test_tasks_are_listed_by_their_context_in_1_0_only() -> None:
    assert _json(v1.find("c", Form(tenant="t")))["params"] == {
        "tenant": "t",
        "contextId": "c",
        "pageSize": 50,
        "historyLength": 50,
    }
    assert v03.find("c", Form()) is None


def test_http_json_says_in_the_path_what_is_asked() -> None:
    form = Form(tenant="a/b")

    sent = rest.send(CALL, form)

    assert _json(sent) == _json(v1.send(CALL, Form()))["params"]
    assert (sent.method, sent.path) == ("POST", "/a%2Fb/message:send")
    assert rest.stream(CALL, Form()).path == "/message:stream"
    assert rest.get("t/1", Form()) == Wire(None, "/tasks/t%2F1", "GET", {"historyLength": "0"})
    assert rest.cancel("t", Form()) == Wire(b"{}", "/tasks/t:cancel")
    assert rest.subscribe("t", Form()) == Wire(None, "/tasks/t:subscribe", "GET")
    assert rest.find("c d", Form()).query == {
        "contextId": "c d",
        "pageSize": "50",
        "historyLength": "50",
    }
