"""Input mappings: compiled once from a step's `input_mapping`, resolved whenever the step starts.

Any string in the mapping, however deep, may hold references (`reference.py` has their form); keys
are taken as they are. A string that is one reference becomes the value behind it, with its JSON
type. In a longer string a value is written as text: a string as it is, anything else as compact
JSON. What a reference brings in is data: a `${…}` inside it means nothing.

In a row of dollar signs before a brace, two stand for one: `$${` is a literal `${`, and
`$$${workflow.input.price}` a dollar sign and the price.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from orchestrator.domain import reference
from orchestrator.domain.errors import MissingReference
from orchestrator.domain.record import record
from orchestrator.domain.reference import OPENING, Reference


@record
class Literal:
    """A value with no reference in it, taken as it is."""

    value: Any


@record
class Text:
    """A string with references in it."""

    parts: tuple[str | Reference, ...]


@record
class Members:
    """An object with a reference somewhere below it."""

    members: tuple[tuple[str, "Node"], ...]


@record
class Items:
    """A list with a reference somewhere below it."""

    items: tuple["Node", ...]


Node = Literal | Reference | Text | Members | Items


@record
class Template:
    """A compiled mapping, and every reference in it, in the order of the mapping."""

    root: Node
    references: tuple[Reference, ...]


_MISSING: Final = object()


def compile(value: Any, steps: Collection[str]) -> Template:  # noqa: A001 - `mapping.compile`, as `re.compile`
    """Compile a mapping of a workflow with these step ids; raise `MalformedReference`."""
    found: list[Reference] = []
    return Template(_compile(value, steps, found), tuple(found))


def resolve(template: Template, workflow_input: Any, outputs: Mapping[str, Any]) -> Any:
    """Return the step's input; raise `MissingReference`.

    `outputs` holds those of the completed steps, by id; it is asked for no other steps than the
    template's references name.
    """
    return _resolve(template.root, workflow_input, outputs)


def as_text(value: Any) -> str:
    """Write a value as it stands in a longer string."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def references(template: Template) -> tuple[Reference, ...]:
    """Return every reference of a template."""
    return template.references


def _compile(value: Any, steps: Collection[str], found: list[Reference]) -> Node:
    match value:
        case str():
            return _compile_text(value, steps, found) if OPENING in value else Literal(value)
        case dict():
            nodes = [_compile(member, steps, found) for member in value.values()]
            if all(isinstance(node, Literal) for node in nodes):
                return Literal({k: _literal(n) for k, n in zip(value, nodes, strict=True)})
            return Members(tuple(zip(value, nodes, strict=True)))
        case list():
            nodes = [_compile(item, steps, found) for item in value]
            if all(isinstance(node, Literal) for node in nodes):
                return Literal([_literal(node) for node in nodes])
            return Items(tuple(nodes))
        case _:
            return Literal(value)


def _literal(node: Node) -> Any:
    assert isinstance(node, Literal)  # noqa: S101 - narrows the type; the caller looked
    return node.value


def _compile_text(text: str, steps: Collection[str], found: list[Reference]) -> Node:
    parts: list[str | Reference] = []
    at = 0
    while (opening := text.find(OPENING, at)) >= 0:
        plain = text[at:opening]
        stem = plain.rstrip("$")
        dollars = len(plain) - len(stem) + 1
        parts.append(stem + "$" * (dollars // 2))
        if dollars % 2 == 0:
            parts.append("{")
            at = opening + len(OPENING)
        else:
            each, at = reference.parse(text, opening, steps)
            parts.append(each)
            found.append(each)
    parts.append(text[at:])
    return _joined(parts)


def _joined(parts: list[str | Reference]) -> Node:
    """Join neighbouring strings and drop empty ones, so that one part alone keeps its type."""
    joined: list[str | Reference] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    match joined:
        case [str(alone)]:
            return Literal(alone)
        case [Reference() as alone]:
            return alone
        case _:
            return Text(tuple(joined))


def _resolve(node: Node, workflow_input: Any, outputs: Mapping[str, Any]) -> Any:
    match node:
        case Members():
            return {k: _resolve(each, workflow_input, outputs) for k, each in node.members}
        case Reference():
            value = _behind(node, workflow_input, outputs)
            if value is not _MISSING:
                return value
            return _default(node).value
        case Literal():
            return node.value
        case Text():
            return "".join(
                part if isinstance(part, str) else _text(part, workflow_input, outputs)
                for part in node.parts
            )
        case Items():
            return [_resolve(each, workflow_input, outputs) for each in node.items]


def _behind(ref: Reference, workflow_input: Any, outputs: Mapping[str, Any]) -> Any:
    value = workflow_input if ref.step is None else outputs.get(ref.step, _MISSING)
    for key, place in ref.path:
        if isinstance(value, dict):
            value = value.get(key, _MISSING)
        elif isinstance(value, list) and 0 <= place < len(value):
            value = value[place]
        else:
            return _MISSING
    return value


def _default(ref: Reference) -> reference.Default:
    if ref.default is None:
        raise MissingReference(f"there is nothing behind {ref.text}")
    return ref.default


def _text(ref: Reference, workflow_input: Any, outputs: Mapping[str, Any]) -> str:
    value = _behind(ref, workflow_input, outputs)
    if value is _MISSING:
        return _default(ref).text
    return as_text(value)
