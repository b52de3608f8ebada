// Serves with middleware, a router and an error handler, and asks itself.
const express = require('express');
const { randomUUID } = require('node:crypto');

module.exports = async () => {
  const app = express();
  app.use(express.json());
  app.use((request, _response, next) => { request.id = randomUUID(); next(); });
  const items = express.Router();
  items.get('/:id', (request, response) => response.json({ id: request.params.id, q: request.query.q }));
  items.post('/', (request, response) => response.status(201).json({ ...request.body, request: request.id }));
  app.use('/items', items);
  app.get('/broken', () => { throw new Error('broken'); });
  app.use((error, _request, response, _next) => response.status(500).send(error.message));
  const server = await new Promise((resolve) => { const listening = app.listen(0, '127.0.0.1', () => resolve(listening)); });
  const address = `http://127.0.0.1:${server.address().port}`;
  const got = await (await fetch(`${address}/items/7?q=a`)).json();
  const posted = await (await fetch(`${address}/items`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"n": 1}' })).json();
  const broken = await fetch(`${address}/broken`);
  const missing = await fetch(`${address}/missing`);
  const value = { got, n: posted.n, broken: [broken.status, await broken.text()], missing: missing.status };
  await missing.text();
  server.closeAllConnections();
  server.close();
  return { value, random: [Math.random(), posted.request] };
};
