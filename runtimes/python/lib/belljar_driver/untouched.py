"""Provides the unmodified standard library for imports that happen after the program has run. A
program may have its own `json.py` or `ast.py`, which is then the module of that name in its
folder and in `sys.modules`."""

from belljar_driver import originals as __builtins__

import builtins
import sys
from sys import modules as _modules
from sys import stdlib_module_names

from belljar_driver import originals

_builtins = vars(builtins)
_PATH = [folder for folder in sys.path if folder and not folder.endswith(("/site-packages", "/dist-packages"))]
_FOLDERS = tuple(folder + "/" for folder in _PATH)
_META_PATH = [*sys.meta_path]
_PATH_HOOKS = [*sys.path_hooks]
_BASE = {name: sys.modules[name] for name in ("sys", "builtins", "_thread", "_imp", "_weakref", "_warnings", "belljar_driver")}


class StandardLibrary:
    """A context in which imports find only the standard library, with the original builtins."""

    def __enter__(self):
        self.builtins = dict(_builtins)
        _builtins.update(originals)
        self.modules, self.path, self.meta_path, self.path_hooks = dict(_modules), sys.path, sys.meta_path, sys.path_hooks
        for name, module in self.modules.items():
            if type(name) is str and name.partition(".")[0] in stdlib_module_names and _is_elsewhere(module):
                _modules.pop(name, None)
        for name, module in _BASE.items():
            _modules.setdefault(name, module)
        sys.modules, sys.path, sys.meta_path, sys.path_hooks = _modules, [*_PATH], [*_META_PATH], [*_PATH_HOOKS]

    def __exit__(self, *_):
        _modules.update(self.modules)
        sys.path, sys.meta_path, sys.path_hooks = self.path, self.meta_path, self.path_hooks
        _builtins.update(self.builtins)


def _is_elsewhere(module):
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not file.startswith(_FOLDERS)


def standard_module(name):
    """Returns a module of the standard library, even if the program has a module of that name."""
    with StandardLibrary():
        return __import__(name)


def driver_module(name):
    """Returns a module of the driver that some runs do not need, so that a one-shot run need not
    load it."""
    module = _driver_modules.get(name)
    if module is None:
        with StandardLibrary():
            module = _driver_modules[name] = getattr(__import__("belljar_driver", None, None, [name]), name)
    return module


_driver_modules = {}
