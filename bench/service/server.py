"""The real server, as it is shipped, in a home of its own, and its clients."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path


class Server:
    """`belljar serve` on a free port. History and audit are always on."""

    def __init__(self, belljar: Path, home: Path, load: Path, token: str = "") -> None:
        home.mkdir(exist_ok=True)
        self.home, self.load = home, load
        asked = time.perf_counter()
        self.process = subprocess.Popen(
            [belljar, "serve", "--listen", "127.0.0.1:0"],
            env=os.environ | {"BELLJAR_HOME": str(home), "BELLJAR_LOG": "warn"},
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        self.url = re.search(r"http://[^,\s]+", line)[0]
        self.address = self.url.removeprefix("http://")
        self._until_answering()
        self.ready_ms = (time.perf_counter() - asked) * 1000
        while not token:
            token = (re.search(r"bjr_\S+", self.process.stdout.readline()) or [""])[0]
        self.token = token

    def _until_answering(self) -> None:
        with urllib.request.urlopen(f"{self.url}/readyz") as answer:
            answer.read()

    def ask(self, method: str, path: str, body: object = None, headers: dict | None = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path,
            data,
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
            | (headers or {}),
            method=method,
        )
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def run(self, **submission: object) -> dict:
        return self.ask("POST", "/v1/runs", submission | {"wait": True})

    def loaded(self, what: str, *arguments: object) -> dict:
        """Returns what the clients of load.rs measured."""
        output = subprocess.run(
            [self.load, what, self.address, self.token, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = json.loads(output.splitlines()[-1])
        if found.get("wrong"):
            raise RuntimeError(
                f"{found['wrong']} of {found['count']} answers were wrong: {what} {arguments}"
            )
        return found

    def rss_mb(self) -> float:
        return (
            int(
                re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[
                    1
                ]
            )
            / 1024
        )

    def cpu_ms(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
