// A server and clients of web sockets in one program, with compression.
const { WebSocket, WebSocketServer } = require('ws');
const { once } = require('node:events');
const { randomBytes } = require('node:crypto');

module.exports = async () => {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: { threshold: 0 } });
  server.on('connection', (socket) => socket.on('message', (data, isBinary) => socket.send(isBinary ? data : `${data}`.toUpperCase(), { binary: isBinary })));
  await once(server, 'listening');
  const client = new WebSocket(`ws://127.0.0.1:${server.address().port}`);
  await once(client, 'open');
  client.send('hello');
  const [text] = await once(client, 'message');
  const sent = randomBytes(100_000);
  client.send(sent);
  const [binary] = await once(client, 'message');
  client.close(1000, 'done');
  const [code] = await once(client, 'close');
  server.close();
  return { value: { text: `${text}`, same: sent.equals(binary), compressed: client.extensions, code }, random: [Math.random(), sent.toString('hex', 0, 8)] };
};
