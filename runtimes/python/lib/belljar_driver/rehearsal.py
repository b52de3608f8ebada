"""Goes through the motions of a run once, in a process that ends after it.

A fork shares its parent's memory until it writes to it, and reference counts are written wherever Python looks: nearly all of the
time from activation to outcome would be the copying of some 400 pages (measured: 2 ms, where the work itself takes 0.1). The native
library learns from this which pages they are. Only what every program needs: each is memory that a parked sandbox holds.
"""

from belljar_driver import originals as __builtins__

import sys

from belljar_driver import ending
from belljar_driver.text import decode_json

_ACTIVATION = """{"run": {"id": "run_0", "deadline": "2026-01-02T03:04:35.678Z", "timeout_ms": 1}, "language": "python", "entry": "null",
 "arguments": [], "parameters": {"a": [1, 2.5, null, "b"]}, "env": {}, "seed": null, "finish": "idle",
 "policy": {"fs": {"read": [], "write": []}, "net": [], "loopback": false, "env": {}, "exec": false}, "limits": {"result_bytes": 1000}}"""
_PROGRAM = b"1 + 1"


class Silent:
    """The native library of a run that ends nowhere."""

    @staticmethod
    def send(kind, data):
        pass

    @staticmethod
    def exit(code):
        pass


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
