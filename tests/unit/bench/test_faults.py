"""The fault bench's schedules and its table."""

import random

import pytest

from bench.faults import __main__ as command
from bench.faults import inputs, table
from bench.faults.acts import ACTS
from bench.faults.scenario import Result, Scenario, drawn
from bench.faults.scenarios import scenarios
from bench.faults.violation import Violation
from orchestrator import failpoints

SCENARIOS = scenarios(kills=2, backlog=10)
by_name = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@by_name
def test_a_seed_repeats_its_schedule(scenario: Scenario) -> None:
    assert drawn(scenario, "seed") == drawn(scenario, "seed")


@by_name
def test_a_schedule_does_what_can_be_done_to_who_is_there(scenario: Scenario) -> None:
    for act in drawn(scenario, "seed"):
        assert act.what in ACTS
        assert act.with_.get("process", 0) < scenario.setup.orchestrators
        for life in act.with_.get("lives", ()):
            assert failpoints.problem(life) is None


def test_another_seed_draws_another_schedule() -> None:
    mix = next(scenario for scenario in SCENARIOS if scenario.name == "mix")

    assert drawn(mix, "seed") != drawn(mix, "another")


def test_every_point_is_died_at() -> None:
    lives = [
        life for s in SCENARIOS for act in drawn(s, "seed") for life in act.with_.get("lives", ())
    ]

    assert {life.partition(":")[0] for life in lives} == set(failpoints.POINTS)


@pytest.mark.parametrize("draw", [inputs.plain, inputs.passing, inputs.useless])
def test_inputs_are_repeated_by_their_seed(draw: inputs.Draw) -> None:
    assert draw(random.Random(1)) == draw(random.Random(1))


def test_the_table_shows_what_was_counted_and_what_was_broken() -> None:
    scenario = SCENARIOS[0]
    found = [Violation(3, "run-1", "step load completed twice")]
    result = Result(scenario, 10, 1, 2, found, 1.25, 0.5, 12.0, ())

    text = "\n".join(table.lines([result]))
    told = "\n".join(table.broken(result))

    cells = [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")]
    assert cells == [scenario.fault, "10", "1", "1", "2", "1.2 s", "0.5 s"]
    assert "broken 1 times: no completed step is called again" in told
    assert "run-1 step load completed twice" in told


def test_the_command_prints_its_seed_and_what_it_would_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["kill", "--seed", "7", "--schedule"]) == 0
    once = capsys.readouterr().out
    command.main(["kill", "--seed", "7", "--schedule"])

    assert once.startswith("seed 7\nkill\n")
    assert capsys.readouterr().out == once


def test_an_unknown_fault_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["flood"])

    assert "there is no fault flood" in capsys.readouterr().err
