// The complete workflow over HTTP: upload a CSV, run code on it, follow its logs, download the summary. Node 20 or newer, no packages.
//
//   BELLJAR_URL=http://127.0.0.1:8411 BELLJAR_TOKEN=bjr_... node workflow.mjs orders.csv summary.json

import { createReadStream, createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

const [csv = "orders.csv", summary = "summary.json"] = process.argv.slice(2);
const server = process.env.BELLJAR_URL ?? "http://127.0.0.1:8411";
const token = process.env.BELLJAR_TOKEN;

async function ask(method, path, { headers, ...rest } = {}) {
  const answer = await fetch(server + path, { method, headers: { Authorization: `Bearer ${token}`, ...headers }, ...rest });
  if (!answer.ok) {
    const problem = await answer.json();
    throw new Error(`${method} ${path}: ${problem.detail}${problem.hint ? ` (${problem.hint})` : ""}`);
  }
  return answer;
}

// What runs in the sandbox. A model would have written it; it sees the storage that it was granted, the packages that it requires, and nothing else.
const code = `
const csv = require("csv-parser");

async function main() {
  const orders = (await belljar.storage.download("inputs/orders.csv")).pipe(csv());
  const totals = {};
  let records = 0;
  for await (const order of orders) {
    totals[order.city] = (totals[order.city] ?? 0) + Number(order.amount);
    records += 1;
  }
  console.log("read", records, "records");
  const summary = { records, totals };
  await belljar.storage.upload("outputs/summary.json", new Blob([JSON.stringify(summary, null, 2)], { type: "application/json" }));
  return summary;
}
module.exports = { main };
`;

// 1. Upload the input: a stream, whatever its size.
await ask("PUT", "/v1/objects/inputs/orders.csv", {
  headers: { "Content-Type": "text/csv", "Content-Length": String((await stat(csv)).size) },
  body: Readable.toWeb(createReadStream(csv)),
  duplex: "half",
});

// 2. Run the code, and follow its events as they come, one JSON object a line.
const run = await ask("POST", "/v1/runs", {
  headers: { "Content-Type": "application/json", Accept: "application/x-ndjson" },
  body: JSON.stringify({
    language: "javascript",
    code,
    policy: { storage: { read: ["inputs/"], write: ["outputs/"] } },
    labels: { example: "workflow" },
  }),
});
let outcome;
for await (const line of createInterface({ input: Readable.fromWeb(run.body) })) {
  if (!line) continue; // Says that the connection lives.
  const event = JSON.parse(line);
  if (event.type === "log") console.log(`${event.timestamp} ${event.level}: ${event.message}`);
  if (event.type === "finished") outcome = event.outcome;
}
if (outcome?.status !== "succeeded") throw new Error(`the run ended as ${outcome?.status}: ${outcome?.error?.message}`);
console.log("finished:", JSON.stringify(outcome.value));

// 3. Download the result.
const result = await ask("GET", "/v1/objects/outputs/summary.json");
await pipeline(Readable.fromWeb(result.body), createWriteStream(summary));
console.log("saved", summary);
