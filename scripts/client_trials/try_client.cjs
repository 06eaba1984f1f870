// Uses the generated TypeScript client, compiled, against the server at the address given.
const assert = require("node:assert");
const { randomUUID } = require("node:crypto");

const [folder, address] = process.argv.slice(2);
const { AgentsApi, Configuration, RunsApi, WorkflowsApi } = require(folder);

async function main() {
  const configuration = new Configuration({ basePath: address });
  const agents = new AgentsApi(configuration);
  const workflows = new WorkflowsApi(configuration);
  const runs = new RunsApi(configuration);

  const agent = (await agents.createAgent({ name: "node", url: "http://127.0.0.1:9" })).data;
  assert.deepStrictEqual((await agents.getAgent(agent.id)).data, agent);
  const listed = (await agents.listAgents(1, 20, undefined, "node")).data;
  assert.deepStrictEqual(listed.items, [agent]);

  const step = { id: "only", agent_name: "node", input_mapping: { x: "${workflow.input.x}" } };
  const created = { name: "node", start_step: "only", steps: { only: step } };
  const workflow = (await workflows.createWorkflow(created)).data;
  assert.deepStrictEqual(workflow.workflow_data.steps.only, step);

  const input = { input_data: { x: [1, null] } };
  const run = (await workflows.executeWorkflow(workflow.id, input)).data;
  assert.strictEqual((await runs.cancelRun(run.id, { reason: "tried" })).data.status, "CANCELLED");
  assert.deepStrictEqual((await runs.getRun(run.id)).data.input_data, { x: [1, null] });
  assert.strictEqual((await runs.listRunSteps(run.id)).data[0].step_id, "only");
  assert.strictEqual((await runs.listRunLogs(run.id)).data.items[0].event, "RunCreated");

  const missing = randomUUID();
  await assert.rejects(agents.getAgent(missing), ({ response }) => {
    assert.strictEqual(response.status, 404);
    assert.strictEqual(response.data.detail, `Agent with id '${missing}' not found`);
    return true;
  });
}

main();
