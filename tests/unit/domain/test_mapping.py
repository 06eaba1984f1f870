"""Input mappings: what they resolve to, and that nothing malformed gets through."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.domain import mapping
from orchestrator.domain.errors import MissingReference
from orchestrator.domain.reference import MalformedReference

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = scalars | st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
hostile = st.text(st.sampled_from('$${}.[]:-"\\0ab '), max_size=40)


def resolve(
    template: Any, given_input: Any = None, outputs: dict[str, Any] | None = None, steps: Any = None
) -> Any:
    outputs = outputs or {}
    compiled = mapping.compile(template, outputs if steps is None else steps)
    return mapping.resolve(compiled, given_input, outputs)


def same(left: Any, right: Any) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are three."""
    return json.dumps(left) == json.dumps(right)


def text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@st.composite
def places(draw: st.DrawFn) -> tuple[Any, str, Any]:
    """Draw a JSON value, a path into it as it is written, and what lies there."""
    whole = value = draw(json_values)
    path = ""
    while value and isinstance(value, dict | list) and draw(st.integers(0, 3)):
        if isinstance(value, list):
            index = draw(st.integers(0, len(value) - 1))
            path += draw(st.sampled_from([f".{index}", f"[{index}]"]))
            value = value[index]
        else:
            key = draw(st.sampled_from(sorted(value)))
            plain = re.fullmatch(r"[^.\[\]{}\":]+", key) and key == key.strip()
            path += f".{key}" if plain else f"[{json.dumps(key, ensure_ascii=False)}]"
            value = value[key]
    return whole, path, value


@given(json_values)
def test_a_mapping_without_references_is_itself(value: Any) -> None:
    template = json.loads(json.dumps(value).replace("${", "$ {"))

    assert same(resolve(template), template)


@given(hostile)
@example("$${")
@example("$$${a$${b")
def test_any_text_can_be_written_with_doubled_dollars(text: str) -> None:
    escaped = re.sub(r"(\$+)\{", lambda run: run[1] * 2 + "{", text)

    assert resolve(escaped) == text


@given(places())
def test_a_whole_reference_keeps_the_value_and_its_type(place: tuple[Any, str, Any]) -> None:
    whole, path, value = place

    assert same(resolve(f"${{workflow.input{path}}}", whole), value)
    assert same(resolve(f"${{my-step.output{path}}}", None, {"my-step": whole}), value)


@given(places(), st.sampled_from(["x ", "$$", "a$", "€"]), st.sampled_from([" y", "}", "$"]))
def test_inside_a_longer_string_a_value_is_text(
    place: tuple[Any, str, Any], before: str, after: str
) -> None:
    whole, path, value = place
    written = before.replace("$", "$$") + f"${{workflow.input{path}}}" + after

    assert resolve(written, whole) == before + text_of(value) + after


@given(json_values)
def test_mappings_may_nest(value: Any) -> None:
    template = {"a": [{"b": "${workflow.input}", "c": 1}, "${s.output}"], "d": {"e": None}}

    resolved = resolve(template, value, {"s": value})

    assert same(resolved, {"a": [{"b": value, "c": 1}, value], "d": {"e": None}})


@given(hostile)
@example("${workflow.input.secret}")
def test_what_a_reference_brings_in_is_never_expanded(data: str) -> None:
    given_input = {"data": data, "secret": "s", data: 1}

    assert resolve("${workflow.input.data}", given_input) == data
    assert resolve("<${workflow.input.data}>", given_input) == f"<{data}>"
    assert resolve({"k": "${workflow.input}"}, given_input) == {"k": given_input}


@given(hostile)
def test_keys_of_a_mapping_are_taken_as_they_are(key: str) -> None:
    assert resolve({key: "${workflow.input}"}, 1) == {key: 1}


@given(places(), st.sampled_from([".nothing-here", "[99]", '["no such"]', ".99.x"]))
def test_a_reference_with_nothing_behind_it_is_named(
    place: tuple[Any, str, Any], further: str
) -> None:
    whole, path, _ = place
    written = f"${{workflow.input{path}{further}}}"

    with pytest.raises(MissingReference) as missing:
        resolve({"deep": [written]}, whole)

    assert missing.value.message == f"there is nothing behind {written}"
    assert resolve(f"{written[:-1]}:-else}}", whole) == "else"


def test_a_step_that_has_not_run_has_nothing_behind_it() -> None:
    with pytest.raises(MissingReference, match=re.escape("${later.output}")):
        resolve("x ${later.output}", steps={"later"})
    assert resolve("${later.output.x:-7}", steps={"later"}) == 7


@pytest.mark.parametrize(
    ("path", "value"),
    [(".null", None), (".zero", 0), (".empty", ""), (".no", False), (".list", []), (".obj.0", "k")],
)
def test_what_is_there_wins_over_a_default(path: str, value: Any) -> None:
    given_input: dict[str, Any] = {
        "null": None,
        "zero": 0,
        "empty": "",
        "no": False,
        "list": [],
        "obj": {"0": "k"},
    }

    assert same(resolve(f"${{workflow.input{path}:-other}}", given_input), value)


@pytest.mark.parametrize("path", [".0", ".x", "[0]"])
@pytest.mark.parametrize("value", ["text", 5, None, True, {}, []])
def test_only_objects_and_lists_have_something_inside(value: Any, path: str) -> None:
    with pytest.raises(MissingReference):
        resolve(f"${{workflow.input{path}}}", value)


@pytest.mark.parametrize("path", ["[1]", ".1", "[01]", ".00", ".-1", ".१"])
def test_an_index_is_a_canonical_number_within_the_list(path: str) -> None:
    with pytest.raises(MissingReference):
        resolve(f"${{workflow.input{path}}}", ["only"])


@example("a quoted text")
@given(json_values.filter(lambda value: "${" not in json.dumps(value, ensure_ascii=False)))
def test_a_default_that_is_json_is_that_value(value: Any) -> None:
    written = json.dumps(value, ensure_ascii=False)

    assert same(resolve(f"${{workflow.input.x:-{written}}}", {}), value)
    in_text = value if isinstance(value, str) else written
    assert resolve(f"<${{workflow.input.x:-{written}}}>", {}) == f"<{in_text}>"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("", ""),
        ("some words", "some words"),
        ("007", "007"),
        (" 5", " 5"),
        ("5 days", "5 days"),
        ("a:-b", "a:-b"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("1e999", "1e999"),
        ('"\\ud800"', '"\\ud800"'),
        ('"\\u0000"', '"\\u0000"'),
        ("[" * 100_000, "[" * 100_000),
        ("9" * 5000, "9" * 5000),
    ],
    ids=lambda value: str(value)[:20],
)
def test_any_other_default_is_text(written: str, value: str) -> None:
    assert resolve(f"${{workflow.input.x:-{written}}}", {}) == value


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("${}", "it begins neither"),
        ("a ${foo} b", "malformed reference '${foo}': it begins neither"),
        ("${HOME}", "it begins neither"),
        ("${workflow.inputs.x}", "it begins neither"),
        ("${workflow.output.x}${", "no closing"),
        ("${ workflow.input.x}", "it begins neither"),
        ("${.output}", "it begins neither"),
        ("${extract}", "it begins neither"),
        ("${extract.outputs}", "it begins neither"),
        ("${extract.input.x}", "it begins neither"),
        ("${foo} ${extract.output}", "malformed reference '${foo}'"),
        ("${workflow.input", "no closing"),
        ("${extract.output.x", "no closing"),
        ("${workflow.input.x:-y", "no closing"),
        ("${workflow.input.x:-{", "no closing"),
        ("${workflow.input.}", "after the path"),
        ("${workflow.input..x}", "after the path"),
        ("${workflow.input.x.}", "after the path"),
        ("${workflow.input[-1]}", "after the path"),
        ("${workflow.input[x]}", "after the path"),
        ('${workflow.input["x}', "after the path"),
        ('${workflow.input["\\q"]}', "is no JSON string"),
        ("${workflow.input.x }", "begins or ends with a blank"),
        ("${workflow.input. x}", "begins or ends with a blank"),
        ("${workflow.input.x:-${extract.output}}", "cannot hold another reference"),
        ('${workflow.input.x:-{"a":"${b}"}}', "cannot hold another reference"),
        ("${workflow.input.x:-{y}}", "a default with braces must be JSON"),
    ],
)
def test_a_malformed_reference_is_refused_with_the_reason(written: str, why: str) -> None:
    with pytest.raises(MalformedReference, match=re.escape(why)):
        mapping.compile({"deep": [written]}, {"extract"})


@given(hostile | st.builds("{}${{workflow.input{}".format, hostile, hostile))
def test_a_text_is_compiled_or_refused_and_nothing_else(text: str) -> None:
    try:
        template = mapping.compile(text, {"a", "a.b", "}"})
        mapping.resolve(template, {"a": 1}, {})
    except (MalformedReference, MissingReference) as refused:
        assert "${" in refused.message  # noqa: PT017 - either outcome is right


def test_a_long_malformed_reference_is_shown_in_part() -> None:
    with pytest.raises(MalformedReference) as refused:
        mapping.compile("${" + "x" * 10_000 + "}", ())

    assert len(refused.value.message) < 250


STEP_IDS = ["a", "a.output", "a.output.output", "b}", "a.output} ${a", "workflow", "x-y_z.1", "ü:-"]


@pytest.mark.parametrize("step_id", STEP_IDS)
def test_any_step_id_can_be_referred_to(step_id: str) -> None:
    outputs = {each: {"from": each} for each in STEP_IDS}

    assert resolve(f"${{{step_id}.output.from}}", None, outputs) == step_id


fragments = st.lists(st.sampled_from(["a", "b", ".output", ".", "}", "-"]), max_size=6).map("".join)


@given(st.sets(fragments.filter(len), max_size=6), fragments)
@example({"a", "a.output"}, "a.output.output")
@example({"a.output"}, "a.output")
@example({"a"}, "a.output")
def test_a_reference_is_to_the_longest_known_step(ids: set[str], body: str) -> None:
    text = f"${{{body}.output}}"
    fitting = [
        each for each in ids if re.match(rf"\$\{{{re.escape(each)}\.output(\.|\[|\}}|:-)", text)
    ]

    try:
        references = mapping.compile(text, ids).references
    except MalformedReference:
        return

    if fitting:
        assert references[0].step == max(fitting, key=len)
    else:
        assert references[0].step not in ids


def test_the_workflow_input_wins_over_a_step_of_that_name() -> None:
    outputs = {"workflow.input": {"x": "step"}, "workflow": "all"}

    assert resolve("${workflow.input.output.x}", {"output": {"x": "input"}}, outputs) == "input"
    assert resolve("${workflow.output}", None, outputs) == "all"


def test_an_unknown_step_is_told_by_the_references() -> None:
    template = mapping.compile(
        ["${nope.output.output}", {"k": "${a.output} ${workflow.input}"}], {"a"}
    )

    assert [ref.step for ref in mapping.references(template)] == ["nope", "a", None]
