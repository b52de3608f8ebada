"""The complete workflow over HTTP: upload a CSV, run code on it, follow its logs, download the summary. Python 3.10 or newer, no packages.

BELLJAR_URL=http://127.0.0.1:8411 BELLJAR_TOKEN=bjr_... python3 workflow.py orders.csv summary.json
"""

import json
import os
import shutil
import sys
import urllib.error
import urllib.request

SERVER = os.environ.get("BELLJAR_URL", "http://127.0.0.1:8411")
TOKEN = os.environ["BELLJAR_TOKEN"]

# What runs in the sandbox. A model would have written it; it sees the storage that it was granted, and nothing else.
CODE = '''
import csv, io, json
import belljar

def main():
    totals, records = {}, 0
    with belljar.storage.download("inputs/orders.csv") as file:
        for order in csv.DictReader(io.TextIOWrapper(file, "utf-8")):
            totals[order["city"]] = totals.get(order["city"], 0) + float(order["amount"])
            records += 1
    print("read", records, "records")
    summary = {"records": records, "totals": totals}
    belljar.storage.upload("outputs/summary.json", json.dumps(summary, indent=2), content_type="application/json")
    return summary
'''


def ask(method, path, body=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(SERVER + path, body, {"Authorization": f"Bearer {TOKEN}", **headers}, method=method)
    try:
        return urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        raise SystemExit(f"{method} {path}: {problem['detail']} ({problem.get('hint', 'no hint')})") from None


def main(orders="orders.csv", summary="summary.json"):
    # 1. Upload the input: a file, whatever its size.
    with open(orders, "rb") as file:
        size = str(os.path.getsize(orders))
        ask("PUT", "/v1/objects/inputs/orders.csv", file, Content_Type="text/csv", Content_Length=size).close()

    # 2. Run the code, and follow its events as they come, one JSON object a line.
    run = {
        "language": "python",
        "code": CODE,
        "policy": {"storage": {"read": ["inputs/"], "write": ["outputs/"]}},
        "labels": {"example": "workflow"},
    }
    outcome = {"status": "lost", "error": None}
    with ask("POST", "/v1/runs", json.dumps(run).encode(), Content_Type="application/json", Accept="application/x-ndjson") as events:
        for line in events:
            if line == b"\n":  # Says that the connection lives.
                continue
            event = json.loads(line)
            if event["type"] == "log":
                print(event["timestamp"], f"{event['level']}:", event["message"], flush=True)
            elif event["type"] == "finished":
                outcome = event["outcome"]
    if outcome["status"] != "succeeded":
        raise SystemExit(f"the run ended as {outcome['status']}: {outcome['error']}")
    print("finished:", json.dumps(outcome["value"]))

    # 3. Download the result.
    with ask("GET", "/v1/objects/outputs/summary.json") as result, open(summary, "wb") as file:
        shutil.copyfileobj(result, file)
    print("saved", summary)


main(*sys.argv[1:])
