-- What is decided in the database: cancel and retry, a run under an Idempotency-Key, and the end of
-- a run whose rows cannot be used.
-- VOLATILE plpgsql: each statement has a snapshot of its own, taken after the row lock was won (a
-- single statement left a step RUNNING that a journal write had started while it waited).
-- Lock order: term, then run, then its steps and events. Those of the API take no term.

-- The A2A messageId of a call; the same as domain.run.message_id.
CREATE FUNCTION message_id_of(run_id uuid, path text, message_no int) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT 'run-' || run_id || '.' || path || '.' || message_no
$$;

-- A token that no decision has: whoever wrote the run before does not take this for its own write.
CREATE FUNCTION new_token() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT ('x' || right(translate(gen_random_uuid()::text, '-', ''), 16))::bit(64)::bigint
$$;

-- Take the lock of a run; the moment it was won, null if there is no such run.
CREATE FUNCTION lock_run(wanted uuid) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM run WHERE id = wanted FOR NO KEY UPDATE;
  RETURN CASE WHEN FOUND THEN clock_timestamp() END;
END $$;

-- End the steps of a run that are at work, and have their calls cancelled at their agents. Between
-- two attempts there is no call.
CREATE FUNCTION end_running_steps(ended run) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO task_cancellation
    (run_id, message_id, path, partition, agent_name, task_id, task_context)
  SELECT s.run_id, message_id_of(s.run_id, s.path, s.message_no), s.path, ended.partition,
    s.agent_name, s.task_id, s.task_context
  FROM step_execution s
  WHERE s.run_id = ended.id AND s.status = 'RUNNING' AND s.due_at IS NULL
  ON CONFLICT DO NOTHING;
  UPDATE step_execution s
  SET status = 'FAILED', error_message = ended.error_message, due_at = NULL,
    completed_at = ended.updated_at
  WHERE s.run_id = ended.id AND s.status = 'RUNNING';
END $$;

-- Record what was decided about a run, under its new seq.
CREATE FUNCTION record_event(r run, event json) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO run_event (run_id, seq, epoch, at, events)
  VALUES (r.id, r.seq, r.epoch, r.updated_at, json_build_array(json_strip_nulls(event)));
END $$;

-- Cancel a run that has not ended; no row if it has, or if there is none.
CREATE FUNCTION cancel_run(wanted uuid, reason text) RETURNS SETOF run LANGUAGE plpgsql AS $$
DECLARE
  now timestamptz := lock_run(wanted);
  r run;
BEGIN
  reason := nullif(btrim(reason), '');
  UPDATE run
  SET status = 'CANCELLED', seq = seq + 1, epoch = 0, token = new_token(), wake_at = NULL,
    error_message = 'Cancelled' || coalesce(': ' || reason, ''),
    updated_at = now, cancelled_at = now, cancelled_by = 'system'
  WHERE id = wanted AND status IN ('PENDING', 'RUNNING') RETURNING * INTO r;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  PERFORM end_running_steps(r);
  PERFORM record_event(r, json_build_object('kind', 'RunCancelled', 'reason', reason));
  RETURN NEXT r;
END $$;

-- Put a failed or cancelled run back to PENDING; no row if it is neither, or if there is none. Its
-- completed steps stay; the others keep only their message number, which rises when they start.
CREATE FUNCTION retry_run(wanted uuid) RETURNS SETOF run LANGUAGE plpgsql AS $$
DECLARE
  now timestamptz := lock_run(wanted);
  r run;
BEGIN
  UPDATE run
  SET status = 'PENDING', seq = seq + 1, epoch = 0, token = new_token(), wake_at = NULL,
    error_message = NULL, updated_at = now, completed_at = NULL, cancelled_at = NULL,
    cancelled_by = NULL
  WHERE id = wanted AND status IN ('FAILED', 'CANCELLED') RETURNING * INTO r;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  UPDATE step_execution s
  SET status = 'PENDING', attempt = 0, input = NULL, output = NULL, error_message = NULL,
    task_id = NULL, task_context = NULL, due_at = NULL, deadline_at = NULL, started_at = NULL,
    completed_at = NULL
  WHERE s.run_id = wanted AND s.status <> 'COMPLETED';
  PERFORM record_event(r, '{"kind":"RunRetried"}');
  RETURN NEXT r;
END $$;

-- Fail a run whose rows cannot be used, as the owner of its partition; false if the term is over.
-- Nothing happens to a run that has ended.
CREATE FUNCTION fail_run(wanted uuid, reason text, term_partition int, term_epoch bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  now timestamptz;
  r run;
BEGIN
  PERFORM FROM partition_term t
  WHERE t.partition = term_partition AND t.epoch = term_epoch FOR SHARE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  now := lock_run(wanted);
  UPDATE run
  SET status = 'FAILED', seq = seq + 1, epoch = term_epoch, token = new_token(), wake_at = NULL,
    error_message = reason, updated_at = now, completed_at = now
  WHERE id = wanted AND partition = term_partition AND status IN ('PENDING', 'RUNNING')
  RETURNING * INTO r;
  IF FOUND THEN
    PERFORM end_running_steps(r);
    PERFORM record_event(r, json_build_object('kind', 'RunFailed', 'cause', reason));
  END IF;
  RETURN true;
END $$;

-- Create a run under an Idempotency-Key; no row if the key is taken: its run is then read in a new
-- statement, which sees what this one waited for. A key older than 24 hours is free.
CREATE FUNCTION create_run_once(
  workflow uuid, version int, workflow_key text, workflow_name text, input json, triggered_by text,
  idempotency_key text, body bytea, partitions int
) RETURNS SETOF run LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  made uuid := new_run_id();
  now timestamptz := run_id_time(made);
  r run;
BEGIN
  INSERT INTO idempotency AS i (workflow_id, key, body_sha256, run_id)
  VALUES (workflow, idempotency_key, body, made)
  ON CONFLICT (workflow_id, key) DO UPDATE
  SET body_sha256 = excluded.body_sha256, run_id = excluded.run_id, created_at = excluded.created_at
  WHERE i.created_at < clock_timestamp() - interval '24 hours';
  IF NOT FOUND THEN
    RETURN;
  END IF;
  INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key, workflow_name,
    status, seq, input, triggered_by, created_at, updated_at)
  VALUES (made, partition_of(made, partitions), workflow, version, create_run_once.workflow_key,
    create_run_once.workflow_name, 'PENDING', 1, create_run_once.input,
    create_run_once.triggered_by, now, now)
  RETURNING * INTO r;
  PERFORM record_event(r, '{"kind":"RunCreated"}');
  RETURN NEXT r;
END $$;
