//! Files that a program is given, leaves and finds.

use belljar_test_support::{STARTS, outcome, run, said};
use serde_json::{Value, json};

use crate::case::{case, check_all};

/// The names that are left behind, of an outcome.
fn left(outcome: &Value) -> Vec<&str> {
    outcome["left_behind"]
        .as_array()
        .map(|files| files.iter().map(|file| file["name"].as_str().unwrap()).collect())
        .unwrap_or_default()
}

#[test]
fn files_that_were_not_handed_back_are_named() {
    for start in STARTS {
        for (language, code, names) in [
            ("python", "open('result.csv', 'w').write('a,b'); 1", vec!["result.csv"]),
            (
                "python",
                "import os\nos.makedirs('deep/er')\nopen('deep/er/x.txt', 'w').write('x')\nopen('outputs/kept', 'w')\n1",
                vec!["deep/er/x.txt"],
            ),
            (
                "python",
                "import sqlite3\nd = sqlite3.connect('app.db')\nd.execute('create table t(a)')\nd.commit()\n1",
                vec!["app.db"],
            ),
            (
                "python",
                "open('late.txt', 'w').write('x')\nraise ValueError('no')",
                vec!["late.txt"],
            ),
            (
                "python",
                "import pathlib, os\npathlib.Path(os.path.expanduser('~/report.md')).write_text('x')\n1",
                vec!["report.md"],
            ),
            (
                "python",
                "open('.hidden', 'w').write('x'); open('/tmp/elsewhere', 'w').write('x'); 1",
                vec![],
            ),
            (
                "python",
                "import os\nos.symlink('/etc/passwd', 'link'); os.mkfifo('fifo'); os.mkdir('empty'); 1",
                vec![],
            ),
            (
                "javascript",
                "require('fs').writeFileSync('chart.svg', '<svg/>'); 1",
                vec!["chart.svg"],
            ),
            (
                "javascript",
                "require('fs').appendFileSync(__dirname + '/a/../log.txt', 'x'); 1",
                vec![],
            ),
            (
                "javascript",
                "const fs = require('fs'); fs.mkdirSync('node_modules/x', { recursive: true }); fs.writeFileSync('node_modules/x/i.js', ''); 1",
                vec![],
            ),
            (
                "typescript",
                "import { writeFileSync } from 'node:fs'; writeFileSync('b.json', '{}'); writeFileSync('a.json', '{}');",
                vec!["a.json", "b.json"],
            ),
            ("javascript", "1 + 1", vec![]),
        ] {
            let outcome = outcome(language, code, &["--start", start]);
            // The one that names a folder which is not there fails, and leaves nothing.
            assert_eq!(left(&outcome), names, "{language}, {start}: {code}: {outcome}");
        }
    }
}

#[test]
fn what_was_given_is_not_left_behind_unless_it_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let given = folder.path().join("data.csv");
    std::fs::write(&given, "a,b\n1,2\n").unwrap();
    let file = format!("in/data.csv={}", given.display());
    for start in STARTS {
        for (code, names) in [
            ("open('in/data.csv').read(); 1", vec![]),
            ("open('in/data.csv', 'a').write('3,4'); 1", vec!["in/data.csv"]),
            ("open('in/data.csv', 'r+').write('A'); 1", vec!["in/data.csv"]),
            ("import os; os.rename('in/data.csv', 'in/old.csv'); 1", vec!["in/old.csv"]),
            (
                "import os; os.remove('in/data.csv'); open('in/new.csv', 'w').write('x'); 1",
                vec!["in/new.csv"],
            ),
        ] {
            let outcome = outcome("python", code, &["--start", start, "--file", &file]);
            assert_eq!(left(&outcome), names, "{start}: {code}: {outcome}");
        }
    }
}

#[test]
fn the_command_says_what_was_left_and_how_to_keep_it() {
    let code = "open('result.csv', 'w').write('a,b'); open('b.txt', 'w').write('x'); 1";
    let output = said(&mut run(["-l", "python", "-e", code]));
    assert!(output.stderr.contains("left behind and not kept: b.txt, result.csv (write to outputs/, or name it with --output)"), "{output:?}");
    let named =
        said(&mut run(["-l", "python", "-e", code, "--output", "result.csv", "--output", "b.txt"]));
    assert!(!named.stderr.contains("left behind"), "{named:?}");
}

#[test]
fn many_files_are_named_up_to_a_number_and_the_rest_counted() {
    let outcome = outcome("python", "for i in range(70): open(f'f{i:02}', 'w').write('x')\n1", &[]);
    assert_eq!((left(&outcome).len(), left(&outcome)[0]), (50, "f00"));
    assert_eq!(outcome["notes"], json!(["20 more files were left behind and not kept"]));
    assert_eq!(outcome["left_behind"][0]["size_bytes"], 1);
}

#[test]
fn files_left_anywhere_are_handed_back_where_artifacts_are_wanted() {
    check_all(
        "python",
        &[
            case("at the top", "open('result.csv', 'w').write('a,b'); 1")
                .gives(json!(1))
                .leaves("result.csv", "a,b"),
            case(
                "in a folder",
                "import os; os.makedirs('out/x'); open('out/x/y.txt', 'w').write('y'); 1",
            )
            .gives(json!(1))
            .leaves("out/x/y.txt", "y"),
            case(
                "next to those of outputs/",
                "open('outputs/a', 'w').write('1'); open('b', 'w').write('2'); 1",
            )
            .gives(json!(1))
            .leaves("a", "1")
            .leaves("b", "2"),
            case(
                "outputs/ goes first where both have a name",
                "open('outputs/a', 'w').write('1'); open('a', 'w').write('2'); 1",
            )
            .gives(json!(1))
            .leaves("a", "1"),
            case(
                "by a program that failed",
                "open('partial.csv', 'w').write('a'); raise ValueError('no')",
            )
            .fails("ValueError", &["no"])
            .leaves("partial.csv", "a"),
        ],
    );
    check_all(
        "javascript",
        &[case("of node", "require('fs').writeFileSync('chart.svg', '<svg/>'); 1")
            .gives(json!(1))
            .leaves("chart.svg", "<svg/>")],
    );
}

#[test]
fn a_program_in_a_folder_keeps_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("src/main.ts", "import { n } from './a.ts'; export const main = (): number => n + 1;"),
        ("src/a.ts", "export const n: number = 41;"),
        (
            "src/lib/b.js",
            "exports.main = () => [require('../c.js'), require('path').relative(process.cwd(), __filename)];",
        ),
        ("src/c.js", "module.exports = 7;"),
        (
            "app/main.py",
            "import helper\nfrom pkg.mod import x\n[helper.n, x, __file__.rsplit('/home/user/')[-1]]",
        ),
        ("app/helper.py", "n = 5"),
        ("app/pkg/mod.py", "x = 6"),
        ("data.csv", "a,b"),
        ("app/reads.py", "[open('data.csv').read()]"),
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    for start in STARTS {
        for (program, files, value) in [
            ("src/main.ts", vec!["src/a.ts"], json!(42)),
            ("./src/main.ts", vec!["./src/a.ts"], json!(42)),
            ("src/lib/b.js", vec!["src/c.js"], json!([7, "src/lib/b.js"])),
            ("app/main.py", vec!["app/helper.py", "app/pkg/mod.py"], json!([5, 6, "app/main.py"])),
            ("app/reads.py", vec!["data.csv"], json!(["a,b"])),
        ] {
            let mut command = run([program, "--json", "--start", start]);
            command.current_dir(folder.path());
            for file in files {
                command.args(["--file", file]);
            }
            let output = said(&mut command);
            let outcome: Value = serde_json::from_str(&output.stdout)
                .unwrap_or_else(|error| panic!("{error}: {output:?}"));
            assert_eq!(outcome["value"], value, "{program}, {start}: {outcome}");
        }
        let elsewhere = said(
            run([folder.path().join("src/c.js").to_str().unwrap(), "--json", "--start", start])
                .current_dir("/"),
        );
        assert!(
            elsewhere.stdout.contains("\"value\":7"),
            "by an absolute path it is at the top: {elsewhere:?}"
        );
    }
}
