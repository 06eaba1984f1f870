"""Runs that were accepted long ago: a restart finds them, many at once."""

import asyncio
import json
import random
import time

from bench.faults.evidence import Accepted
from bench.faults.stage import STEPS, Stage
from bench.stack.failure import StackFailed

_TICK = 0.5
_WITHIN_S = 1_800.0
# Four of five have not begun; of the others the call of the first step was under way.
_SEED = """
WITH made AS MATERIALIZED (
  SELECT new_run_id() AS id, n % 5 = 0 AS begun FROM generate_series(1, $1::int) AS n
), runs AS (
  INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key, workflow_name,
    status, seq, input, created_at, updated_at)
  SELECT m.id, partition_of(m.id, $2::int), w.id, w.version, w.key, w.name,
    CASE WHEN begun THEN 'RUNNING' ELSE 'PENDING' END, CASE WHEN begun THEN 3 ELSE 1 END,
    $4::json, run_id_time(m.id), run_id_time(m.id)
  FROM made m, workflow w WHERE w.id = $3::uuid
), steps AS (
  INSERT INTO step_execution (run_id, path, position, agent_name, status, attempt, message_no,
    input, started_at, deadline_at)
  SELECT id, $5::text, 0, 'recorder-0', 'RUNNING', 1, 1, $6::json, run_id_time(id),
    clock_timestamp() + interval '1 hour'
  FROM made WHERE begun
), history AS (
  INSERT INTO run_event (run_id, seq, epoch, at, events)
  SELECT id, 1, 0, run_id_time(id), '[{"kind":"RunCreated"}]' FROM made
  UNION ALL
  SELECT id, 3, 1, run_id_time(id), json_build_array(json_build_object('kind', 'RunStarted'),
    json_build_object('kind', 'StepStarted', 'step_id', $5::text, 'attempt', 1))
  FROM made WHERE begun
)
SELECT id FROM made"""
_LEFT = "SELECT count(*) FROM run WHERE status IN ('PENDING', 'RUNNING')"


async def backlog(stage: Stage, _: random.Random, *, count: int) -> None:
    """Stop all processes, leave them so many unfinished runs, and start them."""
    for process in stage.processes:
        await process.stop()
    value = {"behave": {step: [] for step in STEPS}, "delay_ms": 0, "mode": "message"}
    step = {"behave": [], "delay_ms": 0, "mode": "message", "before": None}
    rows = await stage.sql(
        _SEED, count, 16, stage.workflow, json.dumps({**value}), STEPS[0], json.dumps(step)
    )
    stage.ledger.accepted += [Accepted(f"run-{row['id']}", 0.0, 0.0, "seeded") for row in rows]
    began = time.monotonic()
    for process in stage.processes:
        process.start()
    for process in stage.processes:
        await process.ready(stage.session)
    ready_s = time.monotonic() - began
    while (left := (await stage.sql(_LEFT))[0][0]) > count // 100:
        for process in stage.processes:
            process.look()
        if time.monotonic() - began > _WITHIN_S:
            raise StackFailed(f"{left} of {count} runs were left after {_WITHIN_S:.0f} s")
        await asyncio.sleep(_TICK)
    took = time.monotonic() - began
    memory = max(process.most_memory for process in stage.processes) >> 20
    stage.notes.append(
        f"{count} runs: ready after {ready_s:.1f} s, done after {took:.0f} s, {memory} MB at most"
    )
