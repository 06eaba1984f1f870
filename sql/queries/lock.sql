-- The advisory lock of the feed: the embedded feed holds it exclusively, Kafka processes shared.

-- name: take_exclusive
SELECT pg_try_advisory_lock(1869767528, 3)

-- name: take_shared
SELECT pg_try_advisory_lock_shared(1869767528, 3)

-- name: take_owner
-- As long as this session lives, so does the process: others give it time to hand over.
SELECT pg_try_advisory_lock(owner_lock($1::uuid))

-- name: session
-- What tells this session from a later one with the same pid.
SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()

-- name: end_session
-- A session whose client lost it may hold the lock until the server notices.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2

-- name: look
SELECT 1

-- name: deployment_id
SELECT id FROM deployment
