"""Notes for the author of the program: facts that do not change the status of the run."""

from belljar_driver import originals as __builtins__

from belljar_driver.native import NOTE
from belljar_driver.text import utf8

# Limits of the supervisor.
MAX_NOTES = 32
MAX_BYTES = 1000


class Notes:
    """Sends the notes of one run, each of them once."""

    def __init__(self, send):
        self._send = send
        self._sent = set()

    def add(self, text):
        """Sends a note, a single short sentence."""
        if text in self._sent or len(self._sent) >= MAX_NOTES:
            return
        self._sent.add(text)
        payload = utf8(text)
        if len(payload) > MAX_BYTES:
            payload = utf8(payload[: MAX_BYTES - 3].decode("utf-8", "ignore") + "\u2026")
        self._send(NOTE, payload)
