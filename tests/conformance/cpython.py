#!/usr/bin/env python3
"""CPython's own tests, in a plain `python3` and in Belljar sandboxes. See README.md in this folder.

cpython.py plain --python PYTHON
    run all modules in a plain Python, once per version
cpython.py belljar --python PYTHON --belljar BELLJAR
    run the modules with tests that plain Python passes in sandboxes
cpython.py report  --python PYTHON                    write docs/conformance/cpython.md
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from pathlib import Path

import report
from cpython_suite import NoTestPackage, PythonBinary, python_binary, run_plain
from processes import answer_to_signals
from sandbox import BelljarUnusable, Sandbox, SandboxRun, build_of, require_same_runtime
from verdicts import FAILED, PASSED, SKIPPED, Verdict, VerdictFile, cache_directory, not_passed

HERE = Path(__file__).resolve().parent
PROGRAM = HERE / "cpython_program.py"
MODULE_SECONDS = 600
ATTEMPTS = 3
# The name of the verdict on a whole module: a crash loses the results of all its tests.
WHOLE = "the module as a whole"

# The result of one attempt at a module: the program's value, or the reason why there is none.
Attempt = dict | str


def main() -> int:
    answer_to_signals()
    arguments = _arguments()
    try:
        python = python_binary(arguments.python)
        match arguments.command:
            case "plain":
                return _plain(arguments, python)
            case "belljar":
                return _belljar(arguments, python)
            case "report":
                return _report(arguments, python)
    except (NoTestPackage, BelljarUnusable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["plain", "belljar", "report"])
    parser.add_argument(
        "--python",
        type=Path,
        required=True,
        help="the Python that Belljar runs, with its `test` package",
    )
    parser.add_argument("--belljar", type=Path, default=HERE.parents[1] / "target/release/belljar")
    parser.add_argument(
        "--start",
        choices=["fork", "exec"],
        default="fork",
        help="how sandboxes start (default: fork)",
    )
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help="only modules whose name matches"
    )
    parser.add_argument(
        "--failed-in",
        type=Path,
        metavar="FILE",
        help="only modules that did not pass in this file of verdicts, of an earlier build",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="run modules again in which something failed, or in a sandbox skipped itself",
    )
    return parser.parse_args()


def _plain(arguments: argparse.Namespace, python: PythonBinary) -> int:
    verdicts = _verdict_file(python, "plain")
    for module in _to_do(arguments, python, verdicts):
        attempt = run_plain(module, python, PROGRAM, seconds=MODULE_SECONDS)
        _record(module, _verdicts(module, attempt), verdicts)
    _print_counts("plain", verdicts)
    return 0


def _belljar(arguments: argparse.Namespace, python: PythonBinary) -> int:
    plain = _verdict_file(python, "plain")
    if not plain.verdicts:
        raise BelljarUnusable(
            "there are no tests that plain Python passed; run `cpython.py plain` first"
        )
    verdicts = _belljar_verdicts(arguments, python)
    minor_version = ".".join(python.version_text.split(".")[:2])
    sandbox = Sandbox(
        belljar=arguments.belljar.resolve(),
        runtime=f"python@{minor_version}",
        start=arguments.start,
    )
    _check_controls(sandbox, python)
    for module in _to_do(arguments, python, verdicts):
        expected = [
            name
            for name in plain.verdicts
            if name.startswith(f"{module}: ") and plain.verdicts[name].status == PASSED
        ]
        found = _best_in_sandbox(sandbox, module, expected)
        failed = [name for name in expected if found[name].status == FAILED]
        if failed:
            # A failure says something about the sandbox only if plain Python passes the test now,
            # in as many attempts.
            for _ in range(ATTEMPTS):
                again = _verdicts(
                    module, run_plain(module, python, PROGRAM, seconds=MODULE_SECONDS)
                )
                for name in failed:
                    if name not in again or again[name].status != PASSED:
                        found[name] = Verdict(
                            report.UNSTABLE, 0, "plain Python did not pass it every time"
                        )
        _record(module, found, verdicts)
    _print_counts(f"belljar, {arguments.start} start", verdicts)
    return 0


def _best_in_sandbox(sandbox: Sandbox, module: str, expected: list[str]) -> dict[str, Verdict]:
    """Returns the verdict on each expected test: the best of up to ATTEMPTS attempts."""
    best: dict[str, Verdict] = {}
    for _ in range(ATTEMPTS):
        verdicts = _verdicts(
            module, _attempt(sandbox.run(PROGRAM, {"module": module}, MODULE_SECONDS))
        )
        for name in expected:
            verdict = verdicts.get(name) or Verdict(FAILED, 0, _missing(module, verdicts))
            if name not in best or best[name].status == FAILED:
                best[name] = verdict
        if all(best[name].status != FAILED for name in expected):
            break
    return best


def _missing(module: str, verdicts: dict[str, Verdict]) -> str:
    return "the test was not reported; " + verdicts[f"{module}: {WHOLE}"].detail


def _verdicts(module: str, attempt: Attempt) -> dict[str, Verdict]:
    """Converts an attempt to verdicts by test name, `MODULE: TEST`."""
    if isinstance(attempt, str):
        return {f"{module}: {WHOLE}": Verdict(FAILED, 0, attempt)}
    verdicts = {}
    for name, result in attempt["tests"].items():
        status, _, detail = result.partition(": ")
        verdicts[f"{module}: {name}"] = Verdict(status, 0, detail)
    ended_well = attempt["exit_code"] == 0
    verdicts[f"{module}: {WHOLE}"] = Verdict(
        PASSED if ended_well else FAILED, 0, f"exit code {attempt['exit_code']}"
    )
    return verdicts


def _attempt(run: SandboxRun) -> Attempt:
    if run.status == "succeeded" and isinstance(run.outcome["value"], dict):
        return run.outcome["value"]
    return run.why()


def _check_controls(sandbox: Sandbox, python: PythonBinary) -> None:
    """Checks that the harness detects failures, by running a program that must fail."""
    control = sandbox.run(PROGRAM, {"module": "test_that_does_not_exist"}, MODULE_SECONDS)
    require_same_runtime(sandbox, control, python.version_text)
    if control.outcome["value"]["exit_code"] == 0:
        raise BelljarUnusable(
            f"a module that does not exist must fail, but its outcome is: {control.why()}"
        )


def _report(arguments: argparse.Namespace, python: PythonBinary) -> int:
    plain = _verdict_file(python, "plain")
    comparison = report.Comparison(
        title=f"CPython {python.version_text}: its own tests",
        subject=f"{sum(map(len, python.modules.values()))} modules of `python -m test`, by single test",
        differing=None,
        command=f"tests/conformance/cpython.py belljar --python PYTHON --start {arguments.start}",
        plain=plain,
        belljar=_belljar_verdicts(arguments, python),
        groups={
            group: [name for name in plain.verdicts if name.partition(": ")[0] in modules]
            for group, modules in python.modules.items()
        },
        reasons=report.read_reasons(
            HERE / "cpython_reasons.toml", int(python.version_text.split(".")[1])
        ),
    )
    return report.write(comparison, HERE.parents[1] / "docs/conformance/cpython.md")


def _to_do(arguments: argparse.Namespace, python: PythonBinary, verdicts: VerdictFile) -> list[str]:
    failed = (
        {name.partition(": ")[0] for name in not_passed(arguments.failed_in)}
        if arguments.failed_in
        else None
    )
    # A sandbox runs what plain passes, so there a skip is a failure too.
    unsettled = (FAILED,) if arguments.command == "plain" else (FAILED, SKIPPED)
    todo = []
    for module in (m for modules in python.modules.values() for m in modules):
        known = [
            v.status for name, v in verdicts.verdicts.items() if name.startswith(f"{module}: ")
        ]
        wanted = not known or (arguments.again and any(status in known for status in unsettled))
        if (
            wanted
            and fnmatch.fnmatch(module, arguments.only)
            and (failed is None or module in failed)
        ):
            todo.append(module)
    return todo


def _record(module: str, found: dict[str, Verdict], verdicts: VerdictFile) -> None:
    for name, verdict in found.items():
        verdicts.record(name, verdict)
    verdicts.save()
    failed = [name for name, verdict in found.items() if verdict.status not in (PASSED, SKIPPED)]
    skipped = sum(verdict.status == SKIPPED for verdict in found.values())
    print(
        f"{module}: {len(found)} tests, {len(failed)} did not pass, {skipped} skipped", flush=True
    )


def _belljar_verdicts(arguments: argparse.Namespace, python: PythonBinary) -> VerdictFile:
    return _verdict_file(python, f"belljar-{arguments.start}-{build_of(arguments.belljar)}")


def _verdict_file(python: PythonBinary, name: str) -> VerdictFile:
    path = cache_directory() / "verdicts" / f"python-{python.version_text}" / f"{name}.json"
    return VerdictFile(path, {"python": python.version_text})


def _print_counts(what: str, verdicts: VerdictFile) -> None:
    counts = ", ".join(
        f"{verdicts.count(s)} {s}" for s in (PASSED, SKIPPED, FAILED, report.UNSTABLE)
    )
    print(f"{what}: {len(verdicts.verdicts)} tests: {counts}")


if __name__ == "__main__":
    sys.exit(main())
