// Streams a file of rows.
const csv = require('csv-parser');
const fs = require('node:fs');

module.exports = async () => {
  fs.writeFileSync('rows.csv', 'name,amount\n' + Array.from({ length: 10_000 }, (_, index) => `"n, ${index % 7}",${index}`).join('\n'));
  const sums = {};
  let rows = 0;
  for await (const row of fs.createReadStream('rows.csv').pipe(csv())) {
    sums[row.name] = (sums[row.name] ?? 0) + Number(row.amount);
    rows++;
  }
  return { value: { rows, names: Object.keys(sums).length, total: Object.values(sums).reduce((a, b) => a + b) }, random: [Math.random()] };
};
