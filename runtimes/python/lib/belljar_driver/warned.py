"""Warnings name the program's files, never the driver's: a coroutine may lose its last reference, and a figure be drawn, in a frame of
the driver's."""

from belljar_driver import originals as __builtins__

import warnings
from sys import _getframe

from belljar_driver import FOLDER, HOME


def hide_driver():
    """Changes the one function that the interpreter calls with each warning that is to be shown. Imported before any program runs, `warnings`
    also shows what the interpreter itself warns of, so that every warning is one entry of the level `warn`."""
    show = warnings._showwarnmsg

    def _showwarnmsg(msg):
        if msg.filename.startswith(FOLDER):
            msg.filename, msg.lineno, msg.line = *_place(), None
        show(msg)

    warnings._showwarnmsg = _showwarnmsg


def _place():
    """The innermost line of the program, or what CPython calls the place of a warning that comes at the end."""
    frame = _getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(f"{HOME}/"):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return "sys", 1
