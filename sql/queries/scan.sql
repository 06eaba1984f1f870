-- The owners' look at their rows.

-- name: scan
-- $1: the owned partitions; $2, $3: the active runs and the seq that each one's actor knows; $4, $5:
-- their lowest and highest id; $6: how many runs are wanted. One more is looked for than wanted: it
-- tells whether some are left. A run that waits (wake_at) is none of those at work.
WITH active AS MATERIALIZED (
  SELECT * FROM unnest($2::uuid[], $3::bigint[]) AS a(run_id, seq)
), owned AS MATERIALIZED (
  SELECT unnest($1::int[]) AS partition
), moment AS MATERIALIZED (
  SELECT clock_timestamp() AS now
), moved AS (
  SELECT a.run_id
  FROM active a LEFT JOIN (
    -- By the ids: joined by $4 and $5 alone, all runs of the days in between would be read.
    SELECT r.id, r.seq FROM run r WHERE r.id = ANY($2::uuid[]) AND r.id BETWEEN $4::uuid AND $5::uuid
  ) AS r ON r.id = a.run_id
  WHERE r.seq IS DISTINCT FROM a.seq
), due AS MATERIALIZED (
  SELECT found.* FROM owned, LATERAL (
    SELECT r.id, 0 AS rank FROM run r
    WHERE r.partition = owned.partition AND r.wake_at <= (SELECT now FROM moment)
      AND r.id NOT IN (SELECT run_id FROM active)
    ORDER BY r.wake_at LIMIT $6::int + 1) AS found
), running AS MATERIALIZED (
  SELECT found.* FROM owned, LATERAL (
    SELECT r.id, 0 AS rank FROM run r
    WHERE r.partition = owned.partition AND r.status = 'RUNNING' AND r.wake_at IS NULL
      AND r.id NOT IN (SELECT run_id FROM active)
    ORDER BY r.id LIMIT $6::int + 1) AS found
), pending AS MATERIALIZED (
  SELECT found.* FROM owned, LATERAL (
    SELECT r.id, 1 AS rank FROM run r
    WHERE r.partition = owned.partition AND r.status = 'PENDING'
      AND r.id NOT IN (SELECT run_id FROM active)
    ORDER BY r.id LIMIT $6::int + 1) AS found
), ready AS (
  SELECT * FROM due UNION ALL SELECT * FROM running UNION ALL SELECT * FROM pending
  ORDER BY rank, id LIMIT $6::int + 1
), next AS (
  SELECT min(found.wake_at) AS wake_at FROM owned, LATERAL (
    SELECT r.wake_at FROM run r
    WHERE r.partition = owned.partition AND r.wake_at > (SELECT now FROM moment)
      AND r.id NOT IN (SELECT run_id FROM active)
    ORDER BY r.wake_at LIMIT 1) AS found
)
SELECT ARRAY(SELECT run_id FROM moved) AS moved,
  ARRAY(SELECT id FROM ready ORDER BY rank, id) AS ready,
  (SELECT wake_at FROM next) - (SELECT now FROM moment) AS next_due
