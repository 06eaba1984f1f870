-- Totals of runs without counting them (docs/adr/0009-totals-by-deltas.md). Whoever makes, changes or
-- removes runs leaves deltas, in the same transaction; they are folded in the background, and readers
-- sum up both. The advisory lock 4 of the chores is that of folding; it is taken after that of parts
-- (2), and before any lock of a table.

-- What has changed since the last fold: appended to, never updated. It is emptied all the time.
CREATE TABLE run_total_delta (
  workflow_id uuid NOT NULL,                       -- the lifelong id
  status text NOT NULL,
  hour int NOT NULL,                               -- of the run's id, in hours since 1970
  n bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0);

-- What was folded, by the hour and by the day, of each workflow and of all: a list of years reads a
-- row a day. No row is 0.
CREATE TABLE run_total (
  workflow_id uuid NOT NULL,                       -- all zeros: of all workflows
  hours int NOT NULL CHECK (hours IN (1, 24)),     -- how long it is
  hour int NOT NULL,                               -- its first
  status text NOT NULL,
  n bigint NOT NULL,
  PRIMARY KEY (workflow_id, hours, hour, status)
) WITH (fillfactor = 50);
CREATE INDEX run_total_hour ON run_total (hour);

CREATE FUNCTION run_hour(id uuid) RETURNS int LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT (('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 3600000)::int
$$;

-- Fold the deltas; how many totals changed. One at a time: whoever comes second has nothing to do.
CREATE FUNCTION fold_run_totals() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  folded bigint;
BEGIN
  IF NOT pg_try_advisory_xact_lock(1869767528, 4) THEN
    RETURN 0;
  END IF;
  -- One statement: what is taken away here is what is added there.
  WITH taken AS (
    DELETE FROM run_total_delta RETURNING *
  )
  MERGE INTO run_total t USING (
    SELECT of.workflow_id, span.hours, span.hour, d.status, sum(d.n) AS n
    FROM taken d, LATERAL (VALUES (d.workflow_id), ('00000000-0000-0000-0000-000000000000'::uuid)) AS of (workflow_id),
      LATERAL (VALUES (1, d.hour), (24, d.hour - d.hour % 24)) AS span (hours, hour)
    GROUP BY 1, 2, 3, 4 HAVING sum(d.n) <> 0
  ) AS s ON t.workflow_id = s.workflow_id AND t.hours = s.hours AND t.hour = s.hour
    AND t.status = s.status
  WHEN MATCHED AND t.n + s.n = 0 THEN DELETE
  WHEN MATCHED THEN UPDATE SET n = t.n + s.n
  WHEN NOT MATCHED THEN INSERT VALUES (s.workflow_id, s.hours, s.hour, s.status, s.n);
  GET DIAGNOSTICS folded = ROW_COUNT;
  RETURN folded;
END $$;

-- Count all runs anew, while nobody changes one: after runs were put into a part directly, which no
-- trigger sees.
CREATE FUNCTION recount_run_totals() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(1869767528, 4);
  LOCK TABLE run IN SHARE MODE;
  DELETE FROM run_total_delta;
  DELETE FROM run_total;
  INSERT INTO run_total_delta
  SELECT workflow_id, status, run_hour(id), count(*) FROM run GROUP BY 1, 2, 3;
  PERFORM fold_run_totals();
END $$;

-- Statement triggers on the parent: one call for a batch, whoever writes it and however.
CREATE FUNCTION count_made_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO run_total_delta
  SELECT workflow_id, status, run_hour(id), count(*) FROM made GROUP BY 1, 2, 3;
  RETURN NULL;
END $$;
CREATE TRIGGER run_made AFTER INSERT ON run REFERENCING NEW TABLE AS made
  FOR EACH STATEMENT EXECUTE FUNCTION count_made_runs();

-- Most decisions leave the status as it is, and no delta.
CREATE FUNCTION count_changed_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO run_total_delta
  SELECT workflow_id, status, run_hour(id), sum(n) FROM (
    SELECT workflow_id, status, id, -1 AS n FROM before
    UNION ALL SELECT workflow_id, status, id, 1 FROM after) AS changed
  GROUP BY 1, 2, 3 HAVING sum(n) <> 0;
  RETURN NULL;
END $$;
CREATE TRIGGER run_changed AFTER UPDATE ON run REFERENCING OLD TABLE AS before NEW TABLE AS after
  FOR EACH STATEMENT EXECUTE FUNCTION count_changed_runs();

CREATE FUNCTION count_removed_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO run_total_delta
  SELECT workflow_id, status, run_hour(id), -count(*) FROM removed GROUP BY 1, 2, 3;
  RETURN NULL;
END $$;
CREATE TRIGGER run_removed AFTER DELETE ON run REFERENCING OLD TABLE AS removed
  FOR EACH STATEMENT EXECUTE FUNCTION count_removed_runs();

CREATE FUNCTION forget_run_totals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM run_total_delta;
  DELETE FROM run_total;
  RETURN NULL;
END $$;
CREATE TRIGGER run_emptied AFTER TRUNCATE ON run
  FOR EACH STATEMENT EXECUTE FUNCTION forget_run_totals();

SELECT recount_run_totals();

-- Few runs of a workflow fail: without it, a page of them reads all that the workflow ever ran.
CREATE INDEX run_workflow_failed ON run (workflow_id, status, id)
  WHERE status IN ('FAILED', 'CANCELLED');

-- As before, and with all that lists filter by: a page in the middle is found without the rows. The
-- two moments are there for PostgreSQL, which does not see that their coalesce is.
DROP INDEX run_completed_at, run_ended_at;
CREATE INDEX run_completed_at ON run (completed_at, id) INCLUDE (workflow_id, status)
  WHERE completed_at IS NOT NULL;
CREATE INDEX run_ended_at ON run (coalesce(completed_at, cancelled_at), id)
  INCLUDE (workflow_id, status, completed_at, cancelled_at)
  WHERE status IN ('COMPLETED', 'FAILED', 'CANCELLED');

-- As before; a day's totals go with its parts.
CREATE OR REPLACE FUNCTION drop_run_day(day date) RETURNS boolean LANGUAGE plpgsql
SET lock_timeout = '500ms' AS $$
DECLARE
  suffix text := to_char(day, 'YYYYMMDD');
  unfinished text := format('SELECT EXISTS (SELECT FROM %I WHERE status IN (''PENDING'', ''RUNNING''))',
                            'run_' || suffix);
  first_hour int := run_hour(day_floor(day));
  found_one boolean;
BEGIN
  PERFORM pg_advisory_xact_lock(1869767528, 2);
  IF NOT has_run_day(suffix) THEN
    RETURN false;
  END IF;
  EXECUTE unfinished INTO found_one;  -- most refusals cost no lock
  IF found_one THEN
    RETURN false;
  END IF;
  PERFORM pg_advisory_xact_lock(1869767528, 4);  -- no fold meanwhile
  LOCK TABLE ONLY run, ONLY step_execution, ONLY run_event IN ACCESS EXCLUSIVE MODE;
  EXECUTE format('LOCK TABLE %I, %I, %I IN ACCESS EXCLUSIVE MODE',
                 'run_' || suffix, 'step_execution_' || suffix, 'run_event_' || suffix);
  EXECUTE unfinished INTO found_one;  -- a retry may have come in between
  IF found_one THEN
    RETURN false;
  END IF;
  -- Nobody writes a run now, so each of the day's deltas is here.
  DELETE FROM run_total_delta WHERE hour >= first_hour AND hour < first_hour + 24;
  DELETE FROM run_total WHERE hour >= first_hour AND hour < first_hour + 24;
  DELETE FROM task_cancellation WHERE run_id >= day_floor(day) AND run_id < day_floor(day + 1);
  EXECUTE format('DROP TABLE %I, %I, %I',
                 'run_' || suffix, 'step_execution_' || suffix, 'run_event_' || suffix);
  RETURN true;
END $$;
