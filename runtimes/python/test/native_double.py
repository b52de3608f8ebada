"""A double of the native library: notes each call as a line of a file. Like the real one it depends on nothing that a program can break."""

import builtins
from binascii import hexlify
from posix import O_APPEND, O_CLOEXEC, O_CREAT, O_WRONLY, _exit, getpid, open, urandom, write

__builtins__ = dict(vars(builtins))


class NativeDouble:
    def __init__(self, activation, record, calls=(), busy=0):
        self.activation = activation
        self.calls = list(calls)
        self.busy = busy
        self.record = open(record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC)
        self.finished = False

    def _note(self, *words):
        write(self.record, (" ".join([str(word) for word in words]) + "\n").encode())

    def become_zygote(self):
        pass

    def start(self, rehearsal):
        pass

    def receive(self):
        return self.activation

    def send(self, kind, data):
        if not self.finished:
            self.finished = kind == 5
            self._note("send", getpid(), kind, hexlify(data.encode() if isinstance(data, str) else data).decode())

    def open_call(self):
        """One of the sockets that the test holds the other ends of; None so many times before."""
        if self.busy > 0:
            self.busy -= 1
            return None
        return self.calls.pop(0)

    def annotate(self, stream, level, length, entry):
        if entry:
            self._note("annotate", getpid(), stream, level, length)

    def exit(self, code):
        self._note("exit", getpid(), code)
        _exit(code)

    def begin_imports(self):
        pass

    def random_bytes(self, n):
        return urandom(n)
