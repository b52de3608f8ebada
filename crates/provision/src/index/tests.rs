use std::fs;

use super::*;

fn index(variables: &[(&str, &str)], home: Option<&Path>) -> PythonIndex {
    // The machine's own file must not count in a test, unless the test names files.
    let none = ("PIP_CONFIG_FILE", "/dev/null");
    let all: Vec<_> = variables.iter().copied().chain(home.is_none().then_some(none)).collect();
    PythonIndex::from_variables(
        &|name| {
            all.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        },
        home,
    )
}

fn urls(index: &PythonIndex) -> Vec<&str> {
    index.all().map(PackageIndex::url).collect()
}

#[test]
fn without_configuration_it_is_pypi() {
    assert_eq!(index(&[], None), PythonIndex::default());
    assert_eq!(
        PythonIndex::default().default_index().project_url("uv"),
        "https://pypi.org/simple/uv/"
    );
}

#[test]
fn uvs_variables_come_before_pips_and_pips_variables_before_its_files() {
    let home = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    write(".pip/pip.conf", "[global]\nindex-url = http://legacy/simple/\nfind-links = /legacy\n");
    let default =
        |variables: &[(&str, &str)]| urls(&index(variables, Some(home.path())))[0].to_owned();
    assert_eq!(default(&[]), "http://legacy/simple");
    write(".config/pip/pip.conf", "[global]\nindex-url = http://user/simple\n");
    assert_eq!(default(&[]), "http://user/simple");
    assert_eq!(index(&[], Some(home.path())).find_links(), [Path::new("/legacy")]);
    let named = write("named.conf", "[global]\nindex-url = http://named/simple\n");
    let mut variables = vec![("PIP_CONFIG_FILE", named.as_str())];
    for (variable, expected) in [
        (("PIP_INDEX_URL", "http://pip/"), "http://named/simple"),
        (("UV_INDEX_URL", "http://uv/"), "http://pip"),
        (("UV_DEFAULT_INDEX", "corp=http://default/"), "http://uv"),
        (("X", ""), "http://default"),
    ] {
        assert_eq!(default(&variables), expected);
        variables.push(variable);
    }
    assert_eq!(default(&[("PIP_CONFIG_FILE", "/dev/null")]), DEFAULT_INDEX);
}

#[test]
fn further_indexes_and_folders_are_uvs_or_pips_and_never_both() {
    let pips = [
        ("PIP_EXTRA_INDEX_URL", "https://a/simple\n https://b/simple"),
        ("PIP_FIND_LINKS", "/wheels file:///more https://page/"),
    ];
    let both = [
        &pips[..],
        &[
            ("UV_INDEX", "one=https://c/s https://c/s"),
            ("UV_EXTRA_INDEX_URL", "https://d/"),
            ("UV_FIND_LINKS", "/a b,./c"),
        ],
    ]
    .concat();
    let of_pip = index(&pips, None);
    assert_eq!(urls(&of_pip), [DEFAULT_INDEX, "https://a/simple", "https://b/simple"]);
    assert_eq!(of_pip.find_links(), [Path::new("/wheels"), Path::new("/more")]);
    assert_eq!(of_pip.passed_over(), ["pip's find-links"]);
    let of_uv = index(&both, None);
    assert_eq!(urls(&of_uv), [DEFAULT_INDEX, "https://c/s", "https://c/s", "https://d"]);
    assert_eq!(of_uv.extra_indexes()[0].name(), Some("one"));
    assert_eq!(of_uv.find_links(), [Path::new("/a b")]);
    assert_eq!(of_uv.passed_over(), ["UV_FIND_LINKS"]);
}

#[test]
fn an_index_that_cannot_be_queried_is_named_and_not_replaced_silently() {
    for address in ["file:///srv/simple", "/srv/simple", "htps://r.example/", "https://", "x"] {
        let index = index(&[("UV_DEFAULT_INDEX", address)], None);
        assert_eq!(index.passed_over(), ["UV_DEFAULT_INDEX"], "{address}");
    }
}

#[test]
fn a_login_goes_to_its_own_origin_and_is_never_shown() {
    let index = PackageIndex::parse("corp=https://me%40x:p%3Ass@r.example/pypi/simple/").unwrap();
    assert_eq!((index.name(), index.url()), (Some("corp"), "https://r.example/pypi/simple"));
    assert_eq!(index.authenticated_url().expose(), "https://me%40x:p%3Ass@r.example/pypi/simple");
    assert!(index.credential_for("https://r.example/files/x.whl").is_some());
    assert!(index.credential_for("https://R.example:443/files/x.whl").is_some());
    for elsewhere in [
        "http://r.example/x",
        "https://r.example:8443/x",
        "https://r.example.evil.test/x",
        "https://evil.test/r.example/",
        "x",
    ] {
        assert_eq!(index.credential_for(elsewhere), None, "{elsewhere}");
    }
    let shown = format!("{:?}", PythonIndex::at(index));
    assert!(
        shown.contains("r.example")
            && !shown.contains("p:ss")
            && !shown.contains("me@")
            && !shown.contains("p%3A"),
        "{shown}"
    );
}
