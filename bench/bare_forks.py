"""The cost of a fork of a booted runtime by itself, in new namespaces and without a jail: the
lower bound for Belljar's forked sandboxes."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

from measure import percentiles

PROGRAMS = Path(__file__).resolve().parent / "bare_fork"
RUNS = 300


class BareForks:
    """The programs in bare_fork/, with a Node and a Python."""

    def __init__(self, node: Path, python: Path, cache: Path) -> None:
        self.missing: dict[str, str] = {}
        self._commands: dict[str, list[str | Path]] = {
            "Python": [python, "-I", "-S", PROGRAMS / "python.py", str(RUNS)]
        }
        addon = cache / "bare_fork.node"
        if compiler := shutil.which("cc"):
            subprocess.run(
                [compiler, "-O2", "-shared", "-fPIC", PROGRAMS / "addon.c", "-o", addon], check=True
            )
            self._commands["JavaScript"] = [
                node,
                "--single-threaded",
                "--v8-pool-size=1",
                PROGRAMS / "node.js",
                addon,
                str(RUNS),
            ]
        else:
            self.missing["bare fork (JavaScript)"] = "there is no C compiler (`cc`)"

    def rows(self) -> list[dict]:
        """Returns one row per language, in the format of `belljar bench --json`."""
        found = []
        for language, command in list(self._commands.items()):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                self.missing[f"bare fork ({language})"] = done.stderr.strip()[-200:]
                del self._commands[language]
                continue
            found.append(
                {
                    "name": "bare_fork",
                    "language": language,
                    "unit": "ms",
                    **asdict(percentiles(json.loads(done.stdout))),
                }
            )
        return found
