"""The most telling of the fault bench's faults, short: what is asserted are promises, not times."""

import os
import shutil
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from bench.faults import checks, inputs, stage, table
from bench.faults.load import Load
from bench.faults.scenario import Scenario, play
from bench.faults.scenarios import ALONE
from bench.faults.schedule import Act, act
from bench.faults.stage import Services, Setup

pytestmark = pytest.mark.chaos

SEED = "1"
SMALL = Load(rate=8, cancelled=0.15, retried=0.5)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def services() -> AsyncIterator[Services]:
    if not (shutil.which("java") and shutil.which("mvn")) and not os.environ.get("CI"):
        pytest.skip("no Java and Maven: run scripts/test-machine")
    async with stage.services() as services:
        yield services


def scenario(
    *acts: Act,
    setup: Setup = ALONE,
    load: Load = SMALL,
    paused: bool = False,
    check: checks.Check | None = None,
) -> Scenario:
    """Return a scenario with these acts, whatever the seed."""
    return Scenario(
        name="chaos",
        fault="chaos",
        schedule=lambda _: acts,
        setup=setup,
        load=load,
        paused=paused,
        check=check,
    )


async def holds(services: Services, played: Scenario) -> None:
    """Play a scenario; every promise has to hold, and runs to have been there."""
    result = await play(services, played, SEED)

    assert result.lost == 0
    assert result.wrong == 0, "\n".join(table.broken(result))
    assert result.runs > 0


def lives(*points: str) -> Sequence[str]:
    return points


async def test_a_process_that_dies_between_any_two_steps_loses_nothing(
    services: Services,
) -> None:
    points = lives(
        "commit.before:7",
        "call.after:4",
        "answer.before:6",
        "answer.after:3",
    )

    await holds(services, scenario(act(0, "failpoints", process=0, lives=points)))


async def test_a_process_that_stands_still_until_it_is_replaced_writes_nothing(
    services: Services,
) -> None:
    still = act(0, "failpoints", process=1, lives=lives("commit.before:5:stop"))

    await holds(
        services,
        scenario(still, setup=Setup(), paused=True, check=checks.late_writes_were_refused),
    )


async def test_a_database_that_dies_again_while_a_process_recovers_fails_no_run(
    services: Services,
) -> None:
    await holds(
        services,
        scenario(
            act(0, "postgres_killed", down_for=0.5),
            act(3, "kill", process=0, down_for=0.1),
            act(3.6, "postgres_killed", down_for=0.5),
            act(6, "answers_lost", process=0, for_s=0.1),
        ),
    )


async def test_a_cancel_at_any_moment_has_one_winner_and_nothing_starts_after_it(
    services: Services,
) -> None:
    await holds(
        services,
        scenario(act(0, "cancel_sweep", every_ms=20, up_to_ms=400, clients=3)),
    )


async def test_one_of_two_dies_while_kafka_is_away_and_agents_fail(services: Services) -> None:
    await holds(
        services,
        scenario(
            act(0, "poison", count=20),
            act(1, "kafka_killed", down_for=1.0),
            act(2, "kill", process=1, down_for=0.5),
            setup=Setup(agent_timeout_ms=1_500),
            load=Load(rate=8, draw=inputs.passing, cancelled=0.1, retried=0.5),
        ),
    )
