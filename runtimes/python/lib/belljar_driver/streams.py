"""Standard input, output and error of the program, and the level that each log entry carries.

A flush that comes from writing a text that ends in a newline is one entry (`print("a\\nb")`, one record of `logging`); what is
written to the bytes layer is lines. The level is read off the stack at the moment of writing: nothing of `logging` or `warnings`
is patched, nothing is imported, and threads cannot mix up each other's level.
"""

from belljar_driver import originals as __builtins__

import sys
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from posix import getpid, lseek as seek, write as write_descriptor
from sys import _getframe
from time import sleep

from belljar_driver.native import DEBUG, ERROR, INFO, WARN

# Large enough that a long entry reaches the pipe in one piece.
BUFFER_BYTES = 64 * 1024

# A pipe that was set non-blocking and is full: how long to wait before trying again.
FULL_PIPE_PAUSE_SECONDS = 0.0005

_text_write = TextIOWrapper.write
_text_flush = TextIOWrapper.flush


#: The sandbox's own process: the entries of its children are lines.
_process = 0


class Input(FileIO):
    """Descriptor 0."""

    def seekable(self):
        return _is_seekable(self.fileno())


class Output(FileIO):
    """Descriptor 1 or 2, announcing entries that are not one line of the stream's own level."""

    def __init__(self, descriptor, name, level, annotate):
        super().__init__(descriptor, "wb", closefd=False)
        self.name = name
        self._level = level
        self._annotate = annotate

    def seekable(self):
        return _is_seekable(self.fileno())

    def write(self, data):
        content = bytes(data)
        # The library counts every byte that this process writes, or no range would be where it says.
        if getpid() == _process:
            writer = _getframe(1)
            is_text = writer.f_code is _WRITE_TEXT
            level = level_of(writer.f_back, self._level) if is_text else self._level
            is_entry = is_text and (level != self._level or content.find(b"\n", 0, len(content) - 1) >= 0)
            self._annotate(self.fileno(), level, len(content), is_entry)
        # All of it, here: the rest of a partial write would otherwise come back as another entry.
        written = 0
        while written < len(content):
            try:
                written += write_descriptor(self.fileno(), content[written:] if written else content)
            except BlockingIOError:
                sleep(FULL_PIPE_PAUSE_SECONDS)
        return written


class Text(TextIOWrapper):
    """A text stream that hands on a finished entry at once."""

    def write(self, text):
        count = _text_write(self, text)
        if text[-1:] == "\n":
            _text_flush(self)
        return count


_WRITE_TEXT = Text.write.__code__


def level_of(frame, default):
    """The level of an entry written by the code of `frame`: that of the record or warning on its way, else the stream's own."""
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
    """Makes the program's standard streams, at boot: each page that a sandbox need not write to is a page it does not copy.
    Nothing about the descriptors themselves is remembered, for a forked sandbox has others under the same numbers."""
    raw = Input(0, "rb", closefd=False)
    raw.name = "<stdin>"
    reader = TextIOWrapper(BufferedReader(raw), "utf-8", "surrogateescape")
    reader.mode = "r"
    sys.stdin = sys.__stdin__ = reader
    sys.stdout = sys.__stdout__ = _output(1, "<stdout>", INFO, "surrogateescape", annotate)
    sys.stderr = sys.__stderr__ = _output(2, "<stderr>", ERROR, "backslashreplace", annotate)
    _installed[:] = [sys.stdout, sys.stderr]


def begin():
    """In the sandbox's own process, before the program."""
    global _process
    _process = getpid()


def flush():
    """Writes out everything that the program has printed, to the streams it has now and to those it was given."""
    for stream in [sys.stdout, sys.stderr, *_installed]:
        try:
            stream.flush()
        except BaseException:
            # Closed, None, or an object of the program's own that fails: there is nobody left to tell.
            pass


def _output(descriptor, name, level, errors, annotate):
    buffer = BufferedWriter(Output(descriptor, name, level, annotate), BUFFER_BYTES)
    stream = Text(buffer, "utf-8", errors)
    stream._CHUNK_SIZE = BUFFER_BYTES
    stream.mode = "w"
    return stream


def _is_seekable(descriptor):
    # The text layer asks when it is made, and keeps the answer: in a zygote, of a descriptor that no sandbox will have.
    if _process == 0:
        return False
    try:
        seek(descriptor, 0, 1)
    except OSError:
        return False
    return True


_installed = []
