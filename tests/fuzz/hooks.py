"""What schemathesis cannot read in the document: loaded by it, from `schemathesis.toml`."""

import itertools
import json
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core.failures import Failure

_AGENT = urlsplit(os.environ["FUZZ_AGENT"])
_TARGET = os.environ["FUZZ_TARGET"]
_LONGEST_WAIT_S = 0.1
_TRIES, _PAUSE_S = 500, 0.02  # until an agent has asked

# Schema-valid, and 422 all the same: (field, type, words), since no schema could say it.
_BEYOND_A_SCHEMA = (
    (r"auth_config\.(token|key)", "missing", ""),  # needed by the auth_type, also a stored one
    (r"auth_config\.header", "value_error", "this header cannot carry a key"),
    (r"body", "missing", "input_data or text is required"),  # either
    (r"headers", "value_error", ""),  # some names are ours to set, and none comes twice
    (r"(interface_)?url", "url_parsing", ""),  # a host and a port are more than a pattern
    (r"Idempotency-Key", "value_error", ""),  # it was used with another body
    (r"workflow_id", "uuid_parsing", ""),  # a run's is the human key: a link that is guessed
    (r"cursor", "value_error", "the cursor is"),  # only one that was given, for its own list
    (r".+", "value_error", "a NUL character is not allowed"),
)

_numbers = itertools.count(1)


@schemathesis.hook
def before_call(ctx: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Keep calls on this machine and short, and let many name something that exists and works."""
    del ctx, kwargs
    match case.operation.label:
        case "POST /api/v1/agents" | "PUT /api/v1/agents/{agent_id}":
            _redirect(case.body)
        case "POST /api/v1/workflows" | "PUT /api/v1/workflows/{workflow_id}" if _chosen(case):
            _chain(case.body)
        case "GET /api/v1/runs/{run_id}":
            _hurry(case.query)
        case "POST /api/v1/workflows/{workflow_id}/execute" if _chosen(case):
            case.path_parameters["workflow_id"] = _new_workflow()
        case "POST /api/v1/runs/{run_id}/cancel" if _chosen(case):
            case.path_parameters["run_id"] = _new_run()
        case "POST /api/v1/runs/{run_id}/retry" if _chosen(case):
            case.path_parameters["run_id"] = run_id = _new_run()
            _post(f"/api/v1/runs/{run_id}/cancel", None)
        case "POST /api/v1/runs/{run_id}/steps/{step_id}/input" if _chosen(case):
            case.path_parameters |= {"run_id": _new_question(), "step_id": "a"}
            _mean_that_question(case.body)
        case _:
            pass


@schemathesis.hook
def filter_failure(ctx: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Drop complaints about a refusal whose every reason is beyond a schema, and about a null."""
    del ctx
    if "negative_data_rejection" in failure.checks and case.body is None:
        return bool(case.operation.definition.raw["requestBody"]["required"])  # else: no body
    if "positive_data_acceptance" not in failure.checks or response.status_code != 422:
        return True
    return not all(_is_beyond(error) for error in response.json()["errors"])


@schemathesis.check
def one_envelope(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """Hold an error's envelope to its headers; the schema has its fields already."""
    del ctx, case
    [request_id] = response.headers["x-request-id"]
    if response.status_code >= 400:
        said = response.json()
        assert said["status_code"] == response.status_code
        assert said["request_id"] == request_id


@schemathesis.check
def secrets_stay_inside(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """Look for what went in as auth_config in what comes out, errors included."""
    del ctx
    if response.content and isinstance(case.body, dict) and "auth_config" in case.body:
        inside = case.body["auth_config"]
        secrets = {text for text in _texts(inside) if len(text) > 5}
        names = inside.keys() if isinstance(inside, dict) else ()
        outside = [{k: v for k, v in case.body.items() if k != "auth_config"}, *names]
        harmless = [*_texts(outside, names=True)]
        for said in _texts(response.json()):
            for secret in secrets:
                known = any(secret in text for text in harmless)
                assert known or secret not in said, "a secret came out"


def _chosen(case: Case[Any]) -> bool:
    """Choose two in three of those that are drawn and should work; links have ids of their own."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or meta.phase.name != "fuzzing":
        return False
    return crc32(json.dumps([case.path_parameters, case.body], default=str).encode()) % 3 > 0


def _is_beyond(error: dict[str, str]) -> bool:
    return any(
        re.fullmatch(field, error["field"], re.DOTALL)
        and error["type"] == kind
        and words in error["message"]
        for field, kind, words in _BEYOND_A_SCHEMA
    )


def _redirect(body: Any) -> None:
    """Put the test's own agent in the place of whatever host a url names."""
    for name in ("url", "interface_url"):
        if not isinstance(body, dict) or not isinstance(url := body.get(name), str):
            continue
        try:
            parts = urlsplit(url)
            _ = parts.port  # raises where it is none
            if parts.scheme in {"http", "https"} and parts.hostname:
                body[name] = parts._replace(scheme="http", netloc=_AGENT.netloc).geturl()
        except ValueError:  # no url: refused
            continue


def _chain(body: Any) -> None:
    """Make a chain of the steps of a workflow, done by an agent that exists."""
    if not isinstance(body, dict) or not body.get("steps"):
        return
    agent = _new_agent()
    steps = {step["id"]: step for step in body["steps"].values()}
    for step, following in pairwise([*steps.values(), None]):
        assert step is not None
        step["agent_name"] = agent
        step["next_step"] = following and following["id"]
    body["steps"] = steps
    body["start_step"] = next(iter(steps))


def _new_agent() -> str:
    name = f"agent-{next(_numbers)}"
    _post("/api/v1/agents", {"name": name, "url": _AGENT.geturl()})
    return name


def _new_workflow(**mapping: str) -> str:
    step = {"id": "a", "agent_name": _new_agent(), "input_mapping": mapping}
    body = {"name": f"workflow-{next(_numbers)}", "start_step": "a", "steps": {"a": step}}
    return str(_post("/api/v1/workflows", body)["id"])


def _new_run(**mapping: str) -> str:
    path = f"/api/v1/workflows/{_new_workflow(**mapping)}/execute"
    return str(_post(path, {"input_data": {}})["id"])


def _new_question() -> str:
    """Return a run whose agent has asked something."""
    run_id = _new_run(mode="ask")
    for _ in range(_TRIES):
        with urllib.request.urlopen(f"{_TARGET}/api/v1/runs/{run_id}/steps", timeout=30) as answer:
            if json.load(answer)[0]["waiting_for"]:
                break
        time.sleep(_PAUSE_S)
    return run_id


def _post(path: str, body: Any) -> Any:
    request = urllib.request.Request(_TARGET + path, json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _hurry(query: Any) -> None:
    """Shorten a wait that is allowed: nothing is learnt in a minute."""
    try:
        if query and 0 < float(query["wait"]) <= 60:
            query["wait"] = _LONGEST_WAIT_S
    except (KeyError, TypeError, ValueError):
        return


def _mean_that_question(body: Any) -> None:
    """Let an answer say something, to whatever was asked."""
    body.pop("question_id", None)
    if body.get("input_data") is None:
        body["text"] = body.get("text") or "yes"


def _texts(value: Any, *, names: bool = False) -> Iterator[str]:
    """Return every text in a JSON value; `names`: of fields too."""
    todo = [value]
    while todo:
        match todo.pop():
            case str(text):
                yield text
            case dict(fields):
                todo += [*fields.values(), *(fields if names else ())]
            case list(items):
                todo += items
            case _:
                pass
