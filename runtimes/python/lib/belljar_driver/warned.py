"""Makes warnings name the program's files, never the driver's: a coroutine may lose its last
reference, or a figure be drawn, in a frame of the driver."""

from belljar_driver import originals as __builtins__

import warnings
from sys import _getframe

from belljar_driver import FOLDER, HOME


def hide_driver():
    """Replaces the function that the interpreter calls with each warning to be shown. Because
    `warnings` is imported before any program runs, it also shows the interpreter's own warnings,
    so that every warning is one entry of the level `warn`."""
    show = warnings._showwarnmsg

    def _showwarnmsg(msg):
        if msg.filename.startswith(FOLDER):
            msg.filename, msg.lineno, msg.line = *_place(), None
        show(msg)

    warnings._showwarnmsg = _showwarnmsg


def _place():
    """Returns the innermost line of the program, or the place that CPython reports for a warning
    at the end."""
    frame = _getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(f"{HOME}/"):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return "sys", 1
