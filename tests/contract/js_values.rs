//! JavaScript values and their JSON forms.

use serde_json::json;

use crate::case::{case, check_all};

#[test]
fn iterators_become_arrays() {
    check_all("javascript", &[
        case(
            "each kind of iterator",
            "function* count(n) { for (let i = 0; i < n; i++) yield { i } }\n\
             class Countdown extends Iterator { #n = 2; next() { return this.#n > 0 ? { value: this.#n--, done: false } : { done: true } } }\n\
             class List { #items = ['a', 'b']; *[Symbol.iterator]() { yield* this.#items } }\n\
             const map = new Map([['a', 1]]), set = new Set([1, 2]);\n\
             return { generator: count(2), keys: map.keys(), entries: map.entries(), set: set.values(), array: [1, 2].values(),\n\
               pairs: ['x'].entries(), mapped: [1, 2].values().map((x) => x * 2), taken: count(9).take(1), text: 'hé'[Symbol.iterator](),\n\
               matches: 'a1b2'.matchAll(/\\d/g).map((m) => m[0]), from: Iterator.from({ next: () => ({ done: true }) }), own: new Countdown(),\n\
               iterable: new List(), nested: [[1].values()], empty: [].values(), search: new URLSearchParams('a=1').keys() }",
        )
        .gives(json!({
            "generator": [{"i": 0}, {"i": 1}], "keys": ["a"], "entries": [["a", 1]], "set": [1, 2], "array": [1, 2],
            "pairs": [[0, "x"]], "mapped": [2, 4], "taken": [{"i": 0}], "text": ["h", "é"],
            "matches": ["1", "2"], "from": [], "own": [2, 1],
            "iterable": ["a", "b"], "nested": [[1]], "empty": [], "search": ["a"]
        })),
        case("an endless one", "return (function* () { let i = 0; for (;;) yield i++ })()").flags(&["--result-limit", "1K"])
            .fails("ResultTooLarge", &["result_bytes"]),
        case("one that throws", "return { rows: (function* () { yield 1; throw new RangeError('row 2') })() }")
            .fails("ResultNotSerializable", &["$.rows could not be read (RangeError: row 2)"]),
        case("an asynchronous one", "return { rows: (async function* () { yield 1 })() }")
            .fails("ResultNotSerializable", &["$.rows is an asynchronous iterator", "await Array.fromAsync(iterator)"]),
        case("something asynchronous to iterate", "return { db: new (class { async *[Symbol.asyncIterator]() {} })() }")
            .fails("ResultNotSerializable", &["$.db is an asynchronous iterator"]),
    ]);
}

#[test]
fn what_holds_names_and_values_becomes_an_object() {
    check_all(
        "javascript",
        &[case(
            "each kind",
            "const form = new FormData(); form.append('a', '1'); form.append('b', '2'); form.append('a', '3');\n\
         const headers = new Headers({ 'X-A': '1' }); headers.append('set-cookie', 'a=1'); headers.append('set-cookie', 'b=2');\n\
         return { q: new URLSearchParams('a=1&b=2&a=3&__proto__=x'), h: headers, f: form, sp: new URL('http://x/?y=1').searchParams }",
        )
        .gives(json!({
            "q": {"a": ["1", "3"], "b": "2", "__proto__": "x"}, "h": {"x-a": "1", "set-cookie": ["a=1", "b=2"]},
            "f": {"a": ["1", "3"], "b": "2"}, "sp": {"y": "1"}
        }))],
    );
}

#[test]
fn what_has_yet_to_be_read_says_how() {
    check_all(
        "javascript",
        &[
            case("a response", "return new Response('{}')")
                .fails("ResultNotSerializable", &["$ is a Response", "await response.json()"]),
            case("a response among others", "return { all: [new Response('{}')] }")
                .fails("ResultNotSerializable", &["$.all[0] is a Response"]),
            case("a request", "return new Request('http://x/')")
                .fails("ResultNotSerializable", &["$ is a Request", "await request.json()"]),
            case("a blob", "return { b: new Blob(['x']) }")
                .fails("ResultNotSerializable", &["$.b is a Blob", "await blob.text()"]),
            case("a file", "return new File(['x'], 'a.txt')")
                .fails("ResultNotSerializable", &["$ is a File", "await file.text()"]),
            case("a stream of the web's", "return new Blob(['x']).stream()")
                .fails("ResultNotSerializable", &["$ is a ReadableStream", "new Response(stream)"]),
            case("a stream of Node's", "return require('stream').Readable.from(['a'])")
                .fails("ResultNotSerializable", &["$ is a Readable of Node's"]),
            case("a promise", "return { p: Promise.resolve(1) }").fails(
                "ResultNotSerializable",
                &["$.p is a promise that was not awaited; await it"],
            ),
            case(
                "a query that was not awaited",
                "class Query { then(f) { f(1) } }\nreturn { rows: new Query() }",
            )
            .fails("ResultNotSerializable", &["$.rows is a promise that was not awaited"]),
            case("a formatter", "return new Intl.NumberFormat('en')")
                .fails("ResultNotSerializable", &["$ is an Intl.NumberFormat"]),
            case("a weak reference", "return { w: new WeakRef({}) }")
                .fails("ResultNotSerializable", &["$.w is a WeakRef", "deref()"]),
            case("a timer among data", "return { n: 1, t: setTimeout(() => {}, 1) }")
                .fails("ResultNotSerializable", &["$.t is a Timeout of Node's"]),
        ],
    );
}

#[test]
fn nothing_becomes_an_empty_object_without_a_word() {
    check_all("javascript", &[case(
        "what has no keys of its own",
        "class Point { #x = 1; #y = 2; get x() { return this.#x } get y() { return this.#y } norm() {} }\n\
         class Named extends Point { get name() { return 'p' } get broken() { throw new Error('no') } }\n\
         class Empty {}\n\
         class Bus extends require('events') { constructor() { super(); this.id = 7 } }\n\
         class HttpError extends Error { constructor() { super('nope'); this.status = 404; this.request = { big: true } } }\n\
         const pick = ({ stack, ...rest }) => rest;\n\
         const dom = new DOMException('gone', 'AbortError');\n\
         const { createSecretKey } = require('crypto');\n\
         return { point: new Point(), named: new Named(), empty: new Empty(), bus: new Bus(), error: pick(JSON.parse(JSON.stringify({ }))),\n\
           dom: [dom].map((e) => ({ name: e.name, message: e.message })), signal: AbortSignal.abort('why'), key: createSecretKey(Buffer.from('abcd')).type,\n\
           locale: new Intl.Locale('en-GB').language, entry: performance.mark('m').name, http: new HttpError() instanceof Error, params: new URL('http://h/p').href }",
    )
    .gives(json!({
        "point": {"x": 1, "y": 2}, "named": {"x": 1, "y": 2, "name": "p"}, "empty": {}, "bus": {"id": 7}, "error": {},
        "dom": [{"name": "AbortError", "message": "gone"}], "signal": {"aborted": true, "reason": "why", "onabort": null}, "key": "secret",
        "locale": "en", "entry": "m", "http": true, "params": "http://h/p"
    }))]);
}

#[test]
fn errors_keep_their_own_plain_fields() {
    check_all("javascript", &[
        case(
            "a class of errors",
            "class HttpError extends Error { constructor() { super('nope'); this.name = 'HttpError'; this.status = 404; this.request = { big: true }; this.stack = 's' } }\n\
             const plain = new RangeError('r'); plain.stack = 's';\n\
             const dom = new DOMException('gone', 'AbortError'); Object.defineProperty(dom, 'stack', { value: 's' });\n\
             return [new HttpError(), plain, dom]",
        )
        .gives(json!([
            {"name": "HttpError", "message": "nope", "stack": "s", "status": 404},
            {"name": "RangeError", "message": "r", "stack": "s"},
            {"name": "AbortError", "message": "gone", "stack": "s"}
        ])),
    ]);
}
