-- Workflows: the newest version has the lifelong id; older ones have ids of their own.
-- The lists: $1 a status (null: all but deleted), $2 a name (null: any), $3 how many to leave out,
-- $4 how many are wanted. Names are compared byte by byte, whatever the database's collation.

-- name: next_number
-- $1: wf-<slug>. Keys of deleted workflows stay taken.
SELECT coalesce(max(substr(key, length($1::text) + 2)::int), 0) + 1
FROM workflow
WHERE id = lifelong_id AND starts_with(key, $1::text || '-')
  AND substr(key, length($1::text) + 2) ~ '^[0-9]{1,9}$'

-- name: create
INSERT INTO workflow (id, lifelong_id, version, key, name, description, data, status, created_at,
  updated_at)
SELECT made, made, 1, $1, $2, $3, $4, 'active', moment, moment
FROM (SELECT new_run_id() AS made, clock_timestamp() AS moment) AS new
RETURNING *

-- name: get
SELECT * FROM workflow WHERE id = $1

-- name: state
-- What an execute has to know, at one moment: how the version stands, and which of these agents are
-- active. Not its data, which may be large and is kept by whoever executes.
SELECT id, lifelong_id, version, key, name, status,
  ARRAY(SELECT a.name FROM agent a WHERE a.name = ANY($2::text[]) AND a.status = 'active') AS active
FROM workflow WHERE id = $1

-- name: lock
-- Changes of a workflow take turns on its first version's row: unlike the newest version's, it is
-- found again by these columns when a change that this one waited for has moved the ids.
SELECT lifelong_id FROM workflow
WHERE lifelong_id = (SELECT lifelong_id FROM workflow WHERE id = $1) AND version = 1
FOR UPDATE

-- name: differs
-- Whether a structure really is another: key order and spaces do not count.
SELECT data::jsonb IS DISTINCT FROM $2::json::jsonb FROM workflow WHERE id = $1

-- name: update
UPDATE workflow SET name = $2, description = $3, status = $4, updated_at = clock_timestamp()
WHERE id = $1
RETURNING *

-- name: archive
UPDATE workflow SET id = new_run_id(), status = 'inactive' WHERE id = $1

-- name: add_version
INSERT INTO workflow (id, lifelong_id, version, key, name, description, data, status, created_at,
  updated_at)
SELECT $1, $1, $2, $3, $4, $5, $6, $7, moment, moment FROM clock_timestamp() AS moment
RETURNING *

-- name: delete
UPDATE workflow SET status = 'deleted', updated_at = clock_timestamp() WHERE id = $1

-- name: count_versions
SELECT count(*) FROM workflow WHERE lifelong_id = (SELECT lifelong_id FROM workflow WHERE id = $1)

-- name: versions
SELECT * FROM workflow WHERE lifelong_id = (SELECT lifelong_id FROM workflow WHERE id = $1)
ORDER BY version DESC OFFSET $2::bigint LIMIT $3::bigint

-- name: count
SELECT count(*) FROM workflow
WHERE id = lifelong_id AND status = coalesce($1, status)
  AND ($1 IS NOT NULL OR status <> 'deleted') AND name = coalesce($2, name)

-- name: by_name_asc
SELECT * FROM workflow
WHERE id = lifelong_id AND status = coalesce($1, status)
  AND ($1 IS NOT NULL OR status <> 'deleted') AND name = coalesce($2, name)
ORDER BY name COLLATE "C" ASC, id ASC OFFSET $3::bigint LIMIT $4::bigint

-- name: by_name_desc
SELECT * FROM workflow
WHERE id = lifelong_id AND status = coalesce($1, status)
  AND ($1 IS NOT NULL OR status <> 'deleted') AND name = coalesce($2, name)
ORDER BY name COLLATE "C" DESC, id DESC OFFSET $3::bigint LIMIT $4::bigint

-- name: by_created_at_asc
SELECT * FROM workflow
WHERE id = lifelong_id AND status = coalesce($1, status)
  AND ($1 IS NOT NULL OR status <> 'deleted') AND name = coalesce($2, name)
ORDER BY created_at ASC, id ASC OFFSET $3::bigint LIMIT $4::bigint

-- name: by_created_at_desc
SELECT * FROM workflow
WHERE id = lifelong_id AND status = coalesce($1, status)
  AND ($1 IS NOT NULL OR status <> 'deleted') AND name = coalesce($2, name)
ORDER BY created_at DESC, id DESC OFFSET $3::bigint LIMIT $4::bigint

-- name: by_updated_at_asc
SELECT * FROM workflow
WHERE id = lifelong_id AND status = coalesce($1, status)
  AND ($1 IS NOT NULL OR status <> 'deleted') AND name = coalesce($2, name)
ORDER BY updated_at ASC, id ASC OFFSET $3::bigint LIMIT $4::bigint

-- name: by_updated_at_desc
SELECT * FROM workflow
WHERE id = lifelong_id AND status = coalesce($1, status)
  AND ($1 IS NOT NULL OR status <> 'deleted') AND name = coalesce($2, name)
ORDER BY updated_at DESC, id DESC OFFSET $3::bigint LIMIT $4::bigint

-- name: by_version_asc
SELECT * FROM workflow
WHERE id = lifelong_id AND status = coalesce($1, status)
  AND ($1 IS NOT NULL OR status <> 'deleted') AND name = coalesce($2, name)
ORDER BY version ASC, id ASC OFFSET $3::bigint LIMIT $4::bigint

-- name: by_version_desc
SELECT * FROM workflow
WHERE id = lifelong_id AND status = coalesce($1, status)
  AND ($1 IS NOT NULL OR status <> 'deleted') AND name = coalesce($2, name)
ORDER BY version DESC, id DESC OFFSET $3::bigint LIMIT $4::bigint
