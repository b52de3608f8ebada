// Asks a server in the same program: JSON, interceptors, an error status, a time limit.
const axios = require('axios');
const http = require('node:http');
const { randomUUID } = require('node:crypto');

module.exports = async () => {
  const server = http.createServer((request, response) => {
    if (request.url === '/slow') return;
    let body = '';
    request.on('data', (chunk) => { body += chunk; });
    request.on('end', () => {
      response.statusCode = request.url === '/missing' ? 404 : 200;
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ url: request.url, header: request.headers['x-added'], body: body && JSON.parse(body) }));
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = axios.create({ baseURL: `http://127.0.0.1:${server.address().port}` });
  client.interceptors.request.use((config) => { config.headers.set('X-Added', 'yes'); return config; });
  const got = await client.get('/a', { params: { q: 'ä b' } });
  const posted = await client.post('/b', { n: [1, 2] });
  const many = await Promise.all(Array.from({ length: 20 }, (_, index) => client.get(`/${index}`)));
  const missing = await client.get('/missing').catch((error) => error.response.status);
  const slow = await client.get('/slow', { timeout: 50 }).catch((error) => error.code);
  server.closeAllConnections();
  server.close();
  return {
    value: { got: got.data, posted: posted.data.body, many: many.length, missing, slow },
    random: [Math.random(), randomUUID()],
  };
};
