"""Goes through the motions of a run once, in a forked sandbox that still waits for its own.

A fork shares its parent's memory until it writes to it, and reference counts are written wherever Python looks: nearly all of the
time from activation to outcome is the copying of some 400 pages (measured: 2 ms, where the work itself takes 0.1). This has most of
them copied while nobody waits. Only what every program needs: each page is memory that a parked sandbox holds. It leaves nothing behind.
"""

from belljar_driver import originals as __builtins__

import sys

from belljar_driver import ending
from belljar_driver.text import decode_json

_ACTIVATION = """{"run": {"id": "run_0", "deadline": "2026-01-02T03:04:35.678Z", "timeout_ms": 1}, "language": "python", "entry": "null",
 "arguments": [], "parameters": {"a": [1, 2.5, null, "b"]}, "env": {}, "seed": null, "finish": "idle",
 "policy": {"fs": {"read": [], "write": []}, "net": [], "loopback": false, "env": {}, "exec": false}, "limits": {"result_bytes": 1000}}"""
_PROGRAM = b"1 + 1"


def rehearse(make_sandbox):
    """Prepares and runs a program in a sandbox of its own over /dev/null, and takes back what that set."""
    path, main = sys.path[:], sys.modules["__main__"]
    sandbox = make_sandbox(decode_json(_ACTIVATION), "/dev")
    program = sandbox.prepare()
    program.source = _PROGRAM
    sandbox.value_of(program)
    ending.has_work_for_exit_handlers()
    ending.settle("settled")
    sys.path[:], sys.modules["__main__"] = path, main
