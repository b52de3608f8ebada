"""Finds programs in the files of a package: fences, prompts, examples, tests, problem sets."""

from __future__ import annotations

import ast
import gzip
import json
import re
import sys
import textwrap
from collections.abc import Iterator

# A language and a program.
Found = tuple[str, str]

LANGUAGES = {
    "python": "python",
    "python3": "python",
    "py": "python",
    "py3": "python",
    "pycon": "python",
    "js": "javascript",
    "javascript": "javascript",
    "node": "javascript",
    "mjs": "javascript",
    "cjs": "javascript",
    "ts": "typescript",
    "typescript": "typescript",
}
# Names of the folders whose files are programs.
EXAMPLES = ("example", "sample", "demo", "snippet", "cookbook", "recipe")
TESTS = ("test", "spec")
FENCE = re.compile(r"^([ \t]*)```[ \t]*([A-Za-z0-9+-]+)[^\n]*\n(.*?)^\1```[ \t]*$", re.S | re.M)
NODE_MODULES = set(
    "assert async_hooks buffer child_process cluster console constants crypto dgram"
    " diagnostics_channel dns domain events fs http http2 https inspector module net os path"
    " perf_hooks process punycode querystring readline repl stream string_decoder sys timers tls"
    " trace_events tty url util v8 vm wasi worker_threads zlib".split()
)
IMPORTED = re.compile(r"""(?:\bfrom|\bimport|\brequire\s*\(|\bimport\s*\()\s*['"]([^'"\n]+)['"]""")
# A rest in the middle of a line or at its end is an outline; one before a name spreads a value.
OUTLINE = re.compile(r"\.\.\.(?![\w$\[({'\"`])")


def of_file(
    name: str, content: bytes, modules: dict[str, str], of_code_tool: bool
) -> Iterator[Found]:
    """Returns the programs of one file of a package. `modules` are the import names of its files.
    Tests of a tool that runs code have programs in their strings."""
    lower = name.lower()
    folders = lower.split("/")[:-1]
    is_example = any(folder.startswith(EXAMPLES) for folder in folders)
    is_test = of_code_tool and any(folder.startswith(TESTS) for folder in folders)
    suffix = lower.rpartition(".")[2]
    if lower.endswith("humaneval.jsonl.gz"):
        yield from _problems(content)
        return
    text = content.decode(errors="replace").replace("\r\n", "\n")
    if suffix in ("md", "mdx", "markdown") or lower.endswith("metadata"):
        yield from _fenced(text)
        if lower.endswith("metadata") and "```" not in text:
            yield from _restructured(text)
    elif lower.endswith((".rst", ".rst.txt")):
        yield from _restructured(text)
    elif suffix == "py":
        if is_example and "def test_" not in text:
            yield "python", text
        yield from _of_python(text, modules.get(name), is_test)
    elif lower.endswith((".d.ts", ".d.mts")):
        yield from _of_comments(text)
    elif is_example and suffix in LANGUAGES and not lower.endswith(".min.js"):
        yield LANGUAGES[suffix], text


def needs(language: str, code: str) -> set[str] | None:
    """Returns the modules of packages that a program imports, or None if it is not a complete
    program."""
    if language != "python":
        if OUTLINE.search(code):
            return None
        names = {name for name in IMPORTED.findall(code) if not name.startswith("node:")}
        return {_package_of(name) for name in names} - NODE_MODULES
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return None
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." if node.level else (node.module or ".").partition(".")[0])
    return names - sys.stdlib_module_names if tree.body else None


def _package_of(name: str) -> str:
    return "/".join(name.split("/")[: 2 if name.startswith("@") else 1])


def _problems(content: bytes) -> Iterator[Found]:
    """Returns the programs of a problem set: each solution with its tests."""
    for line in gzip.decompress(content).splitlines():
        problem = json.loads(line)
        solved = problem["prompt"] + problem["canonical_solution"]
        check = f"check({problem['entry_point']})\nprint('passed')"
        yield "python", f"{solved}\n{problem['test']}\n{check}"


def _fenced(text: str) -> Iterator[Found]:
    for indent, tag, code in FENCE.findall(text):
        language = LANGUAGES.get(tag.lower())
        if language:
            code = "\n".join(line.removeprefix(indent) for line in code.split("\n"))
            yield language, _of_prompts(code) if ">>> " in code else code


def _restructured(text: str) -> Iterator[Found]:
    """Joins the examples at prompts of one section, because later ones use earlier names."""
    sections = re.split(r"\n(?=[^\n]+\n(?:={4,}|-{4,}|\^{4,}|\*{4,}|\"{4,})\n)", text)
    for section in sections:
        if section.count(">>> ") > 1:
            yield "python", _of_prompts(section)
        literals = r"(?:::|\.\. code(?:-block)?:: python3?)\n\n((?:[ \t]+[^\n]*\n|\n)+)"
        for block in re.findall(literals, section):
            code = textwrap.dedent(block)
            if ">>> " not in code:
                yield "python", code


def _of_prompts(text: str) -> str:
    """Makes a program of an example at a prompt, which prints the values that a prompt shows."""
    code = "\n".join(line[4:] for line in _prompts(text.split("\n")))
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return code
    for at, node in enumerate(tree.body):
        if isinstance(node, ast.Expr):
            shown = ast.Call(ast.Name("repr", ast.Load()), [node.value], [])
            tree.body[at] = ast.Expr(ast.Call(ast.Name("print", ast.Load()), [shown], []))
    return ast.unparse(ast.fix_missing_locations(tree))


def _prompts(lines: list[str]) -> Iterator[str]:
    for line in lines:
        stripped = line.lstrip()
        if stripped.startswith((">>> ", "... ")):
            yield stripped
        elif stripped.rstrip() == "...":
            yield "... "


def _of_python(text: str, module: str | None, is_test: bool) -> Iterator[Found]:
    if not is_test and ">>> " not in text and "```" not in text:
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            continue
        if "```" in node.value:
            yield from _fenced(textwrap.dedent(node.value))
        elif node.value.count(">>> ") > 1:
            # As doctest runs it: with the names of the module around it.
            names = f"from {module} import *\n" if module else ""
            yield "python", names + _of_prompts(node.value)
        elif is_test and node.value.count("\n") > 1:
            yield from _of_string(node.value)


def _of_string(text: str) -> Iterator[Found]:
    code = textwrap.dedent(text)
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError):
        return
    does = (ast.Assign, ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.For)
    shows = any(isinstance(node, ast.Call) for node in ast.walk(ast.Module(body, [])))
    if len(body) > 1 and shows and any(isinstance(node, does) for node in body):
        yield "python", code


def _of_comments(text: str) -> Iterator[Found]:
    for comment in re.findall(r"/\*\*(.*?)\*/", text, re.S):
        comment = re.sub(r"^[ \t]*\* ?", "", comment, flags=re.M)
        if "```" in comment:
            yield from _fenced(comment)
            continue
        for example in re.findall(r"@example[^\n]*\n(.*?)(?=^\s*@\w|\Z)", comment, re.S | re.M):
            yield "typescript", textwrap.dedent(example)
