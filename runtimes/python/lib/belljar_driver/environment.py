"""The environment of a program: variables, arguments, working folder, import path, `__main__`."""

from belljar_driver import originals as __builtins__

import sys
from _frozen_importlib_external import SourceFileLoader
from _imp import is_frozen
from posix import chdir, environ, putenv, unsetenv

from belljar_driver import HOME, LIBRARY
from belljar_driver.untouched import driver_module

#: Links to the interpreter of the run, as `python` and `python3`.
PROGRAMS = "/opt/belljar/bin"

DEFAULTS = {
    "PATH": f"{PROGRAMS}:/usr/local/bin:/usr/bin:/bin",
    "HOME": HOME,
    "USER": "user",
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",
    # Otherwise matplotlib searches for a display and writes to the home folder.
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/tmp/matplotlib",
}

#: Set only if no process can be started. joblib, and therefore scikit-learn's n_jobs, then works in
#: this process.
WITHOUT_EXEC = {"JOBLIB_MULTIPROCESSING": "0"}

_Module = type(sys)


def prepare(packages=None):
    """Prepares, at boot, everything that is the same for every program. `packages` is the
    environment with the run's packages."""
    if not is_frozen("os"):
        # If `os` is loaded from a file, as before 3.11, this has to happen before a program can
        # have an `os.py` of its own, as in any Python.
        import os  # noqa: F401
    for name in list(environ):
        unsetenv(name)
    environ.clear()
    for name, value in (DEFAULTS | WITHOUT_EXEC).items():
        _set_variable(name, value)
    _set_flags()
    if packages is not None:
        _set_variable("PATH", f"{packages['place']}/bin:{DEFAULTS['PATH']}")
    if "site" not in sys.modules:
        _add_site_builtins()


def enter(activation, home):
    """Prepares the process for the program and returns its entry's path and its `__main__`
    module."""
    granted = activation["env"] or {}
    if activation["policy"].get("exec"):
        expect_exec()
    for name, value in granted.items():
        _set_variable(name, value)
    # The default of Python: only the driver runs without it.
    sys.dont_write_bytecode = bool(granted.get("PYTHONDONTWRITEBYTECODE"))
    if "TZ" in granted:
        import time

        time.tzset()
    chdir(home)
    entry = home + "/" + activation["entry"]
    sys.argv = [entry, *activation["arguments"]]
    # As with `python3 FILE`, the folder of the entry comes first. The public modules come last, so
    # that any package of the program may have the same name.
    search = [folder for folder in granted.get("PYTHONPATH", "").split(":") if folder]
    own = [] if granted.get("PYTHONSAFEPATH") else [entry.rpartition("/")[0]]
    sys.path[:] = [*own, *search, *sys.path, LIBRARY]
    if any(name.startswith("PYTHON") for name in granted):
        driver_module("python_variables").apply(granted)
    return entry, main_module(entry)


def expect_exec():
    """Removes the settings for sandboxes in which no process can be started."""
    for name in WITHOUT_EXEC:
        if environ.pop(name.encode(), None) is not None:
            unsetenv(name)


def _set_flags():
    """Makes `sys.flags` those of a plain `python3`. The driver was started with other flags,
    which `subprocess` and `asyncio` would pass on to interpreters that they start; these would
    then have no packages."""
    plain = {"isolated": 0, "ignore_environment": 0, "no_user_site": 0, "no_site": 0, "safe_path": False}
    kind = type(sys.flags)
    names = [name for name, kind_of in kind.__dict__.items() if type(kind_of).__name__ == "member_descriptor"]
    values = {name: plain.get(name, getattr(sys.flags, name)) for name in names}

    def refuse(kind, *_):
        raise TypeError("cannot create 'sys.flags' instances")

    class flags(tuple):
        """sys.flags"""

        __slots__ = ()
        __new__ = refuse
        __repr__ = lambda self: f"sys.flags({', '.join(f'{name}={values[name]!r}' for name in names)})"  # noqa: E731

    for name, value in values.items():
        setattr(flags, name, property(lambda self, value=value: value))
    flags.__module__ = "sys"
    sys.flags = tuple.__new__(flags, values.values())


def _set_variable(name, value):
    """Sets a variable like `os.environ`, which keeps its values in this dictionary. `os` itself
    is left to the program: importing it costs a one-shot run 1.2 ms."""
    name, value = name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape")
    putenv(name, value)
    environ[name] = value


def main_module(entry):
    # The names that CPython gives a script, in the same order: programs print `dir()`, and read
    # `__annotations__` without having any.
    module = _Module("__main__")
    module.__loader__ = SourceFileLoader("__main__", entry)
    if sys.version_info < (3, 14):
        module.__annotations__ = {}
    module.__builtins__ = sys.modules["builtins"]
    module.__file__ = entry
    module.__cached__ = None
    sys.modules["__main__"] = module
    return module


def _add_site_builtins():
    """Adds `exit`, `quit` and `help`, which `site` creates, and which a runtime started with -S
    lacks."""
    import builtins

    import _sitebuiltins

    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()
