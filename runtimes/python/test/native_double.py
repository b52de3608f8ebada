"""A double of the native library: keeps what it is told in a file of JSON lines, and takes its activation from another."""

import base64
import json
import os


class NativeDouble:
    def __init__(self, activation, record):
        self.activation = activation
        self.record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self.finished = False

    def _note(self, **event):
        os.write(self.record, (json.dumps(event) + "\n").encode())

    def start(self):
        pass

    def receive(self):
        return json.dumps(self.activation)

    def send(self, kind, data):
        if self.finished:
            return
        self.finished = kind == 5
        data = data.encode() if isinstance(data, str) else bytes(data)
        self._note(call="send", pid=os.getpid(), kind=kind, data=base64.b64encode(data).decode())

    def annotate(self, stream, level, length):
        self._note(call="annotate", pid=os.getpid(), stream=stream, level=level, length=length)

    def exit(self, code):
        self._note(call="exit", pid=os.getpid(), code=code)
        os._exit(code)

    def random_bytes(self, n):
        return os.urandom(n)
