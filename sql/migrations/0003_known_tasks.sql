-- A task that is known is asked for again after a backoff, and not sent anew (domain/machine, rule 6):
-- while its step waits, the agent may be at work on it, and a cancel has it cancelled there.

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
  SET status = 'FAILED', error_message = ended.error_message, due_at = NULL,
    completed_at = ended.updated_at
  WHERE s.run_id = ended.id AND s.status = 'RUNNING';
END $$;
