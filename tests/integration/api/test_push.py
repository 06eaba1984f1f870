"""Where agents tell that there is news: whoever has the secret is heard, nobody else."""

from collections.abc import Callable
from typing import Any

PATH = "/api/v1/push"


async def test_only_who_has_the_secret_is_heard(make_api: Callable[..., Any]) -> None:
    asked: list[tuple[Any, ...]] = []
    heard: list[Any] = []

    def accepted(*given: Any) -> bool:
        asked.append(given)
        return given == ("here", "s3cret", None)

    api = await make_api(push_accepted=accepted, pushed=heard.append)
    body = {"task": {"id": "t"}}

    await api("POST", f"{PATH}/here", body, 404)
    await api("POST", f"{PATH}/here", body, 200, headers={"X-A2A-Notification-Token": "s3cret"})

    assert asked == [("here", None, None), ("here", "s3cret", None)]
    assert heard == [body]


async def test_without_a_public_url_there_is_no_such_address(api: Any) -> None:
    await api("POST", f"{PATH}/here", {}, 404)
