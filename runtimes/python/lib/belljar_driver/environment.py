"""What a program finds around it: variables, arguments, working folder, import path, `__main__`."""

from belljar_driver import originals as __builtins__

import os
import sys
from _frozen_importlib_external import SourceFileLoader

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


def prepare():
    """What is the same for every program, at boot."""
    os.environ.clear()
    os.environ.update(DEFAULTS)
    if "site" not in sys.modules:
        _add_site_builtins()


def enter(activation, home):
    """Prepares the process for the program and returns its entry's path and its `__main__` module."""
    granted = activation["env"] or {}
    for name, value in granted.items():
        os.environ[name] = value
    # As Python has it: the driver alone does without.
    sys.dont_write_bytecode = bool(granted.get("PYTHONDONTWRITEBYTECODE"))
    os.chdir(home)
    entry = home + "/" + activation["entry"]
    sys.argv = [entry, *activation["arguments"]]
    # As `python3 FILE` does it: the folder of the entry first. The public modules come last, where any package of the
    # program's may take their name.
    search = [folder for folder in granted.get("PYTHONPATH", "").split(":") if folder]
    sys.path[:] = [entry.rpartition("/")[0], *search, *sys.path, LIBRARY]
    return entry, main_module(entry)


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
