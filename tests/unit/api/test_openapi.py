"""The document: valid, complete, and in the form that generated clients need."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from orchestrator.api import openapi
from orchestrator.api.routes import OPERATIONS

DOCUMENT = json.loads(openapi.document_bytes())
GUIDE = {
    ("post", "/api/v1/agents"): {201, 400, 422},
    ("get", "/api/v1/agents"): {200},
    ("get", "/api/v1/agents/{agent_id}"): {200, 404},
    ("put", "/api/v1/agents/{agent_id}"): {200, 404, 422},
    ("delete", "/api/v1/agents/{agent_id}"): {200, 404},
    ("get", "/api/v1/agents/{agent_id}/health"): {200, 404},
    ("post", "/api/v1/workflows"): {201, 400, 422},
    ("get", "/api/v1/workflows"): {200},
    ("get", "/api/v1/workflows/{workflow_id}"): {200, 404},
    ("put", "/api/v1/workflows/{workflow_id}"): {200, 400, 404, 422},
    ("delete", "/api/v1/workflows/{workflow_id}"): {200, 404},
    ("get", "/api/v1/workflows/{workflow_id}/versions"): {200, 404},
    ("post", "/api/v1/workflows/{workflow_id}/execute"): {202, 400, 404, 422},
    ("get", "/api/v1/runs"): {200},
    ("get", "/api/v1/runs/{run_id}"): {200, 404},
    ("get", "/api/v1/runs/{run_id}/steps"): {200, 404},
    ("post", "/api/v1/runs/{run_id}/retry"): {202, 400, 404},
    ("post", "/api/v1/runs/{run_id}/cancel"): {200, 400, 404},
    ("get", "/api/v1/runs/{run_id}/logs"): {200, 404, 501},
    ("get", "/api/v1/inbox"): {200},
    ("post", "/api/v1/runs/{run_id}/steps/{step_id}/input"): {202, 400, 404, 422},
    ("get", "/health"): {200},
    ("get", "/health/ready"): {200, 503},
    ("get", "/metrics"): {200},
    ("get", "/api/v1/system/partitions"): {200, 503},
    ("get", "/api/v1/agents/{agent_id}/card"): {200, 404},
    ("post", "/api/v1/agents/{agent_id}/probe"): {200, 404, 422},
    ("post", "/api/v1/push/{name}"): {200, 404, 422},
}


def schemas(node: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Walk over every schema of the document."""
    match node:
        case dict():
            for key, value in node.items():
                below = f"{where}/{key}"
                if key in {"schema", "items", "additionalProperties"} and isinstance(value, dict):
                    yield below, value
                if key in {"properties", "schemas"} and isinstance(value, dict):
                    yield from ((f"{below}/{name}", each) for name, each in value.items())
                if key in {"anyOf", "oneOf", "allOf"}:
                    yield from ((below, each) for each in value)
                if key not in {"example", "examples", "default"}:
                    yield from schemas(value, below)
        case list():
            for number, item in enumerate(node):
                yield from schemas(item, f"{where}/{number}")
        case _:
            pass


def test_the_document_is_valid_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()

    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["version"] == "1.0.0"
    assert "webhooks" not in DOCUMENT


@pytest.mark.parametrize(("method", "path"), GUIDE)
def test_every_endpoint_of_the_guide_is_described(method: str, path: str) -> None:
    described = DOCUMENT["paths"][path][method]

    assert {str(status) for status in GUIDE[method, path]} <= set(described["responses"])
    assert described["summary"]
    assert described["description"]
    for name in re.findall(r"\{(\w+)\}", path):
        assert {"name": name, "in": "path", "required": True}.items() <= next(
            p for p in described["parameters"] if p["name"] == name
        ).items()


def test_every_route_is_described_once() -> None:
    assert len(OPERATIONS) == len(GUIDE)
    ids = [each["operationId"] for path in DOCUMENT["paths"].values() for each in path.values()]
    assert len(set(ids)) == len(OPERATIONS)


def test_every_parameter_and_error_has_words_and_a_schema() -> None:
    for path in DOCUMENT["paths"].values():
        for described in path.values():
            for parameter in described["parameters"]:
                assert parameter["description"]
                assert parameter["schema"]["type"]
            for status, answer in described["responses"].items():
                assert answer["description"]
                [content] = answer["content"].values()
                if int(status) >= 400:
                    assert content["schema"]["$ref"].endswith(("Problem", "NotReady"))


def test_no_schema_is_empty() -> None:
    for where, schema in schemas(DOCUMENT):
        assert schema, where


def test_type_stands_beside_const_and_enum() -> None:
    for where, schema in schemas(DOCUMENT):
        if "const" in schema or "enum" in schema:
            assert "type" in schema, where


def test_numbers_beyond_32_bits_say_so() -> None:
    for where, schema in schemas(DOCUMENT):
        if schema.get("maximum", 0) > 2**31 - 1:
            assert schema["format"] == "int64", where


def test_secrets_are_in_no_answer() -> None:
    answers = {name for name, _ in schemas(DOCUMENT["components"]["schemas"]["Agent"])}

    assert not any("auth_config" in name for name in answers)


def test_every_operation_that_takes_an_id_is_linked_from_where_the_id_is_made() -> None:
    described = {
        each["operationId"]: each for p in DOCUMENT["paths"].values() for each in p.values()
    }
    linked: dict[str, Any] = {}
    for operation in described.values():
        for answer in operation["responses"].values():
            linked |= {each["operationId"]: each for each in answer.get("links", {}).values()}

    described.pop("receivePush")  # its address is told to agents only
    for name, operation in described.items():
        ids = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
        parameters = linked[name]["parameters"] if name in linked else {}
        of_first = {each: f"$response.body#/items/0/{each}" for each in ids}
        assert parameters in (dict.fromkeys(ids, "$response.body#/id"), of_first), name
