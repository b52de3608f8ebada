use proptest::prelude::*;

use super::*;

/// Returns the detected packages of a program whose first file is its entry.
fn decide(language: Language, files: &[(&str, &str)]) -> Result<Detection, DetectError> {
    with_program(language, files, |program| {
        detect(None, LockPresence::Absent, program, &own_files(program, &Surroundings::default()))
    })
}

fn with_program<T>(
    language: Language,
    files: &[(&str, &str)],
    then: impl FnOnce(&Program<'_>) -> T,
) -> T {
    let entry = files[0].0;
    let files: Vec<SourceFile<'_>> =
        files.iter().map(|(path, text)| SourceFile { path, bytes: text.as_bytes() }).collect();
    then(&Program { language, entry, files: &files })
}

fn asked(ecosystem: Ecosystem, texts: &[&str]) -> Vec<Requirement> {
    texts.iter().map(|text| Requirement::parse(ecosystem, text).unwrap()).collect()
}

/// Returns the packages for imports. An import that begins with `?` is optional.
fn imported(
    language: Language,
    files: &[(&str, &str)],
    imports: &[&str],
    additions: &[&str],
) -> Result<Vec<String>, DetectError> {
    let named = |text: &&str| match text.strip_prefix('?') {
        Some(name) => FoundImport { name: name.to_owned(), is_optional: true },
        None => FoundImport { name: (*text).to_owned(), is_optional: false },
    };
    let named = FoundImports {
        imports: imports.iter().map(named).collect(),
        additions: additions.iter().map(ToString::to_string).collect(),
        ..FoundImports::default()
    };
    Ok(needs(language, files, &named, &[])?.requirements.iter().map(ToString::to_string).collect())
}

fn needs(
    language: Language,
    files: &[(&str, &str)],
    found: &FoundImports,
    listed: &[Requirement],
) -> Result<Needs, DetectError> {
    with_program(language, files, |program| {
        let own = own_files(program, &Surroundings::default()).making(&found.own);
        from_imports(program, found, &own, listed, |name| name != "refused")
    })
}

const SCRIPT: &str = "# /// script\n# requires-python = \">=3.12\"\n# dependencies = [\"rich\"]\n# ///\nimport numpy\n";

#[test]
fn a_list_that_is_to_be_all_comes_before_all_else() {
    let list = asked(Ecosystem::PyPi, &["numpy", "Numpy>1"]);
    with_program(Language::Python, &[("main.py", SCRIPT)], |program| {
        let expected = Detection::Only(asked(Ecosystem::PyPi, &["numpy>1"]));
        let own = OwnFiles::default();
        assert_eq!(detect(Some(&list), LockPresence::Given, program, &own), Ok(expected));
        // An empty list requests no packages.
        assert_eq!(detect(Some(&[]), LockPresence::Absent, program, &own), Ok(Detection::None));
        assert_eq!(detect(None, LockPresence::Given, program, &own), Ok(Detection::Lock));
    });
}

#[test]
fn a_script_block_comes_before_requirements_and_they_before_imports() {
    let script = Detection::Manifest {
        source: ManifestSource::ScriptBlock,
        requirements: asked(Ecosystem::PyPi, &["rich"]),
        requires_python: VersionSpecifiers::parse(">=3.12").unwrap(),
    };
    assert_eq!(
        decide(Language::Python, &[("main.py", SCRIPT), ("requirements.txt", "numpy")]),
        Ok(script)
    );
    let listed = Detection::Manifest {
        source: ManifestSource::RequirementsTxt,
        requirements: asked(Ecosystem::PyPi, &["numpy"]),
        requires_python: VersionSpecifiers::default(),
    };
    // Only the block of the entry is used, and only a list at the top.
    assert_eq!(
        decide(
            Language::Python,
            &[("main.py", "import yaml"), ("other.py", "x"), ("requirements.txt", "numpy")]
        ),
        Ok(listed)
    );
    let needed = Detection::NeedsParser;
    assert_eq!(
        decide(Language::Python, &[("main.py", "import yaml"), ("sub/requirements.txt", "numpy")]),
        Ok(needed)
    );
}

#[test]
fn a_package_json_counts_where_it_speaks_of_packages() {
    let listed = Detection::Manifest {
        source: ManifestSource::PackageJson,
        requirements: asked(Ecosystem::Npm, &["lodash@^4"]),
        requires_python: VersionSpecifiers::default(),
    };
    assert_eq!(
        decide(
            Language::TypeScript,
            &[("main.ts", "import 'x'"), ("package.json", r#"{"dependencies": {"lodash": "^4"}}"#)]
        ),
        Ok(listed)
    );
    let silent = [("main.js", "import 'x'"), ("package.json", r#"{"type": "module"}"#)];
    assert_eq!(decide(Language::JavaScript, &silent), Ok(Detection::NeedsParser));
    // A Python program ignores it.
    assert_eq!(
        decide(Language::Python, &[("main.py", "import os"), ("package.json", "no JSON")]),
        Ok(Detection::None)
    );
}

#[test]
fn a_manifest_that_cannot_be_followed_is_an_error() {
    assert!(matches!(
        decide(Language::Python, &[("main.py", ""), ("requirements.txt", "-r x")]),
        Err(DetectError::Manifest(_))
    ));
    assert!(matches!(
        decide(Language::JavaScript, &[("main.js", ""), ("package.json", "{")]),
        Err(DetectError::Manifest(_))
    ));
}

#[test]
fn programs_of_standard_and_own_modules_need_nothing() {
    let python = [
        ("main.py", "import json, helpers\nfrom pkg import x"),
        ("helpers.py", "import os"),
        ("pkg/__init__.py", ""),
        ("data.csv", "import numpy"),
    ];
    assert_eq!(decide(Language::Python, &python), Ok(Detection::None));
    let node = [
        ("main.mjs", "import fs from 'fs'\nimport './lib.js'"),
        ("lib.js", "require('os')"),
        ("notes.txt", "require('lodash')"),
        ("x.py", "import numpy"),
    ];
    assert_eq!(decide(Language::JavaScript, &node), Ok(Detection::None));
}

#[test]
fn the_parser_reads_a_program_of_which_one_file_may_import_packages() {
    for other in [
        ("a.js", "require('lodash')"),
        ("bin/tool", "require('chalk')"),
        ("c.tsx", "import React from 'react'"),
    ] {
        let node = [("main.ts", "import './a'"), ("b.js", "1"), other];
        assert_eq!(decide(Language::TypeScript, &node), Ok(Detection::NeedsParser), "{other:?}");
    }
    assert_eq!(
        decide(Language::TypeScript, &[("main.ts", "import './b'"), ("b.js", "1")]),
        Ok(Detection::None)
    );
    let not_text = SourceFile { path: "program", bytes: b"\xff" };
    let program = Program { language: Language::Python, entry: "program", files: &[not_text] };
    assert_eq!(
        detect(None, LockPresence::Absent, &program, &OwnFiles::default()),
        Ok(Detection::NeedsParser)
    );
}

#[test]
fn imports_become_requirements() {
    let python = imported(
        Language::Python,
        &[("main.py", ""), ("helpers.py", "")],
        &["numpy.linalg", "numpy", "cv2", "os", "helpers", "google.cloud.storage", ".x"],
        &[],
    );
    assert_eq!(python.unwrap(), ["google-cloud-storage", "numpy", "opencv-python-headless"]);
    let files = [("main.js", ""), ("package.json", r#"{"name": "me", "exports": "./main.js"}"#)];
    let node = imported(
        Language::JavaScript,
        &files,
        &["lodash/fp", "@scope/x/y", "fs", "./x", "me/sub", "npm:chalk@5"],
        &[],
    );
    assert_eq!(node.unwrap(), ["@scope/x", "chalk@5", "lodash"]);
}

#[test]
fn imports_of_submitted_modules_need_no_packages_but_other_imports_do() {
    let files = [("app/main.py", ""), ("app/helpers.py", ""), ("app/google/local.py", "")];
    let python = imported(
        Language::Python,
        &files,
        &["helpers.text", "google.local", "google.auth", "google", "belljar"],
        &[],
    );
    assert_eq!(python.unwrap(), ["google-auth"]);
    let files = [
        ("src/main.js", ""),
        ("node_modules/left-pad/index.js", ""),
        ("other/node_modules/deep/index.js", ""),
    ];
    let node = imported(
        Language::JavaScript,
        &files,
        &["left-pad/sub", "deep", "belljar", "yepcode"],
        &[],
    );
    assert_eq!(node.unwrap(), ["deep"]);
}

#[test]
fn additions_name_and_pin_packages() {
    let node = imported(
        Language::JavaScript,
        &[("main.js", "")],
        &["lodash", "x"],
        &["lodash@4.17.21", "@scope/extra"],
    );
    assert_eq!(node.unwrap(), ["@scope/extra", "lodash@4.17.21", "x"]);
    let python = imported(
        Language::Python,
        &[("main.py", "")],
        &["numpy", "yaml"],
        &["numpy=2.1.0", "PyYAML<7"],
    );
    assert_eq!(python.unwrap(), ["numpy==2.1.0", "pyyaml<7"]);
    assert!(matches!(
        imported(Language::Python, &[("main.py", "")], &[], &["x @ https://example.com"]),
        Err(DetectError::Addition(_))
    ));
    assert!(matches!(
        imported(Language::JavaScript, &[("main.js", "")], &["npm:x@file:y"], &[]),
        Err(DetectError::Import(_))
    ));
    assert!(matches!(
        imported(Language::JavaScript, &[("main.js", "")], &["npm:x@1", "npm:x@2"], &[]),
        Err(DetectError::Requirements(_))
    ));
}

#[test]
fn an_addition_that_provides_an_import_stands_in_for_the_usual_one() {
    let python = imported(
        Language::Python,
        &[("main.py", "")],
        &["cv2", "psycopg2"],
        &["opencv-python", "psycopg2==2.9.9"],
    );
    assert_eq!(python.unwrap(), ["opencv-python", "psycopg2==2.9.9"]);
}

#[test]
fn an_optional_import_counts_where_the_tables_have_it() {
    let python = imported(
        Language::Python,
        &[("main.py", "")],
        &["?cv2", "?numpy", "?some_plugin_of_ours", "?google"],
        &[],
    );
    assert_eq!(python.unwrap(), ["numpy", "opencv-python-headless"]);
    let node = imported(
        Language::JavaScript,
        &[("main.js", "")],
        &["?lodash", "?some-plugin-of-ours", "?npm:unheard-of@1"],
        &[],
    );
    assert_eq!(node.unwrap(), ["lodash"]);
}

#[test]
fn calls_bring_their_companions_where_nothing_else_provides_them() {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let needed = |name: &str| FoundImport { name: name.to_owned(), is_optional: false };
    let found = FoundImports {
        imports: vec![needed("pandas"), needed("sqlalchemy")],
        uses: texts(&[".to_excel", ".plot", "postgresql://"]),
        ..FoundImports::default()
    };
    let listed = asked(Ecosystem::PyPi, &["psycopg2"]);
    let found = needs(Language::Python, &[("main.py", "")], &found, &listed).unwrap();
    let named: Vec<String> = found.requirements.iter().map(ToString::to_string).collect();
    assert_eq!(
        named,
        ["matplotlib", "openpyxl", "pandas", "sqlalchemy"],
        "psycopg2 stands in for psycopg2-binary"
    );
    assert_eq!(found.optional.into_iter().collect::<Vec<_>>(), ["matplotlib", "openpyxl"]);
}

#[test]
fn what_the_program_makes_is_not_asked_for() {
    let needed = |name: &str| FoundImport { name: name.to_owned(), is_optional: false };
    let found = FoundImports {
        imports: vec![needed("virt_kq.sub"), needed("humanize")],
        own: vec!["virt_kq".to_owned()],
        ..FoundImports::default()
    };
    let found = needs(Language::Python, &[("main.py", "")], &found, &[]).unwrap();
    assert_eq!(found.requirements, asked(Ecosystem::PyPi, &["humanize"]));
    assert!(found.may_be_missing.contains("humanize") && found.optional.is_empty());
}

#[test]
fn a_program_can_ask_for_so_many_packages_only() {
    let names: Vec<String> = (0..300).map(|number| format!("package{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = imported(Language::Python, &[("main.py", "")], &names, &[]).unwrap_err();
    assert_eq!(error, DetectError::Requirements(RequirementError::TooMany { count: 300 }));
}

proptest! {
    #[test]
    fn whatever_a_program_names_comes_out_plain(
        names in prop::collection::vec("[?]?(npm:)?@?[a-zA-Z0-9._/@^ -]{0,14}|\\PC{0,8}|google\\.[a-z.]{0,9}", 0..8),
        additions in prop::collection::vec("[a-z0-9=@.\n]{0,10}", 0..2),
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let additions: Vec<&str> = additions.iter().map(String::as_str).collect();
        for (language, ecosystem) in
            [(Language::Python, Ecosystem::PyPi), (Language::JavaScript, Ecosystem::Npm)]
        {
            let list = imported(language, &[("main", "")], &names, &additions);
            let Ok(list) = list else { continue };
            prop_assert!(list.is_sorted());
            for text in list {
                prop_assert_eq!(Requirement::parse(ecosystem, &text).unwrap().to_string(), text);
            }
        }
    }

    #[test]
    fn the_parser_is_never_left_out_for_a_package(before in "(import os\n|# x\n|x = 1\n){0,4}", package in "[a-z]{3,8}zz") {
        let source = format!("{before}import {package}");
        let expected = Detection::NeedsParser;
        prop_assert_eq!(decide(Language::Python, &[("main.py", &source)]), Ok(expected));
    }
}
