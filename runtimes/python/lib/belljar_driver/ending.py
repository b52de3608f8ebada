"""From the program's last statement to the end of the process: what CPython does on its way out, and no more.

The interpreter itself is not finalised: the process is about to vanish with all it made. What finalisation does for a program,
though, is done: threads joined, `atexit` run, `__main__` emptied so that objects get their `__del__`, open files written out.
"""

from belljar_driver import originals as __builtins__

import sys
from _thread import _count as _count_threads
from atexit import _ncallbacks as _count_exit_handlers
from atexit import _run_exitfuncs
from gc import get_objects
from io import BufferedRandom, BufferedWriter, TextIOWrapper
from sys import modules

from belljar_driver import denials, streams


def settle(finish):
    """Waits for what the program left running, unless it asked not to be waited for, and writes out what it left unwritten."""
    if finish != "settled":
        _join_threads()
        _run_exit_handlers()
        _empty_main()
    if denials.has_written_files():
        _flush_open_files()
    streams.flush()


def _join_threads():
    if _count_threads() == 0:
        return
    threading = modules.get("threading")
    try:
        if threading is not None:
            threading._shutdown()
    except BaseException:
        # As CPython does it: an interrupt or a broken `threading` ends the waiting, told on stderr.
        _print_exception()


def _run_exit_handlers():
    """Also joins processes of `multiprocessing` and stops executors: they register themselves here."""
    if not has_work_for_exit_handlers():
        return
    try:
        _run_exitfuncs()
    except BaseException:
        _print_exception()


#: What the exit handlers of a zygote's modules had to do when the zygote was done, which is nothing; None outside one.
_exit_handlers = None


def remember_exit_handlers():
    """In a zygote: their calling alone costs a sandbox thirty pages, and most programs give them nothing to do."""
    global _exit_handlers
    _exit_handlers = _work_of_exit_handlers()


def has_work_for_exit_handlers():
    return _exit_handlers is None or _exit_handlers != _work_of_exit_handlers()


def _work_of_exit_handlers():
    """How many handlers there are, and how much the standard library's own have on their lists."""
    try:
        return (
            _count_exit_handlers(),
            len(modules["logging"]._handlerList),
            len(modules["multiprocessing.util"]._finalizer_registry),
            len(modules["multiprocessing.process"]._children),
            len(modules["weakref"].finalize._registry),
        )
    except Exception:
        # The program replaced one of them: let the handlers find out for themselves.
        return False


def _empty_main():
    """As `finalize_modules` does: names with one underscore first, then the others, builtins last."""
    module = modules.get("__main__")
    namespace = getattr(module, "__dict__", None)
    if not isinstance(namespace, dict):
        return
    try:
        for private in (True, False):
            for name in list(namespace):
                if name != "__builtins__" and (name[:1] == "_" and name[:2] != "__") is private:
                    namespace[name] = None
    except BaseException:
        # A daemon thread may be writing there meanwhile.
        pass


def _flush_open_files():
    """A file that was written and never closed, and that something still holds."""
    kinds = (TextIOWrapper, BufferedWriter, BufferedRandom)
    held = [value for value in get_objects() if type(value) in kinds]
    # Text first: it writes into the buffers.
    held.sort(key=lambda file: type(file) is not TextIOWrapper)
    for file in held:
        try:
            if not file.closed and (type(file) is not TextIOWrapper or file.buffer.writable()):
                file.flush()
        except BaseException:
            pass


def _print_exception():
    try:
        sys.excepthook(*sys.exc_info())
    except BaseException:
        pass
