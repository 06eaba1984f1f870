"""References: the `${…}` of an input mapping, as they are written and as values.

    ${workflow.input}              the run's input, whole
    ${workflow.input.a.0.b}        a member, a list's item (also `[0]`), as deep as one likes
    ${workflow.input["a.b"]}       a key with dots, brackets, braces or quotes, as a JSON string
    ${extract.output.data}         the output of a step that has run before
    ${workflow.input.x:-default}   with a default for when there is nothing behind it

A step's id is free text, so that it may contain dots or braces: after `${` stands the longest id of
the workflow's steps that is followed by `.output`. `workflow.input` is always the run's input.

A default that is JSON is that value (`:-10`, `:-true`, `:-[]`, `:-"10"`); anything else, without
braces, is text. It stands in for what is missing; a null that is there is a value.
"""

import json
import re
from collections.abc import Collection
from typing import Any, NamedTuple

from orchestrator.domain.errors import Refused
from orchestrator.domain.record import record

OPENING = "${"

_INPUT = "workflow.input"
_OUTPUT = ".output"
_LONGEST_ID = 255
_SHOWN = 80  # characters of a malformed reference that a message repeats

_BOUNDARY = re.compile(r"[.\[}]|:-")
_SEGMENT = re.compile(
    r"""
      \. (?P<key> (?: (?!:-) [^.\[\]{}"] )+ )
    | \[ (?P<index> [0-9]+ ) \]
    | \[ (?P<quoted> "(?:[^"\\]|\\.)*" ) \]
    """,
    re.VERBOSE,
)
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")
_DECODER = json.JSONDecoder()


class MalformedReference(Refused):
    """A `${…}` that is no reference; the message shows it and says why."""

    code = "malformed_reference"


class Segment(NamedTuple):
    """One step of a path: a key, and the place it is where a list is met (-1: none)."""

    key: str
    place: int


@record
class Default:
    """What stands in for nothing: as a value, and as it is written inside a longer string."""

    value: Any
    text: str


@record
class Reference:
    """One `${…}`: `text` as written; `step` is None for the workflow's input."""

    text: str
    step: str | None
    path: tuple[Segment, ...]
    default: Default | None = None


def parse(text: str, start: int, steps: Collection[str]) -> tuple[Reference, int]:
    """Read the reference whose `${` is at `start`; return it and where the text goes on.

    `steps` are the ids that the workflow has; a reference to another one is read up to the first
    `.output`, so that the caller can name it. Raises `MalformedReference`.
    """
    step, at = _source(text, start, steps)
    path, at = _path(text, start, at)
    default, at = _default(text, start, at)
    if not text.startswith("}", at):
        raise _malformed(text, start, "after the path only '}' or a ':-' default may follow")
    return Reference(text[start : at + 1], step, path, default), at + 1


def _source(text: str, start: int, steps: Collection[str]) -> tuple[str | None, int]:
    """Return what is referred to (None: the workflow's input) and where its path begins."""
    begin = start + len(OPENING)
    if text.startswith(_INPUT, begin) and _BOUNDARY.match(text, begin + len(_INPUT)):
        return None, begin + len(_INPUT)
    limit = begin + _LONGEST_ID + len(_OUTPUT)
    longest = unknown = None
    end = text.find(_OUTPUT, begin + 1, limit)
    while end >= 0:
        after = end + len(_OUTPUT)
        if _BOUNDARY.match(text, after):
            if text[begin:end] in steps:
                longest = text[begin:end], after
            elif unknown is None and "}" not in text[begin:end]:
                unknown = text[begin:end], after
        end = text.find(_OUTPUT, end + 1, limit)
    source = longest or unknown
    if source is None:
        raise _malformed(
            text, start, "it begins neither with workflow.input nor with <step>.output"
        )
    return source


def _path(text: str, start: int, at: int) -> tuple[tuple[Segment, ...], int]:
    path = []
    while match := _SEGMENT.match(text, at):
        key = match["key"] or match["index"]
        if key is None:
            key = _quoted(text, start, match["quoted"])
        elif key != key.strip():
            raise _malformed(text, start, "a name in the path begins or ends with a blank")
        path.append(Segment(key, int(key) if _INDEX.fullmatch(key) else -1))
        at = match.end()
    return tuple(path), at


def _quoted(text: str, start: int, quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        raise _malformed(text, start, f"{quoted} is no JSON string") from None


def _default(text: str, start: int, at: int) -> tuple[Default | None, int]:
    if not text.startswith(":-", at):
        return None, at
    at += 2
    end, default = _json(text, at) or _plain(text, start, at)
    if OPENING in text[at:end]:
        raise _malformed(text, start, "a default cannot hold another reference")
    return default, end


def _json(text: str, at: int) -> tuple[int, Default] | None:
    """Read a default that is JSON and ends where the reference does; None for any other."""
    try:
        value, end = _DECODER.raw_decode(text, at)
        # What could not be stored (an infinity, half a character, a NUL) is no JSON here either.
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
        written.encode()
    except (ValueError, RecursionError):
        return None
    if not text.startswith("}", end) or "\\u0000" in written:
        return None
    return end, Default(value, value if isinstance(value, str) else text[at:end])


def _plain(text: str, start: int, at: int) -> tuple[int, Default]:
    end = text.find("}", at)
    plain = text[at:end]
    if "{" in plain and OPENING not in plain:
        raise _malformed(text, start, "a default with braces must be JSON")
    return end, Default(plain, plain)


def _malformed(text: str, start: int, why: str) -> MalformedReference:
    # Without an end there is no telling what was meant, so that is said before anything else.
    end = text.find("}", start)
    shown = text[start:] if end < 0 else text[start : end + 1]
    if len(shown) > _SHOWN:
        shown = shown[:_SHOWN] + "…"
    if end < 0:
        why = "there is no closing '}'"
    return MalformedReference(
        f"malformed reference '{shown}': {why} (a literal '${{' is written '$${{')"
    )
