"""A portion of the simulation: worlds by seed, judged; and that the simulation itself is sound."""

import os
import subprocess
import sys
from pathlib import Path

from tests.simulation import coverage, runner

ROOT = Path(__file__).parents[2]
SECONDS = 22.0
AT_LEAST = 400  # worlds, however busy the machine is: enough for the whole state machine
SEED = 5  # of a world where much happens


def test_worlds_come_to_rest_and_break_no_promise() -> None:
    result = runner.run_on_all_cores(range(1_000_000), seconds=SECONDS, at_least=AT_LEAST)

    print(result.summary())
    assert not result.failed, runner.report(runner.shrink(result.failed[0].seed))
    assert coverage.unmet(result.coverage) == frozenset()
    assert coverage.impossible(result.coverage) == frozenset()
    assert {"COMPLETED", "FAILED", "CANCELLED"} == result.coverage.ends.keys()


def test_a_seed_gives_the_same_history_in_every_process() -> None:
    program = f"from tests.simulation import runner\nprint('\\n'.join(runner.replay({SEED}).trace))"

    traces = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    }

    (trace,) = traces
    assert trace.count(b"\n") > 50
