"""`belljar.storage` and `yepcode.storage`: named objects on the host, each moved through a call, which is a socket of its own. What crosses it is in
crates/channel/src/call.rs. Loaded before user code, and only for runs whose policy names storage; which names a run may use is decided by whoever answers.

All of it blocks, and may be used from several threads: `asyncio.to_thread(belljar.storage.upload, name, data)`.
"""

from belljar_driver import originals as __builtins__

from errno import EACCES, EBUSY, EDQUOT, EINVAL, EIO, ENOENT
from io import BufferedReader, RawIOBase
from time import sleep

from _socket import MSG_DONTWAIT, MSG_PEEK, socket

from belljar_driver.convert import to_json
from belljar_driver.text import decode_json

LENGTH_BYTES = 4
MAX_HEADER_BYTES = 64 << 10
MAX_CHUNK_BYTES = 1 << 20
END_OF_BODY = b"\0" * LENGTH_BYTES

#: How much a download holds, and how much is read from a file at a time.
BUFFER_BYTES = 256 << 10

# How often a call that found too many others open asks again, and how long it does while none of those moves.
RETRY_SECONDS = 0.01
STALL_SECONDS = 10


class StorageError(OSError):
    """Something went wrong on the way to storage or in it."""

    # Told without the module, as errors of the language are.
    __module__ = "builtins"
    number = EIO
    #: No hint about another refusal belongs to it: its message says what to ask for.
    explains_itself = True

    def __init__(self, message):
        OSError.__init__(self, self.number, message)

    def __str__(self):
        return self.strerror


class NotFound(StorageError, FileNotFoundError):
    """There is no object of that name."""

    __module__ = "builtins"
    number = ENOENT


class NotGranted(StorageError, PermissionError):
    """The policy of the run does not grant it."""

    __module__ = "builtins"
    number = EACCES


class InvalidName(StorageError, ValueError):
    """No object can have that name."""

    __module__ = "builtins"
    number = EINVAL


class QuotaExceeded(StorageError):
    """There is no room for it."""

    __module__ = "builtins"
    number = EDQUOT


class Busy(StorageError):
    """Too many transfers are open, and none of them goes on."""

    __module__ = "builtins"
    number = EBUSY


_ERRORS = {kind.__name__: kind for kind in (StorageError, NotFound, NotGranted, InvalidName, QuotaExceeded)}

#: Counts pieces that were moved, in all calls: whoever waits for one of them to end sees by it whether that can be.
_moved = 0


def _note_move():
    global _moved
    _moved += 1


def _open_descriptor(open_call):
    """A socket's number. At most sixteen are open at a time."""
    seen, waited = _moved, 0
    while (descriptor := open_call()) is None:
        if _moved != seen:
            seen, waited = _moved, 0
        if waited >= STALL_SECONDS:
            raise Busy("too many transfers are open, and none of them goes on; read each download to its end, or close it, before the next")
        sleep(RETRY_SECONDS)
        waited += RETRY_SECONDS
    return descriptor


class Call:
    """One call: a socket, a request, its answer, and the bodies that go with them."""

    def __init__(self, open_call):
        self._socket = socket(fileno=_open_descriptor(open_call))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._socket.close()

    def ask(self, **request):
        text = to_json(request, 1 << 40)
        if len(text) > MAX_HEADER_BYTES:
            raise InvalidName("the name is too long")
        self._send(_length_of(text) + text)

    def send(self, data):
        """Sends some of the body. False when the answer is there already: then there is no reason to send more."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), MAX_CHUNK_BYTES):
            chunk = view[start : start + MAX_CHUNK_BYTES]
            if self._is_answered() or not self._send(_length_of(chunk), chunk):
                return False
            _note_move()
        return True

    def end_body(self):
        """Says that the body was all of it. Without, nothing is stored."""
        self._send(END_OF_BODY)

    def answer(self):
        """What the answer holds; raises what it says instead."""
        answer = decode_json(self._read_exactly(self._read_length(MAX_HEADER_BYTES)).decode())
        if "error" in answer:
            raise _ERRORS.get(answer["error"]["name"], StorageError)(answer["error"]["message"])
        return answer["ok"]

    def next_chunk(self):
        """The length of the next chunk, 0 at the end of the body."""
        return self._read_length(MAX_CHUNK_BYTES)

    def read_into(self, buffer):
        """Reads some of a chunk."""
        try:
            length = self._socket.recv_into(buffer)
        except OSError as error:
            raise StorageError(f"the connection to storage broke: {error.strerror}") from None
        if length == 0:
            raise StorageError("storage went away before it had answered in full")
        _note_move()
        return length

    def read_chunk(self, length):
        return self._read_exactly(length)

    def _send(self, *parts):
        """False when nobody reads any more; what is there to be read tells why."""
        try:
            for part in parts:
                self._socket.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def _is_answered(self):
        try:
            self._socket.recv(1, MSG_PEEK | MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def _read_length(self, most):
        length = int.from_bytes(self._read_exactly(LENGTH_BYTES), "little")
        if length > most:
            raise StorageError("storage answered out of turn")
        return length

    def _read_exactly(self, length):
        data = bytearray(length)
        view = memoryview(data)
        while view:
            view = view[self.read_into(view) :]
        return bytes(data)


def _length_of(data):
    return len(data).to_bytes(LENGTH_BYTES, "little")


class Body(RawIOBase):
    """The bytes of a download as they come. They end in an error where they end early."""

    def __init__(self, call, name):
        self._call = call
        self._left = 0
        self._has_ended = False
        self.name = name

    def readable(self):
        return True

    def readinto(self, buffer):
        if self._has_ended or not len(buffer):
            return 0
        if self._left == 0:
            self._left = self._call.next_chunk()
            if self._left == 0:
                self._has_ended = True
                self._call.close()
                return 0
        length = self._call.read_into(memoryview(buffer).cast("B")[: self._left])
        self._left -= length
        return length

    def readall(self):
        parts = []
        while part := self.read(MAX_CHUNK_BYTES):
            parts.append(part)
        return b"".join(parts)

    def close(self):
        self._call.close()
        RawIOBase.close(self)


class Download(BufferedReader):
    """An object's bytes: a binary file that can be read once, from its beginning. `size_bytes`, `content_type`, `sha256` and `md5` tell of it."""

    # Told without the module, as files of the language are.
    __module__ = "builtins"

    def __init__(self, body, about):
        BufferedReader.__init__(self, body, BUFFER_BYTES)
        for key, value in about.items():
            setattr(self, key, value)


class ObjectInfo(dict):
    """What is known of an object, as a dict and as attributes: `name`, `size_bytes`, `content_type`, `updated_at`."""

    __module__ = "builtins"

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def as_it_is(record):
    return ObjectInfo(record)


_YEPCODE_NAMES = {
    "size_bytes": "size",
    "md5": "md5Hash",
    "content_type": "contentType",
    "created_at": "createdAt",
    "updated_at": "updatedAt",
}


def yepcode_named(record):
    """The same with the names that code written for YepCode reads."""
    return ObjectInfo({_YEPCODE_NAMES.get(key, key): value for key, value in record.items()})


class Storage:
    """Named objects on the host, under the prefixes that the run's policy grants."""

    def __init__(self, open_call, show=as_it_is):
        self._open_call = open_call
        self._show = show

    def upload(self, name, data, content_type=None):
        """Stores an object, whole or not at all, and replaces the one of that name. `data` is a str, bytes or another buffer, a file, or an iterable of
        such pieces. Gives the object's record."""
        _check_name(name)
        pieces = _pieces_of(data)
        with Call(self._open_call) as call:
            call.ask(op="upload", name=name, content_type=content_type)
            if all(call.send(piece) for piece in pieces):
                call.end_body()
            return self._show(call.answer())

    def download(self, name):
        """A binary file with the object's bytes: read it, iterate over its lines, use it in a `with`. What is not read stays where it is."""
        _check_name(name)
        call = Call(self._open_call)
        try:
            call.ask(op="download", name=name)
            return Download(Body(call, name), self._show(call.answer()))
        except BaseException:
            call.close()
            raise

    def list(self, prefix=""):
        """The records of all objects that the run may read and whose names begin with `prefix`, in the order of their names."""
        _check_name(prefix)
        records = []
        with Call(self._open_call) as call:
            call.ask(op="list", prefix=prefix)
            call.answer()
            while length := call.next_chunk():
                records += [self._show(record) for record in decode_json(call.read_chunk(length).decode())]
        return records

    def delete(self, name):
        """Removes an object."""
        _check_name(name)
        with Call(self._open_call) as call:
            call.ask(op="delete", name=name)
            call.answer()


def _check_name(name):
    if not isinstance(name, str):
        raise TypeError(f"the name of an object is a str, not {type(name).__name__}")


def _pieces_of(data):
    """What is uploaded, as an iterator over bytes."""
    piece = _bytes_of(data)
    if piece is not None:
        return iter((piece,))
    read = getattr(data, "read", None)
    if callable(read):
        return _gathered(iter(lambda: read(BUFFER_BYTES), None))
    if isinstance(data, (list, tuple, dict, set)) or not hasattr(data, "__iter__"):
        raise TypeError(f"what is uploaded is a str, bytes, a file, or an iterator of such pieces, not {type(data).__name__}; give other values as JSON")
    return _gathered(iter(data), ends_empty=False)


def _gathered(pieces, ends_empty=True):
    """Pieces put together to a size that is worth a system call. A file's last piece is empty."""
    waiting, length = [], 0
    for item in pieces:
        piece = _bytes_of(item)
        if piece is None:
            raise TypeError(f"a piece of what is uploaded is str or bytes, not {type(item).__name__}")
        if not len(piece) and ends_empty:
            break
        waiting.append(piece)
        length += len(piece)
        if length >= BUFFER_BYTES:
            yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
            waiting, length = [], 0
    yield b"".join(waiting)


def _bytes_of(data):
    if isinstance(data, str):
        return data.encode()
    try:
        view = memoryview(data)
    except TypeError:
        return None
    return view.cast("B") if view.contiguous else view.tobytes()
