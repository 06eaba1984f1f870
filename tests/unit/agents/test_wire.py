"""The bytes of the requests: what the reference shows, with the input as it came."""

import json

import pytest

from orchestrator.agents import v03, v1
from orchestrator.agents.dialect import Form
from orchestrator.domain.agent import Call

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


def test_a_1_0_message_is_as_the_reference_shows() -> None:
    assert json.loads(v1.send(CALL, Form(tenant="t"))) == {
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
    assert json.loads(v03.send(CALL, Form())) == {
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

    assert INPUT.encode() in send(CALL, Form())


def test_an_agent_that_reads_only_text_gets_the_json_as_text() -> None:
    for send, kind in ((v1.send, {}), (v03.send, {"kind": "text"})):
        body = json.loads(send(CALL, Form(text_only=True)))

        assert body["params"]["message"]["parts"] == [{**kind, "text": INPUT}]


def test_a_message_can_go_without_a_context() -> None:
    for send in (v1.send, v03.send):
        body = json.loads(send(CALL, Form(with_context=False)))

        assert "contextId" not in body["params"]["message"]


def test_get_and_cancel_name_the_task() -> None:
    task, form = 'task "ä"', Form(tenant="t")

    requests = [
        json.loads(body)
        for body in (
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
