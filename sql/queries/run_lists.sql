-- Lists of runs: what is said before they are read (run_segments.sql).

-- name: plan_for_values
-- A filter that is null is none, the others find their index, and only the parts between the ids are
-- planned for.
SET LOCAL plan_cache_mode = force_custom_plan

-- name: keep_parts
-- Before the snapshot: a day that is dropped takes its totals and its runs along at one moment.
LOCK TABLE ONLY run IN ACCESS SHARE MODE

-- name: lifelong_id
SELECT lifelong_id FROM workflow WHERE key = $1 AND id = lifelong_id
