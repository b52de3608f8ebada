"""Converts text with the habits of notebooks, shells and chats into plain Python: magics, shell
lines, prompts, Markdown fences, a common indent.

Used only for a program that does not compile as it is, or that contains an IPython prompt, which
does compile. Lines are blanked, replaced by one line or shortened, but never moved, so that an
error names the line that the author sees. A line that installs packages counts as `#
@add-package`.
"""

from belljar_driver import originals as __builtins__

import re

from belljar_driver import installs

_FLAGS = 0x2400  # ast.PyCF_ONLY_AST, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

#: Maximum number of lines of one kind that a note names.
MAX_NAMED = 6
MAX_NAMED_CHARACTERS = 60

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*\{?\.?([\w+#-]*)[^`]*$")
#: A program of one line between fences.
_ONE_LINE_FENCE = re.compile(r"\A\s*```(?:python3?|py)?[ \t]+(\S.*?)```\s*\Z")
_PYTHON_FENCES = {"", "python", "python3", "py", "py3", "ipython", "ipython3", "pycon", "python-repl", "code", "tool_code", "repl"}
_SHELL_FENCES = {"bash", "sh", "shell", "console", "zsh", "terminal"}

_PROMPT = re.compile(r"[ \t]*>>>(?: |$)")
_CONTINUED_PROMPT = re.compile(r"[ \t]*\.\.\.(?: |$)")
_IN = re.compile(r"[ \t]*In ?\[[\d ]*\]:[ \t]?")
_IN_CONTINUED = re.compile(r"[ \t]*\.{3,}:[ \t]?")
_OUT = re.compile(r"[ \t]*Out ?\[[\d ]*\]:")

_MAGIC = re.compile(r"%(\w[\w.]*)[ \t]*(.*)")
_CELL_MAGIC = re.compile(r"%%(\w+|!)[ \t]*(.*)")
_SHELL = re.compile(r"!{1,2}[ \t]*(.*)")
_ASSIGNED = re.compile(r"([^\W\d][\w ,.\[\]'\"]*?)[ \t]*=[ \t]*(!{1,2}|%)(?=\S)(.*)")
_HELP = re.compile(r"\?{1,2}[ \t]*[\w.%*]+|[\w.%*]+\?{1,2}")
_CELL = re.compile(r"#[ ]?%%|%%\w|# In ?\[|# ?<codecell>|In ?\[[\d ]*\]:")

#: Magics that only measure or watch the code that they run.
_RUN_AS_IS = {"time"}
#: Cell magics whose text is nevertheless Python.
_PYTHON_CELLS = {"time", "timeit", "capture", "prun", "memit", "mprun", "lprun", "snakeviz", "scalene", "python", "python3", "debug", "skip", "cache"}
_OTHER_CELLS = {
    "bash", "sh", "script", "system", "sx", "!", "html", "HTML", "javascript", "js", "latex", "markdown", "svg", "SVG", "perl", "ruby", "R",
    "sql", "bigquery", "cython", "cmd", "powershell", "pypy", "python2",
}  # fmt: skip

_OPENING = re.compile(r"#|[bBfFrRuUtT]{0,3}(\"\"\"|'''|\"|')|[([{]|[)\]}]|\\$")
_CLOSING = {quote: re.compile(rf"(?:\\.|(?!{quote}).)*?{quote}", re.DOTALL) for quote in ('"""', "'''", '"', "'")}


#: Non-breaking and zero-width spaces, and quotation marks that Python does not accept.
_TYPED = {0xA0: " ", 0x202F: " ", 0x3000: " ", 0x200B: None, 0x200C: None, 0x2060: None, 0xFEFF: None, 0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'}


class Plain:
    """A program without these habits: its text, with the same number of lines; the notes about
    the changes; the packages that it names."""

    def __init__(self, source, notes, packages):
        self.source = source
        self.notes = notes
        self.packages = packages


def has_prompts(source):
    """Returns whether a text that compiles is nevertheless a transcript: `In [1]: x = 1` is an
    annotated assignment."""
    return (b"In [" in source or b"In[" in source) and any(_IN.match(line) for line in source.decode("utf-8", "replace").split("\n"))


def plain(source):
    """Returns the program as plain Python, or None if it has none of these habits."""
    text = source.decode("utf-8", "surrogateescape").removeprefix("\ufeff").replace("\r\n", "\n")
    lines = text.split("\n")
    best = None
    for attempt in _attempts(lines):
        if attempt.lines == lines:
            continue
        best = best or attempt
        if _compiles(attempt.lines):
            best = attempt
            break
    else:
        if best is None or not best.is_sure:
            return None
    return Plain("\n".join(best.lines).encode("utf-8", "surrogateescape"), best.notes(), best.packages)


def packages_of(source):
    """Returns the packages that lines of a text name, for a text that is not Python even without
    these habits."""
    return installs.unique(name for line in source.decode("utf-8", "replace").split("\n") for name in installs.packages_of_line(line.strip().lstrip("!%$ ")))


def _compiles(lines):
    try:
        compile("\n".join(lines).encode("utf-8", "surrogateescape"), "<program>", "exec", _FLAGS, True)
    except Exception:
        return False
    return True


def _attempts(lines):
    """Yields readings of the text, the most likely first. Each starts from the one before."""
    for first in _typed(_Attempt(lines)):
        for unfenced in _unfenced(first):
            for unprompted in _unprompted(unfenced):
                for dedented in _dedented(unprompted):
                    yield _without_magics(dedented)


def _typed(attempt):
    """Yields the attempt unchanged, and with plain characters in place of those of a word processor
    or a web page."""
    yield attempt
    lines = [line.translate(_TYPED) for line in attempt.lines]
    if lines != attempt.lines:
        yield attempt.next(lines, "spaces and quotation marks of a word processor were read as those of a keyboard")


class _Attempt:
    def __init__(self, lines):
        self.lines = lines
        #: Whether the reading is right even if the rest does not compile.
        self.is_sure = False
        self.said = []
        self.left_out = []
        self.installing = []
        self.packages = []
        self.emptied = []

    def next(self, lines, words=None, is_sure=False):
        made = _Attempt(lines)
        made.is_sure = self.is_sure or is_sure
        made.said = [*self.said, *([words] if words else [])]
        made.left_out, made.installing, made.packages, made.emptied = [*self.left_out], [*self.installing], [*self.packages], [*self.emptied]
        return made

    def notes(self):
        notes = [*self.said]
        if self.installing:
            notes.append(installs.note(self.installing, self.packages))
        if self.left_out:
            notes.append(f"left out, as they work in a notebook only: {_named(self.left_out)}")
        for name, command in self.emptied:
            notes.append(f"`{name}` is empty: `{command[:MAX_NAMED_CHARACTERS]}` is a shell command of a notebook and was not run; use os, glob or subprocess")
        return notes


def _named(places):
    named = ", ".join(f"`{text.strip()[:MAX_NAMED_CHARACTERS]}` (line {number})" for number, text in places[:MAX_NAMED])
    return named if len(places) <= MAX_NAMED else f"{named} and {len(places) - MAX_NAMED} more"


# Fences


def _unfenced(attempt):
    lines = attempt.lines
    words = "the Markdown fences around the program were taken off"
    only = _ONE_LINE_FENCE.match("\n".join(lines))
    if only is not None and only.group(1).count("```") == 0:
        yield attempt.next([only.group(1).strip(), *[""] * (len(lines) - 1)], words, is_sure=True)
        return
    fences = [(index, match) for index, line in enumerate(lines) if (match := _FENCE.match(line))]
    if not fences:
        yield attempt
        return
    written = [index for index, line in enumerate(lines) if line.strip()]
    first, last = written[0], written[-1]
    is_sure = fences[0][0] == first
    if len(fences) == 1 and fences[0][0] == last != first:
        # The end of a block whose beginning is missing.
        yield attempt.next([*lines[:last], "", *lines[last + 1 :]], words)
    kept, made, inside = [""] * len(lines), attempt.next(lines, words, is_sure), None
    for index, line in enumerate(lines):
        match = _FENCE.match(line)
        if inside is None:
            if match:
                inside = (match.group(1), match.group(2).lower())
        elif match and match.group(1).startswith(inside[0]) and not match.group(2):
            inside = None
        elif inside[1] in _PYTHON_FENCES:
            kept[index] = line
        elif inside[1] in _SHELL_FENCES:
            _take_install(made, index, line.strip().removeprefix("$ "))
    made.lines = kept
    if any(line.strip() for line in kept):
        yield made
    yield attempt


# Prompts


def _unprompted(attempt):
    lines = attempt.lines
    first = next((line for line in lines if line.strip()), "")
    if any(_IN.match(line) for line in lines):
        words = "the prompts (`In [1]:`) were taken off, and the output left out"
        for keeps_others in (True, False):
            yield attempt.next(_of_transcript(lines, _IN, _IN_CONTINUED, keeps_others), words, is_sure=bool(_IN.match(first)))
    if any(_PROMPT.match(line) for line in lines):
        starts = bool(_PROMPT.match(first))
        for keeps_others in (False, True) if starts else (True, False):
            words = "the prompts (`>>> `) were taken off" + ("" if keeps_others else ", and lines without one left out as output")
            yield attempt.next(_of_transcript(lines, _PROMPT, _CONTINUED_PROMPT, keeps_others), words, is_sure=starts)
    yield attempt


def _of_transcript(lines, prompt, continued, keeps_others):
    made, is_output = [], not keeps_others
    for line in lines:
        if match := prompt.match(line):
            made.append(line[match.end() :])
            is_output = not keeps_others
        elif match := continued.match(line):
            made.append(line[match.end() :])
        elif _OUT.match(line):
            made.append("")
            is_output = True
        else:
            made.append("" if is_output else line)
    return made


# Indents


def _dedented(attempt):
    lines = attempt.lines
    written = [line for line in lines if line.strip()]
    for skipped in (0, 1):
        indent = _common_indent(written[skipped:])
        # Only the first line can lack the indent, in a text that was copied out of a string.
        if indent and not (skipped and written[0].rstrip().endswith((":", "(", "[", "{", "\\"))):
            words = "the indent that all lines have was taken off" if not skipped else "the indent that all lines but the first have was taken off"
            yield attempt.next([line.removeprefix(indent) for line in lines], words, is_sure=not skipped)
            if not skipped:
                return
    yield attempt


def _common_indent(lines):
    indents = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines if not line.lstrip().startswith("#")]
    if not indents:
        return ""
    low, high = min(indents), max(indents)
    length = 0
    while length < min(len(low), len(high)) and low[length] == high[length]:
        length += 1
    return low[:length]


# Magics


def _without_magics(attempt):
    made = attempt.next(attempt.lines)
    lines, index = [], 0
    quote, depth, continues = None, 0, False
    while index < len(attempt.lines):
        line = attempt.lines[index]
        if quote is None and depth == 0 and not continues:
            text, used = _statement(made, attempt.lines, index)
            if text is not None:
                lines += [text, *[""] * (used - 1)]
                index += used
                made.is_sure = True
                continue
        quote, depth, continues = _scan(line, quote, depth)
        lines.append(line)
        index += 1
    made.lines = lines
    return made


def _scan(line, quote, depth):
    """Returns the constructs that are open at the end of a line: a string, brackets, the line
    itself."""
    at = 0
    while True:
        if quote is not None:
            closed = _CLOSING[quote].match(line, at)
            if closed is None:
                is_open = len(quote) == 3 or line.endswith("\\")
                return (quote if is_open else None), depth, False
            at, quote = closed.end(), None
        found = _OPENING.search(line, at)
        if found is None or found.group() == "#":
            return None, depth, False
        at, text = found.end(), found.group()
        if found.group(1):
            quote = found.group(1)
        elif text in "([{":
            depth += 1
        elif text in ")]}":
            depth = max(depth - 1, 0)
        else:
            return None, depth, True


def _statement(made, lines, index):
    """Returns the replacement of a line that is not Python, and the number of lines that it
    covers. Returns None if the line may be Python."""
    line = lines[index]
    body = line.lstrip(" \t")
    indent, body = line[: len(line) - len(body)], body.rstrip()
    if not body:
        return None, 1
    used = 1
    if body[0] in "!%":
        while body.endswith("\\") and index + used < len(lines):
            body = f"{body[:-1]} {lines[index + used].strip()}"
            used += 1
    #: A block needs a statement. Elsewhere, a comment keeps the last expression the last one.
    nothing = f"{indent}pass" if indent else ""
    if match := _CELL_MAGIC.match(body):
        return _cell(made, lines, index, match.group(1), match.group(2))
    if match := _ASSIGNED.fullmatch(body):
        return indent + _assigned(made, index, *match.groups()), used
    if match := _MAGIC.fullmatch(body):
        return _magic(made, index, indent, match.group(1), match.group(2)), used
    if match := _SHELL.fullmatch(body):
        if not _take_install(made, index, match.group(1)):
            made.left_out.append((index + 1, body))
        return nothing, used
    if _HELP.fullmatch(body):
        made.left_out.append((index + 1, body))
        return nothing, used
    if _take_install(made, index, body.removeprefix("$").lstrip()):
        return nothing, used
    return None, 1


def _take_install(made, index, command):
    """Records a command that installs packages. Returns whether it is one."""
    if not installs.is_install_line(command):
        return False
    made.installing.append((index + 1, command))
    made.packages = installs.unique([*made.packages, *installs.packages_of_line(command)])
    return True


def _magic(made, index, indent, name, rest):
    nothing = f"{indent}pass" if indent else ""
    if name in _RUN_AS_IS and rest:
        made.left_out.append((index + 1, f"%{name}"))
        return indent + rest
    if name in ("pip", "conda", "mamba", "uv", "micromamba") and _take_install(made, index, f"{name} {rest}"):
        return nothing
    if name in ("env", "set_env") and (match := re.fullmatch(r"(\w+)(?:=|[ \t]+)(.*)", rest)):
        return f'{indent}__import__("os").environ[{match.group(1)!r}] = {match.group(2)!r}'
    if name == "cd" and rest:
        return f'{indent}__import__("os").chdir({rest.strip().strip(chr(34) + chr(39))!r})'
    if name == "pylab":
        return f"{indent}import numpy, matplotlib; import numpy as np, matplotlib.pyplot as plt; from pylab import *"
    made.left_out.append((index + 1, f"%{name} {rest}".rstrip()))
    return nothing


def _assigned(made, index, target, sign, command):
    if sign == "%":
        match = re.fullmatch(r"(\w+)[ \t]*(.*)", command)
        if match and match.group(1) == "env" and match.group(2):
            return f'{target} = __import__("os").environ.get({match.group(2)!r})'
        if match and match.group(1) == "time" and match.group(2):
            return f"{target} = {match.group(2)}"
        made.left_out.append((index + 1, f"%{command}"))
        return f"{target} = None"
    if not _take_install(made, index, command.strip()):
        made.emptied.append((target, f"!{command}"))
    return f"{target} = []"


def _cell(made, lines, index, name, rest):
    end = index + 1
    while end < len(lines) and not _CELL.match(lines[end]):
        end += 1
    body = lines[index + 1 : end]
    if name in ("writefile", "file"):
        match = re.fullmatch(r"(-a[ \t]+|--append[ \t]+)?(\S.*)", rest)
        if match:
            text = "\n".join(body).rstrip("\n") + "\n"
            mode = "a" if match.group(1) else "w"
            path = match.group(2).strip().strip("\"'")
            return f"open({path!r}, {mode!r}).write({text!r}); None", end - index
    if name in _OTHER_CELLS:
        took = [_take_install(made, index + 1 + offset, line.strip()) for offset, line in enumerate(body) if line.strip()]
        if not took or not all(took):
            made.left_out.append((index + 1, f"%%{name}"))
        return "", end - index
    made.left_out.append((index + 1, f"%%{name}"))
    # The statement on the same line runs before the cell.
    return (rest if name == "timeit" and not rest.startswith("-") else ""), 1


# The substitute for IPython


def expects_ipython(source):
    """Returns whether a program calls `get_ipython` as if it existed. A program that checks whether
    it exists gets the true answer."""
    try:
        tree = compile(source, "<program>", "exec", _FLAGS, True)
    except SyntaxError:
        return True
    if b"NameError" in source or b"import get_ipython" in source or b"'get_ipython'" in source or b'"get_ipython"' in source:
        return False
    import _ast as ast

    waiting = [(tree, False)]
    while waiting:
        node, is_tried = waiting.pop()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "get_ipython" and not is_tried:
            return True
        for field in node._fields:
            value = getattr(node, field, None)
            inside = is_tried or isinstance(node, ast.Try) and field == "body"
            waiting.extend((child, inside) for child in (value if isinstance(value, list) else (value,)) if isinstance(child, ast.AST))
    return False


def provide_get_ipython(module, note):
    """Provides `get_ipython()` for a program that calls it without a fallback. Notebook commands
    are left out."""
    module.get_ipython = lambda: _shell
    _Shell.note = staticmethod(note)


class _Shell:
    """A substitute for IPython's shell that leaves out notebook commands. Commands that install
    packages count as they do in lines."""

    note = None
    user_ns = property(lambda self: __import__("sys").modules["__main__"].__dict__)

    def _leave_out(self, command):
        words = installs.words_of(command)
        if installs.is_install(words):
            installs.tell(words, self.note)
        else:
            self.note(f"left out, as they work in a notebook only: `{command[:MAX_NAMED_CHARACTERS]}`")

    def run_line_magic(self, name, line="", *_, **__):
        self._leave_out(f"{name} {line}" if name in ("pip", "conda") else f"%{name} {line}".rstrip())

    def run_cell_magic(self, name, line, cell):
        self._leave_out(f"%%{name} {line}".rstrip())

    def magic(self, line):
        self._leave_out(line.removeprefix("%") if line.lstrip("%").startswith(("pip", "conda")) else line)

    def system(self, command):
        self._leave_out(command)

    system_raw = system_piped = system

    def getoutput(self, command, *_, **__):
        self._leave_out(command)
        return []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing()

    def __repr__(self):
        return "<no notebook>"


class _Nothing:
    """An object whose attributes and calls all return itself and have no effect."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing()

    def __call__(self, *_, **__):
        return None

    def __setitem__(self, key, value):
        pass


_shell = _Shell()
