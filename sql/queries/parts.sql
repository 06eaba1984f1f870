-- Daily parts of the run tables; the work is done by the functions of migration 0001.

-- name: ensure
-- Today's parts and those of the days ahead, in the database's time; the number made now.
SELECT count(*) FILTER (WHERE ensure_run_day((clock_timestamp() AT TIME ZONE 'UTC')::date + ahead))
FROM generate_series(0, $1::int) AS ahead

-- name: days_before
-- The days that have parts, before $1. Oldest first.
SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'run'::regclass AND c.relname ~ '^run_[0-9]{8}$'
  AND to_date(right(c.relname, 8), 'YYYYMMDD') < $1::date
ORDER BY day

-- name: drop_day
SELECT drop_run_day($1::date)

-- name: forget_keys
-- Idempotency keys are promised for 24 hours.
DELETE FROM idempotency WHERE created_at < clock_timestamp() - interval '24 hours'
