"""Opens streams: with a message, or on a task that is under way."""

import re
from collections.abc import Callable

from orchestrator.agents import failures
from orchestrator.agents.answers import Message, Task
from orchestrator.agents.asking import Asking, NotStreamed, Question
from orchestrator.agents.auth import Credentials
from orchestrator.agents.card import Endpoint
from orchestrator.agents.failures import Fault
from orchestrator.agents.gate import Streams
from orchestrator.agents.streams import Listening
from orchestrator.domain.agent import Agent, CallMode, Outcome

# How an agent says that it does not stream at all; nothing has been done then.
_NO_STREAM_CODES = frozenset({failures.METHOD_NOT_FOUND, failures.UNSUPPORTED_OPERATION})
_NO_STREAM_STATUS = frozenset({404, 405, 406, 415, 501})
# The same code may say that the agent's first event is none to begin with: it is at work by then.
_ABOUT_EVENTS = re.compile(r"before initial .*event", re.IGNORECASE)


class Refused(Exception):
    """The agent does not stream, or there is no room for a stream: ask it without."""


def wanted(agent: Agent, endpoint: Endpoint) -> bool:
    """Whether this agent is to be listened to."""
    mode = agent.options.call_mode
    return mode is CallMode.STREAM or (mode is CallMode.AUTO and endpoint.streaming)


class Listener:
    def __init__(self, asking: Asking, places: Streams) -> None:
        self._asking = asking
        self._places = places

    async def open(
        self, agent: Agent, credentials: Credentials, question: Question
    ) -> tuple[Message | Task, Listening | None]:
        """Return the agent's first news, and the stream that more comes by.

        Raises `Refused` if it can be asked without a stream instead, `Fault` for everything else:
        with an unknown outcome when the request was sent and the stream brought nothing.
        """
        if not self._places.take(agent.id):
            raise Refused
        give_back = _once(lambda: self._places.give_back(agent.id))
        try:
            opened, request_id = await self._asking.open(agent, credentials, question)
        except NotStreamed as whole:
            give_back()
            return whole.answer, None
        except Fault as fault:
            give_back()
            if _does_not_stream(fault):
                raise Refused from fault
            raise
        except BaseException:
            give_back()
            raise
        stream = Listening(
            opened, request_id, credentials, self._asking.max_answer_bytes, on_close=give_back
        )
        return await _first(stream)


async def _first(stream: Listening) -> tuple[Message | Task, Listening]:
    try:
        known = await stream.news()
    except BaseException as error:
        stream.close()
        if isinstance(error, Fault) and _does_not_stream(error):
            raise Refused from error
        raise
    if known is None:
        stream.close()
        raise Fault("ended its stream before it said anything", Outcome.UNKNOWN, unreached=True)
    return known, stream


def _does_not_stream(fault: Fault) -> bool:
    """Whether the agent refused the stream before it did anything."""
    if _ABOUT_EVENTS.search(fault.said):
        return False
    return fault.code in _NO_STREAM_CODES or fault.status in _NO_STREAM_STATUS


def _once(work: Callable[[], None]) -> Callable[[], None]:
    left = [work]

    def do() -> None:
        if left:
            left.pop()()

    return do
