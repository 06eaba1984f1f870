-- What a run went through.

-- name: steps
-- One row a step that has a row, one with nulls if there are none; nothing without the run.
SELECT r.status AS run_status, r.workflow_id, r.workflow_version, s.path, s.position, s.agent_name,
  s.status, s.attempt, s.input, s.output, s.error_message, s.started_at, s.completed_at,
  s.artifacts, s.waiting_for, s.question, s.asked_at, s.asked_seq, s.deadline_at,
  CASE WHEN c.run_id IS NOT NULL THEN coalesce(c.outcome, 'requested') END AS cancel
FROM run r LEFT JOIN step_execution s ON s.run_id = r.id AND s.run_id = $1
  LEFT JOIN task_cancellation c ON c.run_id = s.run_id
    AND c.message_id = message_id_of(s.run_id, s.path, s.message_no)
WHERE r.id = $1

-- name: count_events
SELECT (SELECT coalesce(sum(json_array_length(e.events)), 0) FROM run_event e WHERE e.run_id = $1)
FROM run WHERE id = $1

-- name: events
-- A row holds a decision; its i-th event of n has seq - n + i.
SELECT e.seq - json_array_length(e.events) + i.number AS seq, e.at, e.epoch,
  i.event ->> 'kind' AS kind, i.event
FROM run_event e, json_array_elements(e.events) WITH ORDINALITY AS i(event, number)
WHERE e.run_id = $1
ORDER BY 1 OFFSET $2::bigint LIMIT $3::bigint
