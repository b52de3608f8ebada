# Asks a server in the same program, with the synchronous and the asynchronous client.
import asyncio
import json
import random
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer.request_queue_size = 64
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"


async def ask_many():
    async with httpx.AsyncClient(base_url=address) as client:
        answers = await asyncio.gather(*(client.post("/", json={"i": i}) for i in range(10)))
        return sum(answer.json()["i"] for answer in answers)


with httpx.Client(base_url=address, timeout=5) as client:
    one = client.post("/", json={"text": "grüße"}).json()
total = asyncio.run(ask_many())
server.shutdown()
mocked = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(418, text=request.url.host))).get("https://example.org/")

{
    "value": {"one": one, "total": total, "mocked": [mocked.status_code, mocked.text]},
    "random": [random.random(), secrets.token_hex(8)],
}
