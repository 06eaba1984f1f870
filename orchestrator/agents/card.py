"""Reads an agent card of any version: where to call the agent, in which dialect, and how."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from yarl import URL

from orchestrator.agents import v03, v1
from orchestrator.agents.dialect import Dialect
from orchestrator.agents.failures import Fault, malformed

PATHS = ("/.well-known/agent-card.json", "/.well-known/agent.json")

_JSON_RPC = "JSONRPC"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how an agent is called."""

    url: URL
    dialect: Dialect
    tenant: str | None = None
    text_only: bool = False  # its input modes take text, no JSON


@dataclass(frozen=True, slots=True)
class _Interface:
    url: str
    binding: str
    version: str
    tenant: str | None = None


def base(text: str) -> URL:
    """Return an agent's url, without user and password (they travel as a header)."""
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    # The raw one: decoding a host that only looks like punycode (`xn--`) raises.
    if url.scheme not in ("http", "https") or not url.raw_host:
        raise malformed("is registered with a url that is no http(s) url")
    return url.with_user(None)


def without_card(url: URL) -> Endpoint:
    """Return the endpoint of an agent that shows no card: 0.3 at the registered url itself."""
    return Endpoint(url, v03)


def is_card(value: Any) -> bool:
    """Whether JSON that was found at a card's place is one."""
    keys = ("supportedInterfaces", "url", "additionalInterfaces", "capabilities", "skills")
    return isinstance(value, dict) and any(key in value for key in keys)


def urls(registered: URL) -> tuple[URL, ...]:
    """Return where to look for the card: the registered url itself if it names one."""
    if registered.path.endswith(".json"):
        return (registered,)
    return tuple(below(registered, path) for path in PATHS)


def below(registered: URL, path: str) -> URL:
    """Return `path` under the registered url, its query kept (gateways route by it)."""
    return registered.with_path(registered.path.rstrip("/") + path, keep_query=True)


def endpoint(card: Mapping[str, Any], registered: URL) -> Endpoint:
    """Choose the interface to call: JSON-RPC, 1.x before 0.x; raise `Fault` if there is none."""
    offered = [*_supported(card), *_top_level(card), *_additional(card)]
    if not offered:
        return Endpoint(registered, v03, text_only=_text_only(card))
    rpc = [i for i in offered if i.binding.upper() == _JSON_RPC]
    for major, dialect in (("1", v1), ("0", v03)):
        for interface in rpc:
            if interface.version.split(".")[0] == major:
                return Endpoint(
                    _absolute(interface.url, registered),
                    dialect,
                    interface.tenant,
                    _text_only(card),
                )
    listed = ", ".join(f"{i.binding} {i.version}" for i in offered)
    raise malformed(f"offers no JSON-RPC interface of A2A 0.x or 1.x (its card lists {listed})")


def _supported(card: Mapping[str, Any]) -> Iterator[_Interface]:
    for item in _objects(card.get("supportedInterfaces")):
        yield _Interface(
            _text(item.get("url")),
            _text(item.get("protocolBinding")) or _JSON_RPC,
            _text(item.get("protocolVersion")) or "1.0",
            _text(item.get("tenant")) or None,
        )


def _top_level(card: Mapping[str, Any]) -> Iterator[_Interface]:
    if url := _text(card.get("url")):
        yield _Interface(url, _text(card.get("preferredTransport")) or _JSON_RPC, _version(card))


def _additional(card: Mapping[str, Any]) -> Iterator[_Interface]:
    for item in _objects(card.get("additionalInterfaces")):
        yield _Interface(_text(item.get("url")), _text(item.get("transport")), _version(card))


def _version(card: Mapping[str, Any]) -> str:
    return _text(card.get("protocolVersion")) or "0.2"  # cards of 0.2 have no such field


def _absolute(text: str, registered: URL) -> URL:
    try:
        url = registered.join(URL(text)) if text else registered
    except ValueError:
        raise _bad_url(text) from None
    if url.scheme not in ("http", "https") or not url.raw_host:
        raise _bad_url(text)
    return url.with_user(None)


def _bad_url(text: str) -> Fault:
    return malformed(f"has a card with a url that is no http(s) url: {text}")


def _text_only(card: Mapping[str, Any]) -> bool:
    """Whether the card's input modes take text but no JSON."""
    modes = [*_modes(card.get("defaultInputModes"))]
    for skill in _objects(card.get("skills")):
        modes += _modes(skill.get("inputModes"))
    return any(_is_text(mode) for mode in modes) and not any(_takes_json(mode) for mode in modes)


def _modes(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for mode in value:
            yield _text(mode).partition(";")[0].strip().lower()


def _is_text(mode: str) -> bool:
    return mode == "text" or mode.startswith("text/")


def _takes_json(mode: str) -> bool:
    return mode in ("*", "*/*", "application/*", "data", "json") or mode.endswith(
        ("/json", "+json")
    )


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
