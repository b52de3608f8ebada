"""A double of the native library, which records each call as a line of a file. Like the real one,
it depends on nothing that a program can break."""

import builtins
from binascii import hexlify
from posix import O_APPEND, O_CLOEXEC, O_CREAT, O_WRONLY, _exit, getpid, open, urandom, write

__builtins__ = dict(vars(builtins))


EXECUTED = 5
# The id of the only execution.
EXECUTION = 1


class NativeDouble:
    def __init__(self, activation, record, calls=(), busy=0):
        self.activation = activation
        self.calls = list(calls)
        self.busy = busy
        self.record = open(record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC)
        self.running = 0

    def _note(self, *words):
        write(self.record, (" ".join([str(word) for word in words]) + "\n").encode())

    def become_zygote(self):
        pass

    def start(self, rehearsal):
        pass

    def receive(self):
        self.running = EXECUTION
        return self.activation

    def execution(self):
        return self.running

    def send(self, execution, kind, data):
        if execution == self.running:
            self._note(
                "send",
                getpid(),
                kind,
                hexlify(data.encode() if isinstance(data, str) else data).decode(),
            )

    def end(self, execution, data):
        self.send(execution, EXECUTED, data)
        self.running = 0

    def open_call(self, execution):
        """Returns one of the sockets whose other ends the test holds; the first `busy` calls return
        None."""
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
