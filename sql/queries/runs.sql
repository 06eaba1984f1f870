-- Runs, as the API shows and changes them.

-- name: get
SELECT * FROM run WHERE id = $1

-- name: get_with_owner
SELECT r.*, t.owner_name
FROM run r LEFT JOIN partition_term t ON t.partition = r.partition AND NOT t.released
WHERE r.id = $1

-- name: state
SELECT id, status, seq FROM run WHERE id = ANY($1::uuid[]) AND id BETWEEN $2::uuid AND $3::uuid

-- name: cancel
SELECT * FROM cancel_run($1::uuid, $2::text)

-- name: retry
SELECT * FROM retry_run($1::uuid)

-- name: give_input
SELECT * FROM give_input($1::uuid, $2::text, $3::json, $4::bigint)

-- name: step_defined
-- Whether the run's workflow has the step; null without the run. Rows of steps are made as they
-- start.
SELECT w.data -> 'steps' -> $2::text IS NOT NULL
FROM run r LEFT JOIN workflow w
  ON w.lifelong_id = r.workflow_id AND w.version = r.workflow_version
WHERE r.id = $1
