// Summarise the orders in sales.csv: revenue by region and product, the best month, and what could not be read.

const fs = require('fs');

const [header, ...lines] = fs.readFileSync('sales.csv', 'utf8').trim().split('\n');
const names = header.split(',');
const totals = { region: {}, product: {}, month: {} };
let orders = 0;
let skipped = 0;
let cents = 0;

for (const line of lines) {
  // A quoted field holds a number with a decimal comma: 12,"14,75",web
  const values = line.replace(/"(\d+),(\d+)"/, '$1.$2').split(',');
  const row = Object.fromEntries(names.map((name, index) => [name, values[index]]));
  const quantity = parseInt(row.quantity, 10);
  const price = Math.round(Number(row.unit_price) * 100);
  if (Number.isNaN(Date.parse(row.date)) || !(quantity > 0) || Number.isNaN(price)) {
    skipped += 1;
    continue;
  }
  const region = row.region.trim();
  const keys = { region: region[0].toUpperCase() + region.slice(1), product: row.product, month: row.date.slice(0, 7) };
  for (const [kind, key] of Object.entries(keys)) {
    totals[kind][key] = (totals[kind][key] ?? 0) + quantity * price;
  }
  orders += 1;
  cents += quantity * price;
}
if (skipped > 0) console.warn(`left out ${skipped} rows that could not be read`);

const ranked = (kind) => Object.entries(totals[kind]).sort((a, b) => b[1] - a[1]);
for (const [region, revenue] of ranked('region')) {
  console.log(region.padEnd(8), (revenue / 100).toFixed(2).padStart(12), `${((100 * revenue) / cents).toFixed(1)}%`.padStart(7));
}

({
  orders,
  skipped,
  revenue: cents / 100,
  best_month: ranked('month')[0][0],
  top_products: ranked('product').slice(0, 3).map(([product, revenue]) => ({ product, revenue: revenue / 100 })),
});
