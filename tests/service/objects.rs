//! Objects: up, down, in ranges, signed, whole or not at all.

use std::io::{Read, Write};

use belljar_test_support::http::{parse_answer, read_answer};
use belljar_test_support::{Server, eventually, files_in, processes};
use serde_json::json;

use crate::SHARED;

fn put(name: &str, content: &[u8]) {
    SHARED
        .ask("PUT", &format!("/v1/objects/{name}"))
        .header("Content-Type", "text/csv")
        .body(content)
        .send()
        .is(200);
}

#[test]
fn an_object_comes_back_as_it_went_in() {
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    let record = SHARED
        .ask("PUT", "/v1/objects/deep/down/a%20b.bin")
        .header("Content-Type", "application/x-thing")
        .header("Belljar-Metadata-Source", "crm")
        .body(content.clone())
        .send()
        .is(200);
    assert_eq!(
        (&record["name"], &record["size_bytes"], &record["metadata"]["source"]),
        (&json!("deep/down/a b.bin"), &json!(3_000_000), &json!("crm"))
    );
    let answer = SHARED.get("/v1/objects/deep/down/a%20b.bin");
    assert!(answer.body == content);
    assert_eq!(
        (answer.header("content-type"), answer.header("belljar-metadata-source")),
        (Some("application/x-thing"), Some("crm"))
    );
    assert_eq!(answer.header("etag").map(|tag| tag.trim_matches('"')), record["sha256"].as_str());
    let head = SHARED.ask("HEAD", "/v1/objects/deep/down/a%20b.bin").send();
    assert_eq!((head.status, head.header("content-length")), (200, Some("3000000")));
    let unchanged = SHARED
        .ask("GET", "/v1/objects/deep/down/a%20b.bin")
        .header("If-None-Match", answer.header("etag").unwrap())
        .send();
    assert_eq!(unchanged.status, 304);
}

#[test]
fn ranges_are_parts() {
    put("ranges.txt", b"0123456789");
    for (range, expected, content_range) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
    ] {
        let answer = SHARED.ask("GET", "/v1/objects/ranges.txt").header("Range", range).send();
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.header("content-range")),
            (206, expected, Some(content_range))
        );
    }
    SHARED.ask("GET", "/v1/objects/ranges.txt").header("Range", "bytes=10-").send().is_problem(
        416,
        "range-not-satisfiable",
        "10 bytes",
    );
}

#[test]
fn a_download_resumes_only_if_the_object_is_unchanged() {
    put("resumed.txt", b"0123456789");
    let first = SHARED.get("/v1/objects/resumed.txt");
    let (etag, modified) = (
        first.header("etag").unwrap().to_owned(),
        first.header("last-modified").unwrap().to_owned(),
    );
    let ask = |range: &str, validator: &str| {
        SHARED
            .ask("GET", "/v1/objects/resumed.txt")
            .header("Range", range)
            .header("If-Range", validator)
            .send()
    };
    let same = ask("bytes=3-", &etag);
    assert_eq!(
        (same.status, same.text().as_str(), same.header("content-range")),
        (206, "3456789", Some("bytes 3-9/10"))
    );
    for validator in [
        "\"stale\"",
        &format!("W/{etag}"),
        "Sat, 01 Jan 2000 00:00:00 GMT",
        "no validator",
        etag.trim_matches('"'),
    ] {
        let all = ask("bytes=3-", validator);
        assert_eq!(
            (all.status, all.text().as_str(), all.header("content-range")),
            (200, "0123456789", None),
            "{validator}"
        );
    }
    assert_eq!(
        ask("bytes=10-", "\"stale\"").status,
        200,
        "a range that is not asked for cannot be outside"
    );
    eventually(
        "the date of an object that was just written is not believed, and then it is",
        || ask("bytes=3-", &modified).status == 206,
    );

    put("resumed.txt", b"abcdefghij");
    for validator in [&etag, &modified] {
        let replaced = ask("bytes=3-", validator);
        assert_eq!((replaced.status, replaced.text().as_str()), (200, "abcdefghij"), "{validator}");
    }
    let weak =
        format!("\"x\", W/{}", SHARED.get("/v1/objects/resumed.txt").header("etag").unwrap());
    assert_eq!(
        SHARED.ask("GET", "/v1/objects/resumed.txt").header("If-None-Match", &weak).send().status,
        304
    );
}

#[test]
fn checksums_are_held() {
    // Of "hello".
    let (md5, sha256) = (
        "XUFAKrxLKna5cZ2REBfFkg==",
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    );
    let send = |name: &str, value: &str| {
        SHARED.ask("PUT", "/v1/objects/checked").header(name, value).body("hello").send()
    };
    send("Content-MD5", md5).is(200);
    send("Belljar-SHA256", sha256).is(200);
    SHARED.ask("DELETE", "/v1/objects/checked").send().is(204);
    send("Belljar-SHA256", &sha256.replace('2', "3")).is_problem(
        422,
        "checksum-mismatch",
        "nothing was stored",
    );
    send("Content-MD5", "XUFAKrxLKna5cZ2REBfFkQ==").is_problem(422, "checksum-mismatch", "MD5");
    send("Content-MD5", "no").is_problem(422, "invalid-request", "Content-MD5");
    SHARED.get("/v1/objects/checked").is_problem(404, "not-found", "checked");
}

#[test]
fn objects_are_listed_by_prefix_copied_and_deleted() {
    for name in ["list/a", "list/b", "list/c", "listing"] {
        put(name, name.as_bytes());
    }
    let names = |query: &str| -> Vec<String> {
        let page = SHARED.get(&format!("/v1/objects?{query}")).is(200);
        page["objects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|object| object["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("prefix=list/"), ["list/a", "list/b", "list/c"]);
    assert_eq!(names("prefix=list/&limit=2"), ["list/a", "list/b"]);
    assert_eq!(names("prefix=list/&limit=2&cursor=list/b"), ["list/c"]);
    SHARED.post("/v1/object-copies", json!({"from": "list/a", "to": "list/z"})).is(200);
    SHARED.ask("DELETE", "/v1/objects/list/a").send().is(204);
    assert_eq!(names("prefix=list/"), ["list/b", "list/c", "list/z"]);
    assert_eq!(SHARED.get("/v1/objects/list/z").text(), "list/a");
    SHARED.ask("DELETE", "/v1/objects/list/a").send().is_problem(404, "not-found", "list/a");
    SHARED.post("/v1/object-copies", json!({"from": "none", "to": "x"})).is_problem(
        404,
        "not-found",
        "none",
    );
}

#[test]
fn an_object_is_only_replaced_where_that_is_wanted() {
    put("once", b"1");
    SHARED
        .ask("PUT", "/v1/objects/once")
        .header("If-None-Match", "*")
        .body("2")
        .send()
        .is_problem(409, "conflict", "once");
    assert_eq!(SHARED.get("/v1/objects/once").text(), "1");
}

#[test]
fn of_many_that_must_not_replace_one_is_first() {
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..10)
            .map(|n| {
                scope.spawn(move || {
                    SHARED
                        .ask("PUT", "/v1/objects/first")
                        .header("If-None-Match", "*")
                        .body(format!("{n}"))
                        .send()
                        .status
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
}

#[test]
fn a_form_uploads_files() {
    let body = "--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nforms/renamed.txt\r\n--b\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"x.txt\"\r\nContent-Type: text/plain\r\n\r\nfirst\r\n--b\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"forms-second.txt\"\r\n\r\nsecond\r\n--b--\r\n";
    let answer = SHARED
        .ask("POST", "/v1/objects")
        .header("Content-Type", "multipart/form-data; boundary=b")
        .body(body)
        .send()
        .is(200);
    assert_eq!(
        (&answer["objects"][0]["name"], &answer["objects"][1]["name"]),
        (&json!("forms/renamed.txt"), &json!("forms-second.txt"))
    );
    assert_eq!(SHARED.get("/v1/objects/forms/renamed.txt").text(), "first");
    let evil = body.replace("forms/renamed.txt", "../../etc/passwd");
    SHARED
        .ask("POST", "/v1/objects")
        .header("Content-Type", "multipart/form-data; boundary=b")
        .body(evil)
        .send()
        .is_problem(422, "invalid-request", "..");
}

#[test]
fn headers_of_a_part_of_a_form_are_bounded() {
    let head = |length: usize| {
        format!(
            "POST /v1/objects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n",
            SHARED.token
        )
    };
    let disposition =
        "Content-Disposition: form-data; name=\"file\"; filename=\"forms-bounded\"\r\n";
    for (start, endless) in [
        // In the first part, in a later one, and before the first.
        (format!("--b\r\n{disposition}X-Endless: "), "x"),
        (format!("--b\r\n{disposition}\r\nfirst\r\n--b\r\n{disposition}"), "X: y\r\n"),
        (String::new(), "no boundary "),
    ] {
        let mut socket = SHARED.connect();
        // Far less is sent than was announced: the answer does not wait for the rest.
        let body = format!("{start}{}", endless.repeat((128 << 10) / endless.len()));
        socket.write_all(head(1 << 30).as_bytes()).unwrap();
        socket.write_all(body.as_bytes()).unwrap();
        let mut bytes = vec![0; 4096];
        let length = socket.read(&mut bytes).unwrap();
        parse_answer(&bytes[..length]).is_problem(413, "too-large", "16384 bytes");
    }
    // What is large in the content is no header; and what a part may have it may have.
    let content = "z".repeat(300_000);
    let body = format!(
        "--b\r\n{disposition}X: {}\r\n\r\n{content}\r\n--b\r\n{disposition}\r\nlast\r\n--b--\r\n",
        "y".repeat(8000)
    );
    let answer = SHARED
        .ask("POST", "/v1/objects")
        .header("Content-Type", "multipart/form-data; boundary=b")
        .body(body)
        .send()
        .is(200);
    assert_eq!(
        (&answer["objects"][0]["size_bytes"], &answer["objects"][1]["size_bytes"]),
        (&json!(300_000), &json!(4))
    );
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [
        "..%2f..%2fetc%2fpasswd",
        "a%2f%2e%2e%2fb",
        "%2fetc/passwd",
        "a%00b",
        "a%0d%0aX:%20y",
        "a//b",
        "%2e",
    ] {
        let answer = SHARED.ask("PUT", &format!("/v1/objects/{name}")).body("x").send();
        answer.is_problem(422, "invalid-request", "is not a valid object name");
    }
    let long = "a".repeat(1025);
    SHARED.ask("PUT", &format!("/v1/objects/{long}")).body("x").send().is_problem(
        422,
        "invalid-request",
        "1,024",
    );
}

#[test]
fn a_signed_address_works_for_one_thing_and_a_while() {
    put("signed.txt", b"for you");
    let sign = |method: &str, ms: u64| {
        let answer = SHARED
            .post(
                "/v1/object-urls",
                json!({"name": "signed.txt", "method": method, "expires_in_ms": ms}),
            )
            .is(200);
        answer["url"].as_str().unwrap().to_owned()
    };
    let get = sign("GET", 60_000);
    assert_eq!(SHARED.ask("GET", &get).no_token().send().text(), "for you");
    SHARED.ask("PUT", &get).no_token().body("x").send().is_problem(403, "forbidden", "signed");
    SHARED.ask("GET", &get.replace("signed.txt", "ranges.txt")).no_token().send().is_problem(
        403,
        "forbidden",
        "signed",
    );
    SHARED.ask("GET", &get.replace("expires=", "expires=9")).no_token().send().is_problem(
        403,
        "forbidden",
        "signed",
    );
    let put_url = sign("PUT", 60_000);
    SHARED.ask("PUT", &put_url).no_token().body("from you").send().is(200);
    assert_eq!(SHARED.get("/v1/objects/signed.txt").text(), "from you");
    let soon = sign("GET", 1);
    eventually("it has expired", || SHARED.ask("GET", &soon).no_token().send().status == 403);
    SHARED
        .post(
            "/v1/object-urls",
            json!({"name": "x", "method": "GET", "expires_in_ms": 700_000_000}),
        )
        .is_problem(422, "invalid-request", "seven days");
}

#[test]
fn an_upload_that_breaks_off_leaves_the_object_of_before_and_no_content() {
    let server = Server::start();
    server.ask("PUT", "/v1/objects/whole").body("before").send().is(200);
    let contents = || files_in(&server.home.join("objects")).len();
    assert_eq!(contents(), 1);
    let mut socket = server.connect();
    let head = format!(
        "PUT /v1/objects/whole HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 10000000\r\n\r\n",
        server.token
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(&vec![b'x'; 300_000]).unwrap();
    eventually("the upload has begun", || contents() > 1);
    drop(socket);
    eventually("what it left is gone", || contents() == 1);
    assert_eq!(server.get("/v1/objects/whole").text(), "before");
    // What is replaced goes, and what is deleted.
    server.ask("PUT", "/v1/objects/whole").body("after").send().is(200);
    eventually("the content of before is gone", || contents() == 1);
    server.ask("DELETE", "/v1/objects/whole").send().is(204);
    eventually("its content is gone", || contents() == 0);
}

#[test]
fn a_large_object_needs_no_memory() {
    let server = Server::start();
    let resident = || processes::resident_bytes(server.pid());
    server.run("javascript", "1");
    let before = resident();
    let (size, mut most) = (400_u64 << 20, 0);
    let mut socket = server.connect();
    let head = |method: &str, length: u64| {
        format!(
            "{method} /v1/objects/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: {length}\r\n\r\n",
            server.token
        )
    };
    socket.write_all(head("PUT", size).as_bytes()).unwrap();
    let block = vec![7; 1 << 20];
    for _ in 0..400 {
        socket.write_all(&block).unwrap();
        most = most.max(resident());
    }
    assert_eq!(read_answer(&mut socket).is(200)["size_bytes"], size);
    let mut socket = server.connect();
    socket.write_all(head("GET", 0).as_bytes()).unwrap();
    let (mut received, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        let length = socket.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        received += length as u64;
        most = most.max(resident());
    }
    assert!(received >= size && received < size + 2000, "{received}");
    assert!(most < before + (64 << 20), "{before} bytes before, {most} at most");
}
