"""Calls back once a module has been imported, now or later: how the driver meets libraries that a program may never load."""

from belljar_driver import originals as __builtins__

import sys


def call(name, callback):
    """Calls `callback(module)` when `name` is, or becomes, imported. What it raises does not reach the program."""
    module = sys.modules.get(name)
    if module is not None:
        _quietly(callback, module)
        return
    _waiting.setdefault(name, []).append(callback)
    if not any(finder is _Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder)


def is_there(name, module):
    """Called for a module that came without an import of its own."""
    for callback in _waiting.pop(name, ()):
        _quietly(callback, module)


class _Finder:
    """First on the meta path; finds nothing itself, and only looks closer at a name that is waited for."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        callbacks = _waiting.pop(name, None)
        if callbacks is None:
            return None
        for finder in sys.meta_path:
            spec = None if finder is _Finder else finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            _waiting[name] = callbacks
            return None
        if hasattr(spec.loader, "exec_module"):
            _announce(spec.loader, callbacks)
        return spec


def _announce(loader, callbacks):
    """Loaders are made per module, so changing this one instance touches no other import."""
    execute = loader.exec_module

    def exec_module(module):
        execute(module)
        for callback in callbacks:
            _quietly(callback, module)

    try:
        loader.exec_module = exec_module
    except AttributeError:
        pass


def _quietly(callback, module):
    try:
        callback(module)
    except Exception:
        pass


_waiting = {}
