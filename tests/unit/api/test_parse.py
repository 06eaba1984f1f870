"""Bodies as bytes: what is refused, and which field is named."""

import pytest

from orchestrator.api import parse
from orchestrator.domain.errors import Fault, Malformed


def faults(raw: bytes) -> tuple[Fault, ...]:
    with pytest.raises(Malformed) as wrong:
        parse.loads(raw)
    return wrong.value.faults


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"{'a': 1}",
        b'{"a": 1,}',
        b"\xef\xbb\xbf{}",
        b'{"a": "\xff"}',
        b'{"a": "x\ny"}',
        b"[" * 100_000,
        b'{"a": ' + b"1" * 5000 + b"}",
        b"{} {}",
    ],
)
def test_malformed_json_is_json_invalid(raw: bytes) -> None:
    [fault] = faults(raw)

    assert fault.type == "json_invalid"
    assert fault.loc == ("body",)
    assert fault.msg.startswith("Invalid JSON: ")
    assert fault.input == {}  # it may hold a secret


@pytest.mark.parametrize(
    ("raw", "loc", "kind"),
    [
        (b'{"a": {"b": ["x\\u0000"]}}', ("body", "a", "b", 0), "value_error"),
        (b'{"a": "x\x00"}', ("body", "a"), "value_error"),
        (b'{"\\u0000": 1}', ("body", "\0"), "value_error"),
        (b'{"a": "\\ud800"}', ("body", "a"), "string_unicode"),
        (b'{"a": NaN}', ("body", "a"), "finite_number"),
        (b'{"a": [1, -Infinity]}', ("body", "a", 1), "finite_number"),
        (b'{"a": 1e999}', ("body", "a"), "finite_number"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(
    raw: bytes, loc: tuple[str | int, ...], kind: str
) -> None:
    [fault] = faults(raw)

    assert (fault.loc, fault.type) == (loc, kind)


def test_key_order_and_large_numbers_are_kept() -> None:
    value = parse.loads(b'{"z": 1, "a": 123456789012345678901234567890, "m": 1.0}')

    assert list(value) == ["z", "a", "m"]
    assert value["a"] == 123456789012345678901234567890
