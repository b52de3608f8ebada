use belljar_protocol::Explain as _;
use proptest::prelude::*;

use super::*;

fn pypi(text: &str) -> String {
    Requirement::parse(Ecosystem::PyPi, text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .to_string()
}

fn npm(text: &str) -> String {
    Requirement::parse(Ecosystem::Npm, text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .to_string()
}

fn refused(ecosystem: Ecosystem, text: &str) -> RequirementError {
    match Requirement::parse(ecosystem, text) {
        Err(error) => error,
        Ok(requirement) => panic!("{text:?} became {requirement}"),
    }
}

#[test]
fn spellings_of_one_python_requirement_have_one_text() {
    for text in [
        "Pandas>=2,<3",
        " pandas >= 2 , < 3 ",
        "pandas (>=2,<3)",
        "pandas<3,>=2,",
        "PANDAS>=2,>=2,<3",
    ] {
        assert_eq!(pypi(text), "pandas<3,>=2", "{text}");
    }
    assert_eq!(pypi("Ruamel_.yaml"), "ruamel-yaml");
    assert_eq!(
        pypi("uvicorn[Standard, http_tools,standard]>=0.30"),
        "uvicorn[http-tools,standard]>=0.30"
    );
    assert_eq!(pypi("tomli>=1;  python_version  < '3.11'"), "tomli>=1 ; python_version < '3.11'");
}

#[test]
fn a_pin_may_be_written_as_npm_and_yepcode_write_it() {
    for text in [
        "requests==2.32.3",
        "requests=2.32.3",
        "requests@2.32.3",
        "requests @ 2.32.3",
        "requests = 2.32.3",
    ] {
        assert_eq!(pypi(text), "requests==2.32.3", "{text}");
    }
    for text in [
        "lodash@4.17.21",
        "lodash=4.17.21",
        "lodash@=4.17.21",
        "lodash@v4.17.21",
        "npm:lodash@4.17.21",
        "lodash = 4.17.21",
    ] {
        assert_eq!(npm(text), "lodash@4.17.21", "{text}");
    }
}

#[test]
fn python_versions_are_those_of_pep_440() {
    for version in [
        "1",
        "1.0",
        "2024.1",
        "1!2.0",
        "v1.0",
        "1.0a1",
        "1.0.alpha-1",
        "1.0rc1",
        "1.0c1",
        "1.0-1",
        "1.0.post1",
        "1.0.dev3",
        "1.0a1.post2.dev3",
        "1.0+cpu.1",
    ] {
        assert_eq!(pypi(&format!("torch=={version}")), format!("torch=={version}"));
    }
    assert_eq!(pypi("torch==2.*"), "torch==2.*");
    assert_eq!(pypi("torch~=2.1"), "torch~=2.1");
    assert_eq!(pypi("torch===weird.Version"), "torch===weird.Version");
    for text in [
        "torch==",
        "torch==latest",
        "torch>=2.*",
        "torch~=2",
        "torch>=2+cpu",
        "torch==1..2",
        "torch==1.0.dev1.*",
        "torch 2",
        "torch=>2",
        "torch==1.0+",
        "torch>1 <2",
    ] {
        assert!(
            matches!(refused(Ecosystem::PyPi, text), RequirementError::Version { .. }),
            "{text}"
        );
    }
}

#[test]
fn what_leads_outside_of_the_registry_is_refused() {
    for text in [
        "requests @ https://example.com/requests.whl",
        "requests@https://example.com/requests.whl",
        "requests @ file:///etc",
        "git+https://example.com/x",
        "https://example.com/x.whl",
        "./x",
        "../x",
        "/x",
        "~/x",
        "C:\\x",
        "folder/x",
        "x-1.0-py3-none-any.whl",
        "requirements.txt",
    ] {
        assert!(
            matches!(refused(Ecosystem::PyPi, text), RequirementError::Reference { .. }),
            "{text}"
        );
    }
    for text in [
        "git+ssh://git@example.com/x.git",
        "github:user/x",
        "user/x",
        "file:../x",
        "link:../x",
        "workspace:*",
        "https://example.com/x.tgz",
        "./x",
        "../x",
        "/x",
        "x@github:user/x",
        "x@file:../x",
        "x@user/x",
        "x@workspace:*",
        "x@https://example.com/x.tgz",
        "x@../x",
        "jsr:@std/x",
    ] {
        assert!(
            matches!(refused(Ecosystem::Npm, text), RequirementError::Reference { .. }),
            "{text}"
        );
    }
    assert!(matches!(refused(Ecosystem::Npm, "x@npm:y@1"), RequirementError::Alias { .. }));
    for ecosystem in [Ecosystem::PyPi, Ecosystem::Npm] {
        for text in ["-r requirements.txt", "-e .", "--index-url=https://example.com", "-"] {
            assert!(
                matches!(refused(ecosystem, text), RequirementError::InstallerOption { .. }),
                "{text}"
            );
        }
        assert!(matches!(refused(ecosystem, "x\ny"), RequirementError::ControlCharacter { .. }));
        assert!(matches!(refused(ecosystem, "x\0"), RequirementError::ControlCharacter { .. }));
        assert!(matches!(refused(ecosystem, " "), RequirementError::Empty));
        assert!(matches!(
            refused(ecosystem, &"x".repeat(513)),
            RequirementError::TooLong { bytes: 513 }
        ));
    }
}

#[test]
fn each_refusal_has_a_hint_and_shows_no_control_character() {
    for (ecosystem, text) in [
        (Ecosystem::PyPi, "x @ https://example.com"),
        (Ecosystem::PyPi, "-e ."),
        (Ecosystem::PyPi, "x\u{1b}[0m"),
        (Ecosystem::PyPi, "é"),
        (Ecosystem::PyPi, "x==?"),
        (Ecosystem::PyPi, "x ; #"),
        (Ecosystem::PyPi, ""),
        (Ecosystem::Npm, "UPPER"),
        (Ecosystem::Npm, "x@npm:y"),
        (Ecosystem::Npm, "x@>"),
    ] {
        let error = refused(ecosystem, text);
        assert!(error.hint().is_some(), "{error}");
        assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
    }
}

#[test]
fn names_of_npm_follow_its_rules() {
    for name in ["lodash", "@scope/name", "socket.io", "left_pad", "3d", "@a/b.c-d_e"] {
        assert_eq!(npm(name), name);
    }
    for name in [
        "Lodash",
        "_x",
        "@scope",
        "@/x",
        "@scope/",
        "@scope/.x",
        "node_modules",
        "a b",
        "a~b",
        "a!",
        "é",
        "a%20b",
        "@-x/y",
    ] {
        assert!(matches!(refused(Ecosystem::Npm, name), RequirementError::Name { .. }), "{name}");
    }
    let longest = "a".repeat(214);
    assert_eq!(npm(&longest), longest);
    assert!(matches!(refused(Ecosystem::Npm, &"a".repeat(215)), RequirementError::Name { .. }));
}

#[test]
fn ranges_of_npm_have_one_text() {
    for (text, canonical) in [
        ("x@*", "x"),
        ("x@", "x"),
        ("x@latest", "x"),
        ("x@1 || *", "x"),
        ("x@next", "x@next"),
        ("x@canary-1.2", "x@canary-1.2"),
        ("x@^1.2.3", "x@^1.2.3"),
        ("x@1.x", "x@1.x"),
        ("x@>= 1.2.3  <2", "x@>=1.2.3 <2"),
        ("x@1.2 -  1.4", "x@1.2 - 1.4"),
        ("x@^1||^2", "x@^1 || ^2"),
        ("x@~>1.2", "x@~1.2"),
        ("x@1.2.3-beta.1+build.5", "x@1.2.3-beta.1+build.5"),
        ("x@>=1.0.0-rc.0", "x@>=1.0.0-rc.0"),
        ("@s/x@2", "@s/x@2"),
    ] {
        assert_eq!(npm(text), canonical, "{text}");
    }
    for text in [
        "x@>",
        "x@1.2.3.4",
        "x@^>1",
        "x@1.2-beta",
        "x@1 - ",
        "x@ne xt",
        "x@$(id)",
        "x@1;2",
        "x@next || 1",
        "x@1.2.3-",
    ] {
        assert!(
            matches!(refused(Ecosystem::Npm, text), RequirementError::Version { .. }),
            "{text}"
        );
    }
}

#[test]
fn a_package_json_takes_the_range_of_a_requirement() {
    let range = |text| NpmRequirement::parse(text).unwrap().range().to_owned();
    assert_eq!(range("lodash"), "latest");
    assert_eq!(range("lodash@^4"), "^4");
}

#[test]
fn markers_are_of_a_safe_alphabet_and_closed() {
    for marker in ["#", "a @ b", "'a", "(a", "a)", "\\", "a;b", "${HOME}", ""] {
        let text = format!("x ; {marker}");
        assert!(Requirement::parse(Ecosystem::PyPi, &text).is_err(), "{text}");
    }
    assert_eq!(
        pypi("x;(os_name=='posix') and python_version not in '3.9 3.10'"),
        "x ; (os_name=='posix') and python_version not in '3.9 3.10'"
    );
}

#[test]
fn a_list_is_sorted_and_has_each_requirement_once() {
    let list = |ecosystem, texts: &[&str]| {
        merged(texts.iter().map(|text| Requirement::parse(ecosystem, text).unwrap()))
            .map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(list(Ecosystem::Npm, &["b", "a@1", "a", "b"]).unwrap(), ["a@1", "b"]);
    assert_eq!(list(Ecosystem::PyPi, &["b>1", "b<2", "b", "a"]).unwrap(), ["a", "b<2", "b>1"]);
    // If the marker does not apply, the bare name requests the package.
    assert_eq!(
        list(Ecosystem::PyPi, &["b>1 ; os_name == 'nt'", "b"]).unwrap(),
        ["b", "b>1 ; os_name == 'nt'"]
    );
    assert!(matches!(
        list(Ecosystem::Npm, &["a@1", "a@2"]),
        Err(RequirementError::AskedTwice { .. })
    ));
}

#[test]
fn there_is_a_most_of_requirements() {
    let of = |count: usize| {
        merged((0..count).map(|n| Requirement::parse(Ecosystem::Npm, &format!("p{n}")).unwrap()))
    };
    assert_eq!(of(MAX_REQUIREMENTS).unwrap().len(), MAX_REQUIREMENTS);
    assert_eq!(of(MAX_REQUIREMENTS + 1), Err(RequirementError::TooMany { count: 257 }));
}

fn ecosystems() -> impl Strategy<Value = Ecosystem> {
    prop_oneof![Just(Ecosystem::PyPi), Just(Ecosystem::Npm)]
}

proptest! {
    #[test]
    fn whatever_is_accepted_is_plain_and_reads_back_as_itself(
        ecosystem in ecosystems(),
        text in prop_oneof![
            ".{0,40}",
            r"@?[a-zA-Z0-9._/-]{1,8}(\[[a-z,_ ]{0,6}\])? ?[@=<>~^!:,.*x |0-9a-cv+-]{0,14}(;[ a-z'\x22()<>=.0-9#@]{0,12})?",
        ],
    ) {
        if let Ok(requirement) = Requirement::parse(ecosystem, &text) {
            let canonical = requirement.to_string();
            prop_assert!(canonical.is_ascii() && !canonical.contains(|c: char| c.is_control() || "#\\$`&:/".contains(c) && !(c == '/' && canonical.starts_with('@'))), "{}", canonical);
            prop_assert!(!canonical.starts_with(['-', '.', '/']));
            prop_assert_eq!(&Requirement::parse(ecosystem, &canonical).unwrap(), &requirement);
        }
    }

    #[test]
    fn names_and_versions_of_the_usual_form_are_accepted(name in "[a-z][a-z0-9]{0,10}(-[a-z0-9]{1,5}){0,2}", version in r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}") {
        prop_assert_eq!(pypi(&format!("{name}=={version}")), format!("{name}=={version}"));
        prop_assert_eq!(npm(&format!("{name}@^{version}")), format!("{name}@^{version}"));
    }
}

#[test]
fn what_is_asked_for_comes_to_what_was_found_and_its_versions_count() {
    let all = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| Requirement::parse(Ecosystem::PyPi, text).unwrap())
            .collect::<Vec<_>>()
    };
    let come_to = |found: &[&str], asked: &[&str]| {
        let both = merged(over(all(found), all(asked))).unwrap();
        both.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(come_to(&["pandas"], &["openpyxl"]), ["openpyxl", "pandas"]);
    assert_eq!(come_to(&["humanize==4.9.0"], &["humanize==4.8.0"]), ["humanize==4.8.0"]);
    assert_eq!(come_to(&["humanize==4.9.0"], &["humanize"]), ["humanize==4.9.0"]);
    assert_eq!(come_to(&["pandas<3"], &["pandas[excel]"]), ["pandas<3", "pandas[excel]"]);
    let npm = |text: &str| Requirement::parse(Ecosystem::Npm, text).unwrap();
    assert_eq!(over(vec![npm("lodash@4")], vec![npm("lodash")]), [npm("lodash@4")]);
    assert_eq!(over(vec![npm("lodash@4")], vec![npm("lodash@3")]), [npm("lodash@3")]);
}
