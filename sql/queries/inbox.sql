-- What agents ask, and nobody has answered yet.

-- name: count
SELECT count(*) FROM step_execution s WHERE s.waiting_for IS NOT NULL

-- name: open
-- The longest waiting first.
SELECT s.run_id, s.path, s.agent_name, s.waiting_for, s.question, s.asked_at, s.asked_seq,
  s.deadline_at, r.workflow_id, r.workflow_key, r.workflow_name
FROM (
  SELECT * FROM step_execution s WHERE s.waiting_for IS NOT NULL
  ORDER BY s.asked_at, s.run_id, s.path OFFSET $1::bigint LIMIT $2::bigint
) AS s JOIN run r ON r.id = s.run_id
ORDER BY s.asked_at, s.run_id, s.path
