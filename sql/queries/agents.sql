-- Agents. Sealed secrets are read only where a call needs them.

-- name: create
INSERT INTO agent (id, name, url, description, auth_type, auth_sealed, timeout_ms, max_retries,
  initial_delay_ms, max_delay_ms, backoff_multiplier, options, status, created_at, updated_at)
SELECT new_run_id(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'active', moment, moment
FROM clock_timestamp() AS moment
RETURNING *

-- name: get
SELECT * FROM agent WHERE id = $1

-- name: lock
SELECT * FROM agent WHERE id = $1 AND status <> 'deleted' FOR UPDATE

-- name: update
UPDATE agent
SET name = $2, url = $3, description = $4, auth_type = $5, auth_sealed = $6, timeout_ms = $7,
  max_retries = $8, initial_delay_ms = $9, max_delay_ms = $10, backoff_multiplier = $11,
  status = $12, options = $13, updated_at = clock_timestamp()
WHERE id = $1
RETURNING *

-- name: delete
UPDATE agent SET status = 'deleted', updated_at = clock_timestamp()
WHERE id = $1 AND status <> 'deleted'
RETURNING id

-- name: count
SELECT count(*) FROM agent
WHERE status = coalesce($1, status) AND ($1 IS NOT NULL OR status <> 'deleted')
  AND name = coalesce($2, name)

-- name: list
SELECT * FROM agent
WHERE status = coalesce($1, status) AND ($1 IS NOT NULL OR status <> 'deleted')
  AND name = coalesce($2, name)
ORDER BY created_at DESC, id DESC OFFSET $3::bigint LIMIT $4::bigint

-- name: get_active
SELECT * FROM agent WHERE name = $1 AND status = 'active'

-- name: active_names
SELECT name FROM agent WHERE name = ANY($1::text[]) AND status = 'active'

-- name: save_probe
UPDATE agent SET probe = $2 WHERE id = $1

-- name: uncancellable
SELECT name FROM agent
WHERE name = ANY($1::text[]) AND status = 'active' AND probe ->> 'cancel' = 'unsupported'
