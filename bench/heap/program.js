// Makes a CSV of as many rows as its argument says and parses it into objects, the first thing that
// agents do with one.
const count = Number(process.argv[2]);
const csv =
  'id,city,amount\n' +
  Array.from({ length: count }, (_, i) => `${i},city ${i % 50},${(i * 7) % 1000}`).join('\n');
const [head, ...lines] = csv.split('\n');
const keys = head.split(',');
const rows = lines.map((line) =>
  Object.fromEntries(line.split(',').map((value, i) => [keys[i], value])),
);
console.log(`${rows.length} rows of ${csv.length} bytes`);
