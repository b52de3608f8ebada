"""`belljar.storage` and `yepcode.storage`: named objects on the host, each transferred through a
call, which is a socket of its own. The format is described in crates/channel/src/call.rs. The
module is loaded before user code, and only for runs whose policy names storage. The host decides
which names a run may use.

All functions block, and may be used from several threads:
`asyncio.to_thread(belljar.storage.upload, name, data)`.
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

#: Size of a download's buffer, and of each read from a file, in bytes.
BUFFER_BYTES = 256 << 10

# Interval of retries while too many other calls are open, and the time after which retries stop if
# none of those calls makes progress, in seconds.
RETRY_SECONDS = 0.01
STALL_SECONDS = 10


class StorageError(OSError):
    """An error in storage, or on the way to it."""

    # Shown without the module, like built-in errors.
    __module__ = "builtins"
    number = EIO
    #: No hint about another refusal is added: the message itself names the grant.
    explains_itself = True

    def __init__(self, message):
        OSError.__init__(self, self.number, message)

    def __str__(self):
        return self.strerror


class NotFound(StorageError, FileNotFoundError):
    """No object has that name."""

    __module__ = "builtins"
    number = ENOENT


class NotGranted(StorageError, PermissionError):
    """The policy of the run does not grant the access."""

    __module__ = "builtins"
    number = EACCES


class InvalidName(StorageError, ValueError):
    """The name is not a valid name of an object."""

    __module__ = "builtins"
    number = EINVAL


class QuotaExceeded(StorageError):
    """The quota of storage does not allow the upload."""

    __module__ = "builtins"
    number = EDQUOT


class Busy(StorageError):
    """Too many transfers are open and none makes progress."""

    __module__ = "builtins"
    number = EBUSY


_ERRORS = {kind.__name__: kind for kind in (StorageError, NotFound, NotGranted, InvalidName, QuotaExceeded)}

#: The number of chunks that all calls have moved. A call that waits for another one to end uses it
#: to detect whether the others make progress.
_moved = 0


def _note_move():
    global _moved
    _moved += 1


def _open_descriptor(open_call):
    """Returns the descriptor of a socket. At most sixteen are open simultaneously."""
    seen, waited = _moved, 0
    while (descriptor := open_call()) is None:
        if _moved != seen:
            seen, waited = _moved, 0
        if waited >= STALL_SECONDS:
            raise Busy("too many transfers are open and none makes progress; read each download to its end, or close it, before the next")
        sleep(RETRY_SECONDS)
        waited += RETRY_SECONDS
    return descriptor


class Call:
    """One call: a socket, a request, its answer, and their bodies."""

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
        """Sends a part of the body. Returns False if the answer has already arrived, so that
        there is no reason to send more."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), MAX_CHUNK_BYTES):
            chunk = view[start : start + MAX_CHUNK_BYTES]
            if self._is_answered() or not self._send(_length_of(chunk), chunk):
                return False
            _note_move()
        return True

    def end_body(self):
        """Marks the body as complete. Without this mark, nothing is stored."""
        self._send(END_OF_BODY)

    def answer(self):
        """Returns the content of the answer, or raises the error that it reports."""
        answer = decode_json(self._read_exactly(self._read_length(MAX_HEADER_BYTES)).decode())
        if "error" in answer:
            raise _ERRORS.get(answer["error"]["name"], StorageError)(answer["error"]["message"])
        return answer["ok"]

    def next_chunk(self):
        """Returns the length of the next chunk, or 0 at the end of the body."""
        return self._read_length(MAX_CHUNK_BYTES)

    def read_into(self, buffer):
        """Reads a part of a chunk into the buffer."""
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
        """Returns False if the host has stopped reading; its answer, which can then be read, says
        why."""
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
    """The bytes of a download as they arrive. If they end early, reading raises an error."""

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
    """The bytes of an object: a binary file that can be read once, from its beginning. The
    attributes `size_bytes`, `content_type`, `sha256` and `md5` describe the object."""

    # Shown without the module, like built-in files.
    __module__ = "builtins"

    def __init__(self, body, about):
        BufferedReader.__init__(self, body, BUFFER_BYTES)
        for key, value in about.items():
            setattr(self, key, value)


class ObjectInfo(dict):
    """The record of an object, as a dict and as attributes: `name`, `size_bytes`,
    `content_type`, `updated_at`."""

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
    """Returns the record with the names that code written for YepCode reads."""
    return ObjectInfo({_YEPCODE_NAMES.get(key, key): value for key, value in record.items()})


class Storage:
    """Named objects on the host, under the prefixes that the run's policy grants."""

    def __init__(self, open_call, show=as_it_is):
        self._open_call = open_call
        self._show = show

    def upload(self, name, data, content_type=None):
        """Stores an object, completely or not at all, and replaces an existing one of that name.
        `data` is a str, bytes or another buffer, a file, or an iterable of such pieces. Returns
        the record of the object."""
        _check_name(name)
        pieces = _pieces_of(data)
        with Call(self._open_call) as call:
            call.ask(op="upload", name=name, content_type=content_type)
            if all(call.send(piece) for piece in pieces):
                call.end_body()
            return self._show(call.answer())

    def download(self, name):
        """Returns a binary file with the bytes of an object: read it, iterate over its lines, or
        use it in a `with`. Data that is not read stays on the host."""
        _check_name(name)
        call = Call(self._open_call)
        try:
            call.ask(op="download", name=name)
            return Download(Body(call, name), self._show(call.answer()))
        except BaseException:
            call.close()
            raise

    def list(self, prefix=""):
        """Returns the records of all objects that the run may read and whose names begin with
        `prefix`, sorted by name."""
        _check_name(prefix)
        records = []
        with Call(self._open_call) as call:
            call.ask(op="list", prefix=prefix)
            call.answer()
            while length := call.next_chunk():
                records += [self._show(record) for record in decode_json(call.read_chunk(length).decode())]
        return records

    def delete(self, name):
        """Deletes an object."""
        _check_name(name)
        with Call(self._open_call) as call:
            call.ask(op="delete", name=name)
            call.answer()


def _check_name(name):
    if not isinstance(name, str):
        raise TypeError(f"the name of an object is a str, not {type(name).__name__}")


def _pieces_of(data):
    """Returns the data of an upload as an iterator over bytes."""
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
    """Combines pieces to a size that is worth a system call. The last piece of a file is empty."""
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
