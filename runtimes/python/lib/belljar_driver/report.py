"""The last frame: what became of the program, once, from the process that ran it and from none of its children."""

from belljar_driver import originals as __builtins__

from belljar_driver import convert
from belljar_driver.native import FINISHED
from belljar_driver.text import utf8


def finished(send, value=b"null", error=None, exit_code=None):
    """Sends FINISHED. `value` is JSON already."""
    told = utf8(_text(error)) if error is not None else b"null"
    code = b"null" if exit_code is None else str(exit_code).encode()
    send(FINISHED, b'{"value": ' + value + b', "error": ' + told + b', "exit_code": ' + code + b"}")


def _text(error):
    """An error holds nothing but text and an error, and is bounded where it is made."""
    encoder = convert._Encoder(1 << 40)
    encoder.encode(error)
    return "".join(encoder.pieces)
