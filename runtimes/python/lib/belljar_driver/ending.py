"""The end of a run, from the program's last statement to the exit of the process.

The interpreter itself is not finalised, because the kernel frees everything when the process exits.
The parts of finalisation that a program can observe are done: threads are joined, `atexit` handlers
run, `__main__` is cleared so that `__del__` methods run, and open files are flushed.
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
    """Waits for threads and processes that the program left running, unless it asked not to
    wait, and flushes its output."""
    if finish != "settled":
        _join_threads()
        _run_exit_handlers()
        _empty_main()
    if denials.has_written_files():
        _flush_open_files()
    streams.flush()


def pending(home):
    """Returns the threads and processes that `settle` is going to wait for, as `[{"kind",
    "count", "at"}]`. Empty for nearly every program."""
    threading, process = modules.get("threading"), modules.get("multiprocessing.process")
    found = []
    try:
        if _count_threads() > 0 and threading is not None:
            found += _pending_threads(threading, home)
        children = [child for child in getattr(process, "_children", ()) if not child.daemon and child.is_alive()]
        if children:
            found.append({"kind": "child_process", "count": len(children), "at": _place_of(getattr(children[0], "_target", None), home)})
    except Exception:
        # The program has replaced one of these functions, so nothing is reported.
        pass
    return found


def pending_in_loop(home):
    """Returns what `asyncio.run` still waits for once the result is available: tasks that it
    cancels, and threads of its executor."""
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
    """Returns the line of the program that a thread executes. For a timer, returns the place of
    the function that it will call."""
    function = getattr(thread, "function", None) or getattr(thread, "_target", None)
    frame, place = sys._current_frames().get(thread.ident), None
    while frame is not None and place is None:
        place = _place(frame.f_code.co_filename, frame.f_lineno, home)
        frame = frame.f_back
    return place or _place_of(function, home)


def _place_of(function, home):
    """Returns the place where a function or coroutine is defined, if it is in a file of the
    program."""
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
        # As in CPython, an interrupt or a broken `threading` ends the wait and is printed to
        # stderr.
        _print_exception()


def _run_exit_handlers():
    """Runs the exit handlers. They also join processes of `multiprocessing` and stop executors,
    which register themselves there."""
    if not has_work_for_exit_handlers():
        return
    try:
        _run_exitfuncs()
    except BaseException:
        _print_exception()


#: The work that the exit handlers of a zygote's modules had at the end of the boot, which is none.
#: None outside of a zygote.
_exit_handlers = None


def remember_exit_handlers():
    """Records, in a zygote, the work of the exit handlers. Just calling them costs a sandbox
    thirty pages, and most programs give them nothing to do."""
    global _exit_handlers
    _exit_handlers = _work_of_exit_handlers()


def has_work_for_exit_handlers():
    return _exit_handlers is None or _exit_handlers != _work_of_exit_handlers()


def _work_of_exit_handlers():
    """Returns the number of handlers, and the number of items on the lists of the standard
    library's own."""
    try:
        return (
            _count_exit_handlers(),
            len(modules["logging"]._handlerList),
            len(modules["multiprocessing.util"]._finalizer_registry),
            len(modules["multiprocessing.process"]._children),
            len(modules["weakref"].finalize._registry),
        )
    except Exception:
        # The program has replaced one of them: let the handlers run.
        return False


def _empty_main():
    """Clears `__main__` as `finalize_modules` does: names with one underscore first, then the
    others, builtins last."""
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
        # A daemon thread may add names at the same time.
        pass


def _flush_open_files():
    """Flushes files that were written and never closed, and that are still referenced."""
    kinds = (TextIOWrapper, BufferedWriter, BufferedRandom)
    held = [value for value in get_objects() if type(value) in kinds]
    # Text layers first, because they write into the buffers.
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
