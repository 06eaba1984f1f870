-- Totals of runs: what was folded, and what has changed since.

-- name: fold
SELECT fold_run_totals()

-- name: counts
-- $1 a status (null: any), $2 a workflow's lifelong id (all zeros: any). By the day from $4 to $5, by
-- the hour from $3 to $4 and from $5 to $6; all are hours since 1970, the upper ones exclusive.
SELECT hours, hour, status, sum(n)::bigint AS n FROM (
  SELECT hours, hour, status, n FROM run_total
  WHERE workflow_id = $2::uuid AND hours = 24 AND hour >= $4::int AND hour < $5::int
  UNION ALL SELECT hours, hour, status, n FROM run_total
  WHERE workflow_id = $2 AND hours = 1
    AND (hour >= $3::int AND hour < $4 OR hour >= $5 AND hour < $6::int)
  UNION ALL SELECT span.hours, span.hour, d.status, d.n
  FROM run_total_delta d, LATERAL (
    SELECT CASE WHEN d.hour >= $4 AND d.hour < $5 THEN 24 ELSE 1 END AS hours,
      CASE WHEN d.hour >= $4 AND d.hour < $5 THEN d.hour - d.hour % 24 ELSE d.hour END AS hour
  ) AS span
  WHERE d.hour >= $3 AND d.hour < $6
    AND ($2 = '00000000-0000-0000-0000-000000000000' OR d.workflow_id = $2)
) AS counted
WHERE $1::text IS NULL OR status = $1
GROUP BY 1, 2, 3 HAVING sum(n) <> 0
ORDER BY hour

-- name: count_edge
-- Within an hour, whose total does not help.
SELECT r.status, count(*) AS n FROM run r
WHERE r.id BETWEEN $3::uuid AND $4::uuid
  AND ($1::text IS NULL OR r.status = $1) AND ($2::uuid IS NULL OR r.workflow_id = $2)
GROUP BY r.status
