-- New runs.

-- name: create
-- $1-$5: one row a request; a request knows its run by the token. $6-$8: the versions that they are
-- for, each once, and the agents that it calls (a JSON array of names). A request whose version is no
-- longer the newest, or not active, or one of whose agents is not, makes nothing: so that nobody
-- has to ask first. The id is made here, in the database's time: created_at is its millisecond, the
-- partition comes from its last bits.
WITH executable AS MATERIALIZED (
  SELECT w.id, w.version, w.key, w.name
  FROM unnest($6::uuid[], $7::int[], $8::json[]) AS known(id, version, agents)
    JOIN workflow w ON w.id = known.id AND w.version = known.version
  WHERE w.status = 'active' AND NOT EXISTS (
    SELECT FROM json_array_elements_text(known.agents) AS needed(name)
    WHERE NOT EXISTS (SELECT FROM agent a WHERE a.name = needed.name AND a.status = 'active'))
), request AS MATERIALIZED (
  SELECT new_run_id() AS id, n.*, w.key, w.name
  FROM unnest($1::uuid[], $2::int[], $3::json[], $4::text[], $5::bigint[])
      AS n(workflow_id, workflow_version, input, triggered_by, token)
    JOIN executable w ON w.id = n.workflow_id AND w.version = n.workflow_version
), created AS (
  INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key, workflow_name,
    status, seq, token, input, triggered_by, created_at, updated_at)
  SELECT id, partition_of(id, $9::int), workflow_id, workflow_version, key, name,
    'PENDING', 1, token, input, triggered_by, run_id_time(id), run_id_time(id)
  FROM request
  RETURNING id, partition, created_at, token, workflow_name
), history AS (
  INSERT INTO run_event (run_id, seq, epoch, at, events)
  SELECT id, 1, 0, created_at, '[{"kind":"RunCreated"}]' FROM created
)
SELECT token, id, partition, created_at, workflow_name FROM created
