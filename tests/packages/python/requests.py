# Asks a server in the same program: JSON, a session with cookies, a redirect, many at a time, a connection that is refused.
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/there")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = json.dumps({"path": self.path, "cookie": self.headers.get("Cookie")}).encode()
        self.send_response(200)
        self.send_header("Set-Cookie", "seen=1")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer.request_queue_size = 64
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
with requests.Session() as session:
    first = session.get(address + "/a", params={"q": "ä b"}, timeout=5).json()
    second = session.get(address + "/moved", timeout=5)
    posted = session.post(address, json={"n": [1, 2, 3]}, timeout=5)
with ThreadPoolExecutor(8) as pool:
    many = list(pool.map(lambda i: requests.get(f"{address}/{i}", timeout=5).status_code, range(16)))
server.shutdown()
server.server_close()
try:
    requests.get(address, timeout=5)
    refused = None
except requests.ConnectionError as error:
    refused = type(error).__name__

{
    "value": {
        "first": first,
        "redirects": len(second.history),
        "cookie": second.json()["cookie"],
        "posted": [posted.status_code, posted.json()["n"]],
        "many": sum(many),
        "refused": refused,
    },
    "random": [random.random()],
}
