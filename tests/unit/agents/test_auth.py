"""Credentials: which header carries them, and that nothing shows them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from orchestrator.agents import auth, failures
from orchestrator.agents.failures import Fault
from orchestrator.domain.agent import Agent, AgentId, AgentStatus, AuthType, Outcome
from orchestrator.domain.retry import RetryPolicy


def _agent(
    auth_type: AuthType, config: Mapping[str, Any], url: str = "http://agent.test/"
) -> Agent:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Agent(
        id=AgentId(UUID(int=1)),
        name="reader",
        url=url,
        description=None,
        auth_type=auth_type,
        auth_config=config,
        timeout=timedelta(seconds=5),
        retry=RetryPolicy(),
        status=AgentStatus.ACTIVE,
        created_at=now,
        updated_at=now,
    )


@pytest.mark.parametrize(
    ("auth_type", "config", "headers"),
    [
        (AuthType.NONE, {"token": "ignored"}, {}),
        (AuthType.BEARER, {"token": "t0ken"}, {"Authorization": "Bearer t0ken"}),
        (AuthType.APIKEY, {"key": "k"}, {"X-API-Key": "k"}),
        (AuthType.APIKEY, {"key": "k", "header": "X-Mine"}, {"X-Mine": "k"}),
        (AuthType.APIKEY, {"key": "k", "header": None}, {"X-API-Key": "k"}),
    ],
)
def test_credentials_become_a_header(
    auth_type: AuthType, config: dict[str, Any], headers: dict[str, str]
) -> None:
    assert auth.credentials(_agent(auth_type, config)).headers == headers


def test_user_and_password_of_the_url_become_basic() -> None:
    found = auth.credentials(_agent(AuthType.NONE, {}, "http://us%40er:pass@agent.test/"))

    assert found.headers == {"Authorization": "Basic dXNAZXI6cGFzcw=="}
    assert found.scrub("pass dXNAZXI6cGFzcw==") == "*** ***"


@pytest.mark.parametrize(
    ("auth_type", "config"),
    [
        (AuthType.BEARER, {}),
        (AuthType.BEARER, {"token": ""}),
        (AuthType.BEARER, {"token": 5}),
        (AuthType.BEARER, {"token": "a\r\nX-Injected: 1"}),
        (AuthType.APIKEY, {"key": "a\0b"}),
        (AuthType.APIKEY, {"key": "k", "header": "Bad Name"}),
        (AuthType.APIKEY, {"key": "k", "header": "X:\r\nY"}),
        (AuthType.APIKEY, {"key": "k", "header": "Content-Length"}),
        (AuthType.APIKEY, {"key": "k", "header": "HOST"}),
        (AuthType.APIKEY, {"key": "k", "header": 3}),
    ],
)
def test_what_no_header_can_carry_is_refused(auth_type: AuthType, config: dict[str, Any]) -> None:
    with pytest.raises(auth.Unusable) as refused:
        auth.credentials(_agent(auth_type, config))

    assert "Injected" not in str(refused.value)


@pytest.mark.parametrize(
    "echo",
    ['s3"cret/é', 's3\\"cret/\\u00e9', "s3%22cret%2F%C3%A9"],
    ids=["plain", "json", "url"],
)
def test_an_echoed_secret_is_taken_out_of_the_sentence(echo: str) -> None:
    agent = _agent(AuthType.BEARER, {"token": 's3"cret/é'})
    fault = Fault(f"answered HTTP 401: bad token {echo}!", Outcome.FINAL)

    failure = failures.failure(agent, auth.credentials(agent), fault)

    assert failure.cause == "Agent 'reader' answered HTTP 401: bad token ***!"


def test_cutting_a_sentence_leaves_no_part_of_a_secret() -> None:
    token = "t" + "0123456789" * 30
    agent = _agent(AuthType.BEARER, {"token": token})
    fault = Fault(token * 400, Outcome.FINAL)

    failure = failures.failure(agent, auth.credentials(agent), fault)

    assert "0123" not in failure.cause
    assert len(failure.cause) <= failures.MAX_CAUSE


def test_a_sentence_can_be_stored_and_shown() -> None:
    agent = _agent(AuthType.NONE, {})
    fault = Fault("said \0 \ud800 \x1b[31m two\r\nlines", Outcome.FINAL)

    cause = failures.failure(agent, auth.credentials(agent), fault).cause

    assert cause == "Agent 'reader' said   ?  [31m two lines"
    cause.encode()


def test_secrets_do_not_show_when_printed() -> None:
    agent = _agent(AuthType.BEARER, {"token": "s3cret-token"})

    assert "s3cret" not in repr(agent) + repr(auth.credentials(agent))
