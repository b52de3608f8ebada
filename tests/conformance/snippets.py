#!/usr/bin/env python3
"""Compares programs as people and models write them, in plain runtimes and in Belljar.

    snippets.py fetch     takes programs out of the packages of snippets_sources.toml
    snippets.py run --belljar BELLJAR --node NODE --python PYTHON --tsx TSX
    snippets.py show      prints the differences
    snippets.py report    writes docs/conformance/snippets.md

A stopped run continues where it was; `run --again` runs again what differed. See README.md.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import fnmatch
import itertools
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import snippet_sources
from snippet_runs import Ended, Plain, Server
from snippet_sources import Snippet

HERE = Path(__file__).resolve().parent
CACHE_HOME = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
CACHE = CACHE_HOME / "belljar/conformance/snippets"
PAGE = HERE.parent.parent / "docs/conformance/snippets.md"
SOURCES = HERE / "snippets_sources.toml"
REASONS = HERE / "snippets_reasons.toml"
# A plain program that ends in this way is only part of a program, and says little about a runtime.
FRAGMENT = ("NameError", "ReferenceError", "ModuleNotFoundError", "ImportError", "SyntaxError")
NOTHING = {"exec": False, "loopback": False}
GRANTED = {"exec": True, "loopback": True}


# --------------------------------------------------------------------------------------------- run


def run(arguments: argparse.Namespace) -> int:
    verdicts = {id_: result["verdict"] for id_, result in _results().items()}
    wanted = {None, "differs", "unstable"} if arguments.again else {None}
    waiting = [
        snippet
        for snippet in _snippets()
        if fnmatch.fnmatchcase(snippet.source, arguments.only)
        and verdicts.get(snippet.id) in wanted
    ]
    print(f"{len(waiting)} programs to run", file=sys.stderr, flush=True)
    plain = Plain(arguments.node, arguments.python, arguments.tsx, CACHE)
    node = "node@" + _version(arguments.node).removeprefix("v")
    python = "python@" + _version(arguments.python).removeprefix("Python ")
    runtimes = {"python": python, "javascript": node, "typescript": node}
    tsx = json.loads((arguments.tsx.parents[1] / "package.json").read_text())["version"]
    about = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "linux": platform.release().partition("-")[0],
        "runtimes": [node, f"tsx@{tsx}", python],
        "start": arguments.start,
    }
    (CACHE / "about.json").write_text(json.dumps(about))
    server = Server(arguments.belljar, runtimes, arguments.start)
    # The server must not outlive a comparison that is interrupted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # The programs of one package together, so that its packages are installed once.
    waiting.sort(key=lambda snippet: snippet.package)
    try:
        with (CACHE / "results.jsonl").open("a") as file:
            with concurrent.futures.ThreadPoolExecutor(arguments.together) as pool:
                for package, group in itertools.groupby(waiting, lambda snippet: snippet.package):
                    print(package or "no package", file=sys.stderr, flush=True)
                    of_package = list(group)
                    if package:
                        plain.install(of_package[0])
                        server.run(of_package[0], NOTHING)
                    compared = pool.map(lambda snippet: compare(plain, server, snippet), of_package)
                    for result in compared:
                        file.write(json.dumps(result) + "\n")
                        file.flush()
    finally:
        server.close()
    return 0


def compare(plain: Plain, server: Server, snippet: Snippet) -> dict:
    """Runs a program both ways, and returns both ends and the verdict on them."""
    expected, actual = plain.run(snippet), server.run(snippet, NOTHING)
    verdict = "same"
    if not actual.equals(expected):
        verdict = _second_verdict(plain, server, snippet, expected)
    if expected.end in FRAGMENT and verdict in ("same", "unstable"):
        verdict = "fragment"
    return {
        "id": snippet.id,
        "verdict": verdict,
        "plain": asdict(expected),
        "belljar": asdict(actual),
    }


def _second_verdict(plain: Plain, server: Server, snippet: Snippet, expected: Ended) -> str:
    """Classifies a difference: a program whose plain runs differ is unstable, and one that ends like
    plain once the policy allows it was denied."""
    if not plain.run(snippet).equals(expected):
        return "unstable"
    if server.run(snippet, NOTHING).equals(expected):
        return "same"
    return "granted" if server.run(snippet, GRANTED).equals(expected) else "differs"


# ------------------------------------------------------------------------------------------ report


def report() -> int:
    snippets = {snippet.id: snippet for snippet in _snippets()}
    results = {id_: result for id_, result in _results().items() if id_ in snippets}
    reasons = tomllib.loads(REASONS.read_text())["reasons"]
    by_language: dict[str, Counter] = {}
    by_source: dict[str, Counter] = {}
    differing: dict[int, list[str]] = {}
    unexplained = []
    for id_, result in results.items():
        snippet = snippets[id_]
        for rows, name in ((by_language, snippet.language), (by_source, _source(snippet))):
            row = rows.setdefault(name, Counter())
            row[result["verdict"]] += 1
            row["ok"] += result["verdict"] == "same" and result["plain"]["end"] == "ok"
        if result["verdict"] != "differs":
            continue
        fitting = [n for n, reason in enumerate(reasons) if _explains(reason, snippet, result)]
        if not fitting:
            ends = f"plain {result['plain']['end']}, belljar {result['belljar']['end']}"
            unexplained.append(f"{id_} ({snippet.source}): {ends}")
        else:
            differing.setdefault(fitting[0], []).append(f"`{snippet.source}` ({id_})")
    total: Counter = sum(by_language.values(), Counter())
    for number in set(range(len(reasons))) - differing.keys():
        unexplained.append(f"this reason explains nothing: {reasons[number]['text']}")
    page = _page(by_language, by_source, total, reasons, differing)
    drawn = f"{len(snippets)} programs were drawn, and {len(results)} of them run."
    PAGE.write_text("\n".join([*page, "", "## Drawn", "", drawn]) + "\n")
    print(f"{total['same']} of {_compared(total)} are the same")
    print(f"{len(unexplained)} without a reason", *unexplained, sep="\n")
    return 1 if unexplained else 0


def _page(
    by_language: dict, by_source: dict, total: Counter, reasons: list, differing: dict
) -> list[str]:
    about = json.loads((CACHE / "about.json").read_text())
    page = [
        "# Programs as models write them, in Belljar and in plain runtimes",
        "",
        f"Run on {about['date']} with {', '.join(about['runtimes'])},",
        f"Linux {about['linux']}, `{about['start']}` start. Generated by",
        "`tests/conformance/snippets.py`; its",
        "[README](../../tests/conformance/README.md) says how the programs",
        "are found and compared.",
        "",
        f"Of {_compared(total)} programs that were compared {total['same']} are the same, "
        f"{_share(total)}. {total['ok']} of those end",
        "without an error.",
        "",
        "- *The same*: both print the same to standard output, and end without an error and",
        "  with the same on standard error, or with an error of the same name.",
        "- *Denied*: the same once the run may start processes and has a loopback network.",
        "- *Fragments* end on both sides with the same error about a missing name, module or",
        "  syntax. They are not counted as compared.",
        "- *Unstable* ones differ between two plain runs, and are not compared.",
        "",
        "## By language",
        "",
        *_table("language", by_language, total),
        "",
        "## By source",
        "",
        *_table("source", by_source, total),
        "",
        "## Differences",
        "",
    ]
    for number, programs in sorted(differing.items(), key=lambda item: -len(item[1])):
        reason = reasons[number]
        page += [f"### {reason['title']} ({len(programs)})", "", reason["text"].strip(), ""]
        page += [f"- {program}" for program in sorted(programs)] + [""]
    return page[:-1]


def _table(name: str, rows: dict[str, Counter], total: Counter) -> list[str]:
    columns = ("same", "ok", "granted", "differs", "fragment", "unstable")
    table = [
        f"| {name} | compared | the same | of these without an error | denied | different "
        "| fragments | unstable |",
        "| --- |" + " ---: |" * 7,
    ]
    for title, row in [*sorted(rows.items()), ("**all**", total)]:
        cells = [_compared(row), *(row[column] for column in columns)]
        table.append(f"| {title} | " + " | ".join(map(str, cells)) + " |")
    return table


def _compared(row: Counter) -> int:
    return row["same"] + row["granted"] + row["differs"]


def _share(row: Counter) -> str:
    return f"{100 * row['same'] / max(1, _compared(row)):.1f}%"


def _source(snippet: Snippet) -> str:
    return snippet.source.partition(":")[0]


def _explains(reason: dict, snippet: Snippet, result: dict) -> bool:
    """Returns whether a reason applies: it names programs, or both ends and a part of their code."""
    if snippet.id in reason.get("programs", []):
        return True
    actual = {
        "plain": result["plain"]["end"],
        "belljar": result["belljar"]["end"],
        "language": snippet.language,
        "source": snippet.source,
    }
    asked = [(actual[key], reason[key]) for key in actual if key in reason]
    code = reason.get("code")
    ends_so = all(fnmatch.fnmatchcase(value, wanted) for value, wanted in asked)
    return bool(asked or code) and ends_so and (not code or bool(re.search(code, snippet.code)))


def show(arguments: argparse.Namespace) -> int:
    """Prints the differences, for a person who looks for their reasons."""
    snippets, most = {snippet.id: snippet for snippet in _snippets()}, arguments.bytes
    for id_, result in _results().items():
        if result["verdict"] != arguments.verdict or id_ not in snippets:
            continue
        snippet = snippets[id_]
        if not fnmatch.fnmatchcase(f"{id_} {snippet.source}", arguments.only):
            continue
        print(f"=== {id_} {snippet.language} {snippet.source}\n{snippet.code[:most]}")
        for side in ("plain", "belljar"):
            end = result[side]
            print(f"--- {side}: {end['end']}\n{end['stdout'][:most]}")
            print(f"--- {side}, standard error\n{end['stderr'][:most]}\n{end['why'][:most]}")
    return 0


def _snippets() -> list[Snippet]:
    return snippet_sources.read(CACHE / "snippets.jsonl")


def _results() -> dict[str, dict]:
    path = CACHE / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {result["id"]: result for result in map(json.loads, lines)}


def _version(program: Path) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="download packages, take programs out of them")
    runs = commands.add_parser("run", help="run each program on both sides")
    belljar = HERE.parent.parent / "target/release/belljar"
    runs.add_argument("--belljar", type=Path, default=belljar)
    runs.add_argument("--node", type=Path, default=shutil.which("node"), help="Belljar's version")
    runs.add_argument("--python", type=Path, default=shutil.which("python3"), help="the same")
    runs.add_argument("--tsx", type=Path, required=True, help="the file dist/cli.mjs of tsx")
    runs.add_argument("--start", default="fork", choices=["exec", "fork"])
    runs.add_argument("--together", type=int, default=2, help="programs at once")
    runs.add_argument("--only", default="*", help="a pattern of sources")
    runs.add_argument("--again", action="store_true", help="run what differed or was unstable, too")
    commands.add_parser("report", help="write the page")
    shows = commands.add_parser("show", help="print differences")
    shows.add_argument("--only", default="*", help="a pattern of ids and sources")
    shows.add_argument("--verdict", default="differs")
    shows.add_argument("--bytes", type=int, default=800)
    arguments = parser.parse_args()
    match arguments.command:
        case "fetch":
            CACHE.mkdir(parents=True, exist_ok=True)
            snippet_sources.write(snippet_sources.fetch(SOURCES, CACHE), CACHE / "snippets.jsonl")
            return 0
        case "run":
            return run(arguments)
        case "report":
            return report()
        case _:
            return show(arguments)


if __name__ == "__main__":
    sys.exit(main())
