-- Runs as their owners take them up.

-- name: load
-- One snapshot of each run and its steps; $2, $3: the lowest and highest id. What remains of waits
-- and deadlines is reckoned here: nobody else compares a clock with a stored time.
SELECT r.id, r.partition, r.workflow_id, r.workflow_version, r.input, r.status, r.seq,
  r.error_message,
  ARRAY(
    SELECT ROW(s.path, s.status, s.attempt, s.message_no, s.task_id, s.task_context,
      s.due_at - m.now, s.deadline_at - m.now,
      CASE WHEN s.status = 'RUNNING' THEN s.input END,
      CASE WHEN s.status = 'COMPLETED' THEN s.output END,
      s.waiting_for, m.now - s.asked_at, s.task_asked, s.answer)
    FROM step_execution s
    WHERE s.run_id = r.id AND s.run_id BETWEEN $2::uuid AND $3::uuid
    ORDER BY s.position
  ) AS steps
FROM (SELECT clock_timestamp() AS now) m, run r
WHERE r.id = ANY($1::uuid[]) AND r.id BETWEEN $2::uuid AND $3::uuid

-- name: partition
-- Of a run whose rows cannot be read.
SELECT partition FROM run WHERE id = $1

-- name: fail_corrupt
SELECT fail_run($1::uuid, $2::text, $3::int, $4::bigint)
