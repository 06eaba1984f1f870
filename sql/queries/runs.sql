-- Runs, as the API shows and changes them.
-- The lists: $1 a status, $2 a workflow's lifelong id (null: any), $3 and $4 the lowest and highest
-- id, $5 how many to leave out, $6 how many are wanted. They are planned for the values at hand
-- (`plan_for_values`), so that a filter that is null is none, and the others find their index.

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

-- name: plan_for_values
SET LOCAL plan_cache_mode = force_custom_plan

-- name: lifelong_id
SELECT lifelong_id FROM workflow WHERE key = $1 AND id = lifelong_id

-- name: count
SELECT count(*) FROM run r
WHERE r.id BETWEEN $3::uuid AND $4::uuid
  AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)

-- name: by_created_at_asc
-- created_at is the id's millisecond.
SELECT * FROM run r
WHERE r.id BETWEEN $3::uuid AND $4::uuid
  AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
ORDER BY r.id ASC OFFSET $5::bigint LIMIT $6::bigint

-- name: by_status_asc
SELECT * FROM run r
WHERE r.id BETWEEN $3::uuid AND $4::uuid
  AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
ORDER BY r.status ASC, r.id ASC OFFSET $5::bigint LIMIT $6::bigint

-- name: by_updated_at_asc
-- An ended run was last updated when it ended, and that has an index; the others are few.
WITH ended AS (
  SELECT r.id, coalesce(r.completed_at, r.cancelled_at) AS at FROM run r
  WHERE r.status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
  ORDER BY coalesce(r.completed_at, r.cancelled_at) ASC, r.id ASC LIMIT $5::bigint + $6::bigint
), unfinished AS (
  SELECT r.id, r.updated_at AS at FROM run r
  WHERE r.status IN ('PENDING', 'RUNNING') AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
  ORDER BY r.updated_at ASC, r.id ASC LIMIT $5::bigint + $6::bigint
), page AS MATERIALIZED (
  SELECT * FROM ended UNION ALL SELECT * FROM unfinished
  ORDER BY at ASC, id ASC OFFSET $5::bigint LIMIT $6::bigint
)
SELECT r.* FROM page JOIN run r ON r.id = page.id AND r.id BETWEEN $3::uuid AND $4::uuid
ORDER BY page.at ASC, page.id ASC

-- name: by_completed_at_asc
-- Those that did not complete, or not yet, come last in either order.
WITH completed AS (
  SELECT r.id, r.completed_at AS at FROM run r
  WHERE r.completed_at IS NOT NULL AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
  ORDER BY r.completed_at ASC, r.id ASC LIMIT $5::bigint + $6::bigint
), others AS (
  SELECT r.id, NULL::timestamptz AS at FROM run r
  WHERE r.status IN ('PENDING', 'RUNNING', 'CANCELLED') AND r.completed_at IS NULL AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
  ORDER BY r.id ASC LIMIT $5::bigint + $6::bigint
), page AS MATERIALIZED (
  SELECT * FROM completed UNION ALL SELECT * FROM others
  ORDER BY at ASC NULLS LAST, id ASC OFFSET $5::bigint LIMIT $6::bigint
)
SELECT r.* FROM page JOIN run r ON r.id = page.id AND r.id BETWEEN $3::uuid AND $4::uuid
ORDER BY page.at ASC NULLS LAST, page.id ASC

-- name: by_created_at_desc
-- created_at is the id's millisecond.
SELECT * FROM run r
WHERE r.id BETWEEN $3::uuid AND $4::uuid
  AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
ORDER BY r.id DESC OFFSET $5::bigint LIMIT $6::bigint

-- name: by_status_desc
SELECT * FROM run r
WHERE r.id BETWEEN $3::uuid AND $4::uuid
  AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
ORDER BY r.status DESC, r.id DESC OFFSET $5::bigint LIMIT $6::bigint

-- name: by_updated_at_desc
-- An ended run was last updated when it ended, and that has an index; the others are few.
WITH ended AS (
  SELECT r.id, coalesce(r.completed_at, r.cancelled_at) AS at FROM run r
  WHERE r.status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
  ORDER BY coalesce(r.completed_at, r.cancelled_at) DESC, r.id DESC LIMIT $5::bigint + $6::bigint
), unfinished AS (
  SELECT r.id, r.updated_at AS at FROM run r
  WHERE r.status IN ('PENDING', 'RUNNING') AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
  ORDER BY r.updated_at DESC, r.id DESC LIMIT $5::bigint + $6::bigint
), page AS MATERIALIZED (
  SELECT * FROM ended UNION ALL SELECT * FROM unfinished
  ORDER BY at DESC, id DESC OFFSET $5::bigint LIMIT $6::bigint
)
SELECT r.* FROM page JOIN run r ON r.id = page.id AND r.id BETWEEN $3::uuid AND $4::uuid
ORDER BY page.at DESC, page.id DESC

-- name: by_completed_at_desc
-- Those that did not complete, or not yet, come last in either order.
WITH completed AS (
  SELECT r.id, r.completed_at AS at FROM run r
  WHERE r.completed_at IS NOT NULL AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
  ORDER BY r.completed_at DESC, r.id DESC LIMIT $5::bigint + $6::bigint
), others AS (
  SELECT r.id, NULL::timestamptz AS at FROM run r
  WHERE r.status IN ('PENDING', 'RUNNING', 'CANCELLED') AND r.completed_at IS NULL AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
  ORDER BY r.id DESC LIMIT $5::bigint + $6::bigint
), page AS MATERIALIZED (
  SELECT * FROM completed UNION ALL SELECT * FROM others
  ORDER BY at DESC NULLS LAST, id DESC OFFSET $5::bigint LIMIT $6::bigint
)
SELECT r.* FROM page JOIN run r ON r.id = page.id AND r.id BETWEEN $3::uuid AND $4::uuid
ORDER BY page.at DESC NULLS LAST, page.id DESC
