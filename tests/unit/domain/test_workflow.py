"""Workflow definitions: reading them, and the faults that each graph may have."""

import itertools
import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import workflow
from orchestrator.domain.errors import Refused
from orchestrator.domain.workflow import OnUnknownOutcome, WorkflowDefinition, WorkflowId

HOUR = timedelta(hours=1)
NEITHER = (
    "it begins neither with workflow.input nor with <step>.output (a literal '${' is written '$${')"
)


def parse(data: dict[str, Any]) -> WorkflowDefinition:
    return workflow.parse(WorkflowId(UUID(int=1)), 3, "wf-x-001", "x", data, HOUR)


def step(step_id: str, next_step: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": step_id,
        "agent_name": f"{step_id}-agent",
        "next_step": next_step,
        "input_mapping": {},
        **more,
    }


def graph(start: str, **next_steps: str | None) -> dict[str, Any]:
    return {"start_step": start, "steps": {name: step(name, n) for name, n in next_steps.items()}}


def chain(*ids: str, **mappings: dict[str, Any]) -> dict[str, Any]:
    following = dict(zip(ids, [*ids[1:], None], strict=True))
    data = graph(ids[0], **following)
    for name, input_mapping in mappings.items():
        data["steps"][name]["input_mapping"] = input_mapping
    return data


def fault(data: dict[str, Any]) -> str:
    with pytest.raises(Refused) as refused:
        workflow.validate(parse(data))
    assert type(refused.value) is Refused
    return refused.value.message


def test_the_guides_example_is_sound() -> None:
    definition = parse(
        chain(
            "extract",
            "transform",
            "load",
            extract={"source_url": "${workflow.input.data_source}"},
            transform={"raw_data": "${extract.output.data}", "schema": "${workflow.input.schema}"},
            load={"transformed_data": "${transform.output.data}"},
        )
    )

    workflow.validate(definition)

    assert (definition.version, definition.key, definition.name) == (3, "wf-x-001", "x")
    assert workflow.order(definition) == ("extract", "transform", "load")
    assert [ref.step for ref in definition.steps["transform"].template.references] == [
        "extract",
        None,
    ]


def test_order_follows_the_path_and_not_the_data() -> None:
    definition = parse(graph("b", c=None, a="c", b="a"))

    assert workflow.order(definition) == ("b", "a", "c")
    assert {s.id: s.position for s in definition.steps.values()} == {"b": 0, "a": 1, "c": 2}


def test_a_steps_own_settings_are_read_and_defaults_stand_in() -> None:
    data = chain("a", "b")
    data["steps"]["a"] |= {"timeout_ms": 1500, "on_unknown_outcome": "fail"}
    data["steps"]["b"] |= {"timeout_ms": None, "more": "ignored"}
    del data["steps"]["b"]["next_step"]
    whole = chain("a")
    whole["steps"]["a"]["timeout_ms"] = 1500.0

    steps = parse(data).steps

    assert steps["a"].timeout == parse(whole).steps["a"].timeout == timedelta(seconds=1.5)
    assert steps["a"].on_unknown_outcome is OnUnknownOutcome.FAIL
    assert steps["b"].timeout == HOUR
    assert steps["b"].on_unknown_outcome is OnUnknownOutcome.RESEND


def renamed() -> dict[str, Any]:
    data = chain("a", "b")
    data["steps"]["b"]["id"] = "c"
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"start_step": "a", "steps": {}}, "Workflow has no steps"),
        (graph("x", a=None), "Start step 'x' not found in steps"),
        (graph("a", a="x"), "Step 'a': next step 'x' not found in steps"),
        (renamed(), "Step 'b' has another id: 'c'"),
        (graph("a", a="a"), "Circular reference at step 'a': a -> a"),
        (graph("a", a="b", b="c", c="b"), "Circular reference at step 'b': b -> c -> b"),
        (graph("a", a=None, b="c", c="b"), "Circular reference at step 'b': b -> c -> b"),
        (graph("a", a=None, b=None), "Step 'b' is not reachable from start step 'a'"),
        (graph("b", a="b", b=None, c="a"), "Steps 'a', 'c' are not reachable from start step 'b'"),
        (
            chain("a", "b", b={"x": ["${c.output.y}"]}),
            "Step 'b': ${c.output.y} refers to step 'c', which does not exist",
        ),
        (
            chain("a", "b", a={"x": "${b.output}"}),
            "Step 'a': ${b.output} refers to step 'b', which cannot have run before it",
        ),
        (
            chain("a", a={"x": "and ${a.output}"}),
            "Step 'a': ${a.output} refers to step 'a', which cannot have run before it",
        ),
        (
            {
                **chain("a", "b"),
                "steps": {"a": step("a", "b", prompt="${b.output}"), "b": step("b")},
            },
            "Step 'a': ${b.output} refers to step 'b', which cannot have run before it",
        ),
        (
            chain("a", a={"x": "${foo}"}),
            "Step 'a': malformed reference '${foo}': " + NEITHER,
        ),
    ],
)
def test_a_structural_fault_is_refused_naming_the_step(data: dict[str, Any], message: str) -> None:
    assert fault(data) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": None}, "Workflow: steps is missing"),
        ({"steps": ["a"]}, "Workflow: steps is missing"),
        ({"steps": {"a": 1}}, "Step 'a' is not an object"),
        ({"start_step": 1}, "Workflow: start_step is missing"),
        ({"steps": {"a": {"id": "a"}}}, "Step 'a': agent_name is missing"),
        ({"steps": {"a": step("a", input_mapping=[])}}, "Step 'a': input_mapping is missing"),
        ({"steps": {"a": step("a", timeout_ms=True)}}, "Step 'a': timeout_ms is missing"),
        ({"steps": {"a": step("a", timeout_ms=10**30)}}, "Step 'a': "),
        ({"steps": {"a": step("a", on_unknown_outcome="?")}}, "Step 'a': '?' is not a valid"),
        ({"steps": {"a": {**step("a"), "next_step": ["a"]}}}, "Step 'a': next_step is missing"),
        ({"steps": {"a": step("a", input_as="?")}}, "Step 'a': '?' is not a valid InputAs"),
        ({"steps": {"a": step("a", context="?")}}, "Step 'a': '?' is not a valid ContextScope"),
        ({"steps": {"a": step("a", prompt="${")}}, "Step 'a': malformed reference '${'"),
        ({"steps": {"a": step("a", skill=7)}}, "Step 'a': skill is missing"),
    ],
)
def test_data_of_another_form_is_refused(change: dict[str, Any], message: str) -> None:
    assert fault({**chain("a"), **change}).startswith(message)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[str, dict[str, str | None]]:
    names = draw(st.permutations(["a", "b", "c", "d", "e"]))[: draw(st.integers(1, 5))]
    targets = st.sampled_from([*names, None])
    return draw(st.sampled_from(names)), {name: draw(targets) for name in names}


@given(graphs())
def test_validation_agrees_with_brute_force(drawn: tuple[str, dict[str, str | None]]) -> None:
    start, edges = drawn
    reach = {name: after(name, edges) for name in edges}
    circular = {name for name in edges if name in reach[name]}
    lost = set(edges) - reach[start] - {start}

    try:
        workflow.validate(parse(graph(start, **edges)))
    except Refused as refused:
        message = refused.message
    else:
        assert not circular
        assert not lost
        return

    if circular:
        path = message.split(": ", 1)[1].split(" -> ")
        assert path[0] == path[-1]
        assert len(set(path)) == len(path) - 1
        assert all(edges[one] == two for one, two in itertools.pairwise(path))
    else:
        assert lost
        named = message.removesuffix(f" from start step '{start}'")
        assert set(re.findall(r"'(.)'", named)) == lost


def after(name: str, edges: dict[str, str | None]) -> set[str]:
    """Return what can be reached from a step in one move or more, by transitive closure."""
    reached: set[str] = set()
    for _ in edges:
        for source in {name, *reached}:
            target = edges[source]
            if target is not None:
                reached.add(target)
    return reached


@given(
    st.permutations(["a", "b", "c", "d"]),
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), max_size=4),
)
def test_references_go_to_earlier_steps_only(
    ids: list[str], references: list[tuple[str, str]]
) -> None:
    mappings: dict[str, dict[str, Any]] = {name: {} for name in ids}
    for name, source in references:
        mappings[name][f"from_{source}"] = [f"got ${{{source}.output.x:-0}}"]
    earlier = all(
        source in ids and ids.index(source) < ids.index(name) for name, source in references
    )

    try:
        workflow.validate(parse(chain(*ids, **mappings)))
    except Refused as refused:
        assert not earlier
        assert "refers to step" in refused.message  # noqa: PT017 - either outcome is right
    else:
        assert earlier


def test_a_very_long_chain_is_no_trouble() -> None:
    ids = [f"s{n}" for n in range(10_000)]
    data = chain(*ids)
    for before, name in itertools.pairwise(ids):
        data["steps"][name]["input_mapping"] = {"x": f"${{{before}.output}}"}

    definition = parse(data)
    workflow.validate(definition)

    assert workflow.order(definition) == tuple(ids)


def test_a_very_long_cycle_is_named_in_part() -> None:
    ids = [f"s{n}" for n in range(10_000)]
    data = chain(*ids)
    data["steps"][ids[-1]]["next_step"] = ids[0]

    message = fault(data)

    assert message.startswith("Circular reference at step 's0': s0 -> s1 -> ")
    assert message.endswith("(10001 in all)")
    assert len(message) < 250


def test_agent_names_come_with_the_first_step_that_needs_them() -> None:
    data = chain("a", "b", "c")
    data["steps"]["c"]["agent_name"] = "a-agent"

    names = workflow.agent_names(parse(data))

    assert names == {"a-agent": "a", "b-agent": "b"}
    assert workflow.agent_missing("x") == "Agent 'x' not found or inactive"
    assert workflow.agent_missing("x", "a") == "Agent 'x' not found or inactive (step 'a')"


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("data-processing-pipeline", "data-processing-pipeline"),
        ("  Größe à la carte! ", "grosse-a-la-carte"),
        ("a__b  c", "a-b-c"),
        ("ﬁx №5", "fix-no5"),
        ("数据管道", "workflow"),
        ("🙂 v2", "v2"),
        ("naïve数据x", "naive-x"),
        ("a" * 254 + " b", "a" * 254),
        ("---", "workflow"),
        ("x" * 255, "x" * 255),
        ("ﬃ" * 255, "ffi" * 85),
    ],
)
def test_a_slug_is_plain(name: str, slug: str) -> None:
    assert workflow.slug(name) == slug


@given(st.text(st.sampled_from("aZ9-_ ßéİﬁ№数̈"), max_size=20))
def test_a_slug_is_never_empty_and_stays_itself(name: str) -> None:
    slug = workflow.slug(name)

    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
    assert workflow.slug(slug) == slug


def test_a_key_carries_the_slug_and_a_number() -> None:
    assert workflow.key_for("data-pipeline", 1) == "wf-data-pipeline-001"
    assert workflow.key_for("data-pipeline", 1234) == "wf-data-pipeline-1234"
