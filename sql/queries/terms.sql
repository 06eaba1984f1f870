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
INSERT INTO partition_term AS t (partition, epoch, owner, released, claimed_at)
VALUES ($1, 1, $2, false, clock_timestamp())
ON CONFLICT (partition) DO UPDATE
SET epoch = t.epoch + 1, owner = excluded.owner, released = false, claimed_at = clock_timestamp()
RETURNING epoch

-- name: confirm
SELECT t.partition, t.epoch
FROM partition_term t JOIN unnest($1::int[], $2::bigint[]) AS held(partition, epoch)
  ON t.partition = held.partition AND t.epoch = held.epoch

-- name: release
UPDATE partition_term SET released = true WHERE partition = $1 AND epoch = $2 RETURNING partition
