#!/usr/bin/env python3
"""Node's own tests, in plain `node` and in Belljar sandboxes. See README.md in this folder.

node.py plain   --node NODE                    run all tests in plain node, once per version
node.py belljar --node NODE --belljar BELLJAR  run the tests that plain node passes in sandboxes
node.py report  --node NODE                    write docs/conformance/node-MAJOR.md
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import report
from debian_source import SourceTree, SourceUnavailable, fetch_source
from node_suite import (
    NodeBinary,
    NodeTest,
    find_tests,
    node_binary,
    run_plain,
    skip_reason,
    test_environment,
)
from processes import answer_to_signals
from sandbox import BelljarUnusable, Sandbox, SandboxRun, build_of, require_same_runtime
from verdicts import (
    FAILED,
    PASSED,
    SKIPPED,
    TIMED_OUT,
    Verdict,
    VerdictFile,
    cache_directory,
    not_passed,
)

HERE = Path(__file__).resolve().parent
PROGRAM = HERE / "node_program.cjs"
TEST_SECONDS = 60
# On a busy machine some of Node's tests miss their own deadlines, so a test counts as failed only
# if it failed every time.
ATTEMPTS = 3


def main() -> int:
    answer_to_signals()
    arguments = _arguments()
    node = node_binary(arguments.node)
    try:
        tree = fetch_source("nodejs", node.version, cache_directory() / "sources")
        tests = [t for t in find_tests(tree.path) if fnmatch.fnmatch(t.name, arguments.only)]
        if arguments.failed_in:
            failed = not_passed(arguments.failed_in)
            tests = [t for t in tests if t.name in failed]
        match arguments.command:
            case "plain":
                return _plain(arguments, node, tree, tests)
            case "belljar":
                return _belljar(arguments, node, tree, tests)
            case "report":
                return _report(arguments, node, tree, tests)
    except (SourceUnavailable, BelljarUnusable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["plain", "belljar", "report"])
    parser.add_argument(
        "--node", type=Path, required=True, help="the node that Belljar runs, of the same version"
    )
    parser.add_argument("--belljar", type=Path, default=HERE.parents[1] / "target/release/belljar")
    parser.add_argument(
        "--start",
        choices=["fork", "exec"],
        default="fork",
        help="how sandboxes start (default: fork)",
    )
    parser.add_argument("--jobs", type=int, default=2, help="tests at a time (default: 2)")
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help="only tests whose file name matches"
    )
    parser.add_argument(
        "--failed-in",
        type=Path,
        metavar="FILE",
        help="only tests that did not pass in this file of verdicts, of an earlier build",
    )
    parser.add_argument(
        "--again", action="store_true", help="run tests again that failed, or that were never run"
    )
    return parser.parse_args()


def _plain(
    arguments: argparse.Namespace, node: NodeBinary, tree: SourceTree, tests: list[NodeTest]
) -> int:
    verdicts = _plain_verdicts(node, tree)

    def judge(test: NodeTest, thread: int) -> Verdict:
        return run_plain(test, node, tree.path, seconds=TEST_SECONDS, thread=thread)

    _judge_all(_to_do(arguments, tests, verdicts), judge, verdicts, arguments.jobs)
    _print_counts("plain", verdicts)
    return 0


def _belljar(
    arguments: argparse.Namespace, node: NodeBinary, tree: SourceTree, tests: list[NodeTest]
) -> int:
    plain = _plain_verdicts(node, tree)
    passed_plain = [
        t for t in tests if t.name in plain.verdicts and plain.verdicts[t.name].status == PASSED
    ]
    if not passed_plain:
        raise BelljarUnusable(
            "there are no tests that plain node passed; run `node.py plain` first"
        )
    verdicts = _belljar_verdicts(arguments, node, tree)
    sandbox = Sandbox(
        belljar=arguments.belljar.resolve(),
        runtime=f"node@{node.version[0]}",
        start=arguments.start,
        reads=[HERE / "controls"],
        writes=[tree.path],
        env=test_environment("/tmp", thread=0),
    )
    _check_controls(sandbox, node)

    def judge(test: NodeTest, thread: int) -> Verdict:
        for _ in range(ATTEMPTS):
            verdict = _verdict(_run(sandbox, test.path, tree.path, _flags_to_start_with(test)))
            if verdict.status in (PASSED, SKIPPED):
                return verdict
        # A failure says something about the sandbox only if plain node passes the test now, in as
        # many attempts.
        for _ in range(ATTEMPTS):
            again = run_plain(test, node, tree.path, seconds=TEST_SECONDS, thread=thread)
            if again.status != PASSED:
                return Verdict(
                    report.UNSTABLE,
                    verdict.seconds,
                    f"plain node did not pass it every time: {again.detail}",
                )
        return verdict

    _judge_all(_to_do(arguments, passed_plain, verdicts), judge, verdicts, arguments.jobs)
    _print_counts(f"belljar, {arguments.start} start", verdicts)
    return 0


def _report(
    arguments: argparse.Namespace, node: NodeBinary, tree: SourceTree, tests: list[NodeTest]
) -> int:
    comparison = report.Comparison(
        title=f"Node {node.version[0]}: its own tests",
        subject=f"`test/parallel` of Debian's source package nodejs {tree.version}, run by Node {node.version_text}",
        differing=None
        if _same_version(node, tree)
        else f"The tests are those of {tree.version.partition('+')[0]}, the nearest that Debian has to {node.version_text}. Both sides ran the same binary.",
        command=f"tests/conformance/node.py belljar --node NODE --start {arguments.start}",
        plain=_plain_verdicts(node, tree),
        belljar=_belljar_verdicts(arguments, node, tree),
        groups={
            "in the sandbox's first process": [t.name for t in tests if not t.flags],
            "in a child with command-line flags, which the test starts itself": [
                t.name for t in tests if t.flags
            ],
        },
        reasons=report.read_reasons(HERE / "node_reasons.toml", node.version[0]),
    )
    return report.write(
        comparison, HERE.parents[1] / "docs/conformance" / f"node-{node.version[0]}.md"
    )


def _flags_to_start_with(test: NodeTest) -> tuple[str, ...]:
    """Returns the flags without which a test cannot skip itself: an ES module that imports something
    that needs a flag does not even link."""
    return test.flags if test.path.suffix == ".mjs" else ()


def _run(sandbox: Sandbox, test: Path, directory: Path, flags: tuple[str, ...] = ()) -> SandboxRun:
    return sandbox.run(
        PROGRAM,
        {"test": str(test), "directory": str(directory), "flags": json.dumps(flags)},
        TEST_SECONDS,
    )


def _verdict(run: SandboxRun) -> Verdict:
    if run.status != "succeeded":
        return Verdict(TIMED_OUT if run.status == "timed_out" else FAILED, run.seconds, run.why())
    skipped = skip_reason(run.logs())
    return (
        Verdict(PASSED, run.seconds) if skipped is None else Verdict(SKIPPED, run.seconds, skipped)
    )


def _check_controls(sandbox: Sandbox, node: NodeBinary) -> None:
    """Checks that the harness detects failures, by running programs that must fail."""
    controls = HERE / "controls"
    require_same_runtime(
        sandbox, _run(sandbox, controls / "passes.js", controls), node.version_text
    )
    for control in sorted(controls.iterdir()):
        if control.name != "passes.js":
            run = _run(sandbox, control, controls)
            if run.status not in ("failed", "crashed"):
                raise BelljarUnusable(
                    f"the control {control.name} must fail, but its outcome is: {run.why()}"
                )


def _judge_all(
    tests: list[NodeTest],
    judge: Callable[[NodeTest, int], Verdict],
    verdicts: VerdictFile,
    jobs: int,
) -> None:
    waiting: queue.SimpleQueue[NodeTest] = queue.SimpleQueue()
    for test in tests:
        waiting.put(test)
    recording = threading.Lock()
    total = len(tests)

    def work(thread: int) -> None:
        while True:
            try:
                test = waiting.get_nowait()
            except queue.Empty:
                return
            verdict = judge(test, thread)
            with recording:
                verdicts.record(test.name, verdict)
                done = total - waiting.qsize()
                if verdict.status not in (PASSED, SKIPPED) or done % 100 == 0:
                    print(f"{done}/{total} {test.name}: {verdict.status}", flush=True)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(1, jobs + 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    verdicts.save()


def _to_do(
    arguments: argparse.Namespace, tests: list[NodeTest], verdicts: VerdictFile
) -> list[NodeTest]:
    settled = (
        (PASSED, SKIPPED)
        if arguments.again
        else (PASSED, SKIPPED, FAILED, TIMED_OUT, report.UNSTABLE)
    )
    return [
        t
        for t in tests
        if t.name not in verdicts.verdicts or verdicts.verdicts[t.name].status not in settled
    ]


def _plain_verdicts(node: NodeBinary, tree: SourceTree) -> VerdictFile:
    return _verdict_file(node, tree, "plain")


def _belljar_verdicts(
    arguments: argparse.Namespace, node: NodeBinary, tree: SourceTree
) -> VerdictFile:
    return _verdict_file(node, tree, f"belljar-{arguments.start}-{build_of(arguments.belljar)}")


def _verdict_file(node: NodeBinary, tree: SourceTree, name: str) -> VerdictFile:
    path = cache_directory() / "verdicts" / f"node-{node.version[0]}" / f"{name}.json"
    return VerdictFile(path, {"node": node.version_text, "tests": tree.version})


def _same_version(node: NodeBinary, tree: SourceTree) -> bool:
    return tree.version.startswith(node.version_text + "+")


def _print_counts(what: str, verdicts: VerdictFile) -> None:
    counts = ", ".join(
        f"{verdicts.count(s)} {s}" for s in (PASSED, SKIPPED, FAILED, TIMED_OUT, report.UNSTABLE)
    )
    print(f"{what}: {len(verdicts.verdicts)} tests: {counts}")


if __name__ == "__main__":
    sys.exit(main())
