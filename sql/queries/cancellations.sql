-- Calls to be cancelled at their agents.

-- name: due
SELECT run_id, message_id, agent_name, task_id, task_context, attempts,
  clock_timestamp() - asked_at AS age
FROM task_cancellation
WHERE partition = ANY($1::int[]) AND outcome IS NULL AND next_at <= clock_timestamp()
ORDER BY next_at LIMIT $2

-- name: settle
UPDATE task_cancellation
SET outcome = $3, settled_at = clock_timestamp(), attempts = attempts + 1
WHERE run_id = $1 AND message_id = $2 AND outcome IS NULL

-- name: postpone
UPDATE task_cancellation SET attempts = attempts + 1, next_at = clock_timestamp() + $3::interval
WHERE run_id = $1 AND message_id = $2 AND outcome IS NULL

-- name: learn_task
-- Also a row that was given up for want of a task is open again.
UPDATE task_cancellation
SET task_id = $3, task_context = $4, next_at = clock_timestamp(), outcome = NULL, settled_at = NULL
WHERE run_id = $1 AND message_id = $2 AND task_id IS NULL
