//! The contract of a Python program.

use belljar_test_support::{STARTS, outcome};
use serde_json::json;

use crate::case::{case, check_all};

#[test]
fn the_result_of_python_is_the_first_that_applies() {
    check_all(
        "python",
        &[
            case("the last expression", "a = 20\na * 2 + 2").gives(json!(42)),
            case("main", "def main(n):\n    return n + 1\n5").flags(&["--param", "n=41"]).gives(json!(42)),
            case("async main", "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    return 'x'").gives(json!("x")),
            case("main with all parameters", "def main(parameters):\n    return parameters['list'][1]")
                .flags(&["--param", "list=[1,2]"])
                .gives(json!(2)),
            case(
                "main that was called",
                "calls = []\ndef main():\n    calls.append(1)\n    return 'y'\nif __name__ == '__main__':\n    main()\nlen(calls)",
            )
            .gives(json!(1)),
            case("a bare return", "if True:\n    return {'early': 1}\n9").gives(json!({"early": 1})),
            case("a coroutine", "async def f():\n    return 3\nf()").gives(json!(3)),
            case("top-level await", "import asyncio\nawait asyncio.sleep(0)\n'later'").gives(json!("later")),
            case("nothing", "x = 1"),
            case("parameters as a module's", "import belljar\nbelljar.parameters['city']")
                .flags(&["--param", "city=Oslo"])
                .gives(json!("Oslo")),
        ],
    );
}

#[test]
fn python_values_have_one_json_each() {
    check_all("python", &[
        case(
            "each in the table",
            "import datetime, decimal, uuid, pathlib, enum, dataclasses, collections\n\
             @dataclasses.dataclass\nclass D:\n    x: int\n\
             class E(enum.Enum):\n    A = 'a'\n\
             P = collections.namedtuple('P', 'a b')\n\
             {'n': None, 'big': 2**70, 'nan': float('nan'), 't': (1, 2), 's': {2, 1}, 'b': b'hi', 'd': datetime.date(2026, 1, 2),\n\
              'dt': datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc), 'td': datetime.timedelta(seconds=1.5), 'dec': decimal.Decimal('1.10'),\n\
              'u': uuid.UUID(int=0), 'p': pathlib.Path('/x'), 'e': E.A, 'dc': D(1), 'nt': P(1, 2), 'gen': (i for i in range(2)), 1: 'key'}",
        )
        .gives(json!({
            "n": null, "big": serde_json::from_str::<serde_json::Value>("1180591620717411303424").unwrap(), "nan": null, "t": [1, 2], "s": [1, 2], "b": "aGk=",
            "d": "2026-01-02", "dt": "2026-01-02T00:00:00+00:00", "td": 1.5, "dec": "1.10", "u": "00000000-0000-0000-0000-000000000000", "p": "/x",
            "e": "a", "dc": {"x": 1}, "nt": {"a": 1, "b": 2}, "gen": [0, 1], "1": "key"
        })),
        case("what streams say of themselves", "import sys\nsys.stdout.reconfigure(errors='replace')\nsys.stdin.reconfigure(errors='replace')\n[sys.stdout.errors, sys.stdout.seekable(), sys.stdin.seekable()]")
            .gives(json!(["replace", false, false])),
        case("a function", "return {'items': [1, {'f': lambda: 1}]}").fails("ResultNotSerializable", &["$.items[1].f"]),
        case("a cycle", "a = {}\na['b'] = a\nreturn a").fails("ResultNotSerializable", &["$.b"]),
        case("a result nested 100,000 deep", "a = []\nb = a\nfor i in range(100000):\n    b.append([])\n    b = b[0]\nreturn a").fails("ResultNotSerializable", &["100"]),
        case("too large a result", "return 'x' * 2000").flags(&["--result-limit", "1K"]).fails("ResultTooLarge", &["result_bytes"]),
        case("a result of 500 MB", "return 'x' * (500 * 1024 * 1024)").flags(&["--memory", "3G"]).fails("ResultTooLarge", &["outputs/"]),
    ]);
}

#[test]
fn python_errors_have_the_users_own_lines() {
    check_all(
        "python",
        &[
            case("a raised error", "def f():\n    raise ValueError('bad thing')\n\nf()").fails(
                "ValueError",
                &["bad thing", "main.py\", line 2, in f", "main.py\", line 4"],
            ),
            case(
                "its cause",
                "try:\n    {}['k']\nexcept KeyError as e:\n    raise RuntimeError('outer') from e",
            )
            .fails("RuntimeError", &["outer", "KeyError", "line 2", "line 4"]),
            case("a syntax error", "a = 1\nb = = 2\n").fails("SyntaxError", &["line 2"]),
            case("in async main", "async def main():\n    x = 1\n    raise RuntimeError('late')")
                .fails("RuntimeError", &["line 3, in main"]),
            case("in a module", "import lib\nlib.f()")
                .file("lib.py", "def f():\n\n    raise RuntimeError('there')")
                .fails("RuntimeError", &["lib.py\", line 3", "main.py\", line 2"]),
            case("a missing module", "import not_there")
                .flags(&["--no-packages"])
                .fails("ModuleNotFoundError", &["not_there"]),
            case("an assertion", "assert 1 == 2, 'no'").fails("AssertionError", &["no"]),
        ],
    );
}

#[test]
fn python_ends_as_python_does() {
    check_all(
        "python",
        &[
            case("sys.exit", "import sys\nsys.exit(7)").exits(7),
            case("sys.exit with nothing", "import sys\nsys.exit()").exits(0),
            case("sys.exit with words", "import sys\nsys.exit('words')")
                .exits(1)
                .logs(&[("error", "words")]),
            case("os._exit", "import os\nos._exit(5)").exits(5),
            case("atexit", "import atexit\natexit.register(print, 'bye')\n1")
                .gives(json!(1))
                .logs(&[("info", "bye")]),
            case(
                "threads are waited for",
                "import threading, time\nthreading.Timer(0.01, lambda: print('done')).start()\n1",
            )
            .gives(json!(1))
            .logs(&[("info", "done")]),
            case(
                "settled is at once",
                "import threading\nthreading.Thread(target=threading.Event().wait).start()\n5",
            )
            .flags(&["--settled"])
            .gives(json!(5)),
            case("waiting for ever", "import threading\nthreading.Event().wait()")
                .flags(&["--timeout", "500ms"])
                .ends("timed_out", 124),
        ],
    );
}

#[test]
fn python_logs_and_displays() {
    check_all("python", &[
        case(
            "levels",
            "import logging, sys, warnings\nlogging.basicConfig(level=logging.DEBUG, format='%(message)s')\nlogging.debug('d')\nlogging.info('i')\nlogging.warning('w')\nlogging.error('e')\nwarnings.warn('two\\nlines')\nNone",
        )
        .logs(&[("debug", "d"), ("info", "i"), ("warn", "w"), ("error", "e"), ("warn", "/home/user/main.py:7: UserWarning: two\nlines\n  warnings.warn('two\\nlines')")]),
        case("both streams", "import os, sys\nprint('a\\nb')\nsys.stdout.write('c\\n')\nos.write(1, b'raw\\n')\nprint('d')\nprint('err', file=sys.stderr)\nNone")
            .logs(&[("info", "a\nb"), ("info", "c"), ("info", "raw"), ("info", "d"), ("error", "err")]),
        case("invalid UTF-8", "import sys\nsys.stdout.buffer.write(b'a\\xff\\n')\nsys.stdout.buffer.flush()\n0").gives(json!(0)).logs(&[("info", "a\u{fffd}")]),
        case("rich results", "from belljar import display\nclass H:\n    def _repr_html_(self):\n        return '<b>h</b>'\n    def __repr__(self):\n        return 'H'\ndisplay(H())\ndisplay({'a': 1})\n0")
            .gives(json!(0))
            .displays(json!([{"type": "text/html", "data": "<b>h</b>"}, {"type": "text/plain", "data": "H"}, {"type": "application/json", "data": "{\"a\": 1}"}])),
        case("a picture as the last value", "class P:\n    def _repr_png_(self):\n        return b'\\x89PNG\\r\\n\\x1a\\n'\nP()").displays(json!([{"type": "image/png", "data": "iVBORw0KGgo="}])),
    ]);
}

#[test]
fn python_has_its_files_input_and_arguments() {
    check_all("python", &[
        case("several files", "from pkg.mod import double\nimport json\ndouble(json.load(open('data.json'))['n'])")
            .file("pkg/__init__.py", "")
            .file("pkg/mod.py", "def double(n):\n    return n * 2")
            .file("data.json", "{\"n\": 21}")
            .gives(json!(42)),
        case("dynamic import", "import importlib\nimportlib.import_module('m').x").file("m.py", "x = 3").gives(json!(3)),
        case("standard input", "import sys\nlen(sys.stdin.read().split())").stdin("a b\nc\n").gives(json!(3)),
        case("input()", "input() + input()").stdin("a\nb\n").gives(json!("ab")),
        case("no standard input", "import sys\nsys.stdin.read()").gives(json!("")),
        case("arguments and the program's own name", "import sys, os\n[sys.argv[1:], __file__, os.getcwd()]")
            .flags(&["--", "a", "--b"])
            .gives(json!([["a", "--b"], "/home/user/main.py", "/home/user"])),
        case("artifacts", "import os\nos.makedirs('outputs/deep', exist_ok=True)\nopen('outputs/deep/a.txt', 'w').write('A')\nopen('named.txt', 'w').write('N')\n0")
            .flags(&["--output", "named.txt"])
            .gives(json!(0))
            .leaves("deep/a.txt", "A")
            .leaves("named.txt", "N"),
    ]);
}

#[test]
fn python_has_threads_processes_and_a_loopback_network() {
    check_all("python", &[
        case("asyncio", "import asyncio\nasync def f(n):\n    await asyncio.sleep(0.001)\n    return n\nasync def main():\n    return await asyncio.gather(*(f(i) for i in range(3)))").gives(json!([0, 1, 2])),
        case("asyncio.run of one's own", "import asyncio\nasync def f():\n    return 7\nasyncio.run(f())").gives(json!(7)),
        case("threads", "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as pool:\n    r = list(pool.map(lambda n: n * n, range(4)))\nr").gives(json!([0, 1, 4, 9])),
        case("subprocess", "import subprocess\n[subprocess.run('echo $((6*7))', shell=True, capture_output=True, text=True).stdout, subprocess.call(['sh', '-c', 'exit 3'])]")
            .flags(&["--exec"])
            .gives(json!(["42\n", 3])),
        case("multiprocessing", "import multiprocessing\ndef f(n):\n    return n * n\nif __name__ == '__main__':\n    with multiprocessing.get_context('fork').Pool(2) as pool:\n        r = pool.map(f, [1, 2, 3])\nr")
            .flags(&["--exec"])
            .gives(json!([1, 4, 9])),
        case("multiprocessing by spawn", "import multiprocessing\ndef f(q):\n    q.put('child')\nif __name__ == '__main__':\n    c = multiprocessing.get_context('spawn')\n    q = c.SimpleQueue()\n    p = c.Process(target=f, args=(q,))\n    p.start()\n    r = q.get()\n    p.join()\n    print(r)")
            .flags(&["--exec"])
            .logs(&[("info", "child")]),
        case(
            "a server and a client in one program",
            "import http.server, threading, urllib.request\n\
             class H(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200)\n        self.end_headers()\n        self.wfile.write(self.path.encode())\n    def log_message(self, *a):\n        pass\n\
             s = http.server.HTTPServer(('127.0.0.1', 0), H)\nthreading.Thread(target=s.serve_forever, daemon=True).start()\n\
             urllib.request.urlopen(f'http://127.0.0.1:{s.server_port}/x').read().decode()",
        )
        .flags(&["--loopback"])
        .gives(json!("/x")),
    ]);
}

#[test]
fn python_randomness_differs_between_runs_and_repeats_with_a_seed() {
    let code = "import random\n[random.random(), random.randrange(1 << 60)]";
    for start in STARTS {
        let draw = |flags: &[&str]| {
            outcome("python", code, &[&["--start", start], flags].concat())["value"].clone()
        };
        let seeded = draw(&["--seed", "7"]);
        assert_eq!(seeded, draw(&["--seed", "7"]));
        assert_ne!(seeded, draw(&["--seed", "8"]));
        assert_ne!(draw(&[]), draw(&[]));
    }
}
