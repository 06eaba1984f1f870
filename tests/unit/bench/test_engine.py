"""The engine bench's own parts: the flood, and the picture."""

from typing import Any

from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from bench.engine import flood, plot
from bench.engine.rounds import Round, Sample


async def test_a_flood_sends_at_its_rate_and_counts_every_answer(
    aiohttp_server: AiohttpServer,
) -> None:
    asked: list[Any] = []

    async def execute(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return web.json_response({}, status=(202, 429)[len(asked) % 2])

    app = web.Application()
    app.router.add_post("/api/v1/workflows/some-id/execute", execute)
    server = await aiohttp_server(app)

    came = await flood.execute(str(server.make_url("/")), "some-id", 400, 0.5, 8)

    assert 100 <= came.answers.total() + came.unsent <= 200
    assert came.answers.total() == len(asked)
    assert came.answers.keys() == {202, 429}
    assert abs(came.answers[202] - came.answers[429]) <= 1
    assert asked[0] == {"input_data": {"source": "bench"}}


def test_the_picture_has_every_variant_of_every_round() -> None:
    sample = Sample(1111.0, 0.5, 600.0, 250.0, 220.0, 30.0, 90.0)
    rounds = [Round(2222.0, 220.0, {"embedded": sample, "kafka": sample}) for _ in range(3)]

    drawn = plot.svg(rounds)

    assert drawn.startswith("<svg")
    assert "href=" not in drawn  # nothing from elsewhere
    for shown in ("floor", "embedded", "kafka"):
        assert f">{shown}<" in drawn
    assert (drawn.count(">2222<"), drawn.count(">1111<")) == (3, 6)
