// An agent on the official JavaScript SDK 1.x: A2A 1.0 over JSON-RPC and HTTP+JSON (--rest: only that).
// The launcher copies it beside the node_modules that it needs.

import { randomUUID } from 'node:crypto';
import express from 'express';
import { AGENT_CARD_PATH, Role, TaskState } from '@a2a-js/sdk';
import {
  AgentEvent, DefaultPushNotificationSender, DefaultRequestHandler, InMemoryPushNotificationStore,
  InMemoryTaskStore,
} from '@a2a-js/sdk/server';
import {
  agentCardHandler, jsonRpcHandler, restHandler, UserBuilder,
} from '@a2a-js/sdk/server/express';
import { ENDS, healthy, serve, sleep, told, work } from './serving.mjs';

const STATES = {
  rejected: TaskState.TASK_STATE_REJECTED,
  failed: TaskState.TASK_STATE_FAILED,
  'input-required': TaskState.TASK_STATE_INPUT_REQUIRED,
  'auth-required': TaskState.TASK_STATE_AUTH_REQUIRED,
  canceled: TaskState.TASK_STATE_CANCELED,
  completed: TaskState.TASK_STATE_COMPLETED,
  working: TaskState.TASK_STATE_WORKING,
};
const none = { filename: '', metadata: {} };
const part = (p) => {
  if ('data' in p) return { ...none, content: { $case: 'data', value: p.data }, mediaType: 'application/json' };
  if ('text' in p) return { ...none, content: { $case: 'text', value: p.text }, mediaType: 'text/plain' };
  return { ...none, content: { $case: 'url', value: p.url }, filename: p.name, mediaType: p.mime };
};

class Executor {
  canceled = new Set();

  async execute(context, bus) {
    const { taskId, contextId, userMessage: sent, task } = context;
    let data = {};
    let text = '';
    for (const { content } of sent.parts) {
      if (content?.$case === 'data') Object.assign(data, content.value);
      if (content?.$case === 'text') text += content.value;
    }
    if (!Object.keys(data).length) data = told(text);
    const cmd = task ? 'answer' : data.cmd;
    const message = (...parts) => ({
      messageId: randomUUID(), role: Role.ROLE_AGENT, contextId, taskId, parts: parts.map(part),
      extensions: [], referenceTaskIds: [], metadata: {},
    });
    const status = (state, said) => bus.publish(AgentEvent.statusUpdate({
      taskId, contextId, metadata: {},
      status: { state: STATES[state], message: said, timestamp: new Date().toISOString() },
    }));
    const artifact = (artifactId, parts, append = false) => bus.publish(AgentEvent.artifactUpdate({
      taskId, contextId, append, lastChunk: true, metadata: {},
      artifact: { artifactId, name: artifactId, description: '', parts: parts.map(part), extensions: [], metadata: {} },
    }));

    if (cmd === 'message') {
      bus.publish(AgentEvent.message({ ...message({ data: { echo: data, text } }), taskId: '' }));
      return bus.finished();
    }
    // The SDK streams nothing that begins otherwise, be the task a new one or an answered one.
    bus.publish(AgentEvent.task(task ?? {
      id: taskId, contextId, history: [sent], artifacts: [], metadata: {},
      status: { state: TaskState.TASK_STATE_SUBMITTED, timestamp: new Date().toISOString() },
    }));
    status('working');
    if (cmd === 'raise') throw new Error('boom in the executor');
    if (cmd in ENDS) {
      status(ENDS[cmd][0], message({ text: ENDS[cmd][1] }));
      return bus.finished();
    }
    if (cmd === 'login') { // goes on by itself, as after a login somewhere else
      status(ENDS.auth[0], message({ text: ENDS.auth[1] }));
      await sleep((data.seconds ?? 1) * 1000);
      status('working');
    }
    if (cmd === 'slow') {
      for (let i = 0; i < (data.seconds ?? 30) * 10; i++) {
        await sleep(100);
        if (this.canceled.has(taskId)) {
          status('canceled');
          return bus.finished();
        }
      }
    }
    if (cmd === 'chunks') {
      for (let i = 0; i < 3; i++) artifact('text', [{ text: `chunk${i} ` }], i > 0);
    }
    work(cmd, data, text).forEach((parts, i) => artifact(`a${i}`, parts));
    status('completed');
    return bus.finished();
  }

  cancelTask = async (taskId) => { this.canceled.add(taskId); };
}

serve((base) => {
  const rpc = { url: `${base}/`, protocolBinding: 'JSONRPC', tenant: '', protocolVersion: '1.0' };
  const rest = { ...rpc, url: `${base}/rest`, protocolBinding: 'HTTP+JSON' };
  const card = {
    name: 'sdkjs1', description: 'An agent on the JavaScript SDK 1.x', version: '1.0.0',
    documentationUrl: '', signatures: [], provider: { organization: 'test', url: 'https://example.com' },
    supportedInterfaces: process.argv.includes('--rest') ? [rest] : [rpc, rest],
    capabilities: { streaming: true, pushNotifications: true, extensions: [], extendedAgentCard: false },
    securitySchemes: {}, securityRequirements: [],
    defaultInputModes: ['application/json'], defaultOutputModes: ['application/json'],
    skills: [{
      id: 'test', name: 'test', description: 'does as told', tags: ['test'], examples: [],
      inputModes: [], outputModes: [], securityRequirements: [],
    }],
  };
  const pushed = new InMemoryPushNotificationStore();
  const requestHandler = new DefaultRequestHandler(
    card, new InMemoryTaskStore(), new Executor(), undefined, pushed,
    new DefaultPushNotificationSender(pushed),
  );
  const app = express();
  healthy(app);
  app.use(`/${AGENT_CARD_PATH}`, agentCardHandler({ agentCardProvider: requestHandler }));
  app.use('/rest', restHandler({ requestHandler, userBuilder: UserBuilder.noAuthentication }));
  app.use('/', jsonRpcHandler({ requestHandler, userBuilder: UserBuilder.noAuthentication }));
  return app;
});
