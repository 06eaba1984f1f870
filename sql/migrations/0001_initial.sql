-- The tables. Statuses are the domain's words; user JSON is kept as it came (type json, not jsonb).
-- Advisory locks of this program have the class 1869767528 ("orch"): object 1 migrations, 2 parts,
-- 3 the feed, 4 chores.

-- One row: what tells this installation from others (a Kafka group, foreign records), and the day
-- at which the daily parts begin.
CREATE TABLE deployment (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  first_day date NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC')::date,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  single boolean NOT NULL DEFAULT true UNIQUE CHECK (single)
);
INSERT INTO deployment DEFAULT VALUES;

CREATE TABLE agent (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  url text NOT NULL,
  description text,
  auth_type text NOT NULL CHECK (auth_type IN ('none', 'bearer', 'apikey')),
  auth_sealed bytea,                               -- null: nothing to keep secret
  timeout_ms int NOT NULL,
  max_retries int NOT NULL,
  initial_delay_ms int NOT NULL,
  max_delay_ms int NOT NULL,
  backoff_multiplier double precision NOT NULL,
  status text NOT NULL CHECK (status IN ('active', 'inactive', 'deleted')),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX agent_name ON agent (name) WHERE status <> 'deleted';
CREATE INDEX agent_created_at ON agent (created_at, id);

-- All versions of all workflows. The newest version has the lifelong id as its own id; a structural
-- change moves the old row to an id of its own and inserts the new version in its place.
CREATE TABLE workflow (
  id uuid PRIMARY KEY,
  lifelong_id uuid NOT NULL,
  version int NOT NULL CHECK (version >= 1),
  key text NOT NULL,                               -- wf-<slug>-001, fixed at creation
  name text NOT NULL,
  description text,
  data json NOT NULL,                              -- workflow_data as sent
  status text NOT NULL CHECK (status IN ('active', 'inactive', 'deleted')),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  UNIQUE (lifelong_id, version)
);
CREATE UNIQUE INDEX workflow_name ON workflow (name) WHERE id = lifelong_id AND status <> 'deleted';
CREATE UNIQUE INDEX workflow_key ON workflow (key) WHERE id = lifelong_id;
CREATE INDEX workflow_created_at ON workflow (created_at, id) WHERE id = lifelong_id;

-- A run. `seq` is its last event's number, `epoch` that of the term that wrote last (0: the API),
-- `token` the last decision's, by which its writer knows its own commit again.
-- No foreign keys from here on: a part is dropped whole, and definitions are only soft-deleted.
CREATE TABLE run (
  id uuid PRIMARY KEY,                             -- UUIDv7; created_at is exactly its millisecond
  partition int NOT NULL,
  workflow_id uuid NOT NULL,                       -- the lifelong id
  workflow_version int NOT NULL,
  workflow_key text NOT NULL,
  workflow_name text NOT NULL,
  status text NOT NULL CHECK (status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')),
  seq bigint NOT NULL,
  epoch bigint NOT NULL DEFAULT 0,
  token bigint NOT NULL DEFAULT 0,
  input json NOT NULL,
  triggered_by text NOT NULL DEFAULT 'system',
  error_message text,
  wake_at timestamptz,                             -- earliest due time of its steps; null: none
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,                 -- of an ended run: equal to the end below
  completed_at timestamptz,                        -- COMPLETED and FAILED
  cancelled_at timestamptz,                        -- CANCELLED
  cancelled_by text
) PARTITION BY RANGE (id);

-- A decision that only moves seq, epoch, token, updated_at is a HOT update: no index may hold one
-- of these columns, also not in its predicate. Hence the end stands for updated_at (of an ended
-- run they are equal), and the few unfinished runs are merged in by the list's query.
-- What the scan looks for, in its order; runs that wait stay out of its way.
CREATE INDEX run_pending ON run (partition, id) WHERE status = 'PENDING';
CREATE INDEX run_running ON run (partition, id) WHERE status = 'RUNNING' AND wake_at IS NULL;
CREATE INDEX run_wake_at ON run (partition, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX run_workflow ON run (workflow_id, id);
CREATE INDEX run_status ON run (status, id);
CREATE INDEX run_completed_at ON run (completed_at, id) WHERE completed_at IS NOT NULL;
CREATE INDEX run_ended_at ON run (coalesce(completed_at, cancelled_at), id)
  WHERE status IN ('COMPLETED', 'FAILED', 'CANCELLED');

-- A step that has started, or was put back by a retry; a step with no row is PENDING (or SKIPPED,
-- once the run has ended).
CREATE TABLE step_execution (
  run_id uuid NOT NULL,
  path text NOT NULL,                              -- its key within the run; today the step's id
  position int NOT NULL,
  agent_name text NOT NULL,
  status text NOT NULL CHECK (status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'SKIPPED')),
  attempt int NOT NULL,
  message_no int NOT NULL,                         -- the n of the messageId <run>.<step>.<n>
  input json,
  output json,
  error_message text,
  task_id text,                                    -- the agent's A2A task
  task_context text,
  due_at timestamptz,                              -- end of a backoff; null: not backing off
  deadline_at timestamptz,
  started_at timestamptz,
  completed_at timestamptz,
  PRIMARY KEY (run_id, path)
) PARTITION BY RANGE (run_id);

-- The history: one row a decision, its events in order as an array of {"kind": …}. `seq` is the
-- last one's; event i of n (from 1) has seq - n + i.
CREATE TABLE run_event (
  run_id uuid NOT NULL,
  seq bigint NOT NULL,
  epoch bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  events json NOT NULL,
  PRIMARY KEY (run_id, seq)
) PARTITION BY RANGE (run_id);

-- Calls to be cancelled at their agent; worked off by the partition's owner.
CREATE TABLE task_cancellation (
  run_id uuid NOT NULL,
  message_id text NOT NULL,
  path text NOT NULL,
  partition int NOT NULL,
  agent_name text NOT NULL,
  task_id text,                                    -- null: the call left none
  task_context text,
  asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  attempts int NOT NULL DEFAULT 0,
  next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  outcome text,                                    -- null: open
  settled_at timestamptz,
  PRIMARY KEY (run_id, message_id)
);
CREATE INDEX task_cancellation_open ON task_cancellation (partition, next_at) WHERE outcome IS NULL;

CREATE TABLE idempotency (
  workflow_id uuid NOT NULL,
  key text NOT NULL,
  body_sha256 bytea NOT NULL,
  run_id uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (workflow_id, key)
);
CREATE INDEX idempotency_created_at ON idempotency (created_at);

-- Who owns a partition. A claim raises the epoch; a write of an older one is refused. The row is
-- updated in place (HOT) and locked FOR SHARE by every write: room for many versions on its page.
CREATE TABLE partition_term (
  partition int PRIMARY KEY,
  epoch bigint NOT NULL DEFAULT 0,
  owner uuid,                                      -- the process; alive: it holds owner_lock(owner)
  owner_name text,                                 -- host:port, for people
  released boolean NOT NULL DEFAULT true,          -- the owner has handed this epoch over
  claimed_at timestamptz
) WITH (fillfactor = 10);

-- The advisory lock that a living process holds: whoever gets it knows that the owner is gone.
CREATE FUNCTION owner_lock(owner uuid) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT hashtextextended(owner::text, 1869767528)
$$;

-- Run ids ---------------------------------------------------------------------------------------

-- The lowest UUIDv7 of a moment's millisecond: created_at filters are ranges of ids.
CREATE FUNCTION uuid7_floor(moment timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT (lpad(to_hex(least(greatest(floor(extract(epoch FROM moment) * 1000), 0),
                            281474976710655)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- The millisecond an id was made in.
CREATE FUNCTION run_id_time(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint
                      / 1000.0::double precision)
$$;

-- A UUIDv7 of now: 48 bits of milliseconds, the rest of the microseconds (ids made one after the
-- other are in order), 62 random bits.
CREATE FUNCTION new_run_id() RETURNS uuid LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$
DECLARE
  us bigint := extract(epoch FROM clock_timestamp()) * 1000000;
BEGIN
  RETURN encode(overlay(uuid_send(gen_random_uuid())
    PLACING int8send(((us / 1000) << 16) | 28672 | ((us % 1000) * 4096 / 1000)) FROM 1 FOR 8
  ), 'hex')::uuid;
END $$;

-- The partition a run is created in: its id's last 32 bits, spread over those configured.
CREATE FUNCTION partition_of(id uuid, partitions int) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT (('x' || right(id::text, 8))::bit(32)::bigint % partitions)::int
$$;

-- Daily parts -----------------------------------------------------------------------------------
-- One run lies in one part of each of the three tables; a day's three parts are made and dropped
-- together. There is no DEFAULT part: it would make each new part scan it, and defeat retention.

-- Make one part of each run table. CREATE LIKE + ATTACH, since CREATE … PARTITION OF would lock
-- the parent against everyone. The caller holds the lock on parts.
CREATE FUNCTION make_run_parts(suffix text, low text, high text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  parent text;
  fill int;
BEGIN
  -- Always in this order, as the journal's statement locks them.
  FOR parent, fill IN VALUES ('run', 70), ('step_execution', 70), ('run_event', 100) LOOP
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) WITH (fillfactor = %s)',
                   parent || '_' || suffix, parent, fill);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                   parent, parent || '_' || suffix, low, high);
  END LOOP;
END $$;

-- The bounds of the daily parts: ids below the first lie in run_past, from the last up in run_far.
CREATE FUNCTION first_run_day() RETURNS date LANGUAGE sql STABLE AS $$
  SELECT first_day FROM deployment
$$;
CREATE FUNCTION last_run_day() RETURNS date LANGUAGE sql IMMUTABLE AS $$
  SELECT date '2199-12-31'
$$;
CREATE FUNCTION day_floor(day date) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT AS $$
  SELECT uuid7_floor(day::timestamp AT TIME ZONE 'UTC')
$$;
CREATE FUNCTION run_day(id uuid) RETURNS date LANGUAGE sql IMMUTABLE STRICT AS $$
  SELECT (run_id_time(id) AT TIME ZONE 'UTC')::date
$$;

SELECT make_run_parts('past', 'MINVALUE', quote_literal(day_floor(first_run_day())));
SELECT make_run_parts('far', quote_literal(day_floor(last_run_day() + 1)), 'MAXVALUE');

-- Asked of the tables: to_regclass answers from a cache that waiting for an advisory lock does not
-- renew.
CREATE FUNCTION has_run_day(suffix text) RETURNS boolean LANGUAGE sql VOLATILE AS $$
  SELECT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'run'::regclass AND c.relname = 'run_' || suffix)
$$;

-- Make a day's parts unless they are there; true if they were made now. Any number of processes
-- may ask at once.
CREATE FUNCTION ensure_run_day(day date) RETURNS boolean LANGUAGE plpgsql
SET lock_timeout = '5s' AS $$
DECLARE
  suffix text := to_char(day, 'YYYYMMDD');
BEGIN
  IF day < first_run_day() OR day > last_run_day() OR has_run_day(suffix) THEN
    RETURN false;
  END IF;
  PERFORM pg_advisory_xact_lock(1869767528, 2);
  IF has_run_day(suffix) THEN  -- another process was faster
    RETURN false;
  END IF;
  PERFORM make_run_parts(suffix, quote_literal(day_floor(day)), quote_literal(day_floor(day + 1)));
  RETURN true;
END $$;

-- Drop a day's parts and what else is kept of its runs; false if there are none, or if a run of
-- that day has not ended. A short lock timeout: whoever waits for the exclusive lock makes all
-- others wait behind it, and a drop can be tried again later (SQLSTATE 55P03).
CREATE FUNCTION drop_run_day(day date) RETURNS boolean LANGUAGE plpgsql
SET lock_timeout = '500ms' AS $$
DECLARE
  suffix text := to_char(day, 'YYYYMMDD');
  unfinished text := format('SELECT EXISTS (SELECT FROM %I WHERE status IN (''PENDING'', ''RUNNING''))',
                            'run_' || suffix);
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
  LOCK TABLE ONLY run, ONLY step_execution, ONLY run_event IN ACCESS EXCLUSIVE MODE;
  EXECUTE format('LOCK TABLE %I, %I, %I IN ACCESS EXCLUSIVE MODE',
                 'run_' || suffix, 'step_execution_' || suffix, 'run_event_' || suffix);
  EXECUTE unfinished INTO found_one;  -- a retry may have come in between
  IF found_one THEN
    RETURN false;
  END IF;
  DELETE FROM task_cancellation WHERE run_id >= day_floor(day) AND run_id < day_floor(day + 1);
  EXECUTE format('DROP TABLE %I, %I, %I',
                 'run_' || suffix, 'step_execution_' || suffix, 'run_event_' || suffix);
  RETURN true;
END $$;
