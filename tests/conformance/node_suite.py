"""Node's own tests: finds them, and runs them in plain `node`."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from processes import Ended, run_to_end
from verdicts import FAILED, PASSED, SKIPPED, TIMED_OUT, Verdict

# Node's own runner finds tests by this name and this line (test/testpy/__init__.py).
_TEST_NAME = re.compile(r"^test-.*\.m?js$")
_FLAGS_LINE = re.compile(r"//\s+Flags:(.*)")
# The line that test/common prints when a test skips itself.
_SKIPPED = re.compile(r"^1\.\.0 # Skipped: ?(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class NodeTest:
    """One file of `test/parallel`, and the command-line flags that it requires."""

    name: str
    path: Path
    flags: tuple[str, ...]


@dataclass(frozen=True)
class NodeBinary:
    path: Path
    version: tuple[int, int, int]

    @property
    def version_text(self) -> str:
        return ".".join(str(part) for part in self.version)


def node_binary(path: Path) -> NodeBinary:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor, patch = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)\n", said).groups()
    return NodeBinary(path.resolve(), (int(major), int(minor), int(patch)))


def find_tests(tree: Path) -> list[NodeTest]:
    found = []
    for path in sorted((tree / "test" / "parallel").iterdir()):
        if _TEST_NAME.match(path.name):
            flags = _FLAGS_LINE.search(path.read_text(encoding="utf-8", errors="replace"))
            found.append(NodeTest(path.name, path, tuple(flags.group(1).split()) if flags else ()))
    return found


def run_plain(
    test: NodeTest, node: NodeBinary, tree: Path, *, seconds: float, thread: int
) -> Verdict:
    """Runs a test as Node's own runner does, with its flags and in the root of the tree."""
    with tempfile.TemporaryDirectory(prefix="belljar-conformance-") as scratch:
        env = {
            "PATH": f"{node.path.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": scratch,
            "TMPDIR": scratch,
            "LANG": "C.UTF-8",
            **test_environment(scratch, thread),
        }
        ended = run_to_end(
            [str(node.path), *test.flags, str(test.path)], cwd=tree, env=env, seconds=seconds
        )
        return verdict_of(ended)


def test_environment(scratch: str, thread: int) -> dict[str, str]:
    """Returns the variables of Node's runner that name the folder for a test's files, and that say
    that other tests run concurrently."""
    return {
        "NODE_TEST_DIR": scratch,
        "TEST_PARALLEL": "1",
        "TEST_THREAD_ID": str(thread),
        "TEST_SERIAL_ID": str(thread),
    }


def verdict_of(ended: Ended) -> Verdict:
    if ended.code is None:
        return Verdict(TIMED_OUT, round(ended.seconds, 2), ended.tail())
    if ended.code != 0:
        how = f"signal {-ended.code}" if ended.code < 0 else f"exit code {ended.code}"
        return Verdict(FAILED, round(ended.seconds, 2), f"{how}\n{ended.tail()}")
    skipped = skip_reason(ended.stdout)
    if skipped is not None:
        return Verdict(SKIPPED, round(ended.seconds, 2), skipped)
    return Verdict(PASSED, round(ended.seconds, 2))


def skip_reason(stdout: str) -> str | None:
    """Returns the reason why the test skipped itself, or None if it ran."""
    said = _SKIPPED.search(stdout)
    return said.group(1) if said else None
