-- Schema bookkeeping. The one table that no migration makes.

-- name: bookkeeping
CREATE TABLE IF NOT EXISTS schema_migration (
  version int PRIMARY KEY,
  name text NOT NULL,
  sha256 text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)

-- name: lock
-- For the session: processes that start together migrate one after the other.
SELECT pg_advisory_lock(1869767528, 1)

-- name: applied
SELECT version, name, sha256 FROM schema_migration ORDER BY version

-- name: record
INSERT INTO schema_migration (version, name, sha256) VALUES ($1, $2, $3)
