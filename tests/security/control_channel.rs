//! The program shares its process with the driver, so it can write whatever it likes on the control
//! channel. It may only ever lie about itself.

use std::time::Duration;

use belljar_test_support::STARTS;

use crate::run::{Attack, limits_available};

/// Python functions that write frames: four bytes of length, one of kind, four of the id of the
/// execution for the kinds that belong to one, the payload.
const FRAMES: &str = r#"
import json, socket, time
def frame(kind, payload=b"", execution=1):
    if kind in (2, 3, 4, 5, 7, 9, 10):
        payload = struct.pack("<I", execution) + payload
    return struct.pack("<IB", len(payload), kind) + payload
def send(data):
    while data:
        data = data[os.write(3, data):]
def executed(value, execution=1, **more):
    report = {"value": value, "error": None, "exit_code": None, **more}
    return frame(5, json.dumps(report).encode(), execution)
GOODBYE = frame(11)
def finished(value, **more):
    return executed(value, **more) + GOODBYE
print("attacking", flush=True)
"#;

fn frames(body: &str) -> Attack {
    Attack::python(&format!("{FRAMES}{body}"))
}

#[test]
fn frames_that_break_the_bounds_end_the_run_as_the_programs_own_failure() {
    let cases = [
        "send(os.urandom(4096)); time.sleep(20)",
        "send(b'\\xff' * 5); time.sleep(20)",
        "send(struct.pack('<IB', 0xffffffff, 5)); time.sleep(20)",
        "send(struct.pack('<IB', 0x7fffffff, 3) + b'x' * 100); time.sleep(20)",
        "send(frame(99, b'unknown')); time.sleep(20)",
        "send(frame(16, b'a file')); time.sleep(20)",
        "send(frame(17, b'{}')); time.sleep(20)",
        "send(frame(1, b'ready')); time.sleep(20)",
        "send(frame(7, b'a call')); time.sleep(20)",
        "send(frame(18, b'\\0')); time.sleep(20)",
        "send(frame(2, b'short')); time.sleep(20)",
        "send(frame(5, b'not JSON') + GOODBYE); time.sleep(20)",
        "send(frame(5, b'[' * 100000) + GOODBYE); time.sleep(20)",
        "send(frame(5, b'{\"value\":' + b'[' * 5000 + b']' * 5000 + b',\"error\":null,\"exit_code\":null}') + GOODBYE); time.sleep(20)",
        "send(struct.pack('<IB', 3, 5) + b'abc'); time.sleep(20)",
        "send(frame(5, b'{}', 0)); time.sleep(20)",
        "send(frame(11, b'a payload')); time.sleep(20)",
        "send(frame(6, b'a fault of the set-up')); time.sleep(20)",
    ];
    for case in cases {
        let outcome = frames(case).start("exec").run();
        outcome.must_be("failed");
        assert_eq!(outcome.logged(), ["attacking"], "{case}");
        assert!(outcome.took < Duration::from_mins(1), "{case} held belljar up");
    }
    frames(cases[0]).start("fork").run().must_be("failed");
}

#[test]
fn a_forged_report_changes_nothing_but_the_programs_own_result() {
    let body = "send(finished('forged', status='cancelled', usage={'cpu_user_ms': -1}, id='run_x', sandbox={'runtime': 'forged'}, denied=[1], logs=[1]))
time.sleep(20)";
    frames(body).in_both_starts(|outcome| {
        outcome.must_be("succeeded");
        assert_eq!(outcome.json["value"], "forged");
        assert!(
            outcome.json["id"].as_str().is_some_and(|id| id.starts_with("run_") && id.len() > 10)
        );
        assert!(outcome.json["usage"]["cpu_user_ms"].as_f64().is_some_and(|ms| ms >= 0.0));
        assert!(
            outcome.json["sandbox"]["runtime"]
                .as_str()
                .is_some_and(|name| name.starts_with("python@"))
        );
        assert_eq!(outcome.json["denied"].as_array().map_or(0, Vec::len), 0);
        assert_eq!(outcome.logged(), ["attacking"]);
    });
}

#[test]
fn an_execution_ends_once_under_its_own_id_and_before_the_conversation() {
    let cases = [
        (
            "executed('forged', 2) + GOODBYE",
            "an EXECUTED frame belongs to execution 2, but execution 1 is running",
        ),
        (
            "frame(9, b'a note', 7)",
            "a NOTE frame belongs to execution 7, but execution 1 is running",
        ),
        (
            "executed('forged') + executed('second') + GOODBYE",
            "an EXECUTED frame is not allowed after the execution has ended",
        ),
        (
            "executed('forged') + frame(9, b'a late note') + GOODBYE",
            "a NOTE frame is not allowed after the execution has ended",
        ),
        (
            "GOODBYE + executed('forged')",
            "a GOODBYE frame is not allowed before the execution has ended",
        ),
        (
            "executed('forged') + GOODBYE + GOODBYE",
            "unexpected data after the sandbox has said goodbye",
        ),
        (
            "executed('forged') + GOODBYE + frame(6, b'fault')",
            "unexpected data after the sandbox has said goodbye",
        ),
    ];
    for (number, (forged, violation)) in cases.into_iter().enumerate() {
        let outcome =
            frames(&format!("send({forged}); time.sleep(20)")).start(STARTS[number % 2]).run();
        outcome.must_be("failed");
        assert_eq!(outcome.protocol_error(), violation, "{forged}");
        assert!(outcome.json["value"].is_null(), "{forged}: {}", outcome.json);
        assert_eq!(outcome.logged(), ["attacking"], "{forged}");
    }
}

/// The supervisor parses large reports off its own threads, and hears what came after them then.
#[test]
fn messages_that_arrive_together_with_large_reports_are_heard() {
    let body = "
shown = json.dumps({'type': 'text/plain', 'data': 'x' * 400000, 'encoding': 'utf8'}).encode()
send(frame(3, shown) + frame(9, b'a note') + finished('y' * 400000))
time.sleep(60)";
    frames(body).in_both_starts(|outcome| {
        outcome.must_be("succeeded");
        assert_eq!(outcome.json["value"].as_str().map(str::len), Some(400_000));
        assert_eq!(outcome.json["results"].as_array().map(Vec::len), Some(1));
        assert_eq!(outcome.json["notes"], serde_json::json!(["a note"]));
    });
}

/// A program that reports its end, and then no end of the conversation, has not ended: it is
/// supervised until it does, or until a limit ends it.
#[test]
fn a_program_that_does_not_say_goodbye_is_still_held_to_its_limits() {
    frames("send(executed('forged'))\ntime.sleep(60)").within(1000).in_both_starts(|outcome| {
        outcome.must_be("timed_out");
        assert!(outcome.json["value"].is_null());
    });
    frames("send(executed('forged'))\nos._exit(3)").in_both_starts(|outcome| {
        outcome.must_be("succeeded");
        assert_eq!(outcome.json["value"], "forged");
    });
}

#[test]
fn a_forged_success_does_not_hide_a_limit_that_was_met() {
    // More output than allowed, in the pipe before the report.
    let output = "os.write(1, b'x' * 60000); os.write(2, b'y' * 60000)\nsend(finished('all is well'))\ntime.sleep(20)";
    frames(output).with(["--output-limit", "16K"]).in_both_starts(|outcome| {
        outcome.must_be("output_exceeded");
        assert!(outcome.json["value"].is_null());
    });
    if !limits_available() {
        return;
    }
    // A child dies for want of memory; its parent says that all is well.
    let memory = "
child = os.fork()
if child == 0:
    held = [bytearray(8 << 20) for _ in range(64)]
os.waitpid(child, 0)
send(finished('all is well'))
time.sleep(20)";
    frames(memory).with(["--exec", "--memory", "64M"]).in_both_starts(|outcome| {
        outcome.must_be("memory_exceeded");
        assert!(outcome.json["value"].is_null());
    });
}

#[test]
fn descriptors_sent_along_end_the_run_and_stay_nowhere() {
    let body = "
channel = socket.socket(fileno=os.dup(3))
while True:
    try:
        # With a frame that a program may send.
        socket.send_fds(channel, [frame(7)], [0, 1, 2] * 20)
    except OSError:
        # The kernel limits the number of descriptors in transit.
        time.sleep(0.01)";
    for start in STARTS {
        let attack = frames(body).start(start);
        let mut running = attack.spawn_kept();
        let mut most = 0;
        while !running.has_ended() {
            most = most.max(running.descriptors());
            std::thread::sleep(Duration::from_millis(10));
        }
        let outcome = running.outcome();
        outcome.must_be("failed");
        assert_eq!(
            outcome.protocol_error(),
            "unexpected descriptors after the sandbox was activated"
        );
        assert!((1..100).contains(&most), "belljar held {most} descriptors");
        crate::leftovers::assert_no_process(outcome.belljar);
    }
}

#[test]
fn a_frame_out_of_its_stage_ends_the_run() {
    // Each of these was in order before the program had begun.
    for (number, (kind, payload)) in [
        ("READY", "1"),
        ("HOME", "8"),
        ("FAULT", "6, b'a step of the set-up failed'"),
        ("FAULT", "6, b'x' * 60000"),
    ]
    .into_iter()
    .enumerate()
    {
        let outcome = frames(&format!("send(frame({payload})); time.sleep(20)"))
            .start(STARTS[number % 2])
            .run();
        outcome.must_be("failed");
        assert_eq!(
            outcome.protocol_error(),
            format!("a {kind} frame is not allowed after the sandbox was activated")
        );
        assert_eq!(outcome.logged(), ["attacking"]);
    }
    // A longer one is refused by its length, before it arrives.
    let outcome = frames("send(frame(6, b'x' * (1 << 20))); time.sleep(20)").start("exec").run();
    outcome.must_be("failed");
    assert!(outcome.protocol_error().len() < 200);
}

/// The supervisor's own CPU time is bounded, whatever frames the program sends.
#[test]
fn a_flood_of_well_formed_frames_is_counted_and_costs_the_supervisor_little() {
    let floods = [
        ("frame(2, struct.pack('<BBQI', 1, 1, 0, 1)) * 3000", "more than 10"),
        ("frame(2, struct.pack('<BBQI', 1, 1, 0, 0)) * 3000", "more than 10"),
        (
            "frame(4, json.dumps({'action': 'a', 'target': 't', 'grant': 'g'}).encode()) * 100",
            "more than 1000 DENIED frames",
        ),
        ("frame(4, b'x' * (3 << 20))", "bytes of DENIED frames"),
        ("frame(7) * 12000", "more than 1000000 CALL frames"),
        ("frame(3) * 12000", ""),
    ];
    for (number, (flood, words)) in floods.into_iter().enumerate() {
        let body = format!("blob = {flood}\nwhile True:\n    send(blob)");
        let attack = frames(&body).start(["exec", "fork"][number % 2]).with([
            "--cpu",
            "250s",
            "--timeout",
            "200s",
        ]);
        let mut running = attack.spawn_kept();
        let mut supervisor = Duration::ZERO;
        while !running.has_ended() {
            supervisor = supervisor.max(running.cpu_time());
            std::thread::sleep(Duration::from_millis(5));
        }
        let outcome = running.outcome();
        if words.is_empty() {
            outcome.must_be("output_exceeded");
        } else {
            outcome.must_be("failed");
            assert!(
                outcome.protocol_error().contains(words),
                "{flood}: {}",
                outcome.protocol_error()
            );
        }
        // A false annotation may cut the program's own words short.
        let said = outcome.logged().first().map_or("", |said| said);
        assert!(
            !said.is_empty() && "attacking".starts_with(said),
            "the attack has not run, {flood}: {said}"
        );
        let charged = &outcome.json["usage"];
        println!(
            "{flood}: supervisor {supervisor:?}, charged {} ms + {} ms",
            charged["cpu_user_ms"], charged["cpu_system_ms"]
        );
        // With what it takes to start and to end.
        assert!(
            supervisor < Duration::from_millis(1500).mul_f64(crate::run::slowness()),
            "{flood}: {supervisor:?}"
        );
    }
}

/// A flood that keeps within every total is heard at a pace.
#[test]
fn output_a_byte_at_a_time_costs_the_supervisor_no_more_than_it_costs_the_program() {
    let body = "
annotated = frame(2, struct.pack('<BBQI', 1, 2, 0, 1)) * 2
while True:
    os.write(1, b'\\n')
    os.write(3, annotated)";
    let mut running =
        frames(body).start("fork").with(["--output-limit", "64M"]).within(3000).spawn_kept();
    let mut supervisor = Duration::ZERO;
    while !running.has_ended() {
        supervisor = supervisor.max(running.cpu_time());
        std::thread::sleep(Duration::from_millis(5));
    }
    let outcome = running.outcome();
    outcome.must_be("timed_out");
    let ms = |field: &str| outcome.json["usage"][field].as_f64().unwrap_or_default();
    let charged = Duration::from_secs_f64((ms("cpu_user_ms") + ms("cpu_system_ms")) / 1000.0);
    println!(
        "supervisor {supervisor:?}, charged {charged:?}, {} bytes",
        outcome.json["usage"]["output_bytes"]
    );
    assert!(
        outcome.json["usage"]["output_bytes"].as_u64() > Some(1000),
        "it was heard: {}",
        outcome.json["usage"]
    );
    // With what it takes to start, to boot a zygote and to end.
    let most = charged + Duration::from_millis(1500).mul_f64(crate::run::slowness());
    assert!(supervisor < most, "{supervisor:?} for {charged:?}");
}

#[test]
fn programs_that_log_a_great_deal_are_heard_to_their_end() {
    let node = "for (let n = 0; n < 60000; n++) console.warn('w' + n); return 'done';";
    let outcome = Attack::verbatim("js", &format!("async function main() {{ {node} }}"))
        .with(["--output-limit", "64M"])
        .start("exec")
        .run();
    outcome.must_be("succeeded");
    assert_eq!(
        (&outcome.json["value"], outcome.json["logs"][9_999]["level"].as_str()),
        (&"done".into(), Some("warn"))
    );

    let count = (1_000_000.0 / crate::run::slowness()) as u64;
    let lines = format!("import os\nfor n in range({count}):\n    os.write(1, b'line\\n')\n'done'");
    let outcome =
        Attack::verbatim("py", &lines).with(["--output-limit", "64M"]).start("fork").run();
    outcome.must_be("succeeded");
    assert_eq!(
        (&outcome.json["value"], &outcome.json["usage"]["output_bytes"]),
        (&"done".into(), &(5 * count).into())
    );

    // Into a file in the place of standard error: announced, and never seen by the supervisor.
    let count = (30_000.0 / crate::run::slowness()) as usize;
    let elsewhere = format!(
        "import logging, os\nos.dup2(os.open('/tmp/log', os.O_CREAT | os.O_WRONLY), 2)\nfor n in range({count}):\n    logging.warning('x')\nos.path.getsize('/tmp/log')"
    );
    let outcome =
        Attack::verbatim("py", &elsewhere).with(["--output-limit", "64M"]).start("exec").run();
    outcome.must_be("succeeded");
    assert_eq!(outcome.json["value"], count * "WARNING:root:x\n".len());
}

#[test]
fn a_program_without_its_channel_still_ends() {
    frames("os.close(3)\nprint('closed', flush=True)").in_both_starts(|outcome| {
        assert!(
            ["failed", "succeeded", "crashed", "interrupted"].contains(&outcome.status()),
            "{}",
            outcome.json
        );
        assert_eq!(outcome.logged()[..2], ["attacking", "closed"]);
        assert!(outcome.json["value"].is_null());
    });
    frames("os.close(3); os.close(1); os.close(2)\ntime.sleep(60)").within(1000).in_both_starts(
        |outcome| {
            assert!(
                ["timed_out", "failed", "crashed"].contains(&outcome.status()),
                "{}",
                outcome.json
            );
            assert_eq!(outcome.logged(), ["attacking"]);
        },
    );
    frames("os.dup2(os.open('/dev/null', os.O_RDWR), 3)\nprint('replaced', flush=True)")
        .in_both_starts(|outcome| {
            assert!(outcome.json["value"].is_null());
            assert_eq!(outcome.logged()[..2], ["attacking", "replaced"]);
        });
    Attack::javascript("console.log('attacking'); fs.closeSync(3);").in_both_starts(|outcome| {
        assert!(outcome.json["value"].is_null());
        assert_eq!(outcome.logged()[0], "attacking");
    });
}

/// No timer depends on what a sandbox writes, and the supervisor's memory is bounded.
#[test]
fn a_flood_of_frames_neither_stops_the_clock_nor_fills_memory() {
    let floods = [
        "blob = frame(1) * 12000",
        "blob = frame(2, struct.pack('<BBQI', 1, 1, 0, 0)) * 3000",
        "blob = frame(3, json.dumps({'type': 'text/plain', 'data': ''}).encode()) * 1000",
        "blob = frame(3, b'not JSON') * 4000",
        "blob = frame(4, json.dumps({'action': 'x' * 4000000, 'target': 't', 'grant': 'g'}).encode())",
        "blob = struct.pack('<IB', 4 << 20, 4) + b'x' * (4 << 20)",
        "blob = frame(7) * 12000",
    ];
    for (number, flood) in floods.iter().enumerate() {
        // From several threads, so that the channel is never empty.
        let body = format!(
            "{flood}\nimport threading\ndef pour():\n    while True:\n        os.write(3, blob)\nfor _ in range(3):\n    threading.Thread(target=pour, daemon=True).start()\npour()"
        );
        let attack = frames(&body)
            .start(["exec", "fork"][number % 2])
            .with(["--cpu", "250s", "--output-limit", "1M"])
            .within(1000);
        let mut running = attack.spawn_kept();
        let mut most = 0;
        while !running.has_ended() {
            most = most.max(running.peak_memory());
            std::thread::sleep(Duration::from_millis(5));
        }
        let outcome = running.outcome();
        // Interleaved writes of threads may break a frame: then the run has failed instead.
        assert!(
            ["timed_out", "output_exceeded", "failed"].contains(&outcome.status()),
            "{flood}: {}",
            outcome.json
        );
        assert_eq!(outcome.logged().first(), Some(&"attacking"), "{flood}");
        assert!(most > 0 && most < 160 << 20, "{flood}: belljar held {} MB", most >> 20);
        crate::leftovers::assert_no_process(outcome.belljar);
    }
}

#[test]
fn denials_without_end_are_cut() {
    let body = "
for n in range(150):
    send(frame(4, json.dumps({'action': 'fs.read', 'target': str(n) + 'x' * 300000, 'grant': 'fs.read: []'}).encode()))
attempt('message', lambda: 150)";
    let mut running =
        frames(body).start("exec").with(["--timeout", "200s", "--cpu", "100s"]).spawn_kept();
    let mut most = 0;
    while !running.has_ended() {
        most = most.max(running.peak_memory());
        std::thread::sleep(Duration::from_millis(5));
    }
    let outcome = running.outcome();
    outcome.attempts(&[("message", "done: 150")]);
    let denied = outcome.json["denied"].as_array().unwrap();
    assert_eq!(denied.len(), 100);
    assert!(
        denied
            .iter()
            .all(|denial| denial["target"].as_str().is_some_and(|target| target.len() < 5000))
    );
    assert!(most < 64 << 20, "belljar held {} MB", most >> 20);
}

#[test]
fn reaching_the_native_module_gives_no_more_than_the_channel() {
    Attack::python(
        r#"
import gc, json
natives = [thing for thing in gc.get_objects() if type(thing).__name__ == "module" and "belljar" in getattr(thing, "__name__", "")]
frame_ = sys._getframe()
depth = 0
while frame_.f_back:
    frame_, depth = frame_.f_back, depth + 1
enders = [thing for module in natives for thing in [getattr(module, "end", None)] if callable(thing)]
if not enders:
    # Loaded again, as anyone can.
    from importlib.machinery import ExtensionFileLoader, ModuleSpec
    from importlib.util import module_from_spec
    loader = ExtensionFileLoader("belljar_native", "/opt/belljar/libbelljar.so")
    try:
        enders = [module_from_spec(ModuleSpec("belljar_native", loader, origin="/opt/belljar/libbelljar.so")).end]
    except BaseException as error:
        print(type(error).__name__)
print("frames walked:", depth >= 0, "enders:", len(enders) > 0, flush=True)
for end in enders:
    end(1, json.dumps({"value": "forged", "error": None, "exit_code": None, "usage": {"cpu_user_ms": -5}}))
    end(1, json.dumps({"value": "twice", "error": None, "exit_code": None}))
"#,
    )
    .in_both_starts(|outcome| {
        outcome.must_be("succeeded");
        assert!(outcome.logged()[0].starts_with("frames walked: True"));
        assert_ne!(outcome.json["value"], "twice");
        assert!(outcome.json["usage"]["cpu_user_ms"].as_f64().is_some_and(|ms| ms >= 0.0));
    });
}

/// Prototype pollution and replaced builtins: the program's own result may suffer, nothing else.
#[test]
fn polluted_builtins_cannot_forge_what_the_supervisor_knows() {
    Attack::javascript(
        r"
        console.log('polluting');
        Object.prototype.usage = { wall_ms: -1 };
        Object.prototype.status = 'cancelled';
        Object.prototype.exit_code = 77;
        Object.prototype.error = { name: 'Forged' };
        Object.defineProperty(Object.prototype, 'toJSON', { value() { return 'forged'; }, configurable: true });
        JSON.stringify = () => '{\x22value\x22:\x22by stringify\x22,\x22error\x22:null,\x22exit_code\x22:null}';
        Array.prototype[Symbol.iterator] = function* () { yield 'forged'; };
        Promise.prototype.then = function (resolve) { resolve('forged'); return this; };
        Function.prototype.call = Function.prototype.apply = () => 'forged';
        Buffer.from = Buffer.alloc = () => { throw new Error('no buffers'); };
        process.exit = process.reallyExit = process.kill = () => {};
        Error.prepareStackTrace = () => 'forged';
        globalThis.setTimeout = globalThis.queueMicrotask = () => {};
        ",
    )
    .within(5000)
    .in_both_starts(|outcome| {
        assert!(["succeeded", "failed", "timed_out"].contains(&outcome.status()), "{}", outcome.json);
        assert_eq!(outcome.logged()[0], "polluting");
        assert!(outcome.json["usage"]["wall_ms"].as_f64().is_some_and(|ms| ms > 0.0));
        assert_ne!(outcome.json["exit_code"], 77);
        assert!(outcome.json["sandbox"]["runtime"].as_str().is_some_and(|name| name.starts_with("node@")));
    });
    Attack::python(
        r#"
print("polluting", flush=True)
import builtins, json
json.dumps = lambda *a, **k: '{"value": "forged", "error": null, "exit_code": 0, "usage": {}}'
builtins.len = lambda *a: -1
builtins.isinstance = lambda *a: True
builtins.print = builtins.repr = builtins.str = builtins.type = builtins.getattr = None
os._exit = lambda *a: None
os.write = lambda *a: 1 << 40
sys.exit = sys.stdout = sys.stderr = sys.excepthook = None
sys.settrace(lambda *a: None)
"#,
    )
    .within(5000)
    .in_both_starts(|outcome| {
        assert!(
            ["succeeded", "failed", "timed_out", "crashed"].contains(&outcome.status()),
            "{}",
            outcome.json
        );
        assert_eq!(outcome.logged()[0], "polluting");
        assert!(outcome.json["usage"]["wall_ms"].as_f64().is_some_and(|ms| ms > 0.0));
        assert!(
            outcome.json["sandbox"]["runtime"]
                .as_str()
                .is_some_and(|name| name.starts_with("python@"))
        );
    });
    // The control channel written from JavaScript.
    Attack::javascript(
        r"
        console.log('forging');
        const payload = Buffer.from(JSON.stringify({ value: 'forged', error: null, exit_code: null, usage: { wall_ms: -1 } }));
        const header = Buffer.alloc(9);
        header.writeUInt32LE(payload.length + 4);
        header[4] = 5;
        header.writeUInt32LE(1, 5);
        const goodbye = Buffer.from([0, 0, 0, 0, 11]);
        fs.writeSync(3, Buffer.concat([header, payload, goodbye]));
        for (;;);
        ",
    )
    .in_both_starts(|outcome| {
        outcome.must_be("succeeded");
        assert_eq!((outcome.json["value"].as_str(), outcome.logged()[0]), (Some("forged"), "forging"));
        assert!(outcome.json["usage"]["wall_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    });
}

#[test]
fn a_forged_settled_result_or_note_changes_no_status_and_is_bounded() {
    const SETTLED: &str = "
def settled(value, pending=()):
    return frame(10, json.dumps({'value': value, 'pending': list(pending)}).encode())
";
    let run = |body: &str, flags: &[&str]| {
        frames(&format!("{SETTLED}{body}")).with(flags.iter().copied()).start("exec").run()
    };
    for (body, status) in [
        ("send(settled(42)); raise ValueError('x')", "failed"),
        ("send(settled(42)); os._exit(3)", "failed"),
        ("send(settled(42)); os.kill(os.getpid(), 11); time.sleep(20)", "crashed"),
        ("send(finished(1) + settled(2) + frame(9, b'late')); time.sleep(20)", "failed"),
    ] {
        let outcome = run(body, &[]);
        outcome.must_be(status);
        assert_eq!(outcome.logged()[0], "attacking", "{body}");
        assert!(
            outcome.json.get("notes").is_none() && outcome.json["value"] != 2,
            "{body}: {}",
            outcome.json
        );
    }
    for (body, message) in [
        (
            "[send(settled(number)) for number in range(5)]; time.sleep(20)",
            "more than 4 SETTLED frames",
        ),
        (
            "send(b''.join(frame(9, b'%d' % number) for number in range(1001))); time.sleep(20)",
            "more than 1000 NOTE frames",
        ),
        ("send(frame(9, b'x' * 1001)); time.sleep(20)", "a frame of kind 9 has 1001 bytes"),
    ] {
        let outcome = run(body, &[]);
        outcome.must_be("failed");
        assert!(outcome.protocol_error().starts_with(message), "{body}: {}", outcome.json);
        assert!(outcome.json["notes"].as_array().map_or(0, Vec::len) <= 32, "{}", outcome.json);
    }
    let outcome = run(
        "send(frame(9, 'a\\x1b[2J\\nhint: x\\u202e'.encode()) + frame(9, b'\\xff\\xfe')); 7",
        &[],
    );
    outcome.must_be("succeeded");
    assert_eq!(outcome.json["notes"], serde_json::json!([r"a\u{1b}[2J\nhint: x\u{202e}"]));
}

/// Each fence is shorter than the one before, so that none ends an earlier block, and each block
/// has an odd number of quotes up to the end of the text: to look for the end of each would read
/// the text 700 times before there is a sandbox whose time is limited.
#[test]
fn a_program_of_fences_is_parsed_in_bounded_time() {
    let blocks = (4..700).rev().map(|length| format!("{0}'''\n'''\n{0}\n", "~".repeat(length)));
    let fences = blocks.collect::<Vec<_>>().concat();
    let program = format!("{fences}{}", "\n".repeat(500_000));
    let outcome = Attack::verbatim("py", &program).start("exec").run();
    // The driver takes fences off what is no Python with them, in the sandbox and on the time of
    // the run.
    outcome.must_be("succeeded");
    assert!(
        !outcome.json["notes"].to_string().contains("fenced block of Markdown"),
        "{}",
        outcome.json
    );
    let most = Duration::from_mins(1).mul_f64(crate::run::slowness());
    assert!(outcome.took < most, "{:?}", outcome.took);
}
