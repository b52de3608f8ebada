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


def pending(home):
    """What `settle` is going to wait for: threads and processes, as `[{"kind", "count", "at"}]`. Empty for nearly every program."""
    threading, process = modules.get("threading"), modules.get("multiprocessing.process")
    found = []
    try:
        if _count_threads() > 0 and threading is not None:
            found += _pending_threads(threading, home)
        children = [child for child in getattr(process, "_children", ()) if not child.daemon and child.is_alive()]
        if children:
            found.append({"kind": "child_process", "count": len(children), "at": _place_of(getattr(children[0], "_target", None), home)})
    except Exception:
        # The program replaced what this asks: nothing is said of it then.
        pass
    return found


def pending_in_loop(home):
    """What `asyncio.run` still waits for once the result is there: tasks that it cancels, and threads of its executor."""
    tasks = modules["asyncio"].all_tasks()
    current = modules["asyncio"].current_task()
    others = [task for task in tasks if task is not current]
    found = []
    if others:
        found.append({"kind": "task", "count": len(others), "at": _place_of(others[0].get_coro(), home)})
    if _count_threads() > 0 and "threading" in modules:
        found += _pending_threads(modules["threading"], home)
    return found


def _pending_threads(threading, home):
    kinds = {}
    for thread in threading.enumerate():
        if thread is threading.main_thread() or thread.daemon:
            continue
        kind = "timer" if isinstance(thread, threading.Timer) else "thread"
        kinds.setdefault(kind, []).append(thread)
    return [{"kind": kind, "count": len(threads), "at": _place_of_thread(threads[0], home)} for kind, threads in kinds.items()]


def _place_of_thread(thread, home):
    """The line of the program that a thread is at; of a timer, the function that it will call."""
    function = getattr(thread, "function", None) or getattr(thread, "_target", None)
    frame, place = sys._current_frames().get(thread.ident), None
    while frame is not None and place is None:
        place = _place(frame.f_code.co_filename, frame.f_lineno, home)
        frame = frame.f_back
    return place or _place_of(function, home)


def _place_of(function, home):
    """Where a function or coroutine was written, if in a file of the program."""
    code = getattr(function, "__code__", None) or getattr(function, "cr_code", None)
    return None if code is None else _place(code.co_filename, code.co_firstlineno, home)


def _place(file_name, line, home):
    return f"{file_name[len(home) + 1 :]}:{line}" if file_name.startswith(home + "/") else None


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
