"""The operation by which agents tell that there is news of their tasks."""

from aiohttp import web

from orchestrator.api import answers, parse
from orchestrator.api.deps import DEPS
from orchestrator.api.operations import (
    INVALID,
    TOO_LARGE,
    Operation,
    PathParam,
    ok,
    problem,
)
from orchestrator.api.render import answer
from orchestrator.domain.errors import NotFound

TOKEN = "X-A2A-Notification-Token"  # noqa: S105 - a header's name


async def receive(request: web.Request) -> web.Response:
    """Take a push notification as the hint that it is; whoever lacks the secret learns nothing."""
    deps = request.app[DEPS]
    name = request.match_info["name"]
    headers = request.headers
    if not deps.push_accepted(name, headers.get(TOKEN), headers.get("Authorization")):
        raise NotFound("There is no such address for push notifications, or its secret differs")
    deps.pushed(parse.loads(await request.read()))
    return answer({"message": "Thank you"})


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/api/v1/push/{name}",
        receive,
        "receivePush",
        "Agents",
        "Receive a push notification",
        "For agents: the address and its secret are made for each call to an agent with `push`."
        " The secret comes as X-A2A-Notification-Token or as Authorization: Bearer. The body, of"
        " any A2A version, only says which task to ask for.",
        {
            200: ok(answers.Message, "The news was heard."),
            404: problem("There is no such address, or the secret is another."),
            413: TOO_LARGE,
            422: INVALID,
        },
        path_params={"name": PathParam("Name of the address.", None, "Zk3v0Yq0l4w")},
    ),
)
