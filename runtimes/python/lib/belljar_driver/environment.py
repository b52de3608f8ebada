"""What a program finds around it: variables, arguments, working folder, import path, `__main__`."""

from belljar_driver import originals as __builtins__

import sys
from _frozen_importlib_external import SourceFileLoader
from _imp import is_frozen
from posix import chdir, environ, putenv, unsetenv

from belljar_driver import HOME, LIBRARY

DEFAULTS = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": HOME,
    "USER": "user",
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",
    # matplotlib looks for a display and writes to its home otherwise.
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/tmp/matplotlib",
}

_Module = type(sys)


def prepare(packages=None):
    """What is the same for every program, at boot. `packages` is the environment that it has its packages from."""
    if not is_frozen("os"):
        # Where it comes from a file, as before 3.11, it has to be there before a program can have an `os.py` of its own, as in any Python.
        import os  # noqa: F401
    for name in list(environ):
        unsetenv(name)
    environ.clear()
    for name, value in DEFAULTS.items():
        _set_variable(name, value)
    if packages is not None:
        _set_variable("PATH", f"{packages['place']}/bin:{DEFAULTS['PATH']}")
    if "site" not in sys.modules:
        _add_site_builtins()


def enter(activation, home):
    """Prepares the process for the program and returns its entry's path and its `__main__` module."""
    granted = activation["env"] or {}
    for name, value in granted.items():
        _set_variable(name, value)
    # As Python has it: the driver alone does without.
    sys.dont_write_bytecode = bool(granted.get("PYTHONDONTWRITEBYTECODE"))
    chdir(home)
    entry = home + "/" + activation["entry"]
    sys.argv = [entry, *activation["arguments"]]
    # As `python3 FILE` does it: the folder of the entry first. The public modules come last, where any package of the
    # program's may take their name.
    search = [folder for folder in granted.get("PYTHONPATH", "").split(":") if folder]
    sys.path[:] = [entry.rpartition("/")[0], *search, *sys.path, LIBRARY]
    return entry, main_module(entry)


def _set_variable(name, value):
    """As `os.environ` does it, which keeps them in this dictionary. `os` itself is left to the program: importing it costs a one-shot run 1.2 ms."""
    name, value = name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape")
    putenv(name, value)
    environ[name] = value


def main_module(entry):
    module = _Module("__main__")
    module.__file__ = entry
    module.__cached__ = None
    module.__loader__ = SourceFileLoader("__main__", entry)
    module.__builtins__ = sys.modules["builtins"]
    sys.modules["__main__"] = module
    return module


def _add_site_builtins():
    """`exit`, `quit` and `help`, which `site` makes and a runtime started with -S lacks."""
    import builtins

    import _sitebuiltins

    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()
