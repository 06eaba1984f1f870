// What the agents on the JavaScript SDKs share: what `cmd` of the input asks for, and how they serve.

import http from 'node:http';

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export const ENDS = {
  reject: ['rejected', 'not my kind of work'],
  fail: ['failed', 'it broke'],
  input: ['input-required', 'which colour?'],
  auth: ['auth-required', 'log in at https://example.com/login'],
  canceled: ['canceled', 'changed my mind'],
  say: ['completed', 'done, nothing to show'],
};

export const told = (text) => {
  try {
    return text.startsWith('{') ? JSON.parse(text) : {};
  } catch {
    return {};
  }
};

// The artifacts that a command answers with, as lists of neutral parts, and whether in chunks.
export const work = (cmd, data, text) => {
  switch (cmd) {
    case 'text': return [[{ text: 'plain answer' }]];
    case 'nothing': return [];
    case 'answer': return [[{ data: { answered: data, text } }]];
    case 'login': return [[{ data: { logged: 'in' } }]];
    case 'slow': return [[{ data: { slept: data.seconds ?? 30 } }]];
    case 'many': return [
      [{ data: { a: 1 } }, { data: { b: { c: [1, 2.5] } } }],
      [{ data: { a: 2 } }, { text: 'some text' },
        { url: 'https://x/f.pdf', name: 'f.pdf', mime: 'application/pdf' }],
    ];
    case 'chunks': return [[{ data: { chunks: 3 } }]];
    default: return [[{ data: { echo: data, text } }]];
  }
};

// Serves on a free port until killed, or until the pipe on stdin ends (whoever started us is gone).
export const serve = (build) => {
  const server = http.createServer();
  server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
    const { port } = server.address();
    server.on('request', build(`http://127.0.0.1:${port}`));
    console.log(JSON.stringify({ port }));
  });
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
};

export const healthy = (app) => app.get('/health', (_, answer) => answer.json({ status: 'ok' }));
