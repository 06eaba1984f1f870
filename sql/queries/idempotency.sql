-- Runs under an Idempotency-Key.

-- name: find
SELECT i.body_sha256, r.*
FROM idempotency i JOIN run r ON r.id = i.run_id
WHERE i.workflow_id = $1 AND i.key = $2 AND i.created_at >= clock_timestamp() - interval '24 hours'

-- name: create
SELECT * FROM create_run_once($1::uuid, $2::int, $3::text, $4::text, $5::json, $6::text, $7::text,
  $8::bytea, $9::int)
