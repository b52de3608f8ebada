use proptest::prelude::*;

use super::*;

fn texts(requirements: &[Requirement]) -> Vec<String> {
    requirements.iter().map(ToString::to_string).collect()
}

fn script(source: &str) -> Vec<String> {
    texts(&script_manifest(source).unwrap().expect("a script block").requirements)
}

#[test]
fn a_script_block_says_what_a_program_needs() {
    let source = "#!/usr/bin/env python\n# /// script\n# requires-python = \">=3.11\"\n# dependencies = [\n#   \"Requests<3\",\n#   \"rich\",\n# ]\n# ///\nimport requests\n";
    let manifest = script_manifest(source).unwrap().unwrap();
    assert_eq!(texts(&manifest.requirements), ["requests<3", "rich"]);
    assert_eq!(manifest.requires_python.to_string(), ">=3.11");
    assert_eq!(script(&source.replace('\n', "\r\n")), ["requests<3", "rich"]);
    assert_eq!(script_manifest("import requests\n").unwrap(), None);
}

#[test]
fn a_script_block_without_dependencies_asks_for_nothing() {
    assert!(script("# /// script\n# requires-python = \"\"\n# ///").is_empty());
    assert!(script("# /// script\n#\n# ///\n").is_empty());
}

#[test]
fn a_block_ends_at_the_last_end_sign_of_its_comment() {
    let blocks = script_blocks("# /// script\n# a\n# ///\n# b\n# ///\n");
    assert_eq!(blocks, ["a\n///\nb\n"]);
}

#[test]
fn what_is_no_block_by_the_expression_is_none() {
    for source in [
        "# /// script\n# ///\n",
        "# /// script\n# a\n",
        "# /// script\n# a\n\n# ///\n",
        " # /// script\n# a\n# ///\n",
        "# /// script \n# a\n# ///\n",
        "# /// other\n# a\n# ///\n",
        "# /// script\n#a\n# ///\n",
        // The inner block is content of the outer one.
        "# /// other\n# /// script\n# a\n# ///\n",
    ] {
        assert!(script_blocks(source).is_empty(), "{source}");
    }
}

#[test]
fn two_script_blocks_are_an_error() {
    let one = "# /// script\n# dependencies = []\n# ///\n\n";
    assert_eq!(
        script_manifest(&one.repeat(2)),
        Err(ManifestError::SeveralScriptBlocks { count: 2 })
    );
}

#[test]
fn a_script_block_with_rules_of_its_own_for_the_resolution_is_refused() {
    for key in [
        "exclude-newer = \"2026-01-01T00:00:00Z\"",
        "constraint-dependencies = [\"x<2\"]",
        "prerelease = \"allow\"",
    ] {
        let error = script_manifest(&format!(
            "# /// script\n# dependencies = [\"x\"]\n# [tool.uv]\n# {key}\n# ///\n"
        ))
        .unwrap_err();
        assert!(
            matches!(&error, ManifestError::OwnRule { key: found } if key.starts_with(found)),
            "{error}"
        );
    }
}

#[test]
fn a_script_block_may_not_name_its_own_sources() {
    for key in [
        "[tool.uv.sources]\n# x = { path = \"/\" }",
        "[[tool.uv.index]]\n# url = \"https://example.com\"",
        "[tool.uv]\n# index-url = \"x\"",
    ] {
        let error =
            script_manifest(&format!("# /// script\n# dependencies = [\"x\"]\n# {key}\n# ///\n"))
                .unwrap_err();
        assert!(matches!(error, ManifestError::OwnSource { .. }), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("of the registry")), "{error}");
    }
    let other = "# /// script\n# dependencies = [\"x\"]\n# [tool.uv]\n# cache-keys = []\n# [tool.black]\n# x = 1\n# ///";
    assert_eq!(script(other), ["x"]);
}

#[test]
fn a_script_block_that_is_no_toml_is_an_error_of_one_line() {
    for content in
        ["dependencies = [", "dependencies = \"x\"", "dependencies = [1]", "requires-python = 3"]
    {
        let error = script_manifest(&format!("# /// script\n# {content}\n# ///\n")).unwrap_err();
        assert!(matches!(error, ManifestError::Syntax { .. }), "{error}");
        assert!(!error.to_string().contains('\n'));
    }
    let deep = format!("# /// script\n# dependencies = {}\n# ///\n", "[".repeat(100_000));
    assert!(matches!(script_manifest(&deep), Err(ManifestError::Syntax { .. })));
}

#[test]
fn requirements_have_comments_continuations_and_markers() {
    let text = "\u{feff}# what we need\nrequests==2.32.3  # http\n\npandas>=2, \\\n  <3\r\nnumpy ; python_version < '3.13' # old\nplain#no-comment\n";
    let error = requirements_txt(text.as_bytes()).unwrap_err();
    assert!(error.to_string().starts_with("line 7 of requirements.txt: "), "{error}");
    let good = text.lines().take(6).collect::<Vec<_>>().join("\n");
    let manifest = requirements_txt(good.as_bytes()).unwrap();
    assert_eq!(
        texts(&manifest.requirements),
        ["numpy ; python_version < '3.13'", "pandas<3,>=2", "requests==2.32.3"]
    );
    assert_eq!(
        texts(&requirements_txt(b"a \\\n# a comment ends it\nb\\").unwrap().requirements),
        ["a", "b"]
    );
    assert_eq!(requirements_txt(b"").unwrap(), Manifest::default());
}

#[test]
fn hashes_belong_to_a_lock() {
    let error = requirements_txt(b"a\nrequests==2.32.3 \\\n    --hash=sha256:00\n").unwrap_err();
    assert_eq!(error, ManifestError::Hashes { line: 2 });
    assert!(error.hint().unwrap().contains("lock"), "{error:?}");
}

#[test]
fn options_of_pip_are_refused_by_their_names() {
    for (line, option) in [
        ("-r other.txt", "-r"),
        ("-e .", "-e"),
        ("--index-url https://example.com/simple", "--index-url"),
        ("--extra-index-url=https://user:password@example.com", "--extra-index-url"),
        ("requests --config-settings=a=b", "--config-settings"),
    ] {
        let error = requirements_txt(line.as_bytes()).unwrap_err();
        assert_eq!(error, ManifestError::InstallerOption { line: 1, option: option.to_owned() });
        // The value may be a secret.
        assert!(!error.to_string().contains("example.com"));
    }
    assert!(matches!(
        requirements_txt(b"x @ https://example.com/x.whl"),
        Err(ManifestError::Requirement { .. })
    ));
}

#[test]
fn a_package_json_says_what_a_program_needs_to_run() {
    let manifest = package_json(
        br#"{"name": "me", "exports": "./main.js", "engines": {"node": ">=99"}, "devDependencies": {"vitest": "github:x/y"},
            "dependencies": {"lodash": "^4", "chalk": "*", "b": "1"}, "optionalDependencies": {"b": "2"}}"#,
    )
    .unwrap();
    assert_eq!(texts(&manifest.requirements.unwrap()), ["b@2", "chalk", "lodash@^4"]);
    assert_eq!(package_name(r#"{"name": "me"}"#).as_deref(), Some("me"));
}

#[test]
fn a_package_json_without_dependencies_says_nothing_of_them() {
    assert_eq!(
        package_json(br#"{"name": "me", "type": "module"}"#).unwrap(),
        PackageJson::default()
    );
    assert_eq!(package_json(br#"{"dependencies": {}}"#).unwrap().requirements, Some(Vec::new()));
}

#[test]
fn a_package_json_may_not_lead_outside_of_the_registry() {
    for range in [
        "github:a/b",
        "a/b",
        "git+https://example.com/a.git",
        "file:..",
        "link:..",
        "workspace:*",
        "catalog:",
        "https://example.com/a.tgz",
        "npm:b@1",
    ] {
        let error = package_json(format!(r#"{{"dependencies": {{"a": "{range}"}}}}"#).as_bytes())
            .unwrap_err();
        assert!(error.to_string().starts_with("package.json: `a@"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("of the registry")), "{error}");
    }
}

#[test]
fn a_package_json_that_is_none_is_an_error() {
    for text in ["", "[]", "{", r#"{"dependencies": ["a"]}"#, r#"{"dependencies": {"a": 1}}"#] {
        assert!(
            matches!(package_json(text.as_bytes()), Err(ManifestError::Syntax { .. })),
            "{text}"
        );
    }
    assert_eq!(package_json(&[0xff]), Err(ManifestError::NotText { file: "package.json" }));
    let long = vec![b' '; MAX_MANIFEST_BYTES + 1];
    assert!(matches!(package_json(&long), Err(ManifestError::TooLong { .. })));
    assert!(matches!(requirements_txt(&long), Err(ManifestError::TooLong { .. })));
    let deep = format!(r#"{{"exports": {}"#, "[".repeat(100_000));
    assert!(matches!(package_json(deep.as_bytes()), Err(ManifestError::Syntax { .. })));
}

#[test]
fn an_addition_is_a_requirement_in_a_comment() {
    let of = |ecosystem, text| addition(ecosystem, text).map(|requirement| requirement.to_string());
    assert_eq!(of(Ecosystem::Npm, " lodash@4 ").unwrap(), "lodash@4");
    assert_eq!(of(Ecosystem::Npm, "@add-package @scope/x=1.2.3 */").unwrap(), "@scope/x@1.2.3");
    assert_eq!(of(Ecosystem::PyPi, "@add-package psycopg2-binary").unwrap(), "psycopg2-binary");
    assert!(of(Ecosystem::PyPi, "@add-package").is_err());
}

/// Returns the `script` blocks that the regular expression of PEP 723 matches.
fn blocks_by_the_expression(source: &str) -> Vec<String> {
    let lines: Vec<&str> = source.split('\n').collect();
    let mut blocks = Vec::new();
    let mut index = 0;
    while index < lines.len() {
        let kind = lines[index].strip_prefix("# /// ").filter(|kind| is_kind(kind));
        let ends = |end: &usize| {
            lines[*end] == "# ///" && lines[index + 1..*end].iter().all(|line| is_comment(line))
        };
        match (kind, (index + 2..lines.len()).rev().find(ends)) {
            (Some(kind), Some(end)) => {
                if kind == "script" {
                    let content = lines[index + 1..end].iter();
                    blocks.push(
                        content
                            .flat_map(|line| [line.strip_prefix("# ").unwrap_or(&line[1..]), "\n"])
                            .collect(),
                    );
                }
                index = end + 1;
            }
            _ => index += 1,
        }
    }
    blocks
}

proptest! {
    #[test]
    fn blocks_are_those_that_the_expression_finds(lines in prop::collection::vec(prop_oneof![
        Just("# /// script"), Just("# /// other"), Just("# ///"), Just("#"), Just("# a"), Just("#a"), Just("x = 1"), Just(""),
    ], 0..14)) {
        let source = lines.join("\n");
        prop_assert_eq!(script_blocks(&source), blocks_by_the_expression(&source));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in "(# /// script\n)?[#a-z=\\[\\]\"' {}:,\n\\\\-]{0,80}(\n# ///)?",
    ) {
        let _ = (requirements_txt(&bytes), package_json(&bytes));
        let _ = (requirements_txt(text.as_bytes()), package_json(text.as_bytes()));
        let _ = script_manifest(&text);
    }

    #[test]
    fn what_a_requirements_txt_gives_reads_back_as_itself(text in "([a-z][a-z0-9-]{0,5}[a-z](==[0-9.]{1,4}| ; os_name == 'nt')?( *#.*)?\n){0,6}") {
        if let Ok(manifest) = requirements_txt(text.as_bytes()) {
            let again = texts(&manifest.requirements).join("\n");
            prop_assert_eq!(requirements_txt(again.as_bytes()).unwrap(), manifest);
        }
    }
}
