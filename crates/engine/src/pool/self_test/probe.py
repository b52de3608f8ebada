# Runs in a forked sandbox: draws randomness, uses what a fork could have broken, and tells which shared mappings there are.
import asyncio
import gc
import http.server
import importlib.util
import os
import random
import re
import secrets
import threading
import urllib.request
import uuid


def draw():
    draws = {
        "random": str(random.random()),
        "os.urandom": os.urandom(16).hex(),
        "secrets": secrets.token_hex(16),
        "uuid4": str(uuid.uuid4()),
    }
    if importlib.util.find_spec("_ssl") is not None:
        # A Python that has it, and of whose generator nothing is known here, has failed the test.
        import ssl

        draws["ssl.RAND_bytes"] = ssl.RAND_bytes(16).hex()
        draws["TLS client hello"] = client_hello(ssl).hex()
    return draws


def client_hello(ssl):
    """The first message of a TLS client: the random number that keys are made with, and a key of its own."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    # The random number follows 5 bytes of the record, 4 of the message and 2 of the version.
    return outgoing.read()[11:43]


def collects_garbage():
    for _ in range(3):
        ring = [[] for _ in range(10_000)]
        for item in ring:
            item.append(ring)
        del ring, item
    return gc.collect() > 0


def runs_threads():
    seen = []
    threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(seen) == [0, 1, 2, 3]


def runs_asyncio():
    async def work():
        await asyncio.sleep(0)
        return await asyncio.to_thread(lambda: 7)

    return asyncio.run(work()) == 7


def fetches():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hi")

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}") as answer:
            return answer.read() == b"hi"


def main():
    draws = draw()
    worked = {}
    checks = {"garbage collection": collects_garbage, "threads": runs_threads, "asyncio": runs_asyncio, "fetch over loopback": fetches}
    for name, check in checks.items():
        try:
            worked[name] = None if check() else "gave a wrong answer"
        except Exception as error:
            worked[name] = repr(error)
    with open("/proc/self/maps") as maps:
        shared = [line.strip() for line in maps if re.search(r" .w.s ", line)]
    return {"draws": draws, "worked": worked, "shared": shared}
