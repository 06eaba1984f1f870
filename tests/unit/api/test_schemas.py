"""Defaults and bounds of everything clients send."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from orchestrator.api.agent_schemas import AgentCreate, AgentUpdate
from orchestrator.api.schemas import (
    AgentsQuery,
    Body,
    CancelRequest,
    ExecuteRequest,
    RunQuery,
    RunsQuery,
    WorkflowCreate,
    WorkflowsQuery,
    WorkflowUpdate,
    unknown_fields,
)

AGENT = {"name": "a", "url": "http://a:8080"}
STEP: dict[str, Any] = {"id": "s", "agent_name": "a", "input_mapping": {}}
WORKFLOW: dict[str, Any] = {"name": "w", "start_step": "s", "steps": {"s": STEP}}


def faults(model: type[BaseModel], value: object) -> list[tuple[str, str]]:
    try:
        model.model_validate(value)
    except ValidationError as wrong:
        return [(".".join(map(str, e["loc"])), e["type"]) for e in wrong.errors()]
    return []


def test_an_agent_needs_a_name_and_a_url_only() -> None:
    agent = AgentCreate.model_validate(AGENT)

    assert agent.auth_type == "none"
    assert agent.timeout_ms == 30000
    assert (agent.description, agent.auth_config, agent.retry_config) == (None, None, None)


def test_the_guides_first_example_of_wrong_fields() -> None:
    with pytest.raises(ValidationError) as wrong:
        AgentCreate.model_validate({"url": ""})

    assert [(e["type"], e["loc"], e["msg"]) for e in wrong.value.errors()] == [
        ("missing", ("name",), "Field required"),
        ("string_too_short", ("url",), "String should have at least 1 character"),
    ]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"name": ""}, ("name", "string_too_short")),
        ({"name": "n" * 256}, ("name", "string_too_long")),
        ({"name": 1}, ("name", "string_type")),
        ({"timeout_ms": 999}, ("timeout_ms", "greater_than_equal")),
        ({"timeout_ms": 300001}, ("timeout_ms", "less_than_equal")),
        ({"timeout_ms": "5000"}, ("timeout_ms", "int_type")),
        ({"timeout_ms": True}, ("timeout_ms", "int_type")),
        ({"timeout_ms": 5000.5}, ("timeout_ms", "int_type")),
        ({"timeout_ms": 999.0}, ("timeout_ms", "greater_than_equal")),
        ({"auth_type": "basic"}, ("auth_type", "literal_error")),
        ({"auth_config": []}, ("auth_config", "model_type")),
        ({"auth_config": {"token": ""}}, ("auth_config.token", "string_too_short")),
        ({"auth_config": {"key": "a\nb"}}, ("auth_config.key", "string_pattern_mismatch")),
        ({"auth_config": {"header": "a b"}}, ("auth_config.header", "string_pattern_mismatch")),
        ({"auth_config": {"header": "Host"}}, ("auth_config.header", "value_error")),
        ({"retry_config": {"max_retries": 11}}, ("retry_config.max_retries", "less_than_equal")),
        ({"retry_config": {"max_retries": -1}}, ("retry_config.max_retries", "greater_than_equal")),
        (
            {"retry_config": {"initial_delay_ms": 99}},
            ("retry_config.initial_delay_ms", "greater_than_equal"),
        ),
        (
            {"retry_config": {"max_delay_ms": 999}},
            ("retry_config.max_delay_ms", "greater_than_equal"),
        ),
        (
            {"retry_config": {"max_delay_ms": 2**31}},
            ("retry_config.max_delay_ms", "less_than_equal"),
        ),
        (
            {"retry_config": {"backoff_multiplier": 0.99}},
            ("retry_config.backoff_multiplier", "greater_than_equal"),
        ),
        ({"protocol": "2.0"}, ("protocol", "literal_error")),
        ({"call_mode": "blocking"}, ("call_mode", "literal_error")),
        ({"interface_url": "ftp://a/"}, ("interface_url", "url_scheme")),
        ({"card_path": "card.json"}, ("card_path", "string_pattern_mismatch")),
        ({"card_path": "/card?x=1"}, ("card_path", "string_pattern_mismatch")),
        ({"headers": {"a b": "x"}}, ("headers", "value_error")),
        ({"headers": {"A2A-Version": "9"}}, ("headers", "value_error")),
        ({"headers": {"X-A": "x", "x-a": "y"}}, ("headers", "value_error")),
        ({"headers": {"X-A": "x\ny"}}, ("headers.X-A", "string_pattern_mismatch")),
        ({"push": "yes"}, ("push", "bool_type")),
        ({"max_concurrency": 0}, ("max_concurrency", "greater_than_equal")),
        ({"rate_limit": 0}, ("rate_limit", "greater_than_equal")),
    ],
)
def test_an_agent_out_of_bounds_is_refused(changed: dict[str, Any], fault: tuple[str, str]) -> None:
    assert faults(AgentCreate, AGENT | changed) == [fault]
    assert faults(AgentUpdate, changed) == [fault]


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "n" * 255},
        {"timeout_ms": 1000},
        {"timeout_ms": 1000.0, "retry_config": {"max_retries": 1e1}},
        {"timeout_ms": 300000},
        {"auth_type": "apikey", "auth_config": {"key": "k", "header": "X-Key"}},
        {"retry_config": {"max_retries": 0, "backoff_multiplier": 1}},
        {"retry_config": {"max_retries": 10, "initial_delay_ms": 100, "max_delay_ms": 1000}},
        {"description": None},
        {"protocol": "1.0-rest", "interface_url": "https://a/x", "card_path": "/a/card.json"},
        {"headers": {"X-Tenant": "blue", "Authorization": "Basic x"}, "call_mode": "wait"},
        {"push": True, "max_concurrency": 1, "rate_limit": 0.5},
        {"headers": None, "interface_url": None, "max_concurrency": None, "rate_limit": 1},
    ],
)
def test_an_agent_at_its_bounds_is_taken(changed: dict[str, Any]) -> None:
    assert faults(AgentCreate, AGENT | changed) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://a:8080",
        "https://agent.example.com/path?x=1",
        "http://127.0.0.1",
        "http://[::1]:9/x",
        "http://xn--bcher-kva.example/",
        "HTTP://A",
    ],
)
def test_an_absolute_url_with_a_host_is_taken(url: str) -> None:
    assert faults(AgentCreate, AGENT | {"url": url}) == []


@pytest.mark.parametrize(
    "url",
    [
        "agent:8080",
        "/path",
        "ftp://agent",
        "http://",
        "http:///path",
        "http://:80",
        "http://a:99999",
        "http://a:b",
        "http://a b",
        "http://a/\nx",
        "http://[::1",
        "http://user:secret@agent",
        "javascript:alert(1)",
        "http://\ufeff",
        "http://[::1]x/",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    [(field, kind)] = faults(AgentCreate, AGENT | {"url": url})

    assert field == "url"
    assert kind in {"url_parsing", "url_scheme"}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": ""}, "name"),
        ({"start_step": None}, "start_step"),
        ({"steps": []}, "steps"),
        ({"steps": {"s": STEP | {"id": ""}}}, "steps.s.id"),
        ({"steps": {"s": STEP | {"input_mapping": None}}}, "steps.s.input_mapping"),
        ({"steps": {"s": STEP | {"agent_name": 5}}}, "steps.s.agent_name"),
        ({"steps": {"s": STEP | {"timeout_ms": 0}}}, "steps.s.timeout_ms"),
        ({"steps": {"s": STEP | {"timeout_ms": 2**40}}}, "steps.s.timeout_ms"),
        ({"steps": {"s": STEP | {"on_unknown_outcome": "x"}}}, "steps.s.on_unknown_outcome"),
        ({"steps": {"s": STEP | {"input_as": "json"}}}, "steps.s.input_as"),
        ({"steps": {"s": STEP | {"context": "all"}}}, "steps.s.context"),
        ({"steps": {"s": STEP | {"skill": ""}}}, "steps.s.skill"),
        ({"steps": {"s": STEP | {"prompt": {}}}}, "steps.s.prompt"),
        ({"steps": {"s": STEP | {"next_step": 1}}}, "steps.s.next_step"),
    ],
)
def test_a_workflow_with_a_wrong_field_is_refused(changed: dict[str, Any], field: str) -> None:
    assert [name for name, _ in faults(WorkflowCreate, WORKFLOW | changed)] == [field]


def test_a_step_needs_id_agent_and_mapping() -> None:
    assert faults(WorkflowCreate, WORKFLOW | {"steps": {"s": {}}}) == [
        ("steps.s.id", "missing"),
        ("steps.s.agent_name", "missing"),
        ("steps.s.input_mapping", "missing"),
    ]


def test_null_says_nothing_in_an_update() -> None:
    assert faults(AgentUpdate, dict.fromkeys(AgentUpdate.model_fields)) == []
    assert faults(WorkflowUpdate, dict.fromkeys(WorkflowUpdate.model_fields)) == []


def test_an_update_cannot_delete() -> None:
    assert faults(AgentUpdate, {"status": "deleted"}) == [("status", "literal_error")]
    assert faults(WorkflowUpdate, {"status": "deleted"}) == [("status", "literal_error")]


def test_input_data_must_be_an_object() -> None:
    assert faults(ExecuteRequest, {}) == [("input_data", "missing")]
    assert faults(ExecuteRequest, {"input_data": []}) == [("input_data", "dict_type")]
    assert faults(ExecuteRequest, {"input_data": {}}) == []


def test_a_reason_has_a_bound() -> None:
    assert faults(CancelRequest, {"reason": "x" * 10_000}) == []
    assert faults(CancelRequest, {"reason": "x" * 10_001}) == [("reason", "string_too_long")]


@pytest.mark.parametrize("model", [AgentsQuery, WorkflowsQuery, RunsQuery])
def test_pages_have_defaults_and_bounds(model: type[AgentsQuery]) -> None:
    query = model.model_validate({})

    assert (query.page, query.page_size, query.status) == (1, 20, None)
    assert faults(model, {"page": str(2**31 - 1), "page_size": "100"}) == []
    for wrong in ({"page": "0"}, {"page": str(2**31)}, {"page": "x"}, {"page": ""}):
        assert [name for name, _ in faults(model, wrong)] == ["page"]
    for wrong in ({"page_size": "0"}, {"page_size": "101"}, {"page_size": "1.5"}):
        assert [name for name, _ in faults(model, wrong)] == ["page_size"]
    assert faults(model, {"status": "unknown"}) == [("status", "literal_error")]


@pytest.mark.parametrize("model", [WorkflowsQuery, RunsQuery])
def test_sorting_has_defaults_and_known_fields(model: type[RunsQuery]) -> None:
    query = model.model_validate({})

    assert (query.sort_by, query.sort_order) == ("created_at", "desc")
    assert faults(model, {"sort_by": "id"}) == [("sort_by", "literal_error")]
    assert faults(model, {"sort_order": "up"}) == [("sort_order", "literal_error")]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-01T00:00:00Z", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01T00:00:00.123456z", datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)),
        ("2024-01-01T02:00:00+02:00", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01T02:00:00 02:00", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01T02:00:00 0200", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01T00:00:00", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01T02:00:00.5 02", datetime(2024, 1, 1, 0, 0, 0, 500000, tzinfo=UTC)),
        ("2024-01-01 12:30:00", datetime(2024, 1, 1, 12, 30, tzinfo=UTC)),
        ("2024-01-01 12:30", datetime(2024, 1, 1, 12, 30, tzinfo=UTC)),
        ("2024-01-01 12:30 02:00", datetime(2024, 1, 1, 10, 30, tzinfo=UTC)),
        ("2024-01-01", datetime(2024, 1, 1, tzinfo=UTC)),
        ("20240101T000000Z", datetime(2024, 1, 1, tzinfo=UTC)),
    ],
)
def test_dates_are_iso_8601(text: str, moment: datetime) -> None:
    assert RunsQuery.model_validate({"created_after": text}).created_after == moment


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "1704067200", "2024-13-01", "2024-01-01T25:00:00Z", "0001-01-01T00:00+23:00"],
)
def test_any_other_date_is_refused(text: str) -> None:
    assert faults(RunsQuery, {"created_before": text}) == [("created_before", "datetime_parsing")]


@pytest.mark.parametrize("wait", ["-1", "60.1", "61", "nan", "inf", "x", ""])
def test_a_wait_beyond_a_minute_is_refused(wait: str) -> None:
    assert [name for name, _ in faults(RunQuery, {"wait": wait})] == ["wait"]


@pytest.mark.parametrize(("wait", "seconds"), [("0", 0), ("0.5", 0.5), ("60", 60)])
def test_a_wait_is_a_number_of_seconds(wait: str, seconds: float) -> None:
    assert RunQuery.model_validate({"wait": wait}).wait == seconds


def test_a_nul_character_in_a_filter_is_refused() -> None:
    assert faults(AgentsQuery, {"name": "a\0"}) == [("name", "value_error")]
    assert faults(RunsQuery, {"workflow_id": "\0"}) == [("workflow_id", "value_error")]


@pytest.mark.parametrize(
    ("model", "value", "warnings"),
    [
        (AgentCreate, {"nam": "a"}, ["Unknown field 'nam' was ignored; did you mean 'name'?"]),
        (
            AgentUpdate,
            {"retry_config": {"retries": 1}},
            ["Unknown field 'retry_config.retries' was ignored; did you mean 'max_retries'?"],
        ),
        (
            WorkflowCreate,
            {"steps": {"s": {"zzz": 1}}},
            ["Unknown field 'steps.s.zzz' was ignored"],
        ),
        (WorkflowUpdate, {"workflow_data": {}}, ["Unknown field 'workflow_data' was ignored"]),
        (ExecuteRequest, {"priority": 1}, ["Unknown field 'priority' was ignored"]),
        # What an answer held, and what people write as a comment, means nothing.
        (WorkflowUpdate, {"id": "x", "version": 2, "created_at": "", "updated_at": ""}, []),
        (AgentCreate, {"_comment": "x", "$schema": "x", "//": "x", "x-team": "x"}, []),
        (ExecuteRequest, {"input_data": {"whatever": {"the": "user likes"}}}, []),
    ],
)
def test_unknown_fields_are_named(
    model: type[Body], value: dict[str, Any], warnings: list[str]
) -> None:
    assert unknown_fields(model, value) == warnings


def test_a_thousand_unknown_fields_get_a_few_warnings() -> None:
    assert len(unknown_fields(AgentCreate, {f"field{n}": 1 for n in range(1000)})) == 20
