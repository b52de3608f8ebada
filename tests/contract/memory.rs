//! Runtimes know the memory limit of their run, and collect garbage before the kernel ends them.

use serde_json::json;

use crate::case::{case, check_all};

#[test]
fn javascript_fits_its_heap_to_the_limit() {
    check_all(
        "javascript",
        &[
            case(
                "a CSV of 7 MB is parsed into objects within 256 MB",
                "const csv = 'id,city,amount\\n' + Array.from({ length: 400000 }, (_, i) => `${i},city ${i % 50},${(i * 7) % 1000}`).join('\\n');
                const [head, ...lines] = csv.split('\\n'); const keys = head.split(',');
                const rows = lines.map((l) => Object.fromEntries(l.split(',').map((v, i) => [keys[i], v])));
                rows.length",
            )
            .flags(&["--memory", "256M"])
            .gives(json!(400_000)),
            case(
                "a text that is split again and again leaves no more than it holds",
                "const text = 'one,two,three,four,five\\n'.repeat(250_000); let fields = 0;
                for (let i = 0; i < 6; i++) fields += text.split('\\n').map((line) => line.split(',')).length;
                fields",
            )
            .flags(&["--memory", "256M"])
            .gives(json!(1_500_006)),
            case(
                "objects that are replaced are collected",
                "let rows = Array.from({ length: 100_000 }, (_, i) => ({ id: i, name: 'n' + i, tags: ['a', 'b'] }));
                for (let i = 0; i < 8; i++) rows = JSON.parse(JSON.stringify(rows));
                rows.length",
            )
            .flags(&["--memory", "256M"])
            .gives(json!(100_000)),
            case(
                "buffers that are dropped are collected",
                "let sum = 0; for (let i = 0; i < 80; i++) sum += Buffer.alloc(8 << 20, 1)[i]; sum",
            )
            .flags(&["--memory", "256M"])
            .gives(json!(80)),
            case(
                "strings that are built and dropped are collected",
                "let length = 0; for (let i = 0; i < 25; i++) length += ('x'.repeat(4 << 20) + i).split('x').join('y').length > 0 ? 1 : 0; length",
            )
            .flags(&["--cpu", "30s", "--timeout", "60s", "--memory", "256M"])
            .gives(json!(25)),
            case(
                "maps that grow and go are collected",
                "let size = 0; for (let i = 0; i < 8; i++) size += new Map(Array.from({ length: 150_000 }, (_, k) => ['k' + k, { k }])).size; size",
            )
            .flags(&["--memory", "256M"])
            .gives(json!(1_200_000)),
            case(
                "what is held beyond the limit ends the run for that reason",
                "const held = []; for (;;) held.push({ id: held.length, text: 'x' + held.length })",
            )
            .flags(&["--cpu", "60s", "--timeout", "100s", "--memory", "128M"])
            .ends("memory_exceeded", 137),
        ],
    );
}

#[test]
fn javascript_reads_the_limit_in_every_way() {
    let asks = "const os = require('os'), v8 = require('v8'); const mb = (bytes) => Math.round(bytes / 2 ** 20);
        const heap = mb(v8.getHeapStatistics().heap_size_limit), [limit] = [mb(os.totalmem())];
        [limit, mb(process.constrainedMemory()), process.availableMemory() > 0 && process.availableMemory() <= os.totalmem(),
            os.freemem() > 0 && os.freemem() <= os.totalmem(), heap > limit / 2 && heap < limit * 1.2 + 200]";
    check_all(
        "javascript",
        &[
            case("of the default of a server", asks).flags(&["--memory", "256M"]).gives(json!([256, 256, true, true, true])),
            case("of little", asks).flags(&["--memory", "96M"]).gives(json!([96, 96, true, true, true])),
            case("of much", asks).flags(&["--memory", "1500M"]).gives(json!([1500, 1500, true, true, true])),
            case("where programs may be started", asks).flags(&["--exec", "--memory", "256M"]).gives(json!([256, 256, true, true, true])),
            case(
                "in a worker",
                "const { Worker } = require('worker_threads');
                const code = `const { parentPort } = require('worker_threads');
                    parentPort.postMessage([require('os').totalmem() / 2 ** 20, require('v8').getHeapStatistics().heap_size_limit < 600 * 2 ** 20])`;
                exports.main = () => new Promise((resolve) => new Worker(code, { eval: true }).once('message', resolve))",
            )
            .flags(&["--memory", "256M"])
            .gives(json!([256, true])),
            case(
                "as Node's own functions look",
                "[process.constrainedMemory.name, String(process.constrainedMemory).includes('[native code]'), Object.keys(process).includes('constrainedMemory')]",
            )
            .gives(json!(["constrainedMemory", true, true])),
        ],
    );
}

#[test]
fn a_worker_keeps_the_limits_that_its_program_gives_it() {
    check_all(
        "javascript",
        &[case(
            "resourceLimits",
            "const { Worker } = require('worker_threads');
            exports.main = () => new Promise((resolve) => {
                const worker = new Worker('const held = []; for (;;) held.push({ text: \"x\" + held.length })', { eval: true, resourceLimits: { maxOldGenerationSizeMb: 32 } });
                worker.once('error', (error) => resolve(error.code));
            })",
        )
        .gives(json!("ERR_WORKER_OUT_OF_MEMORY"))],
    );
}

#[test]
fn python_reads_the_limit() {
    let asks = "import os
page = os.sysconf('SC_PAGE_SIZE')
total, free = (os.sysconf(name) * page // 2**20 for name in ('SC_PHYS_PAGES', 'SC_AVPHYS_PAGES'))
[total, 0 < free <= total]";
    check_all(
        "python",
        &[
            case("of the default of a server", asks)
                .flags(&["--memory", "256M"])
                .gives(json!([256, true])),
            case("of little", asks).flags(&["--memory", "96M"]).gives(json!([96, true])),
            case("of much", asks).flags(&["--memory", "1500M"]).gives(json!([1500, true])),
        ],
    );
}
