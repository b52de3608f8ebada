"""Standard input, output and error of the program, and the level that each log entry carries.

A flush that comes from writing a text that ends in a newline is one entry (`print("a\\nb")`, one
record of `logging`); what is written to the bytes layer is lines. The level is read off the stack
at the moment of writing: nothing of `logging` or `warnings` is patched, nothing is imported, and
threads cannot mix up each other's level.
"""

from belljar_driver import originals as __builtins__

import sys
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from posix import getpid, lseek as seek, write as write_descriptor
from sys import _getframe
from time import sleep

from belljar_driver.native import DEBUG, ERROR, INFO, WARN

# Large enough that a long entry is written to the pipe at once.
BUFFER_BYTES = 64 * 1024

# The delay before the next attempt to write to a full pipe that the program has made non-blocking.
FULL_PIPE_PAUSE_SECONDS = 0.0005

_text_write = TextIOWrapper.write
_text_flush = TextIOWrapper.flush


#: The id of the sandbox's own process. In its children, each line is an entry.
_process = 0


class Input(FileIO):
    """Standard input, descriptor 0."""

    def seekable(self):
        return _is_seekable(self.fileno())


class Output(FileIO):
    """Standard output or error, descriptor 1 or 2. It announces each entry that is not a single
    line of the stream's own level."""

    def __init__(self, descriptor, name, level, annotate):
        super().__init__(descriptor, "wb", closefd=False)
        self.name = name
        self._level = level
        self._annotate = annotate

    def seekable(self):
        return _is_seekable(self.fileno())

    def write(self, data):
        content = bytes(data)
        # The native library must count every byte that this process writes, because it reports
        # ranges by their offsets.
        if getpid() == _process:
            writer = _getframe(1)
            is_text = writer.f_code is _WRITE_TEXT
            level = level_of(writer.f_back, self._level) if is_text else self._level
            is_entry = is_text and (level != self._level or content.find(b"\n", 0, len(content) - 1) >= 0)
            self._annotate(self.fileno(), level, len(content), is_entry)
        # Writes everything here: the rest of a partial write would otherwise become another entry.
        written = 0
        while written < len(content):
            try:
                written += write_descriptor(self.fileno(), content[written:] if written else content)
            except BlockingIOError:
                sleep(FULL_PIPE_PAUSE_SECONDS)
        return written


class Text(TextIOWrapper):
    """A text stream that passes on a complete entry at once."""

    def write(self, text):
        count = _text_write(self, text)
        if text[-1:] == "\n":
            _text_flush(self)
        return count


_WRITE_TEXT = Text.write.__code__


def level_of(frame, default):
    """Returns the level of an entry that the code of `frame` writes: that of the log record or
    warning in progress, or the stream's own."""
    if frame is None:
        return default
    code = frame.f_code
    if code.co_name == "emit" and code.co_filename.endswith("/logging/__init__.py"):
        number = getattr(frame.f_locals.get("record"), "levelno", None)
        if isinstance(number, int):
            return ERROR if number >= 40 else WARN if number >= 30 else INFO if number >= 20 else DEBUG
    elif code.co_name == "_showwarnmsg_impl" and code.co_filename.endswith("warnings.py"):
        return WARN
    return default


def install(annotate):
    """Creates the program's standard streams at boot, because each page that a sandbox does not
    write to is a page that it does not copy. No facts about the descriptors themselves are
    stored, because a forked sandbox has other files under the same numbers."""
    raw = Input(0, "rb", closefd=False)
    raw.name = "<stdin>"
    reader = TextIOWrapper(BufferedReader(raw), "utf-8", "surrogateescape")
    reader.mode = "r"
    sys.stdin = sys.__stdin__ = reader
    sys.stdout = sys.__stdout__ = _output(1, "<stdout>", INFO, "surrogateescape", annotate)
    sys.stderr = sys.__stderr__ = _output(2, "<stderr>", ERROR, "backslashreplace", annotate)
    _installed[:] = [sys.stdout, sys.stderr]


def begin():
    """Called in the sandbox's own process, before the program runs."""
    global _process
    _process = getpid()


def flush():
    """Flushes everything that the program has printed, to its current streams and to its original
    ones."""
    for stream in [sys.stdout, sys.stderr, *_installed]:
        try:
            stream.flush()
        except BaseException:
            # The stream is closed, None, or an object of the program that fails: there is no one to
            # report this to.
            pass


def _output(descriptor, name, level, errors, annotate):
    buffer = BufferedWriter(Output(descriptor, name, level, annotate), BUFFER_BYTES)
    stream = Text(buffer, "utf-8", errors)
    stream._CHUNK_SIZE = BUFFER_BYTES
    stream.mode = "w"
    return stream


def _is_seekable(descriptor):
    # The text layer asks once, when it is created, and keeps the answer. In a zygote, that would be
    # the answer for a descriptor that no sandbox has.
    if _process == 0:
        return False
    try:
        seek(descriptor, 0, 1)
    except OSError:
        return False
    return True


_installed = []
