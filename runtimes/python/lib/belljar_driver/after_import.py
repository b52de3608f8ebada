"""Calls a function when a module is imported, now or later. The driver adapts libraries in this
way that a program may never load."""

from belljar_driver import originals as __builtins__

import sys


def call(name, callback):
    """Calls `callback(module)` when `name` is imported, or at once if it already is. Exceptions
    of the callback do not reach the program."""
    module = sys.modules.get(name)
    if module is not None:
        _quietly(callback, module)
        return
    _waiting.setdefault(name, []).append(callback)
    if not any(finder is _Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder)


def is_there(name, module):
    """Runs the callbacks for a module that exists without an import of its own."""
    for callback in _waiting.pop(name, ()):
        _quietly(callback, module)


class _Finder:
    """A finder at the start of the meta path. It finds no module itself, and only acts on names
    with callbacks."""

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
    """Makes the loader run the callbacks. There is one loader per module, so changing this
    instance affects no other import."""
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
