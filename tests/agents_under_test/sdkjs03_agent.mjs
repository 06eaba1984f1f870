// An agent on the official JavaScript SDK 0.3: A2A 0.3 over JSON-RPC.
// The launcher copies it beside the node_modules that it needs.

import { randomUUID } from 'node:crypto';
import express from 'express';
import { AGENT_CARD_PATH } from '@a2a-js/sdk';
import { DefaultRequestHandler, InMemoryTaskStore } from '@a2a-js/sdk/server';
import { agentCardHandler, jsonRpcHandler, UserBuilder } from '@a2a-js/sdk/server/express';
import { ENDS, healthy, serve, sleep, told, work } from './serving.mjs';

const part = (p) => {
  if ('data' in p) return { kind: 'data', data: p.data };
  if ('text' in p) return { kind: 'text', text: p.text };
  return { kind: 'file', file: { uri: p.url, name: p.name, mimeType: p.mime } };
};

class Executor {
  canceled = new Set();

  async execute(context, bus) {
    const { taskId, contextId, userMessage: sent, task } = context;
    let data = {};
    let text = '';
    for (const p of sent.parts) {
      if (p.kind === 'data') Object.assign(data, p.data);
      if (p.kind === 'text') text += p.text;
    }
    if (!Object.keys(data).length) data = told(text);
    const cmd = task ? 'answer' : data.cmd;
    const message = (...parts) => ({
      kind: 'message', messageId: randomUUID(), role: 'agent', contextId, parts: parts.map(part),
    });
    const status = (state, final, said) => bus.publish({
      kind: 'status-update', taskId, contextId, final,
      status: { state, message: said && { ...said, taskId }, timestamp: new Date().toISOString() },
    });
    const artifact = (artifactId, parts, append = false) => bus.publish({
      kind: 'artifact-update', taskId, contextId, append, lastChunk: true,
      artifact: { artifactId, name: artifactId, parts: parts.map(part) },
    });

    if (cmd === 'message') {
      bus.publish(message({ data: { echo: data, text } }));
      return bus.finished();
    }
    if (!task) {
      bus.publish({
        kind: 'task', id: taskId, contextId, history: [sent],
        status: { state: 'submitted', timestamp: new Date().toISOString() },
      });
    }
    status('working', false);
    if (cmd === 'raise') throw new Error('boom in the executor');
    if (cmd in ENDS) {
      status(ENDS[cmd][0], true, message({ text: ENDS[cmd][1] }));
      return bus.finished();
    }
    if (cmd === 'login') { // goes on by itself, as after a login somewhere else
      status(ENDS.auth[0], false, message({ text: ENDS.auth[1] }));
      await sleep((data.seconds ?? 1) * 1000);
      status('working', false);
    }
    if (cmd === 'slow') {
      for (let i = 0; i < (data.seconds ?? 30) * 10; i++) {
        await sleep(100);
        if (this.canceled.has(taskId)) {
          status('canceled', true);
          return bus.finished();
        }
      }
    }
    if (cmd === 'chunks') {
      for (let i = 0; i < 3; i++) artifact('text', [{ text: `chunk${i} ` }], i > 0);
    }
    work(cmd, data, text).forEach((parts, i) => artifact(`a${i}`, parts));
    status('completed', true);
    return bus.finished();
  }

  cancelTask = async (taskId) => { this.canceled.add(taskId); };
}

serve((base) => {
  const card = {
    name: 'sdkjs03', description: 'An agent on the JavaScript SDK 0.3', version: '1.0.0',
    protocolVersion: '0.3.0', url: `${base}/`, preferredTransport: 'JSONRPC',
    capabilities: { streaming: true, pushNotifications: false },
    defaultInputModes: ['application/json'], defaultOutputModes: ['application/json'],
    skills: [{ id: 'test', name: 'test', description: 'does as told', tags: ['test'] }],
  };
  const requestHandler = new DefaultRequestHandler(card, new InMemoryTaskStore(), new Executor());
  const app = express();
  healthy(app);
  app.use(`/${AGENT_CARD_PATH}`, agentCardHandler({ agentCardProvider: requestHandler }));
  app.use('/', jsonRpcHandler({ requestHandler, userBuilder: UserBuilder.noAuthentication }));
  return app;
});
