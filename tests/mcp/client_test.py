"""`belljar mcp` with the official SDK for Python."""

import asyncio
import base64
import contextlib
import json
import os
import pathlib
import tempfile
import time
import unittest

from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


@contextlib.asynccontextmanager
async def client(*flags):
    """A session with a server of its own, under the ceiling that the flags set."""
    arguments = [*os.environ["BELLJAR_ARGUMENTS"].split(), *flags]
    parameters = StdioServerParameters(
        command=os.environ["BELLJAR"], args=arguments, env=dict(os.environ)
    )
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


async def run(session, language, code, progress=None, **arguments):
    return await session.call_tool(
        "run_code", {"language": language, "code": code, **arguments}, progress_callback=progress
    )


def text(result):
    return result.content[0].text


def descendants():
    """Returns the ids of all processes that descend from this one."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = set(), [os.getpid()]
    while queue:
        for child in children.get(queue.pop(), []):
            found.add(child)
            queue.append(child)
    return found


async def until(is_so, what, seconds=60):
    started = time.monotonic()
    while not is_so():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.01)


class Programs(unittest.IsolatedAsyncioTestCase):
    async def test_the_tool_tells_what_it_takes_and_gives(self):
        async with client("--memory", "1536M", "--env", "CITY=Oslo") as session:
            [tool] = (await session.list_tools()).tools
            self.assertEqual(tool.name, "run_code")
            for words in [
                "JavaScript, TypeScript or Python",
                "`main`",
                "outputs/",
                "CITY",
                "memory 1 GB (at most 1.5 GB)",
            ]:
                self.assertIn(words, tool.description)
            schema = tool.input_schema
            self.assertEqual(schema["required"], ["language", "code"])
            self.assertEqual(
                schema["properties"]["limits"]["properties"]["memory_bytes"]["maximum"], 1536 << 20
            )
            self.assertEqual(tool.output_schema["type"], "object")

    async def test_each_language(self):
        async with client() as session:
            for language, code, value in [
                ("javascript", "[1, 2, 3].map(n => n * n)", [1, 4, 9]),
                ("typescript", "const n: number = 20; n * 2", 40),
                ("python", "def main(name):\n    return 'Hello ' + name", "Hello Oslo"),
            ]:
                result = await run(session, language, code, parameters={"name": "Oslo"})
                self.assertFalse(result.is_error, text(result))
                self.assertEqual(result.structured_content["value"], value)
                self.assertIn(json.dumps(value, separators=(",", ":")), text(result))

    async def test_files_and_standard_input_go_in_and_artifacts_come_out(self):
        code = """
import pathlib, sys
rows = pathlib.Path("data/in.csv").read_text().splitlines()
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs/summary.json").write_text('{"rows": %d}' % len(rows))
pathlib.Path("outputs/raw.bin").write_bytes(pathlib.Path("raw.bin").read_bytes())
pathlib.Path("outputs/chart.png").write_bytes(pathlib.Path("chart.png").read_bytes())
pathlib.Path("notes.txt").write_text(sys.stdin.read())
"""
        files = [
            {"path": "data/in.csv", "content": "a\nb\nc\n"},
            {"path": "raw.bin", "content_base64": base64.b64encode(b"\xff\x00\xfe").decode()},
            {"path": "chart.png", "content_base64": base64.b64encode(PNG).decode()},
        ]
        async with client() as session:
            result = await run(
                session, "python", code, files=files, stdin="from stdin", outputs=["notes.txt"]
            )
        self.assertFalse(result.is_error, text(result))
        names = {artifact["name"] for artifact in result.structured_content["artifacts"]}
        self.assertEqual(names, {"summary.json", "raw.bin", "chart.png", "notes.txt"})
        images = [block for block in result.content if block.type == "image"]
        self.assertEqual(
            [(image.mime_type, base64.b64decode(image.data)) for image in images],
            [("image/png", PNG)],
        )
        resources = {
            str(block.resource.uri).rsplit("/", 1)[1]: block.resource
            for block in result.content
            if block.type == "resource"
        }
        self.assertEqual(resources["summary.json"].text, '{"rows": 3}')
        self.assertEqual(resources["summary.json"].mime_type, "application/json")
        self.assertEqual(resources["notes.txt"].text, "from stdin")
        self.assertEqual(base64.b64decode(resources["raw.bin"].blob), b"\xff\x00\xfe")

    async def test_a_file_that_is_too_large_for_an_answer_is_said_to_be(self):
        code = "import os; os.makedirs('outputs', exist_ok=True); open('outputs/big.bin', 'wb').write(bytes(5_000_000)) and None"
        async with client() as session:
            result = await run(session, "python", code)
        self.assertEqual(result.structured_content["artifacts"][0]["size_bytes"], 5_000_000)
        self.assertEqual(len(result.content), 1)
        self.assertIn('artifact "big.bin" (4.8 MB): left out', text(result))

    async def test_a_displayed_image_is_image_content(self):
        code = "import base64, belljar; belljar.display(base64.b64decode(belljar.parameters['png'])); belljar.display('as text'); 1"
        async with client() as session:
            result = await run(
                session, "python", code, parameters={"png": base64.b64encode(PNG).decode()}
            )
        self.assertFalse(result.is_error, text(result))
        [image] = [block for block in result.content if block.type == "image"]
        self.assertEqual((image.mime_type, base64.b64decode(image.data)), ("image/png", PNG))
        self.assertEqual(result.structured_content["results"][0], {"type": "image/png"})
        self.assertIn("displayed (text/plain):\n| as text", text(result))

    async def test_an_error_has_the_programs_own_lines(self):
        async with client() as session:
            result = await run(session, "python", "x = 1\n\nraise ValueError('no such city')")
            self.assertTrue(result.is_error)
            self.assertIn("line 3", text(result))
            self.assertIn("ValueError: no such city", text(result))
            self.assertEqual(result.structured_content["status"], "failed")
            result = await run(session, "javascript", "const f = 1;\n\nf();")
            self.assertIn("main.js:3", text(result))

    async def test_a_denial_is_reported_with_the_grant(self):
        async with client() as session:
            result = await run(session, "python", "import subprocess; subprocess.run(['date'])")
        self.assertTrue(result.is_error)
        self.assertIn("exec: true", text(result))
        self.assertEqual(result.structured_content["denied"][0]["grant"], "exec: true")

    async def test_grants_of_the_operator_are_there_without_asking(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            os.chmod(folder, 0o755)
            pathlib.Path(folder, "in.txt").write_text("granted")
            code = f"import os; [open({folder!r} + '/in.txt').read(), os.environ['CITY']]"
            async with client("--read", folder, "--env", "CITY=Oslo") as session:
                result = await run(session, "python", code)
                self.assertEqual(
                    result.structured_content["value"], ["granted", "Oslo"], text(result)
                )
                # And are not granted if the model leaves them out.
                result = await run(session, "python", code, policy={"env": {"CITY": "Oslo"}})
                self.assertIn("FileNotFoundError", text(result))


class Course(unittest.IsolatedAsyncioTestCase):
    async def test_logs_come_as_progress(self):
        code = "import sys\nfor n in range(3):\n    print('step', n)\nprint('careful', file=sys.stderr)"
        heard = []

        async def progress(count, total, message):
            heard.append((count, message))

        async with client() as session:
            result = await run(session, "python", code, progress=progress)
        self.assertFalse(result.is_error, text(result))
        lines = "\n".join(message for _, message in heard).splitlines()
        self.assertEqual(
            [line for line in lines if line.startswith("step")], ["step 0", "step 1", "step 2"]
        )
        self.assertIn("error: careful", lines)
        self.assertEqual(
            [count for count, _ in heard], sorted({count for count, _ in heard}), "it grows"
        )

    async def test_a_cancelled_call_ends_its_run(self):
        started = asyncio.Event()

        async def progress(count, total, message):
            if "started" in message:
                started.set()

        async with client() as session:
            await run(session, "python", "1")
            before = descendants()
            call = asyncio.create_task(
                run(
                    session,
                    "python",
                    "print('started', flush=True)\nwhile True: pass",
                    progress=progress,
                )
            )
            await asyncio.wait_for(started.wait(), 20)
            self.assertTrue(descendants() - before, "the run is a process")
            call.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await call
            await until(lambda: not descendants() - before, "the process of the run is gone")
            # The server still answers.
            self.assertEqual((await run(session, "python", "2")).structured_content["value"], 2)

    async def test_an_endless_loop_times_out(self):
        async with client() as session:
            for language, code in [("python", "while True: pass"), ("javascript", "for (;;) {}")]:
                result = await run(session, language, code, limits={"timeout_ms": 300})
                self.assertTrue(result.is_error)
                self.assertEqual(result.structured_content["status"], "timed_out")
                self.assertIn("timed out", text(result))

    async def test_several_calls_run_at_once(self):
        code = "import time; (time.time(), time.sleep(4), time.time())"
        async with client("--runs-at-a-time", "4") as session:
            await run(session, "python", "1")
            results = await asyncio.gather(*(run(session, "python", code) for _ in range(4)))
            spans = [result.structured_content["value"] for result in results]
            self.assertLess(max(span[0] for span in spans), min(span[2] for span in spans))

    async def test_no_more_run_at_once_than_the_operator_allows(self):
        async with client("--runs-at-a-time", "1") as session:
            code = "import time; (time.time(), time.sleep(0.2), time.time())"
            results = await asyncio.gather(*(run(session, "python", code) for _ in range(3)))
            spans = sorted(result.structured_content["value"] for result in results)
            for earlier, later in zip(spans, spans[1:]):
                self.assertLessEqual(earlier[2], later[0] + 0.01)

    async def test_a_client_that_goes_away_leaves_no_process(self):
        before = descendants()
        with self.assertRaisesRegex(BaseException, "away|unhandled"):
            async with client() as session:
                call = asyncio.create_task(run(session, "python", "while True: pass"))
                await until(lambda: len(descendants() - before) >= 2, "the run is a process")
                call.cancel()
                raise RuntimeError("away")
        await until(lambda: not descendants() - before, "all processes are gone")


class Ceiling(unittest.IsolatedAsyncioTestCase):
    async def test_widening_is_refused_for_each_field(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            granted = pathlib.Path(folder, "granted")
            granted.mkdir()
            (granted / "sub").mkdir()
            (granted / "link").symlink_to("/etc")
            flags = ["--read", str(granted), "--env", "CITY=Oslo", "--timeout", "20s"]
            async with client(*flags) as session:
                for field, narrower in [
                    ("policy.fs.read", {"policy": {"fs": {"read": ["/etc"]}}}),
                    ("policy.fs.read", {"policy": {"fs": {"read": [folder]}}}),
                    ("policy.fs.read", {"policy": {"fs": {"read": [f"{granted}/../other"]}}}),
                    ("policy.fs.write", {"policy": {"fs": {"write": [str(granted)]}}}),
                    ("policy.net", {"policy": {"net": ["example.com"]}}),
                    ("policy.loopback", {"policy": {"loopback": True}}),
                    ("policy.env", {"policy": {"env": {"HOME": "/root"}}}),
                    ("policy.env", {"policy": {"env": {"CITY": "Rome"}}}),
                    ("policy.exec", {"policy": {"exec": True}}),
                    ("policy.secrets", {"policy": {"secrets": ["TOKEN"]}}),
                    ("policy.storage.read", {"policy": {"storage": {"read": [""]}}}),
                    ("policy.storage.write", {"policy": {"storage": {"write": [""]}}}),
                    ("limits.timeout_ms", {"limits": {"timeout_ms": 20_001}}),
                    ("limits.cpu_ms", {"limits": {"cpu_ms": 10_001}}),
                    ("limits.memory_bytes", {"limits": {"memory_bytes": (1 << 30) + 1}}),
                    ("limits.processes", {"limits": {"processes": 65}}),
                    ("limits.disk_bytes", {"limits": {"disk_bytes": (512 << 20) + 1}}),
                    ("limits.files", {"limits": {"files": 10_001}}),
                    ("limits.output_bytes", {"limits": {"output_bytes": (1 << 20) + 1}}),
                    ("limits.open_files", {"limits": {"open_files": 257}}),
                    ("limits.result_bytes", {"limits": {"result_bytes": (10 << 20) + 1}}),
                ]:
                    result = await run(session, "python", "1", **narrower)
                    self.assertTrue(result.is_error, narrower)
                    self.assertIn(f"{field}: ", text(result), narrower)
                    self.assertIn("more than the ceiling allows", text(result), narrower)
                    self.assertIsNone(result.structured_content, "nothing ran")
                # A name is resolved when the run starts.
                result = await run(
                    session, "python", "1", policy={"fs": {"read": [f"{granted}/link"]}}
                )
                self.assertTrue(result.is_error, text(result))
                self.assertEqual(result.structured_content["status"], "refused")
                self.assertIn("symbolic link", text(result))
                narrower = {
                    "policy": {"fs": {"read": [f"{granted}/sub"]}},
                    "limits": {"timeout_ms": 20_000, "processes": 8},
                }
                result = await run(
                    session, "python", f"import os; os.listdir('{granted}')", **narrower
                )
                self.assertEqual(result.structured_content["value"], ["sub"], text(result))

    async def test_a_bad_argument_is_named(self):
        async with client() as session:
            for arguments, words in [
                ({"language": "python"}, "missing field `code`"),
                ({"language": "ruby", "code": "1"}, "`ruby` is not a language"),
                (
                    {"language": "python", "code": "1", "package": ["numpy"]},
                    "unknown field `package`",
                ),
                (
                    {"language": "python", "code": "1", "limits": {"timeout_ms": "5s"}},
                    "limits.timeout_ms: invalid type",
                ),
                (
                    {"language": "python", "code": "1", "files": [{"path": "../x", "content": ""}]},
                    "files[0].path",
                ),
            ]:
                result = await session.call_tool("run_code", arguments)
                self.assertTrue(result.is_error)
                self.assertIn(words, text(result))
            with self.assertRaisesRegex(Exception, "there is no tool"):
                await session.call_tool("run_shell", {})
            self.assertEqual((await run(session, "python", "1")).structured_content["value"], 1)
