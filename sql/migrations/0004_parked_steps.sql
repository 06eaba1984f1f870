-- A step whose agent asks somebody something waits as a row (domain/machine, rule 7): what is asked,
-- since when, and the answer until its agent has it.

ALTER TABLE step_execution
  ADD COLUMN waiting_for text CHECK (waiting_for IN ('input', 'auth')),  -- null: for nobody
  ADD COLUMN question json,                        -- what the agent said
  ADD COLUMN asked_at timestamptz,
  ADD COLUMN asked_seq bigint,                     -- the run's seq then: the question's number
  ADD COLUMN task_asked text,                      -- names the last question of the task that we know
  ADD COLUMN answer json;                          -- given, and the agent may not have it

-- The inbox: only what waits is in it, so that the journal's updates stay HOT.
CREATE INDEX step_execution_asked_at ON step_execution (asked_at, run_id, path)
  WHERE waiting_for IS NOT NULL;

-- End the steps of a run that are at work or wait, and have their calls and tasks cancelled at
-- their agents. Between two attempts there is no call, but there may be a task.
CREATE OR REPLACE FUNCTION end_running_steps(ended run) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO task_cancellation
    (run_id, message_id, path, partition, agent_name, task_id, task_context)
  SELECT s.run_id, message_id_of(s.run_id, s.path, s.message_no), s.path, ended.partition,
    s.agent_name, s.task_id, s.task_context
  FROM step_execution s
  WHERE s.run_id = ended.id AND s.status = 'RUNNING'
    AND (s.due_at IS NULL OR s.task_id IS NOT NULL)
  ON CONFLICT DO NOTHING;
  UPDATE step_execution s
  SET status = 'FAILED', error_message = ended.error_message, due_at = NULL, waiting_for = NULL,
    question = NULL, asked_at = NULL, asked_seq = NULL, answer = NULL,
    completed_at = ended.updated_at
  WHERE s.run_id = ended.id AND s.status = 'RUNNING';
END $$;

-- Answer the question of a step that waits, if it is still open; `question` is its number, null: any.
-- The step is due to be sent, under a new message number and with a new budget of attempts. No row if
-- it does not wait, or for another question: of several answers one has an effect.
CREATE FUNCTION give_input(wanted uuid, step text, given json, question_no bigint)
RETURNS SETOF run LANGUAGE plpgsql AS $$
DECLARE
  now timestamptz := lock_run(wanted);
  r run;
BEGIN
  UPDATE step_execution s
  SET waiting_for = NULL, question = NULL, asked_at = NULL, asked_seq = NULL, answer = given,
    attempt = 0, message_no = s.message_no + 1, due_at = now
  WHERE s.run_id = wanted AND s.path = step AND s.status = 'RUNNING' AND s.waiting_for IS NOT NULL
    AND s.asked_seq = coalesce(question_no, s.asked_seq)
    AND (s.deadline_at IS NULL OR s.deadline_at > now);
  IF NOT FOUND THEN
    RETURN;
  END IF;
  UPDATE run
  SET seq = seq + 1, epoch = 0, token = new_token(), wake_at = now, updated_at = now
  WHERE id = wanted RETURNING * INTO r;
  PERFORM record_event(r, json_build_object('kind', 'InputGiven', 'step_id', step));
  RETURN NEXT r;
END $$;
