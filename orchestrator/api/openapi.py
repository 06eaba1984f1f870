"""The OpenAPI 3.1 document, made of the table of operations and the models that validate requests.

Two habits of generated clients shape it: no schema is empty, and `type` stands beside `const`.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from orchestrator.api.deps import VERSION
from orchestrator.api.operations import UNEXPECTED, Answer, Operation
from orchestrator.api.routes import OPERATIONS

_REF = "#/components/schemas/{model}"
_TAGS = {
    "Agents": "External services that execute workflow steps via the A2A protocol.",
    "Workflows": "Versioned graphs of steps, and their execution.",
    "Runs": "Executions: watch, retry, cancel.",
    "Inbox": "What agents ask, and the answers.",
    "System": "Health and metrics.",
}
_REQUEST_ID = {
    "description": "The request's id: the client's own if it sent a sane one.",
    "schema": {"type": "string"},
}


@cache
def document_bytes() -> bytes:
    """Return the document as JSON."""
    return orjson.dumps(document())


def document() -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Workflow Management API",
            "version": VERSION,
            "summary": "Register agents, define workflows, execute them, watch their runs.",
            "description": "Every error has the same envelope, whatever its status. Authentication"
            " is not enforced. The header `X-Request-ID` (1 to 128 letters, digits and `._:-`) is"
            " echoed, and made where it is missing.",
        },
        "servers": [{"url": "http://localhost:8000", "description": "The default address."}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {"schemas": _schemas()},
        "security": [],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    answers = {**operation.answers, 500: UNEXPECTED}
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": list(_parameters(operation)),
        "responses": {str(status): _response(answers[status]) for status in sorted(answers)},
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {"application/json": {"schema": _reference(operation.body)}},
        }
    return described


def _parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    for name, param in operation.path_params.items():
        schema: dict[str, Any] = {"type": "string"}
        if param.format is not None:
            schema["format"] = param.format
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": param.description,
            "schema": schema,
            "example": param.example,
        }
    if operation.query is not None:
        schema = _tidy(operation.query.model_json_schema(mode="validation"))
        for name, described in schema["properties"].items():
            description = described.pop("description")
            yield {
                "name": name,
                "in": "query",
                "required": False,
                "description": description,
                "schema": _never_null(described),
            }
    for name, header in operation.headers.items():
        yield {
            "name": name,
            "in": "header",
            "required": False,
            "description": header.description,
            "schema": {
                "type": "string",
                "minLength": 1,
                "maxLength": header.max_length,
                "pattern": header.pattern,
            },
        }


def _response(answer: Answer) -> dict[str, Any]:
    headers = {"X-Request-ID": _REQUEST_ID} | {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in answer.headers.items()
    }
    if answer.model is None:
        schema: dict[str, Any] = {"type": "string"}
    elif answer.many:
        schema = {"type": "array", "items": _reference(answer.model)}
    else:
        schema = _reference(answer.model)
    described: dict[str, Any] = {
        "description": answer.description,
        "headers": headers,
        "content": {answer.media_type: {"schema": schema}},
    }
    by_id = {
        operation: {param: "$response.body#/id"}
        for param, operations in answer.leads_to.items()
        for operation in operations
    }
    if links := {**by_id, **answer.links}:
        described["links"] = {
            operation: {"operationId": operation, "parameters": dict(parameters)}
            for operation, parameters in links.items()
        }
    return described


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _REF.format(model=model.__name__)}


def _schemas() -> dict[str, Any]:
    models: set[type[BaseModel]] = set()
    for operation in OPERATIONS:
        answers = (*operation.answers.values(), UNEXPECTED)
        models |= {answer.model for answer in answers if answer.model is not None}
        models |= {operation.body} if operation.body is not None else set()
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schema = models_json_schema([(model, "validation") for model in ordered], ref_template=_REF)
    return dict(_tidy(schema["$defs"], names=True))


def _tidy(node: Any, *, names: bool = False) -> Any:
    """Drop what pydantic adds for nobody, and write nullable fields as one schema.

    `names`: the keys are names of schemas or properties, not of keywords.
    """
    match node:
        case dict():
            tidied = {
                key: _tidy(value, names=not names and key in ("properties", "$defs"))
                for key, value in node.items()
                if names or not _is_clutter(key, value)
            }
            return tidied if names else _one_schema(tidied)
        case list():
            return [_tidy(item) for item in node]
        case _:
            return node


def _is_clutter(key: str, value: Any) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)


def _one_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Turn `anyOf: [X, null]` into X with two types, where X is no reference."""
    match schema.get("anyOf"):
        case [{"type": str(kind)} as either, {"type": "null"}]:
            others = {key: value for key, value in schema.items() if key != "anyOf"}
            merged: dict[str, Any] = either | others | {"type": [kind, "null"]}
            if "enum" in merged:
                merged["enum"] = [*merged["enum"], None]
            return merged
        case _:
            return schema


def _never_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a query parameter's schema: it is left out, never null."""
    shown = dict(schema)
    if isinstance(shown.get("type"), list):
        shown["type"] = shown["type"][0]
    if "enum" in shown:
        shown["enum"] = [value for value in shown["enum"] if value is not None]
    return shown
