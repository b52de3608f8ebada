"""Several sandboxes forked from one zygote: nothing that a program can draw is the same in two of
them, and nothing is left over."""

import json
import os
import subprocess
import tempfile
import unittest

import sandboxes

DRAW = """
import multiprocessing.process, random, tempfile, uuid, secrets, os
import multiprocessing.synchronize
{
    'random': random.random(), 'system': random.SystemRandom().random(), 'bits': random.getrandbits(64),
    'name': next(tempfile._get_candidate_names()), 'uuid1': str(uuid.uuid1()), 'uuid4': str(uuid.uuid4()), 'token': secrets.token_hex(8),
    'authkey': multiprocessing.process.current_process().authkey.hex(), 'semaphore': multiprocessing.synchronize.SemLock._make_name(),
}
"""


def outcomes(code, count=3, **activation):
    with tempfile.TemporaryDirectory() as folder:
        home = os.path.join(folder, "home")
        os.mkdir(home)
        with open(os.path.join(home, "main.py"), "w") as file:
            file.write(code)
        given = {
            "task": "run", "run": {"id": "run_1", "deadline": None, "timeout_ms": 1000}, "language": "python", "entry": "main.py", "arguments": [],
            "parameters": {}, "env": {}, "seed": None, "finish": "idle", "policy": sandboxes.POLICY, "limits": {"result_bytes": 1000000},
            **activation,
        }  # fmt: skip
        case = {
            "home": home,
            "sandboxes": count,
            "record": os.path.join(folder, "record"),
            "activation": given,
        }
        with open(os.path.join(folder, "case"), "w") as file:
            json.dump(case, file)
        subprocess.run(
            [
                sandboxes.PYTHON,
                "-I",
                "-S",
                os.path.join(sandboxes.HERE, "zygote_process.py"),
                os.path.join(folder, "case"),
            ],
            check=True,
            timeout=60,
        )
        found = []
        for number in range(count):
            process = subprocess.CompletedProcess((), 0, b"", b"")
            found.append(sandboxes._outcome(process, f"{case['record']}.{number}"))
        return found


class Forks(unittest.TestCase):
    def test_draw_different_values(self):
        values = [outcome.value for outcome in outcomes(DRAW)]
        for name in values[0]:
            self.assertEqual(len({value[name] for value in values}), len(values), name)

    def test_of_one_seed_draw_the_same(self):
        code = "import random\n[random.random(), random.gauss(0, 1)]"
        values = [outcome.value for outcome in outcomes(code, seed=11)]
        self.assertEqual(values[0], values[1])
        self.assertEqual(values[0], sandboxes.run(code, seed=11).value)

    def test_show_no_trace_of_the_boot(self):
        code = "import sys, os, builtins\n[sys.argv[0][-8:], os.getcwd() == sys.path[0], 'rehearsal' in repr(sys.path), sys.modules['__main__'].__dict__ is globals(), [n for n in dir(builtins) if 'bell' + 'jar' in n], len([p for p in sys.path if p.endswith('/lib') and 'runtimes' in p]), os.environ['HOME']]"
        self.assertEqual(
            outcomes(code, 1)[0].value, ["/main.py", True, False, True, [], 1, "/home/user"]
        )

    def test_run_threads_and_loops(self):
        code = "import asyncio, threading, concurrent.futures as c\nasync def main():\n  loop = asyncio.get_running_loop()\n  with c.ThreadPoolExecutor(2) as pool:\n    return await loop.run_in_executor(pool, lambda: threading.current_thread() is not threading.main_thread())"
        self.assertEqual([outcome.value for outcome in outcomes(code, 2)], [True, True])

    def test_run_the_fork_hooks_of_any_python_in_their_own_forks(self):
        # Without the hook of `random`, both processes would draw the same numbers; without that of
        # `threading`, the child would list the parent's threads.
        code = (
            "import os, random, threading\nr, w = os.pipe()\nstop = threading.Event()\nthreading.Thread(target=stop.wait).start()\n"
            "pid = os.fork()\nif pid == 0:\n  os.write(w, f'{random.random()} {threading.active_count()}'.encode())\n  os._exit(0)\n"
            "os.waitpid(pid, 0)\nstop.set()\ndrawn, threads = os.read(r, 99).decode().split()\n"
            "[drawn != str(random.random()), threads, type(os.register_at_fork).__name__]"
        )
        self.assertEqual(outcomes(code, 1)[0].value, [True, "1", "builtin_function_or_method"])


if __name__ == "__main__":
    unittest.main()
