"""The kinds of fields that clients send, and what makes a value of them valid."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError
from yarl import URL

MAX_INT4 = 2**31 - 1
# Headers that say how the message itself is to be read; no credential belongs there.
_RESERVED = re.compile(
    "a2a-version|accept|accept-encoding|connection|content-.*|expect|host|idempotency-key"
    "|keep-alive|te|traceparent|trailer|transfer-encoding|upgrade"
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_ISO = re.compile(r"\d{4}-?\d\d-?\d\d(?:[Tt ]|$)")
# `+` in a query string is a space; behind a date alone it is one, and a time follows.
_BARE_PLUS = re.compile(r"([\d-]+[Tt ][\d:.,]+) (\d\d(?::?\d\d)?)")


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("value_error", "Value error, a NUL character is not allowed")
    return text


def _whole(value: Any) -> Any:
    """Take 2000.0 for the integer that it is: JSON, and the document's schemas, know no other."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _http_url(url: str) -> str:
    """Accept an absolute http(s) URL with a host; credentials in it would be shown to everyone."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for a port that is no number, or too large
        host = URL(url).raw_host  # raises for a host that no request could ever be sent to
    except ValueError as wrong:
        raise _bad_url(str(wrong)) from None
    if parts.scheme not in ("http", "https"):
        raise PydanticCustomError("url_scheme", "URL scheme should be 'http' or 'https'")
    if not host:
        raise _bad_url("empty host")
    if re.search(r"[\s\x00-\x20\x7f<>\"\\^`{|}]", url):
        raise _bad_url("invalid character")
    if "@" in parts.netloc:
        raise _bad_url("credentials belong into auth_config")
    return url


def _bad_url(why: str) -> PydanticCustomError:
    return PydanticCustomError(
        "url_parsing", "Input should be a valid URL, {error}", {"error": why}
    )


def _iso_date(text: Any) -> Any:
    """Read ISO 8601; without an offset it is UTC, and an unescaped `+` is understood."""
    if isinstance(text, str) and _ISO.match(text):
        with suppress(ValueError, OverflowError):
            if bare := _BARE_PLUS.fullmatch(text):
                text = "+".join(bare.groups())
            moment = datetime.fromisoformat(text.upper())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    raise PydanticCustomError(
        "datetime_parsing", "Input should be a valid datetime in ISO 8601 format"
    )


def _header_name(name: str) -> str:
    if _RESERVED.fullmatch(name.lower()):
        raise PydanticCustomError("value_error", "Value error, this header cannot carry a key")
    return name


def _header_names(headers: dict[str, str]) -> dict[str, str]:
    """Accept headers that say nothing about the message itself, each once."""
    for name in headers:
        if not _TOKEN.fullmatch(name):
            raise PydanticCustomError("value_error", "Value error, a header has no valid name")
        if _RESERVED.fullmatch(name.lower()):
            raise PydanticCustomError(
                "value_error", "Value error, this header cannot be set: {name}", {"name": name}
            )
    if len({name.lower() for name in headers}) < len(headers):
        raise PydanticCustomError("value_error", "Value error, a header is given twice")
    return headers


Retries = Annotated[int, Field(ge=0, le=10), BeforeValidator(_whole)]
InitialDelayMs = Annotated[int, Field(ge=100, le=MAX_INT4), BeforeValidator(_whole)]
MaxDelayMs = Annotated[int, Field(ge=1000, le=MAX_INT4), BeforeValidator(_whole)]
TimeoutMs = Annotated[int, Field(ge=1000, le=300000), BeforeValidator(_whole)]
Places = Annotated[int, Field(ge=1, le=100_000), BeforeValidator(_whole)]
QuestionId = Annotated[int, Field(ge=1, le=MAX_INT4), BeforeValidator(_whole)]
StepTimeoutMs = Annotated[
    int,
    Field(ge=1, le=31_536_000_000, json_schema_extra={"format": "int64"}),
    BeforeValidator(_whole),
]
Name = Annotated[str, Field(min_length=1, max_length=255)]
# The pattern is for those who read the document; the validator knows better what is wrong.
_HTTP = {"pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"}
Url = Annotated[
    str,
    Field(min_length=1, max_length=2048, json_schema_extra={**_HTTP}),
    AfterValidator(_http_url),
]
HeaderName = Annotated[
    str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$"), AfterValidator(_header_name)
]
Secret = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")]  # fits a header
HeaderValue = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$")]
Headers = Annotated[dict[str, HeaderValue], Field(max_length=50), AfterValidator(_header_names)]
Path = Annotated[str, Field(max_length=1024, pattern=r"^/[!-\"$->@-~]*$")]  # no ? and no #
QueryText = Annotated[str, AfterValidator(_no_nul)]
IsoDate = Annotated[datetime, BeforeValidator(_iso_date)]
Status = Literal["active", "inactive"]
ListedStatus = Literal["active", "inactive", "deleted"]
RunStatus = Literal["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
SortOrder = Literal["asc", "desc"]
