-- New runs.

-- name: create
-- One row a request; a request knows its run by the token. The id is made here, in the database's
-- time: created_at is its millisecond, the partition comes from its last bits.
WITH request AS MATERIALIZED (
  SELECT new_run_id() AS id, *
  FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::json[], $6::text[], $7::bigint[])
    AS n(workflow_id, workflow_version, workflow_key, workflow_name, input, triggered_by, token)
), created AS (
  INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key, workflow_name,
    status, seq, token, input, triggered_by, created_at, updated_at)
  SELECT id, partition_of(id, $8::int), workflow_id, workflow_version, workflow_key, workflow_name,
    'PENDING', 1, token, input, triggered_by, run_id_time(id), run_id_time(id)
  FROM request
  RETURNING id, partition, created_at, token
), history AS (
  INSERT INTO run_event (run_id, seq, epoch, at, events)
  SELECT id, 1, 0, created_at, '[{"kind":"RunCreated"}]' FROM created
)
SELECT token, id, partition, created_at FROM created
