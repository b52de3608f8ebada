// Speaks PostgreSQL's protocol to a server in the same program.
const { Client, Pool, types } = require('pg');
const net = require('node:net');
const { randomBytes } = require('node:crypto');

const message = (kind, ...parts) => {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(5);
  head.write(kind);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};
const int16 = (number) => { const bytes = Buffer.alloc(2); bytes.writeInt16BE(number); return bytes; };
const int32 = (number) => { const bytes = Buffer.alloc(4); bytes.writeInt32BE(number); return bytes; };
const text = (string) => Buffer.from(string + '\0');
const ready = message('Z', Buffer.from('I'));

function serve(socket) {
  let isStarted = false;
  socket.on('data', (data) => {
    if (!isStarted) {
      isStarted = true;
      socket.write(Buffer.concat([message('R', int32(0)), ready]));
    } else if (data[0] === 'Q'.charCodeAt(0)) {
      const column = Buffer.concat([text('n'), int32(0), int16(0), int32(types.builtins.INT4), int16(4), int32(-1), int16(0)]);
      const row = message('D', int16(1), int32(2), Buffer.from('42'));
      socket.write(Buffer.concat([message('T', int16(1), column), row, row, message('C', text('SELECT 2')), ready]));
    }
  });
  socket.on('error', () => {});
}

module.exports = async () => {
  const server = net.createServer(serve);
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const options = { host: '127.0.0.1', port: server.address().port, user: 'u', database: 'd', password: randomBytes(8).toString('hex') };
  const client = new Client(options);
  await client.connect();
  const { rows, fields } = await client.query('select n from t');
  await client.end();
  const pool = new Pool({ ...options, max: 2 });
  const counts = await Promise.all([1, 2, 3].map(() => pool.query('select n from t').then((result) => result.rowCount)));
  await pool.end();
  server.close();
  return { value: { rows, column: fields[0].name, counts, quoted: client.escapeLiteral("it's") }, random: [Math.random(), options.password] };
};
