"""The memory of one more idle sandbox: proportional set sizes (PSS) of all processes that a
contender started."""

from __future__ import annotations

import time
from pathlib import Path

from contenders import Contender

# The first sandboxes include what all of them share. The cost of one more is the rise from here.
FIRST, LAST = 2, 8
SETTLE_SECONDS = 0.5


def megabytes_of_one_more(contender: Contender) -> float:
    """Returns the PSS that each sandbox after the first ones adds, in MB (10^6 bytes)."""
    client = contender.connect()
    try:
        for _ in range(FIRST):
            client.hold()
        few = _settled_pss(client.process_ids())
        for _ in range(LAST - FIRST):
            client.hold()
        many = _settled_pss(client.process_ids())
        return (many - few) / (LAST - FIRST) / 1e6
    finally:
        client.close()


def _settled_pss(roots: list[int]) -> int:
    # A runtime that has just booted still compiles and collects in the background.
    time.sleep(SETTLE_SECONDS)
    return sum(_pss(pid) for pid in _with_descendants(roots))


def _with_descendants(roots: list[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            # The name of the program, in parentheses, can contain any character.
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children.get(pid, [])
    return found


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no Pss in the memory map of process {pid}")
