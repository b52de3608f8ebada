"""Hints for syntax errors whose message does not name the cause, such as the syntax of a newer
Python."""

from belljar_driver import originals as __builtins__

import re
import sys

#: Patterns of syntax, each with the minor version of Python that introduced it.
_NEWER = (
    (11, re.compile(r"\s*except\s*\*"), "`except*`"),
    (12, re.compile(r"\s*(?:async\s+)?def\s+\w+\s*\["), "type parameters of functions (`def f[T]`)"),
    (12, re.compile(r"\s*class\s+\w+\s*\["), "type parameters of classes (`class C[T]`)"),
    (12, re.compile(r"\s*type\s+\w+\s*(?:\[.*\])?\s*="), "`type X = ...`"),
    (14, re.compile(r"\s*except\s+\w[\w.]*\s*,\s*\w[\w., ]*:"), "`except A, B:` without parentheses"),
    (14, re.compile(r".*?(?<![\w\"'])(?:t|tr|rt|T)(?:\"|')"), "template strings (`t\"...\"`)"),
)
#: Matches an f-string with its own quote, a backslash, a comment or a line break inside its braces.
_NESTED = re.compile(r"""(?<!\w)[rR]?[fF][rR]?(["'])(?:[^"'{}]|\{\{|\}\}|(?!\1)["'])*\{[^}]*(?:\1|\\)""")


def hint_for(error, source):
    line = _line(error, source)
    minor = sys.version_info[1]
    for since, pattern, what in _NEWER:
        if minor < since and pattern.match(line):
            return _newer(since, what)
    if minor < 12 and ("f-string" in (error.msg or "") or _NESTED.search(line)) and _NESTED.search(line):
        return _newer(12, "the same quotes and backslashes inside the braces of an f-string")
    if "\\n" in line and "line continuation" in (error.msg or ""):
        return "the program has \\n where its line breaks belong: it was escaped once too often; send real line breaks"
    return None


def _line(error, source):
    if error.text:
        return error.text
    try:
        lines = source.decode("utf-8", "replace").split("\n")
        return lines[error.lineno - 1]
    except Exception:
        return ""


def _newer(since, what):
    version = ".".join(map(str, sys.version_info[:3]))
    return f"{what} came with Python 3.{since}, and the run has {version}; ask for python@3.{since} (--runtime), or write it the older way"
