//! Projects: nothing of one is seen by another; ceilings and quotas hold.

use belljar_test_support::Server;
use belljar_test_support::http::read_answer;
use serde_json::json;

#[test]
fn a_project_sees_nothing_of_another() {
    let server = Server::start();
    let (a, b) = (server.project("team-a", json!({})), server.project("team-b", json!({})));
    let code = "await belljar.storage.upload('a/secret', 'x'); 1";
    let outcome = server
        .ask("POST", "/v1/runs")
        .token(&a)
        .json(json!({"language": "javascript", "code": code, "wait": true}))
        .send()
        .is(200);
    assert_eq!(outcome["status"], "succeeded", "{outcome}");
    let id = outcome["id"].as_str().unwrap();
    for path in ["", "/code", "/events", "/logs", "/artifacts", "/artifacts/x"] {
        server.ask("GET", &format!("/v1/runs/{id}{path}")).token(&b).send().is_problem(
            404,
            "not-found",
            "",
        );
    }
    // A prefix counts in the project of the caller only, and not for a caller who may not read.
    let prefix = &id[..20];
    assert_eq!(
        server.ask("GET", &format!("/v1/runs/{prefix}")).token(&a).send().is(200)["id"],
        json!(id)
    );
    server.ask("GET", &format!("/v1/runs/{prefix}")).token(&b).send().is_problem(
        404,
        "not-found",
        "",
    );
    server.ask("DELETE", &format!("/v1/runs/{prefix}")).token(&b).send().is_problem(
        404,
        "not-found",
        "",
    );
    let runner = json!({"name": "runner", "scopes": ["run"]});
    let runner = server.ask("POST", "/v1/tokens").token(&a).json(runner).send().is(201);
    let runner = runner["token"].as_str().unwrap();
    server.ask("DELETE", &format!("/v1/runs/{prefix}")).token(runner).send().is_problem(
        404,
        "not-found",
        "",
    );
    server.ask("POST", &format!("/v1/runs/{id}/cancel")).token(runner).send().is(200);
    let code = json!({"language": "javascript", "code": "1", "wait": true});
    server.ask("POST", "/v1/runs").token(&a).json(code).send().is(200);
    server.ask("GET", &format!("/v1/runs/{}", &id[..10])).token(&a).send().is_problem(
        422,
        "invalid-request",
        id,
    );
    server.ask("GET", &format!("/v1/runs/{}", &id[..9])).token(&a).send().is_problem(
        404,
        "not-found",
        "",
    );
    for verb in ["cancel", "rerun"] {
        server
            .ask("POST", &format!("/v1/runs/{id}/{verb}"))
            .token(&b)
            .json(json!({}))
            .send()
            .is_problem(404, "not-found", "");
    }
    server.ask("DELETE", &format!("/v1/runs/{id}")).token(&b).send().is_problem(
        404,
        "not-found",
        "",
    );
    server.ask("GET", "/v1/objects/a/secret").token(&b).send().is_problem(404, "not-found", "");
    assert_eq!(server.ask("GET", "/v1/objects").token(&b).send().is(200)["objects"], json!([]));
    assert_eq!(server.ask("GET", "/v1/runs").token(&b).send().is(200)["runs"], json!([]));
    let projects = server.ask("GET", "/v1/projects").token(&b).send().is(200);
    assert_eq!(projects["projects"].as_array().unwrap().len(), 1);
    let code = "(await belljar.storage.list()).length";
    let outcome = server
        .ask("POST", "/v1/runs")
        .token(&b)
        .json(json!({"language": "javascript", "code": code, "wait": true}))
        .send()
        .is(200);
    assert_eq!(outcome["value"], 0, "{outcome}");
    let entries = server.ask("GET", "/v1/audit?limit=1000").token(&b).send().is(200);
    assert!(
        entries["entries"].as_array().unwrap().iter().all(|entry| entry["project"] == "team-b"),
        "{entries}"
    );
}

#[test]
fn only_the_operator_manages_projects() {
    let server = Server::start();
    for (method, path) in [
        ("POST", "/v1/projects"),
        ("PUT", "/v1/projects/default/settings"),
        ("DELETE", "/v1/projects/default"),
    ] {
        let body = if method == "POST" { json!({"name": "x"}) } else { json!({}) };
        server.ask(method, path).json(body).send().is_problem(403, "forbidden", "operator");
    }
    server.get("/v1/audit?all=true").is_problem(403, "forbidden", "operator");
    server.get("/v1/usage?all=true").is_problem(403, "forbidden", "operator");
    server.get("/v1/audit/verification").is_problem(403, "forbidden", "operator");
    server.operate("DELETE", "/v1/projects/default", None).is_problem(409, "conflict", "default");
    server.operate("POST", "/v1/projects", Some(json!({"name": "Bad Name"}))).is_problem(
        422,
        "invalid-request",
        "Bad Name",
    );
    server.project("twice", json!({}));
    server
        .operate("POST", "/v1/projects", Some(json!({"name": "twice"})))
        .is_problem(409, "conflict", "twice");
}

#[test]
fn a_ceiling_is_not_widened() {
    let server = Server::start();
    let token = server.project("low", json!({"policy": {"loopback": true, "env": {"A": "1"}, "storage": {"read": ["in/"], "write": []}}, "limits": {"memory_bytes": 134_217_728, "timeout_ms": 2000}}));
    let run = |policy: serde_json::Value, limits: serde_json::Value| {
        let body = json!({"language": "javascript", "code": "process.env.A ?? null", "policy": policy, "limits": limits, "wait": true});
        server.ask("POST", "/v1/runs").token(&token).json(body).send()
    };
    assert_eq!(run(json!({"env": {"A": "1"}}), json!({})).is(200)["value"], "1");
    for (policy, limits, words) in [
        (json!({"exec": true}), json!({}), "policy.exec"),
        (json!({"fs": {"read": ["/etc"]}}), json!({}), "policy.fs.read"),
        (json!({"env": {"A": "2"}}), json!({}), "policy.env"),
        (json!({"storage": {"read": [""]}}), json!({}), "policy.storage.read"),
        (json!({"storage": {"write": ["in/"]}}), json!({}), "policy.storage.write"),
        (json!({}), json!({"memory_bytes": 268_435_456}), "limits.memory_bytes"),
        (json!({}), json!({"timeout_ms": 2001}), "limits.timeout_ms"),
    ] {
        run(policy, limits).is_problem(403, "forbidden", words);
    }
    let trail = server.ask("GET", "/v1/audit?action=run.submit").token(&token).send().is(200);
    assert_eq!(
        trail["entries"][0]["details"]["policy"]["env"],
        json!({"A": "..."}),
        "values may be private, and the trail is for ever"
    );
    let refusals =
        server.ask("GET", "/v1/audit?action=request.refuse").token(&token).send().is(200);
    assert_eq!(refusals["entries"].as_array().unwrap().len(), 7, "{refusals}");
    let record = run(json!({}), json!({})).is(200);
    let record = server
        .ask("GET", &format!("/v1/runs/{}", record["id"].as_str().unwrap()))
        .token(&token)
        .send()
        .is(200);
    assert_eq!(
        (&record["limits"]["memory_bytes"], &record["limits"]["timeout_ms"]),
        (&json!(134_217_728), &json!(2000))
    );
}

/// Starts runs of a project with the default ceilings, and then of one whose operator has set them.
#[test]
fn default_ceilings_are_a_share_of_the_machine() {
    let server = Server::start();
    let token = server.project("plain", json!({}));
    let run = |token: &str, limits: serde_json::Value| {
        let body = json!({"language": "javascript", "code": "1", "limits": limits, "wait": true});
        server.ask("POST", "/v1/runs").token(token).json(body).send()
    };
    let machine = 1024 * number_behind("/proc/meminfo", "MemTotal:");
    for (field, more, hint) in [
        ("memory_bytes", machine / 2 + 1, "projects set"),
        ("disk_bytes", machine / 2 + 1, "projects set"),
        ("processes", 32_768, "projects set"),
        ("open_files", 4097, "projects set"),
        ("timeout_ms", 24 * 3_600_000 + 1, "projects set"),
        ("cpu_ms", 24 * 3_600_000 + 1, "projects set"),
        ("files", 1_000_001, "projects set"),
    ] {
        let refused = run(&token, json!({field: more}));
        assert!(
            refused.text().contains("at most") && refused.text().contains(hint),
            "{}",
            refused.text()
        );
        refused.is_problem(403, "forbidden", &format!("limits.{field}: {more}"));
    }
    assert_eq!(
        run(&token, json!({"memory_bytes": 64 << 20, "open_files": 1000})).is(200)["value"],
        1
    );

    // The operator can allow more, but not more than the machine has.
    let wide = json!({"limits": {"memory_bytes": 1_u64 << 40, "timeout_ms": 7 * 24 * 3_600_000}});
    let token = server.project("wide", wide);
    assert_eq!(run(&token, json!({"timeout_ms": 2 * 24 * 3_600_000})).is(200)["value"], 1);
    let refused = run(&token, json!({"memory_bytes": 1_u64 << 40})).is(200);
    assert_eq!(refused["status"], "refused");
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(why.contains("limits.memory_bytes is 1024 GB, but this machine has "), "{why}");
}

fn number_behind(path: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
        .unwrap()
}

#[test]
fn what_the_server_has_to_hold_of_a_run_is_bounded() {
    // 64 MB of output and 64 MB of result are counted as 640 MB, in addition to the 256 MB of the
    // sandbox.
    let server = Server::start_with("[runs]\nmemory_bytes = 1300000000\n");
    let code = "await new Promise((r) => setTimeout(r, 60000))";
    let start = |limits: serde_json::Value| {
        server.post("/v1/runs", json!({"language": "javascript", "code": code, "limits": limits}))
    };
    let most = json!({"output_bytes": 64 << 20, "result_bytes": 64 << 20});
    let first = start(most.clone()).is(202);
    let second = start(most).is(202);
    assert_eq!((&first["status"], &second["status"]), (&json!("running"), &json!("queued")));
    // A run with less output than both starts before the queued one, whatever its project.
    let token = server.project("other", json!({"limits": {"output_bytes": 128 << 20}}));
    let of_other = |limits: serde_json::Value| {
        server
            .ask("POST", "/v1/runs")
            .token(&token)
            .json(json!({"language": "javascript", "code": code, "limits": limits}))
            .send()
    };
    assert_eq!(of_other(json!({})).is(202)["status"], "running");
    for field in ["output_bytes", "result_bytes"] {
        start(json!({field: (64 << 20) + 1})).is_problem(
            403,
            "forbidden",
            &format!("limits.{field}"),
        );
    }
    // More is the operator's to grant.
    assert_eq!(of_other(json!({"output_bytes": 128 << 20})).is(202)["status"], "queued");
    server.post(&format!("/v1/runs/{}/cancel", first["id"].as_str().unwrap()), json!({})).is(200);
    server.until(second["id"].as_str().unwrap(), |record| record["status"] == "running");
}

#[test]
fn quotas_hold() {
    let server = Server::start();
    let token = server.project(
        "small",
        json!({"quotas": {"cpu_ms_per_day": 50, "storage_bytes": 1000, "concurrent_runs": 1}}),
    );
    let run = |code: &str, wait: bool| {
        server
            .ask("POST", "/v1/runs")
            .token(&token)
            .json(json!({"language": "javascript", "code": code, "wait": wait}))
            .send()
    };
    let long = run("setTimeout(() => {}, 60000)", false).is(202);
    let second = run("1", false).is(202);
    assert_eq!((&long["status"], &second["status"]), (&json!("running"), &json!("queued")));
    // Another project does not wait for it.
    assert_eq!(server.run("javascript", "1")["value"], 1);
    server
        .ask("POST", &format!("/v1/runs/{}/cancel", long["id"].as_str().unwrap()))
        .token(&token)
        .json(json!({}))
        .send()
        .is(200);

    let put = |name: &str, length: usize| {
        server
            .ask("PUT", &format!("/v1/objects/{name}"))
            .token(&token)
            .body(vec![b'x'; length])
            .send()
    };
    put("a", 600).is(200);
    put("b", 600).is_problem(429, "quota-exceeded", "1000 bytes");
    put("a", 900).is(200);
    put("c", 1001).is_problem(413, "too-large", "quota");
    let upload = run("try { await belljar.storage.upload('d', 'x'.repeat(500)); 'done' } catch (error) { error.name }", true).is(200);
    assert_ne!(upload["value"], "done", "{upload}");
    let artifact = run("require('fs').mkdirSync('outputs'); require('fs').writeFileSync('outputs/a', 'x'.repeat(500)); 1", true).is(200);
    assert_eq!(artifact["artifacts"], json!([]), "{artifact}");

    run("while (process.cpuUsage().user + process.cpuUsage().system < 200000);", true).is(200);
    let refused = run("1", true);
    refused.is_problem(429, "quota-exceeded", "quota of CPU time");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() <= 86_400);
    let usage = server.ask("GET", "/v1/usage").token(&token).send().is(200);
    assert!(usage["days"][0]["cpu_ms"].as_u64().unwrap() >= 50, "{usage}");
    assert_eq!(usage["storage"][0]["storage_bytes"], 900, "{usage}");
}

fn storage_bytes(server: &Server, token: &str) -> u64 {
    server.ask("GET", "/v1/usage").token(token).send().is(200)["storage"][0]["storage_bytes"]
        .as_u64()
        .unwrap()
}

#[test]
fn many_uploads_and_artifacts_at_one_time_do_not_exceed_the_quota() {
    let server = Server::start();
    let quota = 1_000_000;
    let token = server.project("edge", json!({"quotas": {"storage_bytes": quota}}));
    let put = |name: &str, length: usize| {
        server
            .ask("PUT", &format!("/v1/objects/{name}"))
            .token(&token)
            .body(vec![b'x'; length])
            .send()
    };
    let at_once = |count: usize, what: &(dyn Fn(usize) -> u16 + Sync)| -> Vec<u16> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..count).map(|n| scope.spawn(move || what(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    let statuses = at_once(20, &|n| put(&format!("at-once/{n}"), 100_000).status);
    let stored = statuses.iter().filter(|status| **status == 200).count() as u64;
    // Each announces its size: as many get in as fit.
    assert!(
        stored == 10 && statuses.iter().all(|status| [200, 429].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(storage_bytes(&server, &token), stored * 100_000);
    // A single client gets all that is left, to the last byte.
    assert_eq!(server.ask("DELETE", "/v1/objects/at-once/x").token(&token).send().status, 404);
    let first = statuses.iter().position(|status| *status == 200).unwrap();
    assert_eq!(
        server.ask("DELETE", &format!("/v1/objects/at-once/{first}")).token(&token).send().status,
        204
    );
    put("rest", 100_001).is_problem(429, "quota-exceeded", "quota");
    put("rest", 100_000).is(200);
    put("rest", 0).is(200);
    for n in 0..20 {
        let _ = server.ask("DELETE", &format!("/v1/objects/at-once/{n}")).token(&token).send();
    }

    let code = "open('outputs/file', 'wb').write(bytes(400_000))\n1";
    let kept = at_once(8, &|_| {
        let body = json!({"language": "python", "code": code, "wait": true});
        let outcome = server.ask("POST", "/v1/runs").token(&token).json(body).send().is(200);
        assert_eq!(outcome["status"], "succeeded", "{outcome}");
        outcome["artifacts"].as_array().unwrap().len() as u16
    });
    assert_eq!(
        kept.iter().sum::<u16>(),
        2,
        "two of 400,000 bytes fit, and what fits is kept: {kept:?}"
    );
    assert_eq!(storage_bytes(&server, &token), 800_000);
}

#[test]
fn uploads_in_progress_count_before_they_have_a_name() {
    use std::io::Write;
    let server = Server::start();
    let token = server.project("edge", json!({"quotas": {"storage_bytes": 1_000_000}}));
    let put = |name: &str, length: usize| {
        server
            .ask("PUT", &format!("/v1/objects/{name}"))
            .token(&token)
            .body(vec![b'x'; length])
            .send()
    };
    let head = format!(
        "PUT /v1/objects/slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: 800000\r\n\r\n"
    );
    let begun = || {
        let mut under_way = server.connect();
        under_way.write_all(head.as_bytes()).unwrap();
        under_way.write_all(&vec![b'y'; 700_000]).unwrap();
        // A request that is admitted before the other counts takes its place. Then both start
        // again.
        let is_counted = put("early", 350_000).status == 429;
        server.ask("DELETE", "/v1/objects/early").token(&token).send();
        is_counted.then_some(under_way)
    };
    let mut under_way = (0..100).find_map(|_| begun()).expect("it counts");
    put("quick", 350_000).is_problem(429, "quota-exceeded", "quota");
    under_way.write_all(&vec![b'y'; 100_000]).unwrap();
    read_answer(&mut under_way).is(200);
    assert_eq!(storage_bytes(&server, &token), 800_000);
    put("quick", 350_000).is_problem(429, "quota-exceeded", "800000 are used");
    // What is replaced makes room for what replaces it.
    put("slow", 1_000_000).is(200);
}

#[test]
fn a_deleted_project_is_gone_with_all_its_data() {
    let server = Server::start();
    let token = server.project("short", json!({}));
    server.ask("PUT", "/v1/objects/x").token(&token).body("1").send().is(200);
    let id = server
        .ask("POST", "/v1/runs")
        .token(&token)
        .json(json!({"language": "javascript", "code": "setTimeout(() => {}, 60000)"}))
        .send()
        .is(202);
    server.operate("DELETE", "/v1/projects/short", None).is(204);
    server.ask("GET", "/v1/runs").token(&token).send().is_problem(401, "unauthorized", "");
    let again = server.project("short", json!({}));
    assert_eq!(server.ask("GET", "/v1/objects").token(&again).send().is(200)["objects"], json!([]));
    server
        .ask("GET", &format!("/v1/runs/{}", id["id"].as_str().unwrap()))
        .token(&again)
        .send()
        .is_problem(404, "not-found", "");
    let trail = server.ask("GET", "/v1/audit?action=object.").token(&again).send().is(200);
    assert_eq!(
        trail["entries"],
        json!([]),
        "what one of the same name did before is not its to read"
    );
}

#[test]
fn requests_a_second_are_bounded() {
    let server = Server::start();
    let token = server.project("slow", json!({"quotas": {"requests_per_second": 1}}));
    let statuses: Vec<u16> =
        (0..30).map(|_| server.ask("GET", "/v1/runs").token(&token).send().status).collect();
    assert!(statuses[..10].iter().all(|status| *status == 200), "{statuses:?}");
    assert!(statuses[20..].contains(&429), "{statuses:?}");
}
