-- Parts of lists of runs.
-- $1 a status, $2 a workflow's lifelong id (null: any), $3 and $4 the lowest and highest id, $5 how
-- many to leave out, $6 how many are wanted. They are planned for the values at hand
-- (run_lists.sql, plan_for_values). Rows are looked up late: what is left out is read from an index
-- only; OFFSET 0 keeps PostgreSQL from reading a day's runs for the others.

-- name: late_completed
-- How many of those created before a moment ($6; $5 is its lowest id) completed after it, less those
-- that completed before it and were created after it, as odd as that would be.
SELECT (SELECT count(*) FROM run r
  WHERE r.completed_at >= $6::timestamptz AND r.id >= $3::uuid AND r.id < $5::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2))
- (SELECT count(*) FROM run r
  WHERE r.completed_at < $6::timestamptz AND r.id >= $5::uuid AND r.id <= $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2))

-- name: late_updated
-- The same by the last update.
SELECT (SELECT count(*) FROM run r
  WHERE r.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
    AND coalesce(r.completed_at, r.cancelled_at) >= $6::timestamptz
    AND r.id >= $3::uuid AND r.id < $5::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2))
+ (SELECT count(*) FROM run r
  WHERE r.status IN ('PENDING', 'RUNNING') AND r.updated_at >= $6::timestamptz
    AND r.id >= $3::uuid AND r.id < $5::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2))
- (SELECT count(*) FROM run r
  WHERE r.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
    AND coalesce(r.completed_at, r.cancelled_at) < $6::timestamptz
    AND r.id >= $5::uuid AND r.id <= $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2))
- (SELECT count(*) FROM run r
  WHERE r.status IN ('PENDING', 'RUNNING') AND r.updated_at < $6::timestamptz
    AND r.id >= $5::uuid AND r.id <= $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2))

-- name: by_id_asc
-- created_at is the id's millisecond; within a status, runs are in this order too.
WITH page AS MATERIALIZED (
  SELECT r.id FROM run r
  WHERE r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
  ORDER BY r.id ASC OFFSET $5::bigint LIMIT $6::bigint
)
SELECT r.* FROM page, LATERAL (
  SELECT * FROM run r WHERE r.id = page.id AND r.id BETWEEN $3::uuid AND $4::uuid OFFSET 0) AS r
ORDER BY r.id ASC

-- name: not_completed_by_id_asc
-- Those that did not complete, or not yet. One index scan a status: each is in order.
WITH page AS MATERIALIZED (
  SELECT id FROM (
  (SELECT r.id FROM run r
   WHERE r.status = 'PENDING' AND r.completed_at IS NULL AND r.id BETWEEN $3::uuid AND $4::uuid
     AND ($2::uuid IS NULL OR r.workflow_id = $2)
   ORDER BY r.id ASC LIMIT $5::bigint + $6::bigint)
    UNION ALL
  (SELECT r.id FROM run r
   WHERE r.status = 'RUNNING' AND r.completed_at IS NULL AND r.id BETWEEN $3::uuid AND $4::uuid
     AND ($2::uuid IS NULL OR r.workflow_id = $2)
   ORDER BY r.id ASC LIMIT $5::bigint + $6::bigint)
    UNION ALL
  (SELECT r.id FROM run r
   WHERE r.status = 'CANCELLED' AND r.completed_at IS NULL AND r.id BETWEEN $3::uuid AND $4::uuid
     AND ($2::uuid IS NULL OR r.workflow_id = $2)
   ORDER BY r.id ASC LIMIT $5::bigint + $6::bigint)
  ) AS merged WHERE $1::text IS NULL
  ORDER BY id ASC OFFSET $5::bigint LIMIT $6::bigint
)
SELECT r.* FROM page, LATERAL (
  SELECT * FROM run r WHERE r.id = page.id AND r.id BETWEEN $3::uuid AND $4::uuid OFFSET 0) AS r
ORDER BY r.id ASC

-- name: by_completed_at_asc
-- Only those that have one. $7 and $8: behind which; null: from the beginning.
WITH page AS MATERIALIZED (
  SELECT r.id, r.completed_at AS at FROM run r
  WHERE r.completed_at IS NOT NULL AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
    AND ($7::timestamptz IS NULL OR (r.completed_at, r.id) > ($7::timestamptz, $8::uuid))
  ORDER BY r.completed_at ASC, r.id ASC OFFSET $5::bigint LIMIT $6::bigint
)
SELECT r.* FROM page, LATERAL (
  SELECT * FROM run r WHERE r.id = page.id AND r.id BETWEEN $3::uuid AND $4::uuid OFFSET 0) AS r
ORDER BY page.at ASC, page.id ASC

-- name: by_updated_at_asc
-- An ended run was last updated when it ended, and that has an index; the others are few. $7 and $8:
-- behind which; null: from the beginning.
WITH ended AS (
  SELECT r.id, coalesce(r.completed_at, r.cancelled_at) AS at FROM run r
  WHERE r.status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
    AND ($7::timestamptz IS NULL
      OR (coalesce(r.completed_at, r.cancelled_at), r.id) > ($7::timestamptz, $8::uuid))
  ORDER BY coalesce(r.completed_at, r.cancelled_at) ASC, r.id ASC LIMIT $5::bigint + $6::bigint
), unfinished AS (
  SELECT r.id, r.updated_at AS at FROM run r
  WHERE r.status IN ('PENDING', 'RUNNING') AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
    AND ($7::timestamptz IS NULL OR (r.updated_at, r.id) > ($7::timestamptz, $8::uuid))
  ORDER BY r.updated_at ASC, r.id ASC LIMIT $5::bigint + $6::bigint
), page AS MATERIALIZED (
  SELECT * FROM ended UNION ALL SELECT * FROM unfinished
  ORDER BY at ASC, id ASC OFFSET $5::bigint LIMIT $6::bigint
)
SELECT r.* FROM page, LATERAL (
  SELECT * FROM run r WHERE r.id = page.id AND r.id BETWEEN $3::uuid AND $4::uuid OFFSET 0) AS r
ORDER BY page.at ASC, page.id ASC

-- name: by_id_desc
-- created_at is the id's millisecond; within a status, runs are in this order too.
WITH page AS MATERIALIZED (
  SELECT r.id FROM run r
  WHERE r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
  ORDER BY r.id DESC OFFSET $5::bigint LIMIT $6::bigint
)
SELECT r.* FROM page, LATERAL (
  SELECT * FROM run r WHERE r.id = page.id AND r.id BETWEEN $3::uuid AND $4::uuid OFFSET 0) AS r
ORDER BY r.id DESC

-- name: not_completed_by_id_desc
-- Those that did not complete, or not yet. One index scan a status: each is in order.
WITH page AS MATERIALIZED (
  SELECT id FROM (
  (SELECT r.id FROM run r
   WHERE r.status = 'PENDING' AND r.completed_at IS NULL AND r.id BETWEEN $3::uuid AND $4::uuid
     AND ($2::uuid IS NULL OR r.workflow_id = $2)
   ORDER BY r.id DESC LIMIT $5::bigint + $6::bigint)
    UNION ALL
  (SELECT r.id FROM run r
   WHERE r.status = 'RUNNING' AND r.completed_at IS NULL AND r.id BETWEEN $3::uuid AND $4::uuid
     AND ($2::uuid IS NULL OR r.workflow_id = $2)
   ORDER BY r.id DESC LIMIT $5::bigint + $6::bigint)
    UNION ALL
  (SELECT r.id FROM run r
   WHERE r.status = 'CANCELLED' AND r.completed_at IS NULL AND r.id BETWEEN $3::uuid AND $4::uuid
     AND ($2::uuid IS NULL OR r.workflow_id = $2)
   ORDER BY r.id DESC LIMIT $5::bigint + $6::bigint)
  ) AS merged WHERE $1::text IS NULL
  ORDER BY id DESC OFFSET $5::bigint LIMIT $6::bigint
)
SELECT r.* FROM page, LATERAL (
  SELECT * FROM run r WHERE r.id = page.id AND r.id BETWEEN $3::uuid AND $4::uuid OFFSET 0) AS r
ORDER BY r.id DESC

-- name: by_completed_at_desc
-- Only those that have one. $7 and $8: behind which; null: from the beginning.
WITH page AS MATERIALIZED (
  SELECT r.id, r.completed_at AS at FROM run r
  WHERE r.completed_at IS NOT NULL AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
    AND ($7::timestamptz IS NULL OR (r.completed_at, r.id) < ($7::timestamptz, $8::uuid))
  ORDER BY r.completed_at DESC, r.id DESC OFFSET $5::bigint LIMIT $6::bigint
)
SELECT r.* FROM page, LATERAL (
  SELECT * FROM run r WHERE r.id = page.id AND r.id BETWEEN $3::uuid AND $4::uuid OFFSET 0) AS r
ORDER BY page.at DESC, page.id DESC

-- name: by_updated_at_desc
-- An ended run was last updated when it ended, and that has an index; the others are few. $7 and $8:
-- behind which; null: from the beginning.
WITH ended AS (
  SELECT r.id, coalesce(r.completed_at, r.cancelled_at) AS at FROM run r
  WHERE r.status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
    AND ($7::timestamptz IS NULL
      OR (coalesce(r.completed_at, r.cancelled_at), r.id) < ($7::timestamptz, $8::uuid))
  ORDER BY coalesce(r.completed_at, r.cancelled_at) DESC, r.id DESC LIMIT $5::bigint + $6::bigint
), unfinished AS (
  SELECT r.id, r.updated_at AS at FROM run r
  WHERE r.status IN ('PENDING', 'RUNNING') AND r.id BETWEEN $3::uuid AND $4::uuid
    AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
    AND ($7::timestamptz IS NULL OR (r.updated_at, r.id) < ($7::timestamptz, $8::uuid))
  ORDER BY r.updated_at DESC, r.id DESC LIMIT $5::bigint + $6::bigint
), page AS MATERIALIZED (
  SELECT * FROM ended UNION ALL SELECT * FROM unfinished
  ORDER BY at DESC, id DESC OFFSET $5::bigint LIMIT $6::bigint
)
SELECT r.* FROM page, LATERAL (
  SELECT * FROM run r WHERE r.id = page.id AND r.id BETWEEN $3::uuid AND $4::uuid OFFSET 0) AS r
ORDER BY page.at DESC, page.id DESC
