-- Terms: who owns a partition.

-- name: ensure
INSERT INTO partition_term (partition) SELECT generate_series(0, $1::int - 1) ON CONFLICT DO NOTHING

-- name: highest_needed
-- The highest partition of an unfinished run; null if all have ended.
SELECT max(highest) FROM (
  SELECT max(partition) AS highest FROM run WHERE status = 'PENDING'
  UNION ALL SELECT max(partition) FROM run WHERE status = 'RUNNING'
) AS unfinished

-- name: claim
-- One partition a transaction: several at a time deadlock with batches that lock them in order.
INSERT INTO partition_term AS t (partition, epoch, owner, owner_name, released, claimed_at)
VALUES ($1, 1, $2, $3, false, clock_timestamp())
ON CONFLICT (partition) DO UPDATE
SET epoch = t.epoch + 1, owner = excluded.owner, owner_name = excluded.owner_name, released = false,
  claimed_at = clock_timestamp()
RETURNING epoch

-- name: vacant
-- Partitions that nobody is about to hand over: released, never owned, our own, or their owner is
-- dead. The lock is given back at the statement's end.
SELECT w.partition
FROM unnest($1::int[]) AS w(partition) LEFT JOIN partition_term t ON t.partition = w.partition
WHERE t.partition IS NULL OR t.released OR t.owner IS NULL OR t.owner = $2::uuid
  OR pg_try_advisory_xact_lock_shared(owner_lock(t.owner))

-- name: confirm
SELECT t.partition, t.epoch
FROM partition_term t JOIN unnest($1::int[], $2::bigint[]) AS held(partition, epoch)
  ON t.partition = held.partition AND t.epoch = held.epoch

-- name: overview
-- A lock that can be had is held by nobody: its owner is gone.
SELECT t.partition, t.epoch, t.owner, t.owner_name, t.released, t.claimed_at,
  t.owner IS NOT NULL AND NOT pg_try_advisory_xact_lock_shared(owner_lock(t.owner)) AS alive,
  coalesce(p.pending, 0) AS pending
FROM partition_term t LEFT JOIN (
  SELECT r.partition, count(*) AS pending FROM run r WHERE r.status = 'PENDING' GROUP BY r.partition
) AS p ON p.partition = t.partition
ORDER BY t.partition

-- name: release
UPDATE partition_term SET released = true WHERE partition = $1 AND epoch = $2 RETURNING partition
