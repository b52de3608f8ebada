use super::*;
use crate::imports::module_distribution;

#[test]
fn what_a_python_program_brings_along_is_its_own() {
    let paths = [
        "app/main.py",
        "app/helpers.py",
        "app/models.py",
        "app/google/local.py",
        "lib/deep/__init__.py",
        "app/numpy.txt",
    ];
    let own = OwnFiles::new(paths, "app/main.py");
    for name in [
        "helpers",
        "helpers.text",
        "app.models",
        "google.local",
        "google",
        "lib.deep",
        "lib.deep.er",
        "app",
    ] {
        assert!(own.provide(Ecosystem::PyPi, name), "{name}");
    }
    // A folder of the program is one part of `google`, and a distribution is another.
    for name in ["google.auth", "numpy", "deep", "local", "lib.other", "a", ""] {
        assert!(!own.provide(Ecosystem::PyPi, name), "{name}");
    }
    assert_eq!(module_distribution("google.auth", &own).as_deref(), Some("google-auth"));
}

#[test]
fn packages_that_the_run_brings_along_are_its_own_where_node_finds_them() {
    let paths = [
        "src/app/main.js",
        "node_modules/left-pad/index.js",
        "src/node_modules/@scope/a/b.js",
        "src/app/node_modules/near/index.js",
        "other/node_modules/deep/index.js",
        "node_modules/left-pad/node_modules/inner/index.js",
        "not_node_modules/no/x.js",
    ];
    let mut own = OwnFiles::new(paths, "src/app/main.js");
    own.add_self_name("me");
    for name in ["left-pad", "@scope/a", "near", "me"] {
        assert!(own.provide(Ecosystem::Npm, name), "{name}");
    }
    for name in ["deep", "@scope/other", "inner", "no"] {
        assert!(!own.provide(Ecosystem::Npm, name), "{name}");
    }
}

/// Returns the modules that files, given by path and text, provide to a Python program.
fn python(files: &[(&str, &str)]) -> OwnFiles {
    of(Ecosystem::PyPi, files, &Surroundings::default())
}

fn of(ecosystem: Ecosystem, files: &[(&str, &str)], around: &Surroundings) -> OwnFiles {
    let entry = files[0].0;
    let files: Vec<OwnFile<'_>> =
        files.iter().map(|(path, text)| OwnFile { path, bytes: text.as_bytes() }).collect();
    OwnFiles::of_files(ecosystem, &files, entry, around)
}

fn names(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn a_name_of_the_run_at_any_depth_is_its_own() {
    let own = python(&[
        ("main.py", ""),
        ("src/mypkg/core.py", ""),
        ("a/b/c/deep_kq.py", ""),
        ("models/weights.bin", ""),
        ("x/native_kq.so", ""),
    ]);
    for name in ["mypkg", "mypkg.core", "core", "deep_kq", "models", "native_kq", "src", "main"] {
        assert!(own.have_module(name), "{name}");
    }
    for name in ["weights", "other_kq", "pandas", "kq"] {
        assert!(!own.have_module(name), "{name}");
    }
}

#[test]
fn the_name_of_a_well_known_package_is_the_runs_own_where_the_program_looks_there() {
    let file = ("lib/humanize.py", "");
    assert!(!python(&[("main.py", "import humanize"), file]).have_module("humanize"));
    for text in [
        "import sys; sys.path.insert(0, 'lib')",
        "os.chdir('lib')",
        "subprocess.run(['python', 'lib/x.py'])",
        "site.addsitedir('lib')",
    ] {
        assert!(python(&[("main.py", text), file]).have_module("humanize"), "{text}");
    }
    let around = Surroundings { sets_module_path: true, ..Surroundings::default() };
    assert!(of(Ecosystem::PyPi, &[("main.py", ""), file], &around).have_module("humanize"));
    // A data file is not a module.
    assert!(
        !python(&[("main.py", "sys.path.append('.')"), ("pandas/data.csv", "")])
            .have_module("pandas")
    );
}

#[test]
fn a_name_that_the_program_writes_is_its_own() {
    for text in [
        "open('gen_kq.py', 'w')",
        "Path(d, \"gen_kq.py\")",
        "f'{d}/gen_kq.py'",
        "os.system('cat > lib/gen_kq.py <<EOF')",
        "'gen_kq.pyc'",
    ] {
        assert!(python(&[("main.py", text)]).have_module("gen_kq"), "{text}");
    }
    for text in [
        "'https://example.com/gen_kq.py'",
        "'/usr/lib/site-packages/gen_kq.py'",
        "'gen_kq.pytorch'",
        "gen_kq.pyplot",
        "'gen_kq.txt'",
    ] {
        assert!(!python(&[("main.py", text)]).have_module("gen_kq"), "{text}");
    }
    // A comment that names a file does not count as a module with a well-known name.
    assert!(!python(&[("main.py", "# as in requests.py")]).have_module("requests"));
    assert!(python(&[("main.py", "")]).making(&["requests".to_owned()]).have_module("requests"));
}

#[test]
fn what_lies_in_granted_folders_or_next_to_the_program_is_its_own() {
    let around = Surroundings {
        granted: names(&["lib_kq", "numpy"]),
        not_submitted: names(&["near_kq"]),
        ..Surroundings::default()
    };
    let own = of(Ecosystem::PyPi, &[("main.py", "")], &around);
    assert!(
        own.have_module("lib_kq")
            && own.have_module("near_kq.x")
            && own.was_not_submitted("near_kq")
            && !own.have_module("numpy")
    );
    let given = of(Ecosystem::PyPi, &[("main.py", ""), ("lib/near_kq.py", "")], &around);
    assert!(given.have_module("near_kq") && !given.was_not_submitted("near_kq"));
}

#[test]
fn a_specifier_that_leads_to_the_runs_own_files_is_its_own() {
    let tsconfig = r#"{"compilerOptions": {"baseUrl": ".", "paths": {"~lib/*": ["lib/*"], "config": ["./settings.ts"]}}}"#;
    let own = of(
        Ecosystem::Npm,
        &[
            ("main.ts", ""),
            ("src/b.ts", ""),
            ("tsconfig.json", tsconfig),
            ("packages/one/package.json", r#"{"name": "@me/one"}"#),
        ],
        &Surroundings::default(),
    );
    for specifier in ["src/b", "src/missing", "@me/one", "config"] {
        assert!(own.have_specifier(specifier), "{specifier}");
    }
    for specifier in ["lodash", "react/jsx-runtime", "@me/two", "configs"] {
        assert!(!own.have_specifier(specifier), "{specifier}");
    }
    let plain = of(
        Ecosystem::Npm,
        &[("main.js", ""), ("src/lib/axios.js", ""), ("src/helpers.js", ""), ("utils/x.js", "")],
        &Surroundings::default(),
    );
    assert!(
        plain.have_specifier("helpers")
            && plain.have_specifier("utils/x.js")
            && plain.have_specifier("src/helpers")
    );
    assert!(!plain.have_specifier("axios"), "a well-known package");
    assert_eq!(own.file_of("src/b"), Some("src/b.ts"));
}

#[test]
fn packages_that_a_program_writes_or_looks_for_elsewhere_are_its_own() {
    let of = |text: &str, sets_module_path| {
        let around = Surroundings { sets_module_path, ..Surroundings::default() };
        of(Ecosystem::Npm, &[("main.js", text), ("vendor/lodash/index.js", "")], &around)
    };
    assert!(of("", true).have_specifier("lodash") && !of("", false).have_specifier("lodash"));
    assert!(of("process.env.NODE_PATH = 'vendor'", false).have_specifier("lodash"));
    let writes = "fs.mkdirSync('node_modules/own-kq', {recursive: true})";
    assert!(
        of(writes, false).have_specifier("own-kq") && !of(writes, false).have_specifier("other-kq")
    );
    let package = ("package.json", r#"{"name": "me", "_moduleAliases": {"root-kq": "."}}"#);
    let aliased =
        super::tests::of(Ecosystem::Npm, &[("main.js", ""), package], &Surroundings::default());
    assert!(aliased.have_specifier("me/sub") && aliased.have_specifier("root-kq"));
}

/// Returns the time for reading a file of about a megabyte that repeats a part: the shortest of a
/// few, for machines that are busy with other things.
fn reading(ecosystem: Ecosystem, path: &str, part: &str) -> std::time::Duration {
    let text = part.repeat((1 << 20) / part.len());
    let times = (0..3).map(|_| {
        let began = std::time::Instant::now();
        let _ = of(ecosystem, &[(path, &text)], &Surroundings::default());
        began.elapsed()
    });
    times.min().unwrap()
}

#[test]
fn a_text_that_is_one_long_path_takes_no_longer_to_read_than_one_of_many_lines() {
    for (ecosystem, path, long, short) in [
        (Ecosystem::Npm, "main.js", "node_modules/", "node_modules/\n"),
        (Ecosystem::PyPi, "main.py", ".py", ".py\n"),
        (Ecosystem::PyPi, "main.py", "a.py", "a.py\n"),
    ] {
        let (attack, plain) = (reading(ecosystem, path, long), reading(ecosystem, path, short));
        assert!(attack < plain * 50, "{long:?}: {attack:?}, {plain:?}");
    }
}

#[test]
fn names_in_a_long_word_are_found() {
    let long = "x/".repeat(5_000);
    let own = python(&[(
        "main.py",
        &format!("open('{long}far_kq.py'); run = https://h/no_kq.py; f(near_kq.py)"),
    )]);
    assert!(own.have_module("far_kq") && own.have_module("near_kq") && !own.have_module("no_kq"));
    let own = of(
        Ecosystem::Npm,
        &[(
            "main.js",
            &format!("'node_modules/first_kq/{}node_modules/@s/second_kq/x'", "a/".repeat(5_000)),
        )],
        &Surroundings::default(),
    );
    assert!(own.have_specifier("first_kq") && own.have_specifier("@s/second_kq"));
}

#[test]
fn patterns_of_configurations_are_bounded_in_number() {
    let patterns: Vec<String> = (0..1_000).map(|number| format!("\"p{number}\": []")).collect();
    let text = format!("{{\"compilerOptions\": {{\"paths\": {{{}}}}}}}", patterns.join(","));
    let paths: Vec<String> = (0..300).map(|number| format!("d{number}/tsconfig.json")).collect();
    let mut files = vec![("main.ts", "")];
    files.extend(paths.iter().map(|path| (path.as_str(), text.as_str())));
    let own = of(Ecosystem::Npm, &files, &Surroundings::default());
    assert_eq!(own.typescript.iter().map(TypeScriptConfig::patterns).sum::<usize>(), MAX_PATTERNS);
    assert!(own.have_specifier("p7") && !own.have_specifier("q7"));
    let small: Vec<(&str, &str)> = paths
        .iter()
        .map(|path| (path.as_str(), "{\"compilerOptions\": {\"baseUrl\": \".\"}}"))
        .collect();
    assert_eq!(of(Ecosystem::Npm, &small, &Surroundings::default()).typescript.len(), MAX_CONFIGS);
}
