"""Commands that would install packages: `pip install x` and similar ones, as a line, as an argument
of subprocess, or as a call of pip.

There is no pip in a sandbox. The packages that such a command names count as `# @add-package`
when the program is searched for its packages (imports.py). When the program runs the command, it
has no effect and succeeds.
"""

from belljar_driver import originals as __builtins__

import re
import sys

#: A name with extras and versions, in the form that can follow `@add-package`.
_REQUIREMENT = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?(?:\[[\w.,\- ]+\])?(?: ?(?:===|==|~=|!=|<=|>=|<|>) ?[\w.*+!-]+(?: ?, ?(?:===|==|~=|!=|<=|>=|<|>) ?[\w.*+!-]+)*)?")
_NAME = re.compile(r"[\w.-]+")
#: Options of pip, uv and conda that take a value as the next word.
_WITH_VALUE = {
    "-r", "--requirement", "-c", "--constraint", "--channel", "-i", "--index-url", "--extra-index-url", "-f", "--find-links", "-t", "--target", "--prefix",
    "--root", "--platform", "--python-version", "--python", "-p", "-n", "--name", "--proxy", "--retries", "--timeout", "--trusted-host", "--cache-dir", "--log",
    "--progress-bar", "--index", "--default-index", "--upgrade-strategy", "--only-binary", "--no-binary", "--src", "-e", "--editable", "--cert", "--group",
    "--report", "--implementation", "--abi", "--global-option", "--config-settings",
}  # fmt: skip
_PIPS = re.compile(r"(?:.*/)?pip(?:3|3\.\d+)?")
_PYTHONS = re.compile(r"(?:.*/)?(?:python(?:3|3\.\d+)?|py)")
_OTHERS = {"conda", "mamba", "micromamba", "uv", "poetry", "pdm", "pipenv", "easy_install"}
_VERBS = {"install", "add", "uninstall", "remove", "download"}
#: Names of pip's own programs, which are not packages.
_NOT_INSTALLED = {"pip", "wheel", "uv", "conda"}


def unique(names):
    return [*dict.fromkeys(names)]


def words_of(command):
    """Returns the words of a command. A text is split as by a shell, if it is a single command."""
    if isinstance(command, (bytes, bytearray)):
        command = command.decode("utf-8", "replace")
    if not isinstance(command, str):
        try:
            return [str(word) for word in command]
        except TypeError:
            return [str(command)]
    return [word.strip("\"'") for word in re.findall(r"(?:\"[^\"]*\"|'[^']*'|[^\s\"'])+", command)]


def _arguments(words):
    """Returns the verb and the arguments of a command that manages packages, or None for any
    other command."""
    words = [*words]
    while words and (words[0] in ("sudo", "-H", "env", "!", "$") or re.fullmatch(r"\w+=\S*", words[0])):
        words.pop(0)
    if not words:
        return None
    if words[0] in ("{sys.executable}", "$(which python)", "$sys.executable") or _PYTHONS.fullmatch(words[0]) or words[0] == sys.executable:
        words.pop(0)
        while words and words[0].startswith("-") and words[0] != "-m":
            words.pop(0)
        if words[:1] != ["-m"] or len(words) < 2 or not (_PIPS.fullmatch(words[1]) or words[1] in _OTHERS):
            return None
        words = words[1:]
    name = words.pop(0)
    if name in _OTHERS:
        if name == "uv" and words[:1] == ["pip"]:
            words.pop(0)
        if name == "easy_install":
            return "install", words
    elif not _PIPS.fullmatch(name):
        return None
    while words and words[0].startswith("-"):
        words.pop(0)
    return (words[0], words[1:]) if words else ("", [])


def is_install(words):
    """Returns whether these words are a command of pip or a similar tool that changes the
    installed packages."""
    found = _arguments(words)
    return found is not None and found[0] in _VERBS


def is_install_line(line):
    """Returns the same for a line of a program. Any command of pip counts, because none of them
    is valid Python."""
    if re.search(r"&&|\|\||[;|]", _without_quoted(line)):
        return all(is_install_line(part) for part in re.split(r"&&|\|\||[;|]", line))
    found = _arguments(words_of(line))
    if found is None or not re.match(r"[\w./{}$!-]+[ \t]+[\w-]", line.strip()):
        return False
    verb = found[0]
    return verb in _VERBS or verb in ("list", "freeze", "show", "check", "--version", "config", "cache", "update", "upgrade")


def _without_quoted(line):
    return re.sub(r"\"[^\"]*\"|'[^']*'", "", line)


def packages_of(words):
    """Returns the packages that a command names, in the notation of `@add-package`."""
    found = _arguments(words)
    if found is None or found[0] not in ("install", "add"):
        return []
    packages, waits = [], False
    for word in found[1]:
        if waits:
            waits = False
        elif word in ("&&", "||", ";", "|", ">", "2>&1", "#", "2>", "&>"):
            break
        elif word.startswith("-"):
            waits = word in _WITH_VALUE
        elif is_package(word):
            # conda uses a single `=`.
            packages.append(re.sub(r"^([\w.-]+)=([\w.*]+)$", r"\1==\2", word))
    return unique(packages)


def is_package(word):
    if re.fullmatch(r"[\w.-]+=[\w.*]+", word):
        word = word.replace("=", "==", 1)
    if not _REQUIREMENT.fullmatch(word):
        return False
    name = _NAME.match(word).group().lower().replace("_", "-")
    return name not in _NOT_INSTALLED and name not in sys.stdlib_module_names and not re.fullmatch(r"requirements[\w.-]*\.txt", name) and not name.endswith(".whl")


def packages_of_line(line):
    parts = re.split(r"&&|\|\||;", line.partition(" #")[0])
    return unique(name for part in parts for name in packages_of(words_of(part.strip())))


def note(places, packages):
    """Returns the note about all lines that install packages."""
    number, command = places[0]
    others = "" if len(places) == 1 else f" and {len(places) - 1} more"
    read = f" counts as `# @add-package {' '.join(packages)}`" if len(packages) == 1 else " counts as " + ", ".join(f"`# @add-package {name}`" for name in packages)
    meant = read if packages else " was left out"
    return f"`{command[:120]}` (line {number}){others}{meant}: packages are installed from the program's imports and such comments before it starts"


# When the program reaches an install command


def tell(words, note):
    """Notes the effect of an install command, once per run."""
    global _has_noted
    if _has_noted:
        return
    _has_noted = True
    packages = packages_of(words)
    missing = [name for name in packages if not _is_installed(name)]
    verb, rest = _arguments(words) or ("", [])
    command = " ".join(["pip", verb, *rest])[:120]
    if missing:
        wanted = ", ".join(f"`# @add-package {name}`" for name in missing)
        note(f"`{command}` did nothing: packages are installed before the program starts; ask for them by their imports, or with {wanted}")
    elif packages:
        named = ", ".join(packages)
        note(f"`{command}` did nothing: it counts as `# @add-package`, and {named} is installed already")
    else:
        note(f"`{command}` did nothing: packages are installed from the program's imports and `# @add-package` comments before it starts")


_has_noted = False


def _is_installed(requirement):
    from importlib.metadata import PackageNotFoundError, version

    try:
        version(_NAME.match(requirement).group())
    except (PackageNotFoundError, ValueError):
        return False
    return True


def _outcome(words):
    """Returns the output of such a command."""
    verb = (_arguments(words) or ("",))[0]
    if verb in ("list", "freeze"):
        from importlib.metadata import distributions

        lines = sorted({f"{found.metadata['Name']}=={found.version}" for found in distributions()})
    else:
        lines = [f"Requirement already satisfied: {name}" for name in packages_of(words)]
    return "".join(line + "\n" for line in lines)


def _is_pips(command):
    """Returns whether the whole command is a single command of pip."""
    if isinstance(command, str) and re.search(r"&&|\|\||[;|]", _without_quoted(command)):
        parts = [words_of(part) for part in re.split(r"&&|\|\||;", command)]
        return all(is_install(words) for words in parts)
    found = _arguments(words_of(command))
    return found is not None and (found[0] in _VERBS or found[0] in ("list", "freeze", "check", "show", "", "--version", "config", "cache", "lock", "sync"))


def stand_in(note, after_import):
    """Makes commands that install packages succeed without an effect: those run by `subprocess`
    and `os`, and pip's own `main`."""
    import posix

    def answer(command):
        words = words_of(command)
        tell(words, note)
        return _outcome(words)

    run = posix.system

    def system(command):
        if _is_pips(command):
            answer(command)
            return 0
        return run(command)

    posix.system = system
    if "os" in sys.modules:
        sys.modules["os"].system = system
    after_import.call("subprocess", lambda module: _replace_popen(module, answer))
    sys.meta_path.append(_Pip(answer))


def _replace_popen(module, answer):
    original = module.Popen
    import io

    class Popen(original):
        def __init__(self, args, bufsize=-1, executable=None, stdin=None, stdout=None, stderr=None, preexec_fn=None, close_fds=True, shell=False, *more, **options):
            caller = sys._getframe(1).f_code.co_filename
            # asyncio waits for a process by its id.
            if not _is_pips(args) or caller.endswith("/unix_events.py"):
                super().__init__(args, bufsize, executable, stdin, stdout, stderr, preexec_fn, close_fds, shell, *more, **options)
                return
            given = {name: options.get(name) for name in ("text", "universal_newlines", "encoding", "errors")}
            self.text_mode = any(given.values())
            said = answer(args)
            self.args, self.pid, self.returncode = args, 0, 0
            self.stdin = (io.StringIO() if self.text_mode else io.BytesIO()) if stdin == module.PIPE else None
            self.stdout = (io.StringIO(said) if self.text_mode else io.BytesIO(said.encode())) if stdout == module.PIPE else None
            self.stderr = (io.StringIO() if self.text_mode else io.BytesIO()) if stderr == module.PIPE else None
            self._child_created = False
            self._is_done = True

        def communicate(self, input=None, timeout=None):
            if not hasattr(self, "_is_done"):
                return super().communicate(input, timeout)
            return tuple(None if stream is None else stream.read() for stream in (self.stdout, self.stderr))

        def send_signal(self, sig):
            if not hasattr(self, "_is_done"):
                super().send_signal(sig)

    Popen.__module__, Popen.__qualname__, Popen.__doc__ = original.__module__, original.__qualname__, original.__doc__
    module.Popen = Popen


class _Pip:
    """The last finder, for `import pip` in an environment without pip."""

    NAMES = ("pip", "pip._internal", "pip._internal.main", "pip._internal.cli", "pip._internal.cli.main")

    def __init__(self, answer):
        self.answer = answer

    def find_spec(self, name, path=None, target=None):
        if name not in self.NAMES:
            return None
        from _frozen_importlib import ModuleSpec

        return ModuleSpec(name, self, is_package=name != "pip._internal.cli.main" and name != "pip._internal.main")

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        def main(args=None):
            if args is not None and _is_pips(["pip", *args]):
                self.answer(["pip", *args])
            return 0

        module.main = main
        module.__version__ = "0"
