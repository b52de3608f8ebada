//! `belljar.storage`, from inside of sandboxes.

use serde_json::{Value, json};

use crate::SHARED;

fn run_with(language: &str, code: &str, storage: Value) -> Value {
    SHARED.post("/v1/runs", json!({"language": language, "code": code, "policy": {"storage": storage}, "wait": true})).is(200)
}

#[test]
fn the_articles_workflow_works_in_both_languages() {
    for (language, code) in [
        (
            "javascript",
            "async function main() {
                const stream = await yepcode.storage.download('flow/js/data.csv');
                const rows = [];
                return new Promise((resolve) => {
                    let text = '';
                    stream.on('data', (chunk) => { text += chunk; }).on('end', async () => {
                        const summary = { totalRecords: text.trim().split('\\n').length - 1 };
                        await yepcode.storage.upload('flow/js/summary.json', new Blob([JSON.stringify(summary)], { type: 'application/json' }));
                        resolve(summary);
                    });
                });
            }
            module.exports = { main };",
        ),
        (
            "python",
            "
import csv, io, json
import belljar
def main(parameters):
    with belljar.storage.download('flow/py/data.csv') as stream:
        rows = list(csv.DictReader(io.TextIOWrapper(stream)))
    summary = {'totalRecords': len(rows)}
    belljar.storage.upload('flow/py/summary.json', json.dumps(summary))
    return summary
",
        ),
    ] {
        let folder = if language == "python" { "py" } else { "js" };
        SHARED.ask("PUT", &format!("/v1/objects/flow/{folder}/data.csv")).body("a,b\n1,2\n3,4\n").send().is(200);
        let outcome = SHARED.run(language, code);
        assert_eq!(outcome["value"], json!({"totalRecords": 2}), "{outcome}");
        assert_eq!(SHARED.get(&format!("/v1/objects/flow/{folder}/summary.json")).json(), json!({"totalRecords": 2}));
    }
}

#[test]
fn only_granted_prefixes_are_there() {
    SHARED.ask("PUT", "/v1/objects/private/a").body("secret").send().is(200);
    SHARED.ask("PUT", "/v1/objects/public/a").body("open").send().is(200);
    let grants = json!({"read": ["public/"], "write": ["public/out/"]});
    for (language, code) in [
        (
            "javascript",
            "const tell = async (action) => { try { await action(); return 'done' } catch (error) { return error.name } };
            [await tell(() => belljar.storage.download('private/a')), await tell(() => belljar.storage.upload('public/a', 'x')),
             await tell(() => belljar.storage.delete('private/a')), await tell(() => belljar.storage.download('public/none')),
             await tell(() => belljar.storage.upload('public/out/../../x', 'x')), (await belljar.storage.list()).map((o) => o.name).join(),
             await tell(() => belljar.storage.upload('public/out/js', 'x'))]",
        ),
        (
            "python",
            "
import belljar
def tell(action):
    try:
        action()
        return 'done'
    except Exception as error:
        return type(error).__name__
[tell(lambda: belljar.storage.download('private/a')), tell(lambda: belljar.storage.upload('public/a', 'x')),
 tell(lambda: belljar.storage.delete('private/a')), tell(lambda: belljar.storage.download('public/none')),
 tell(lambda: belljar.storage.upload('public/out/../../x', 'x')), ','.join(o['name'] for o in belljar.storage.list() if not o['name'].startswith('public/out')),
 tell(lambda: belljar.storage.upload('public/out/py', 'x'))]
",
        ),
    ] {
        let outcome = run_with(language, code, grants.clone());
        assert_eq!(outcome["status"], "succeeded", "{outcome}");
        let value = outcome["value"].as_array().unwrap();
        assert!(value[..3].iter().all(|name| name != "done"), "{outcome}");
        assert_ne!(value[3], "done");
        assert_ne!(value[4], "done");
        assert!(value[5].as_str().unwrap().split(',').filter(|name| !name.starts_with("public/out")).eq(["public/a"]), "{outcome}");
        assert_eq!(value[6], "done", "{outcome}");
        let denied: Vec<_> = outcome["denied"].as_array().unwrap().iter().map(|denial| denial["action"].as_str().unwrap()).collect();
        for action in ["storage.download", "storage.upload", "storage.delete"] {
            assert!(denied.contains(&action), "{outcome}");
        }
    }
    assert_eq!(SHARED.get("/v1/objects/public/a").text(), "open");
    assert_eq!(SHARED.get("/v1/objects/private/a").text(), "secret");
}

#[test]
fn what_a_run_did_in_storage_is_in_the_audit_trail_under_its_name() {
    let outcome = SHARED.run("javascript", "await belljar.storage.upload('audited', 'x'); 1");
    let page = SHARED.get("/v1/audit?action=object.put&target=audited").is(200);
    assert_eq!(page["entries"][0]["actor"], outcome["id"], "{page}");
}

#[test]
fn a_file_of_a_run_can_be_an_object() {
    SHARED.ask("PUT", "/v1/objects/start/data.txt").body("from storage").send().is(200);
    let body = json!({"language": "python", "code": "open('data.txt').read()", "files": [{"path": "data.txt", "object": "start/data.txt"}], "wait": true});
    assert_eq!(SHARED.post("/v1/runs", body).is(200)["value"], "from storage");
    let body = json!({"language": "python", "code": "1", "files": [{"path": "data.txt", "object": "start/none"}], "wait": true});
    let outcome = SHARED.post("/v1/runs", body).is(200);
    assert_eq!(outcome["status"], "refused");
    assert!(outcome["error"]["message"].as_str().unwrap().contains("start/none"), "{outcome}");
}

#[test]
fn a_program_that_is_an_object_is_known_by_its_hash() {
    let object = SHARED.ask("PUT", "/v1/objects/programs/a.py").body("6 * 7").send().is(200);
    let body = json!({"language": "python", "entry": "a.py", "files": [{"path": "a.py", "object": "programs/a.py"}], "wait": true});
    let outcome = SHARED.post("/v1/runs", body).is(200);
    assert_eq!(outcome["value"], 42, "{outcome}");
    assert_eq!(
        SHARED.get(&format!("/v1/runs/{}", outcome["id"].as_str().unwrap())).is(200)["code_sha256"],
        object["sha256"]
    );
}

#[test]
fn a_run_starts_with_no_object_that_it_could_not_have_read() {
    SHARED.ask("PUT", "/v1/objects/start/private").body("secret").send().is(200);
    let body = json!({"language": "python", "code": "open('x').read()", "files": [{"path": "x", "object": "start/private"}], "policy": {}, "wait": true});
    SHARED.post("/v1/runs", body).is_problem(403, "forbidden", "start/private");
}

#[test]
fn naming_one_object_very_often_takes_no_memory() {
    SHARED.ask("PUT", "/v1/objects/start/large").body(vec![b'x'; 20 << 20]).send().is(200);
    let files: Vec<_> =
        (0..12).map(|n| json!({"path": format!("f{n}"), "object": "start/large"})).collect();
    let outcome = SHARED
        .post("/v1/runs", json!({"language": "python", "code": "1", "files": files, "wait": true}))
        .is(200);
    assert_eq!(outcome["status"], "refused", "{outcome}");
    assert!(outcome["error"]["hint"].as_str().unwrap().contains("belljar.storage"), "{outcome}");
}
