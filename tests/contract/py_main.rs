//! `main` of a Python program runs exactly once, and what is still open after the result is named.

use serde_json::json;

use crate::case::{Case, case, check_all};

const MAIN: &str = "import asyncio, atexit, signal, sys, threading, time\nran = []\ndef main():\n    ran.append(1)\n    print('ran', len(ran))\n    return 5\n";

fn program(rest: &str) -> &'static str {
    Box::leak(format!("{MAIN}{rest}\n").into_boxed_str())
}

#[test]
fn a_main_that_the_program_starts_runs_once() {
    let once = |rest: &'static str, value: serde_json::Value| {
        case(rest, program(rest)).gives(value).logs(&[("info", "ran 1")])
    };
    let null = serde_json::Value::Null;
    let cases: Vec<Case> = vec![
        once("main()", json!(5)),
        once("if __name__ == '__main__':\n    main()", json!(5)),
        once("if '__main__' == __name__:\n    answer = main()", json!(5)),
        once("threading.Timer(0.05, main).start()", null.clone()),
        once("atexit.register(main)\nNone", null.clone()),
        once("threading.Thread(target=main).start()", null.clone()),
        once("t = threading.Thread(target=main)\nt.start()\nt.join()\n7", json!(7)),
        once(
            "from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor().submit(main).result()",
            json!(5),
        ),
        once(
            "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor()\npool.submit(time.sleep, 0.05).add_done_callback(lambda _: main())",
            null.clone(),
        ),
        once(
            "signal.signal(signal.SIGALRM, lambda *_: main())\nsignal.setitimer(signal.ITIMER_REAL, 0.02)\ntime.sleep(0.1)",
            null.clone(),
        ),
        once("async def go():\n    return main()\nasyncio.run(go())", json!(5)),
        once(
            "async def go():\n    asyncio.get_running_loop().call_later(0.01, main)\n    await asyncio.sleep(0.05)\nasyncio.run(go())",
            null.clone(),
        ),
        once("def cli():\n    main()\ncli()", null.clone()),
        once(
            "class App:\n    def run(self):\n        threading.Timer(0.05, main).start()\nApp().run()",
            null.clone(),
        ),
        once("COMMANDS = {'run': main}\nCOMMANDS['run']()", json!(5)),
        once("run = main\nrun()", json!(5)),
        once("globals()['main']()", json!(5)),
        once("sys.exit(main() and 0)", null),
    ];
    check_all("python", &cases);
}

#[test]
fn a_main_that_the_program_does_not_start_is_called_once() {
    let called =
        |rest: &'static str| case(rest, program(rest)).gives(json!(5)).logs(&[("info", "ran 1")]);
    check_all(
        "python",
        &[
            called("# main()"),
            called("__all__ = ['main']\n'main()'"),
            called("main.retries = 3\nassert callable(main) and main.__doc__ is None"),
            called("def helper():\n    main()"),
            called("if __name__ != '__main__':\n    main()"),
            called("if __name__ == '__main__':\n    pass\nelse:\n    main()"),
            called("handler = main"),
            called("def f(main):\n    return main\nf(1)"),
            called("if False:\n    main()"),
            case("one that calls itself", "def main(n=2):\n    print(n)\n    return main(n - 1) if n else 'end'").gives(json!("end")).logs(&[
                ("info", "2"),
                ("info", "1"),
                ("info", "0"),
            ]),
            case("one that is decorated", "import functools\ndef loud(f):\n    @functools.wraps(f)\n    def inner(*a):\n        print('called')\n        return f(*a)\n    return inner\n@loud\ndef main():\n    return 6")
                .gives(json!(6))
                .logs(&[("info", "called")]),
        ],
    );
}

#[test]
fn a_main_that_is_registered_belongs_to_what_it_is_registered_with() {
    let registry = "class App:\n    def __init__(self):\n        self.commands = []\n    def command(self):\n        return lambda f: self.commands.append(f) or f\n    def __call__(self):\n        for f in self.commands:\n            f()\napp = App()\n@app.command()\ndef main():\n    print('ran')\n";
    let started: &'static str =
        Box::leak(format!("{registry}if __name__ == '__main__':\n    app()").into_boxed_str());
    let left: &'static str = Box::leak(registry.to_owned().into_boxed_str());
    check_all(
        "python",
        &[
            case("a command of an application", started).logs(&[("info", "ran")]),
            case("a command of one that is never started", left)
                .logs(&[])
                .notes(&["`main` was not called: line 10"]),
            case("atexit", "import atexit\n@atexit.register\ndef main():\n    print('bye')")
                .logs(&[("info", "bye")]),
            case(
                "a table of handlers",
                "def main(event):\n    return event\nHANDLERS = {'main': main}",
            )
            .notes(&["`main` was not called: line 3"]),
        ],
    );
}

#[test]
fn a_program_that_is_one_lambda_is_called() {
    check_all(
        "python",
        &[
            case("without parameters", "lambda: 42").gives(json!(42)),
            case("by name", "lambda city, days=3: [city, days]")
                .flags(&["--param", "city=Oslo"])
                .gives(json!(["Oslo", 3])),
            case(
                "in brackets, after a comment",
                "# code mode\n(lambda parameters:\n    parameters['n'] + 1)",
            )
            .flags(&["--param", "n=1"])
            .gives(json!(2)),
            case("what it returns is awaited", "lambda: __import__('asyncio').sleep(0, 'slept')")
                .gives(json!("slept")),
            case("of which one word is main", "lambda: 'main'").gives(json!("main")),
            case("not where there is anything else", "x = 1\nlambda: x")
                .notes(&["the last expression, a function"]),
            case("nor where it was made by a call", "(lambda: lambda: 1)()")
                .notes(&["the last expression, a function"]),
        ],
    );
}

#[test]
fn templates_of_contests_work() {
    let solve = "def main():\n    a, b = map(int, input().split())\n    print(a + b)\n";
    let with = |end: &str| -> &'static str {
        Box::leak(format!("import sys, threading\n{solve}{end}\n").into_boxed_str())
    };
    let cases: Vec<Case> = [
        "main()",
        "if __name__ == '__main__':\n    main()",
        "threading.stack_size(1 << 20)\nsys.setrecursionlimit(10000)\nt = threading.Thread(target=main)\nt.start()\nt.join()",
        "if __name__ == '__main__':\n    sys.exit(main())",
    ]
    .map(|end| case("a template", with(end)).stdin("2 3\n").logs(&[("info", "5")]))
    .into();
    check_all("python", &cases);
}

#[test]
fn what_is_open_after_the_result_is_named_and_the_result_kept() {
    let waits = |name: &'static str, code: &'static str| {
        case(name, code).flags(&["--timeout", "3s"]).ends("timed_out", 124)
    };
    check_all(
        "python",
        &[
            waits("a thread", "import threading\ndef forever():\n    threading.Event().wait()\nthreading.Thread(target=forever).start()\n{'rows': 3}")
                .keeps(json!({"rows": 3}))
                .pending(json!([{"kind": "thread", "count": 1, "at": "main.py:3"}])),
            waits("two timers", "import threading\ndef late():\n    pass\nfor _ in range(2):\n    threading.Timer(60, late).start()\ndef main():\n    return 7")
                .keeps(json!(7))
                .pending(json!([{"kind": "timer", "count": 2, "at": "main.py:2"}])),
            waits("a server", "import http.server, threading\nserver = http.server.HTTPServer(('127.0.0.1', 0), http.server.BaseHTTPRequestHandler)\nthreading.Thread(target=server.serve_forever).start()\n'up'")
                .flags(&["--loopback"])
                .keeps(json!("up")),
            waits("a task that will not be cancelled", "import asyncio\nasync def stubborn():\n    while True:\n        try:\n            await asyncio.sleep(60)\n        except asyncio.CancelledError:\n            pass\nasync def main():\n    main.task = asyncio.create_task(stubborn())\n    await asyncio.sleep(0)\n    return [1]")
                .keeps(json!([1]))
                .pending(json!([{"kind": "task", "count": 1, "at": "main.py:2"}])),
            waits("a thread of the loop", "import asyncio, time\ndef block():\n    time.sleep(60)\nasync def main():\n    asyncio.get_running_loop().run_in_executor(None, block)\n    await asyncio.sleep(0.05)\n    return 'there'")
                .keeps(json!("there"))
                .pending(json!([{"kind": "thread", "count": 1, "at": "main.py:3"}])),
            case("a daemon is not waited for", "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n1").gives(json!(1)),
            case("a failure before what is open", "import threading\nthreading.Thread(target=threading.Event().wait).start()\n1 / 0")
                .flags(&["--timeout", "3s"])
                .ends("timed_out", 124)
                .notes(&["the program had failed already, and waited for what it had started: ZeroDivisionError"]),
        ],
    );
}

#[test]
fn a_program_has_the_names_that_python_gives_a_script() {
    let program = "own = str(list(globals()))\nimport subprocess, sys\n\
                   open('script.py', 'w').write('print(list(globals()))')\n\
                   ran = subprocess.run([sys.executable, 'script.py'], capture_output=True, text=True)\n\
                   ran.stdout.strip() == own or [ran, own]";
    check_all(
        "python",
        &[
            case("names in their order", program).flags(&["--exec"]).gives(json!(true)),
            case(
                "annotations without any",
                "import sys\nsys.version_info >= (3, 14) or __annotations__ == {}",
            )
            .gives(json!(true)),
        ],
    );
}
