import java.util.Arrays;
import java.util.Map;
import java.util.UUID;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.AgentsApi;
import org.openapitools.client.api.RunsApi;
import org.openapitools.client.api.WorkflowsApi;
import org.openapitools.client.model.Agent;
import org.openapitools.client.model.AgentCreate;
import org.openapitools.client.model.CancelRequest;
import org.openapitools.client.model.ExecuteRequest;
import org.openapitools.client.model.Run;
import org.openapitools.client.model.Step;
import org.openapitools.client.model.Workflow;
import org.openapitools.client.model.WorkflowCreate;

/** Uses the generated Java client against the server at the address given. */
class TryClient {
    public static void main(String[] arguments) throws ApiException {
        ApiClient client = new ApiClient().setBasePath(arguments[0]);
        AgentsApi agents = new AgentsApi(client);
        WorkflowsApi workflows = new WorkflowsApi(client);
        RunsApi runs = new RunsApi(client);

        Agent agent = agents.createAgent(new AgentCreate().name("java").url("http://127.0.0.1:9"));
        hold(agents.getAgent(agent.getId()).equals(agent));
        hold(agents.listAgents(1, 20, null, "java").getItems().equals(Arrays.asList(agent)));

        Map<String, Object> mapping = Map.of("x", "${workflow.input.x}");
        Step step = new Step().id("only").agentName("java").inputMapping(mapping);
        Workflow workflow =
                workflows.createWorkflow(
                        new WorkflowCreate().name("java").startStep("only").putStepsItem("only", step));
        hold(workflow.getWorkflowData().getSteps().get("only").getAgentName().equals("java"));

        ExecuteRequest input = new ExecuteRequest().putInputDataItem("x", Arrays.asList("1", null));
        Run run = workflows.executeWorkflow(workflow.getId(), input, null);
        Run cancelled = runs.cancelRun(run.getId(), new CancelRequest().reason("tried"));
        hold(cancelled.getStatus().getValue().equals("CANCELLED"));
        hold(runs.getRun(run.getId(), null).getInputData().equals(input.getInputData()));
        hold(runs.listRunSteps(run.getId()).get(0).getStepId().equals("only"));
        hold(runs.listRunLogs(run.getId(), 1, 20).getItems().get(0).getEvent().equals("RunCreated"));

        try {
            agents.getAgent(UUID.randomUUID());
            hold(false);
        } catch (ApiException error) {
            hold(error.getCode() == 404);
            hold(error.getResponseBody().contains("\"status_code\":404"));
        }
    }

    private static void hold(boolean expected) {
        if (!expected) {
            throw new AssertionError("not as expected");
        }
    }
}
