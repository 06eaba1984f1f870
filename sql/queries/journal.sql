-- The fenced batch write: docs/adr/0001-fenced-journal.md says why each line is as it is.
-- Sessions are read committed; each statement is a transaction of its own.

-- name: write
-- $1-$2: the terms that the batch is written under. $3-$4: its lowest and highest run id, so that
-- only their parts are looked at. $5-$14: one row a decision, each run once. $15-$34: one row a
-- touched step. Returns the runs that took effect; `explain` knows about the others.
-- `= ANY (array_append(NULL, …))` is `=` for the index, but nothing by which parts are pruned row by
-- row: PostgreSQL 18 (18.6), which prunes by $3 and $4 too, forgets all parts after the first row or
-- term that it waited for and tested again, and loses the rest of the batch.
WITH fence AS MATERIALIZED (
  -- FOR SHARE waits for a takeover under way and tests its outcome (the takeover's UPDATE does not
  -- conflict with KEY SHARE). ORDER BY: the one order in which terms are locked.
  SELECT t.partition, t.epoch
  FROM partition_term t JOIN unnest($1::int[], $2::bigint[]) AS held(partition, epoch)
    ON t.partition = held.partition AND t.epoch = held.epoch
  ORDER BY t.partition FOR SHARE OF t
), moment AS MATERIALIZED (
  -- One time for the whole batch, read when the terms are locked.
  SELECT clock_timestamp() AS now FROM (SELECT count(*) FROM fence) AS locked
), decision AS (
  SELECT * FROM unnest($5::uuid[], $6::int[], $7::bigint[], $8::bigint[], $9::bigint[],
                       $10::bigint[], $11::text[], $12::text[], $13::interval[], $14::json[])
    AS d(run_id, partition, epoch, base_seq, seq, token, status, error_message, wake_in, events)
), applied AS (
  UPDATE run r
  SET seq = d.seq, epoch = d.epoch, token = d.token, status = d.status,
    error_message = d.error_message, updated_at = m.now,
    completed_at = CASE WHEN d.status IN ('COMPLETED', 'FAILED') THEN m.now END,
    -- A step's deadline stands in its row only. Runs that wait are few: the subselect seldom runs.
    wake_at = CASE WHEN d.wake_in IS NOT NULL THEN least(m.now + d.wake_in, (
      SELECT min(s.deadline_at) FROM step_execution s
      WHERE s.run_id = ANY (array_append(NULL, d.run_id))
        AND s.run_id BETWEEN $3::uuid AND $4::uuid AND s.status = 'RUNNING')) END
  FROM moment m, decision d JOIN fence f ON f.partition = d.partition AND f.epoch = d.epoch
  WHERE r.id = ANY (array_append(NULL, d.run_id)) AND r.id BETWEEN $3::uuid AND $4::uuid
    AND r.partition = d.partition
    AND r.seq = d.base_seq                      -- tested again on the newest row, behind a cancel
    -- An ended run is never touched by an actor. Not `IN`, which would invite the index by status.
    AND r.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')
  RETURNING r.id, r.partition, r.seq, r.epoch, d.events, m.now
), step AS MATERIALIZED (
  SELECT n.*, a.partition, a.now, a.seq
  FROM unnest($15::uuid[], $16::text[], $17::int[], $18::text[], $19::text[], $20::int[],
              $21::int[], $22::json[], $23::json[], $24::text[], $25::text[], $26::text[],
              $27::interval[], $28::interval[], $29::boolean[], $30::text[], $31::json[],
              $32::text[], $33::boolean[], $34::json[])
    AS n(run_id, path, position, agent_name, status, attempt, message_no, input, output,
         error_message, task_id, task_context, due_in, timeout, cancel_task, waiting_for, question,
         task_asked, keeps_answer, artifacts)
  JOIN applied a ON a.id = n.run_id
), steps AS (
  INSERT INTO step_execution AS s (run_id, path, position, agent_name, status, attempt, message_no,
    input, output, error_message, task_id, task_context, due_at, deadline_at, started_at,
    completed_at, waiting_for, question, asked_at, asked_seq, task_asked, answer,
    artifacts)
  SELECT run_id, path, position, agent_name, status, attempt, message_no, input, output,
    error_message, task_id, task_context, now + due_in, now + timeout, now,
    CASE WHEN status IN ('COMPLETED', 'FAILED') THEN now END, waiting_for, question,
    CASE WHEN question IS NOT NULL THEN now END, CASE WHEN question IS NOT NULL THEN seq END,
    task_asked, CASE WHEN keeps_answer THEN 'null'::json END,  -- says only whether it is kept
    artifacts
  FROM step
  ON CONFLICT (run_id, path) DO UPDATE SET
    status = excluded.status, attempt = excluded.attempt, message_no = excluded.message_no,
    input = coalesce(excluded.input, s.input), output = excluded.output,
    artifacts = excluded.artifacts,             -- come with the completion only
    error_message = excluded.error_message,
    task_id = excluded.task_id, task_context = excluded.task_context, due_at = excluded.due_at,
    deadline_at = coalesce(excluded.deadline_at, s.deadline_at),  -- set once a generation
    started_at = coalesce(s.started_at, excluded.started_at),
    completed_at = excluded.completed_at, waiting_for = excluded.waiting_for,
    -- A question comes once, with the step that begins to wait.
    question = CASE WHEN excluded.waiting_for IS NOT NULL
      THEN coalesce(excluded.question, s.question) END,
    asked_at = CASE WHEN excluded.waiting_for IS NOT NULL
      THEN coalesce(excluded.asked_at, s.asked_at) END,
    asked_seq = CASE WHEN excluded.waiting_for IS NOT NULL
      THEN coalesce(excluded.asked_seq, s.asked_seq) END,
    task_asked = excluded.task_asked,
    answer = CASE WHEN excluded.answer IS NOT NULL THEN s.answer END
  WHERE s.status <> 'COMPLETED'                 -- a completed step is never touched again
), cancellations AS (
  INSERT INTO task_cancellation
    (run_id, message_id, path, partition, agent_name, task_id, task_context, asked_at, next_at)
  SELECT run_id, message_id_of(run_id, path, message_no), path, partition, agent_name, task_id,
    task_context, now, now
  FROM step WHERE cancel_task
  ON CONFLICT DO NOTHING
), history AS (
  INSERT INTO run_event (run_id, seq, epoch, at, events)
  SELECT id, seq, epoch, now, events FROM applied
)
SELECT id FROM applied

-- name: explain
-- Why writes had no effect, in a statement of its own: it sees what the refused one waited for.
SELECT n.run_id, r.seq, r.token, t.epoch
FROM unnest($1::uuid[], $2::int[]) AS n(run_id, partition)
  LEFT JOIN run r ON r.id = n.run_id AND r.id BETWEEN $3::uuid AND $4::uuid
  LEFT JOIN partition_term t ON t.partition = n.partition
