"""Storage from a program's side: the bytes on each call's socket, and the handling of the host's
answers."""

import json
import struct
import unittest

from sandboxes import run

GRANTED = {"storage": {"read": [""], "write": [""]}}
END = bytes(4)


def framed(data):
    return struct.pack("<I", len(data)) + data


def ok(value=None):
    return framed(json.dumps({"ok": value or {}}).encode())


def refusal(name, message):
    return framed(json.dumps({"error": {"name": name, "message": message}}).encode())


def read_exactly(socket, length):
    data = b""
    while len(data) < length:
        piece = socket.recv(length - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def hear(socket):
    """Reads a whole call: its request and its chunks. The chunks of a call that was cut off end with
    None."""
    request = json.loads(read_exactly(socket, *struct.unpack("<I", read_exactly(socket, 4))))
    chunks = []
    try:
        while request["op"] == "upload" and (
            length := struct.unpack("<I", read_exactly(socket, 4))[0]
        ):
            chunks.append(read_exactly(socket, length))
    except EOFError:
        chunks.append(None)
    return request, chunks


def answering(answer, heard=None):
    """Returns a handler that answers a call once it is complete."""

    def serve(socket):
        request, chunks = hear(socket)
        if heard is not None:
            heard.append((request, chunks))
        if None not in chunks:
            socket.sendall(answer(request, chunks) if callable(answer) else answer)

    return serve


def record(request, chunks):
    return ok(
        {
            "name": request["name"],
            "size_bytes": sum(map(len, chunks)),
            "content_type": request["content_type"],
            "md5": "m",
        }
    )


HEAD = ok({"size_bytes": 8, "content_type": "text/plain", "sha256": "s", "md5": "m"})
BODY = HEAD + framed(b"abc\n") + framed(b"defg") + END


class Uploads(unittest.TestCase):
    def test_every_kind_of_data_is_uploaded_as_its_bytes(self):
        kinds = {
            "text": ("'grün'", "grün".encode()),
            "bytes": ("b'abc'", b"abc"),
            "array": ("__import__('array').array('H', [0x6261, 0x6463])", b"abcd"),
            "view": ("memoryview(b'abcdef')[::2]", b"ace"),
            "nothing": ("''", b""),
            "binary": ("open('data.txt', 'rb')", b"from a file"),
            "words": ("open('data.txt')", b"from a file"),
            "memory": ("__import__('io').BytesIO(b'abc')", b"abc"),
            "pieces": ("(piece for piece in ['a', b'b', '', 'c'])", b"abc"),
        }
        heard = []
        code = "\n".join(
            f"belljar.storage.upload({name!r}, {data})" for name, (data, _) in kinds.items()
        )
        outcome = run(
            code,
            files={"data.txt": "from a file"},
            policy=GRANTED,
            calls=[answering(record, heard)] * len(kinds),
        )
        self.assertIsNone(outcome.error)
        self.assertEqual(
            {request["name"]: b"".join(chunks) for request, chunks in heard},
            {name: body for name, (_, body) in kinds.items()},
        )

    def test_a_large_upload_goes_in_chunks_that_the_host_accepts_and_says_what_became_of_it(self):
        heard = []
        code = "made = belljar.storage.upload('a/b', bytes(3 << 20), content_type='text/plain')\n[made, made.size_bytes]"
        outcome = run(code, policy=GRANTED, calls=[answering(record, heard)])
        made = {"name": "a/b", "size_bytes": 3 << 20, "content_type": "text/plain", "md5": "m"}
        self.assertEqual(outcome.value, [made, 3 << 20])
        self.assertLessEqual(max(map(len, heard[0][1])), 1 << 20)

    def test_what_cannot_be_uploaded_is_refused_before_anything_is_sent(self):
        for data in ("{}", "[1]", "7", "None"):
            error = run(f"belljar.storage.upload('a', {data})", policy=GRANTED).error
            self.assertEqual(error["name"], "TypeError")
        self.assertIn(
            "name of an object is a str, not int",
            run("belljar.storage.upload(7, '')", policy=GRANTED).error["message"],
        )

    def test_a_source_that_fails_uploads_nothing(self):
        heard = []
        code = "def source():\n    yield 'x' * 1000000\n    raise KeyError('no more')\nbelljar.storage.upload('a', source())"
        outcome = run(code, policy=GRANTED, calls=[answering(ok(), heard)])
        self.assertEqual(outcome.error["name"], "KeyError")
        self.assertIsNone(heard[0][1][-1])

    def test_a_refusal_ends_an_upload_without_end(self):
        def refuse(socket):
            read_exactly(socket, *struct.unpack("<I", read_exactly(socket, 4)))
            socket.sendall(refusal("NotGranted", "writing a is not granted"))
            while socket.recv(1 << 16):
                pass

        code = """
def endless():
    while True:
        yield bytes(100000)
try:
    belljar.storage.upload("a", endless())
except PermissionError as error:
    seen = [type(error).__name__, error.errno, str(error)]
seen
"""
        self.assertEqual(
            run(code, policy=GRANTED, calls=[refuse]).value,
            ["NotGranted", 13, "writing a is not granted"],
        )


class Downloads(unittest.TestCase):
    def test_a_download_is_a_file(self):
        code = """
from belljar import storage
import yepcode
with storage.download("a") as file:
    about = [file.name, file.size_bytes, file.content_type, file.readable(), file.seekable()]
    whole = file.read()
yepcode.storage.download("a")
[about, whole.decode(), file.closed, [line.decode() for line in storage.download("a")], storage.download("a").read(5).decode()]
"""
        outcome = run(code, policy=GRANTED, calls=[answering(BODY)] * 4)
        self.assertIsNone(outcome.error)
        self.assertEqual(
            outcome.value,
            [["a", 8, "text/plain", True, False], "abc\ndefg", True, ["abc\n", "defg"], "abc\nd"],
        )

    def test_a_download_that_is_cut_off_is_an_error_and_not_a_short_file(self):
        for length in (0, 3, len(HEAD) - 1, len(HEAD), len(HEAD) + 2, len(HEAD) + 6, len(BODY) - 1):
            outcome = run(
                "belljar.storage.download('a').read().decode()",
                policy=GRANTED,
                calls=[answering(BODY[:length])],
            )
            self.assertIsNone(outcome.value, length)
            self.assertEqual(outcome.error["name"], "StorageError", length)
            self.assertEqual(
                outcome.error["message"], "storage went away before it had answered in full", length
            )


class Lists(unittest.TestCase):
    def test_they_come_in_any_number_of_chunks(self):
        def chunk(*names):
            return framed(
                json.dumps([{"name": name, "size_bytes": 1, "md5": "m"} for name in names]).encode()
            )

        heard = []
        answer = ok() + chunk("a", "b") + chunk("c") + END
        code = "import yepcode\n[[o.name for o in belljar.storage.list()], yepcode.storage.list('x/')[0], belljar.storage.list(prefix='y')]"
        outcome = run(
            code,
            policy=GRANTED,
            calls=[answering(answer, heard)] * 2 + [answering(ok() + END, heard)],
        )
        self.assertEqual(
            outcome.value, [["a", "b", "c"], {"name": "a", "size": 1, "md5Hash": "m"}, []]
        )
        self.assertEqual([request["prefix"] for request, _ in heard], ["", "x/", "y"])


class Errors(unittest.TestCase):
    def test_they_have_the_name_that_storage_gives_them_and_are_what_a_program_expects(self):
        expected = {
            "NotFound": ["FileNotFoundError", "OSError"],
            "NotGranted": ["PermissionError", "OSError"],
            "InvalidName": ["ValueError", "OSError"],
            "QuotaExceeded": ["OSError"],
            "StorageError": ["OSError"],
        }
        for name, kinds in expected.items():
            code = f"""
try:
    belljar.storage.delete("a")
except ({", ".join(kinds)}) as error:
    seen = [type(error).__name__, str(error), all(isinstance(error, kind) for kind in ({", ".join(kinds)},))]
seen
"""
            self.assertEqual(
                run(code, policy=GRANTED, calls=[answering(refusal(name, "why"))]).value,
                [name, "why", True],
            )

    def test_an_uncaught_one_is_reported_with_its_line_and_without_a_foreign_hint(self):
        code = """
try:
    open("/data/secret")
except OSError:
    pass
belljar.storage.delete("a")
"""
        outcome = run(
            code,
            policy=GRANTED,
            calls=[answering(refusal("NotGranted", "writing a is not granted"))],
        )
        self.assertEqual(
            (outcome.error["name"], outcome.error["message"]),
            ("NotGranted", "writing a is not granted"),
        )
        self.assertIn("main.py", outcome.error["stack"])
        self.assertNotIn("storage.py", outcome.error["stack"])

    def test_without_a_grant_the_name_says_what_to_ask_for(self):
        error = run("belljar.storage.list()").error
        self.assertEqual(error["name"], "PermissionError")
        self.assertIn(
            'grant it with storage: {"read": ["PREFIX"], "write": ["PREFIX"]}', error["message"]
        )


class Calls(unittest.TestCase):
    def test_one_that_finds_too_many_others_waits_for_one_of_them(self):
        outcome = run(
            "belljar.storage.list()", policy=GRANTED, busy=3, calls=[answering(ok() + END)]
        )
        self.assertEqual(outcome.value, [])

    def test_several_threads_may_be_at_it(self):
        code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    made = list(pool.map(lambda n: belljar.storage.upload(f"{n}", str(n) * 100000).size_bytes, range(8)))
made
"""
        outcome = run(code, policy=GRANTED, calls=[answering(record)] * 8)
        self.assertEqual(outcome.value, [100000] * 8)

    def test_a_program_that_breaks_builtins_still_moves_what_it_has(self):
        code = """
import builtins
builtins.len = builtins.memoryview = builtins.isinstance = None
belljar.storage.upload("a", "abc")["name"]
"""
        self.assertEqual(run(code, policy=GRANTED, calls=[answering(record)]).value, "a")


if __name__ == "__main__":
    unittest.main()
