"""Describes an uncaught exception of the program: name, message, stack without the driver's frames,
cause.

Every step may run the program's own code (`__str__`, a metaclass), or happen when memory is
exhausted. Therefore each step has a simpler fallback, and the last of them allocates almost
nothing.
"""

from belljar_driver import originals as __builtins__

from io import BytesIO, TextIOWrapper

from belljar_driver import FOLDER
from belljar_driver.untouched import StandardLibrary, standard_module

MAX_MESSAGE_CHARACTERS = 64 * 1024
MAX_STACK_CHARACTERS = 256 * 1024
MAX_CAUSES = 5
#: Maximum number of innermost frames of a stack that are kept.
MAX_FRAMES = 1000

_type_name = type.__dict__["__name__"].__get__


def describe(error, source=None, path=None):
    """Returns the error as `{"name", "message", "stack", "cause"?}`. `source` and `path` are
    those of the program, and provide the lines of its stack."""
    try:
        with StandardLibrary():
            if source is not None and not isinstance(error, MemoryError):
                _remember_lines(source, path)
            return _describe(error, MAX_CAUSES, set())
    except BaseException:
        return {"name": name_of(error), "message": message_of(error), "stack": _plain_stack(error)}


def _describe(error, causes, seen):
    seen.add(id(error))
    report = {"name": name_of(error), "message": message_of(error), "stack": stack_of(error)}
    cause = cause_of(error)
    if cause is not None and causes > 0 and id(cause) not in seen:
        report["cause"] = _describe(cause, causes - 1, seen)
    return report


def brief(error):
    """Describes an error that is part of a result."""
    with StandardLibrary():
        return {"name": name_of(error), "message": message_of(error), "stack": stack_of(error)}


def name_of(error):
    return _type_name(type(error))


def message_of(error):
    try:
        text = str(error)
        text = text if type(text) is str else str.__str__(text)
    except BaseException as failure:
        text = f"<the message is unavailable: __str__ raised {name_of(failure)}>"
    return _bounded(text, MAX_MESSAGE_CHARACTERS)


def cause_of(error):
    """Returns the cause of an error, by the rules of Python's own tracebacks."""
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def stack_of(error):
    """Returns Python's own text of the error and its traceback. The cause is described
    separately."""
    if not isinstance(error, MemoryError):
        try:
            return _bounded(_formatted(error), MAX_STACK_CHARACTERS)
        except BaseException:
            pass
    return _plain_stack(error)


def _bounded(text, limit):
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit} more characters)"


def _formatted(error):
    traceback = load()
    frames = visible(error.__traceback__)
    description = traceback.TracebackException(type(error), error, frames, limit=-MAX_FRAMES, compact=True)
    _hide_driver(description, traceback)
    lines = description.format(chain=False) if description.stack else description.format_exception_only()
    return "".join(lines).rstrip("\n")


def load():
    """Imports the modules that describing an error needs."""
    global _traceback
    if _traceback is None:
        _traceback = standard_module("traceback")
    return _traceback


_traceback = None


def visible(traceback):
    """Returns the traceback from its first frame that belongs neither to the driver nor to the
    event loop that the driver started."""
    while traceback is not None:
        file_name = traceback.tb_frame.f_code.co_filename
        if not _is_driver(file_name) and "/asyncio/" not in file_name:
            break
        traceback = traceback.tb_next
    return traceback


def _is_driver(file_name):
    return file_name.startswith(FOLDER)


def _hide_driver(description, traceback):
    """Removes the driver's frames from the middle of a stack, and from the stacks of a group's
    exceptions."""
    stack = description.stack
    if stack is not None and any(_is_driver(frame.filename) for frame in stack):
        description.stack = traceback.StackSummary.from_list([frame for frame in stack if not _is_driver(frame.filename)])
    for inner in getattr(description, "exceptions", None) or ():
        _hide_driver(inner, traceback)


def _plain_stack(error):
    """Returns file, line and function of each frame. Needs no module, no file and almost no
    memory."""
    lines = []
    traceback = visible(error.__traceback__)
    while traceback is not None and len(lines) < MAX_FRAMES:
        code = traceback.tb_frame.f_code
        if not _is_driver(code.co_filename):
            lines.append(f'  File "{code.co_filename}", line {traceback.tb_lineno}, in {code.co_name}\n')
        traceback = traceback.tb_next
    message = message_of(error)
    head = "Traceback (most recent call last):\n" if lines else ""
    return f"{head}{''.join(lines)}{name_of(error)}{': ' if message else ''}{message}"


def _remember_lines(source, path):
    """Registers the program's source, so that the stack shows the lines that were run, even if
    the program has changed or removed its file."""
    try:
        import linecache
        import tokenize

        encoding, _ = tokenize.detect_encoding(BytesIO(source).readline)
        lines = TextIOWrapper(BytesIO(source), encoding, "replace").readlines()
        linecache.cache[path] = (len(source), None, lines, path)
    except BaseException:
        # The source cannot be decoded, or the program has broken what this needs. The stack then
        # has no source lines.
        pass
