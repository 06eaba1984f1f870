"""Reads an agent card of any version: where to call the agent, in which dialect, and how."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from yarl import URL

from orchestrator.agents import rest, v03, v1
from orchestrator.agents.dialect import Dialect
from orchestrator.agents.failures import Fault, malformed
from orchestrator.domain.agent import InputAs, Options, Protocol
from orchestrator.domain.record import record

PATHS = ("/.well-known/agent-card.json", "/.well-known/agent.json")

_JSON_RPC, _HTTP_JSON = "JSONRPC", "HTTP+JSON"
# What we speak, best first: a binding, a major version, and its dialect.
_SPOKEN: tuple[tuple[str, str, Dialect], ...] = (
    (_JSON_RPC, "1", v1),
    (_JSON_RPC, "0", v03),
    (_HTTP_JSON, "1", rest),  # where it is all there is; that of 0.x is another in every SDK
)
_FIXED: Mapping[Protocol, Dialect] = {
    Protocol.V0_2: v03,
    Protocol.V0_3: v03,
    Protocol.V1: v1,
    Protocol.V1_REST: rest,
}


@record
class Endpoint:
    """Where and how an agent is called."""

    url: URL
    dialect: Dialect
    tenant: str | None = None
    text_only: bool = False  # its input modes take text, no JSON
    skills: Mapping[str, bool] = field(default_factory=dict)  # the same of each skill
    streaming: bool = False
    push: bool = False

    def input_as(self, wish: InputAs, skill: str | None) -> InputAs:
        """Return in which parts a step's input goes here."""
        if wish is not InputAs.AUTO:
            return wish
        text_only = self.text_only if skill is None else self.skills.get(skill, self.text_only)
        return InputAs.TEXT if text_only else InputAs.DATA


@record
class Interface:
    """One place that a card names."""

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


def without_card(registered: URL, options: Options | None = None) -> Endpoint:
    """Return the endpoint of an agent that shows no card: 0.3 at the registered url itself.

    Unless the operator said otherwise.
    """
    given = options if options is not None else Options()
    url = registered if given.interface_url is None else base(given.interface_url)
    return Endpoint(url, _FIXED.get(given.protocol, v03))


def is_card(value: Any) -> bool:
    """Whether JSON that was found at a card's place is one."""
    keys = ("supportedInterfaces", "url", "additionalInterfaces", "capabilities", "skills")
    return isinstance(value, dict) and any(key in value for key in keys)


def urls(registered: URL, card_path: str | None = None) -> tuple[URL, ...]:
    """Return where to look for the card: the registered url itself if it names one."""
    if card_path is not None:
        return (below(registered, card_path),)
    if registered.path.endswith(".json"):
        return (registered,)
    return tuple(below(registered, path) for path in PATHS)


def below(registered: URL, path: str) -> URL:
    """Return `path` under the registered url, its query kept (gateways route by it)."""
    return registered.with_path(registered.path.rstrip("/") + path, keep_query=True)


def endpoint(card: Mapping[str, Any], registered: URL, options: Options | None = None) -> Endpoint:
    """Choose the interface to call: JSON-RPC before HTTP+JSON, 1.x before 0.x.

    What the operator fixed wins over the card. Raises `Fault` if there is none that we speak.
    """
    given = options if options is not None else Options()
    offered = interfaces(card)
    capabilities = card.get("capabilities")
    able = capabilities if isinstance(capabilities, dict) else {}
    chosen = _chosen(offered, given)
    fixed = given.interface_url
    if chosen is not None:
        interface, dialect = chosen
        url = _absolute(interface.url, registered) if fixed is None else base(fixed)
        tenant = interface.tenant
    elif fixed is not None or given.protocol is not Protocol.AUTO or not offered:
        plain = without_card(registered, given)
        url, dialect, tenant = plain.url, plain.dialect, None
    else:
        listed = ", ".join(f"{i.binding} {i.version}" for i in offered)
        raise malformed(
            "offers no JSON-RPC interface of A2A 0.x or 1.x, and no HTTP+JSON one of 1.x"
            f" (its card lists {listed})"
        )
    return Endpoint(
        url,
        dialect,
        tenant,
        _text_only(_all_modes(card)),
        _skills(card),
        streaming=able.get("streaming") is True,
        push=able.get("pushNotifications") is True,
    )


def interfaces(card: Mapping[str, Any]) -> list[Interface]:
    """Return every interface that a card of any version names."""
    return [*_supported(card), *_top_level(card), *_additional(card)]


def _chosen(offered: list[Interface], given: Options) -> tuple[Interface, Dialect] | None:
    fixed = _FIXED.get(given.protocol)
    for binding, major, dialect in _SPOKEN:
        if fixed is not None and dialect is not fixed:
            continue
        for interface in offered:
            same = interface.binding.upper() == binding
            if same and interface.version.split(".")[0] == major:
                return interface, dialect
    return None


def _supported(card: Mapping[str, Any]) -> Iterator[Interface]:
    for item in _objects(card.get("supportedInterfaces")):
        yield Interface(
            _text(item.get("url")),
            _text(item.get("protocolBinding")) or _JSON_RPC,
            _text(item.get("protocolVersion")) or "1.0",
            _text(item.get("tenant")) or None,
        )


def _top_level(card: Mapping[str, Any]) -> Iterator[Interface]:
    if url := _text(card.get("url")):
        yield Interface(url, _text(card.get("preferredTransport")) or _JSON_RPC, _version(card))


def _additional(card: Mapping[str, Any]) -> Iterator[Interface]:
    for item in _objects(card.get("additionalInterfaces")):
        yield Interface(_text(item.get("url")), _text(item.get("transport")), _version(card))


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


def _all_modes(card: Mapping[str, Any]) -> list[str]:
    modes = [*_modes(card.get("defaultInputModes"))]
    for skill in _objects(card.get("skills")):
        modes += _modes(skill.get("inputModes"))
    return modes


def _skills(card: Mapping[str, Any]) -> dict[str, bool]:
    """Return by skill whether it reads only text; a skill without modes has the card's."""
    default = [*_modes(card.get("defaultInputModes"))]
    return {
        _text(skill.get("id")): _text_only([*_modes(skill.get("inputModes"))] or default)
        for skill in _objects(card.get("skills"))
    }


def _text_only(modes: list[str]) -> bool:
    """Whether input modes take text but no JSON."""
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
