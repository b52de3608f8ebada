// Summarise the orders in sales.csv: revenue by region and product, the best month, and what could not be read.

import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";

type Order = { month: string; region: string; product: string; cents: number };
type Totals = Map<string, number>;

/** The fields of a line, with quoted ones as they were meant. */
function fields(line: string): string[] {
  return [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map((match) => match[1]?.replaceAll('""', '"') ?? match[2] ?? "");
}

/** One order with its types, or an error that names the field that is wrong. */
function readOrder([, date = "", region = "", product = "", quantity = "", price = ""]: string[]): Order {
  if (Number.isNaN(Date.parse(date))) throw new RangeError("date");
  const count = Number.parseInt(quantity, 10);
  if (!(count > 0)) throw new RangeError("quantity");
  const cents = Math.round(Number(price.replace(",", ".")) * 100);
  if (Number.isNaN(cents)) throw new RangeError("unit_price");
  const name = region.trim();
  return { month: date.slice(0, 7), region: name.charAt(0).toUpperCase() + name.slice(1), product, cents: count * cents };
}

const add = (totals: Totals, key: string, cents: number): void => void totals.set(key, (totals.get(key) ?? 0) + cents);
const ranked = (totals: Totals): [string, number][] => [...totals].sort((a, b) => b[1] - a[1]);

export async function main({ top = 3 }: { top?: number }) {
  const byRegion: Totals = new Map();
  const byProduct: Totals = new Map();
  const byMonth: Totals = new Map();
  const skipped: string[] = [];
  let [orders, total, isHeader] = [0, 0, true];
  for await (const line of createInterface({ input: createReadStream("sales.csv", "utf8") })) {
    if (isHeader) {
      isHeader = false;
      continue;
    }
    try {
      const order = readOrder(fields(line));
      orders += 1;
      total += order.cents;
      add(byRegion, order.region, order.cents);
      add(byProduct, order.product, order.cents);
      add(byMonth, order.month, order.cents);
    } catch (error) {
      skipped.push((error as Error).message);
    }
  }
  if (skipped.length > 0) {
    const reasons = Object.entries(Object.groupBy(skipped, (field) => field)).map(([field, rows]) => `${field} ${rows?.length}`);
    console.warn(`left out ${skipped.length} rows that could not be read (${reasons.join(", ")})`);
  }

  console.table(
    Object.fromEntries(
      ranked(byRegion).map(([region, cents]) => [region, { revenue: cents / 100, share: `${((100 * cents) / total).toFixed(1)}%` }]),
    ),
  );

  return {
    orders,
    skipped: skipped.length,
    revenue: total / 100,
    best_month: ranked(byMonth)[0]?.[0],
    top_products: ranked(byProduct)
      .slice(0, top)
      .map(([product, cents]) => ({ product, revenue: cents / 100 })),
  };
}
