#!/usr/bin/env python3
"""Compares Belljar's output for TypeScript with TypeScript's own output, over TypeScript's own
conformance tests.

    # Prints verdicts, one line of JSON for each file.
    tests/conformance/typescript.py run --node NODE --library LIBBELLJAR
    # Writes docs/conformance/typescript.md.
    tests/conformance/typescript.py report

The tests come from Debian's source package `node-typescript`, the compiler from npm. Nothing that is fetched is kept in the
repository. NODE is the version that Belljar runs: `belljar doctor` names it. LIBRARY is the built native library:
target/native/TARGET/release/libbelljar.so. `report` fails below the bar, where more files are excluded than may be, and where a
reason explains nothing.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import debian_source

HERE = Path(__file__).resolve().parent
COMPILER = "5.9.3"
# The share of compared files that must be equal or run the same, and of files that may be excluded.
BAR, MAX_EXCLUDED = 0.99, 0.01
CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    / "belljar/conformance/typescript"
)
VERDICTS = CACHE / "verdicts.jsonl"
PAGE = HERE.parent.parent / "docs/conformance/typescript.md"


def fetch_tests() -> debian_source.SourceTree:
    # The suites of the stable releases, because newer versions of this package are removed again.
    debian_source.SUITES = "bookworm trixie"
    return debian_source.fetch_source("node-typescript", (4, 8), CACHE)


def fetch_compiler() -> Path:
    library = CACHE / "compiler/node_modules/typescript/lib/typescript.js"
    if not library.exists():
        (CACHE / "compiler").mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                "npm",
                "install",
                "--prefix",
                CACHE / "compiler",
                "--no-save",
                "--ignore-scripts",
                f"typescript@{COMPILER}",
            ],
            check=True,
        )
    return library


def run(arguments: argparse.Namespace) -> None:
    tests = fetch_tests()
    program = [
        arguments.node,
        "--experimental-vm-modules",
        "--no-warnings",
        HERE / "typescript_program.cjs",
        fetch_compiler(),
        arguments.library,
        tests.path / "tests/cases/conformance",
        *([arguments.only] if arguments.only else []),
    ]
    if arguments.only:
        subprocess.run(program, check=True)
        return
    with VERDICTS.open("w") as verdicts:
        subprocess.run(program, stdout=verdicts, check=True)
    (CACHE / "run.json").write_text(
        json.dumps({"tests": tests.version, "date": datetime.date.today().isoformat()})
    )


def report() -> None:
    about = json.loads((CACHE / "run.json").read_text())
    reasons = tomllib.loads((HERE / "typescript_reasons.toml").read_text())["reason"]
    excluded = {
        name for reason in reasons if reason["kind"] == "excluded" for name in reason["tests"]
    }
    differences = {
        name for reason in reasons if reason["kind"] == "difference" for name in reason["tests"]
    }
    counts = {False: collections.Counter(), True: collections.Counter()}
    differing: dict[str, set[str]] = collections.defaultdict(set)
    explained: set[str] = set()
    for line in VERDICTS.read_text().splitlines():
        one = json.loads(line)
        verdict = one["verdict"]
        if verdict == "differs":
            verdict = "excluded" if one["file"] in excluded else "differs"
            explained.add(one["file"])
            if verdict == "differs":
                differing[one["file"]].add(one["detail"])
        counts[one["verbatim"]][verdict] += 1
    problems = [
        f"{name} does not differ: its reason explains nothing"
        for name in sorted((excluded | differences) - explained)
    ]
    problems += [
        f"{name} differs for no reason that is written down"
        for name in sorted(differing.keys() - differences)
    ]
    lines = [
        "# TypeScript: its own conformance tests",
        "",
        f"`tests/cases/conformance` of Debian's source package node-typescript {about['tests']}: Belljar's output next to that of",
        f"TypeScript {COMPILER} for the same target, on {about['date']}. Generated; reproduce it with",
        "",
        "    tests/conformance/typescript.py run --node NODE --library LIBBELLJAR",
        "",
        "Every file (of a test with several, every one) that TypeScript emits without a syntax error is compared, with",
        "`verbatimModuleSyntax` off and on. *Equal*: the same text once both are parsed and printed by one printer. *Runs*: both print and",
        "throw the same when run, and export the same. The bar is 99%, with at most 1% of the files excluded, each for a reason.",
        "",
        "| verbatimModuleSyntax | compared | equal | runs the same | differs | excluded | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for verbatim, name in [(False, "off"), (True, "on")]:
        count = counts[verbatim]
        compared = sum(count.values()) - count["skipped"]
        good = count["equal"] + count["runs"]
        if (
            good < BAR * (compared - count["excluded"])
            or count["excluded"] > MAX_EXCLUDED * compared
        ):
            problems.append(
                f"verbatimModuleSyntax {name}: {good} of {compared} with {count['excluded']} excluded is below the bar"
            )
        lines.append(
            f"| {name} | {compared} | {count['equal']} | {count['runs']} | {count['differs']} | {count['excluded']} "
            f"| {100 * good / max(1, compared - count['excluded']):.2f}% |"
        )
    titles = [
        ("difference", "Files that differ", "They count against Belljar."),
        ("excluded", "Excluded", "They are not compared."),
    ]
    for kind, title, about in titles:
        lines += ["", f"## {title}", "", about, ""]
        for reason in reasons:
            if reason["kind"] == kind:
                lines.append(f"- {' '.join(reason['text'].split())}")
                lines += [f"  - `{name}`" for name in reason["tests"]]
    PAGE.write_text("\n".join(lines) + "\n")
    if problems:
        sys.exit("\n".join(problems))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("--node", default="node")
    runs.add_argument("--library", required=True)
    runs.add_argument("--only", help="print the verdicts of files whose path has this in it")
    commands.add_parser("report")
    arguments = parser.parse_args()
    try:
        run(arguments) if arguments.command == "run" else report()
    except debian_source.SourceUnavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
