use proptest::prelude::*;

use super::index_urls::PYPI_INDEX;
use super::*;

const PNPM: &str = "lockfileVersion: '9.0'\n\nsettings:\n  autoInstallPeers: true\n\nimporters:\n\n  .:\n    dependencies:\n      '@scope/x':\n        specifier: ^1.0.0\n        version: 1.2.3\n\npackages:\n\n  '@scope/x@1.2.3':\n    resolution: {integrity: sha512-AAAA+/==}\n    engines: {node: '>=18'}\n    os: [linux]\n\nsnapshots:\n\n  '@scope/x@1.2.3': {}\n";
const HASH: &str = "sha256:4721000000000000000000000000000000000000000000000000000000000000";
const UV: &str = "version = 1\nrevision = 3\nrequires-python = \"==3.11.*\"\n\n[[package]]\nname = \"environment\"\nversion = \"0\"\nsource = { virtual = \".\" }\n\n[[package]]\nname = \"six\"\nversion = \"1.17.0\"\nsource = { registry = \"https://pypi.org/simple\" }\nwheels = [\n    { url = \"https://files.pythonhosted.org/packages/six-1.17.0-py2.py3-none-any.whl\", hash = \"sha256:4721000000000000000000000000000000000000000000000000000000000000\", size = 11050 },\n]\n";

fn pypi() -> [String; 1] {
    [PYPI_INDEX.to_owned()]
}

#[test]
fn what_the_installers_write_is_read() {
    let lock = Lock::parse(PNPM, &[]).unwrap();
    assert_eq!(lock.packages, [LockedPackage { name: "@scope/x".into(), version: "1.2.3".into() }]);
    assert_eq!(lock.specifiers["@scope/x"], "^1.0.0");
    let lock = Lock::parse(UV, &pypi()).unwrap();
    assert_eq!(
        (lock.project.name.as_str(), lock.packages[0].name.as_str()),
        ("environment", "six")
    );
}

#[test]
fn a_lock_installs_all_that_its_project_needs_everywhere() {
    let package = |name: &str, needs: &str| {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"1\"\nsource = {{ registry = \"https://pypi.org/simple\" }}\n{needs}\n"
        )
    };
    let lock = |needs: &str, others: &[String]| {
        let project = format!(
            "version = 1\n[[package]]\nname = \"environment\"\nversion = \"0\"\nsource = {{ virtual = \".\" }}\ndependencies = [{needs}]\n"
        );
        Lock::parse(&format!("{project}{}", others.join("")), &pypi()).unwrap().installs_all
    };
    let chain = [package("a", "dependencies = [{ name = \"b\" }]"), package("b", "")];
    assert!(lock("{ name = \"a\" }", &chain));
    assert!(!lock("{ name = \"b\" }", &chain), "a is not needed");
    assert!(!lock("{ name = \"a\", marker = \"sys_platform == 'win32'\" }", &chain));
    let extra =
        [package("a", "[package.optional-dependencies]\nx = [{ name = \"b\" }]"), package("b", "")];
    assert!(lock("{ name = \"a\", extra = [\"x\"] }", &extra) && !lock("{ name = \"a\" }", &extra));
    assert!(!lock("{ name = \"a\" }, { name = \"c\" }", &chain), "what is needed is not there");
    assert!(lock("", &[]));
}

#[test]
fn all_that_pnpm_knows_of_a_package_is_read() {
    let more = "    engines: {node: '>=18'}\n    cpu: [x64]\n    libc: [glibc]\n    os: ['!win32']\n    hasBin: true\n    deprecated: |-\n      Moved.\n\n      tarball: nowhere\n    peerDependencies:\n      react: '*'\n    peerDependenciesMeta:\n      react:\n        optional: true\n    bundledDependencies:\n      - inner\n";
    let snapshots = "  '@scope/x@1.2.3(react@18.0.0)':\n    dependencies:\n      '@scope/x': 1.2.3(react@18.0.0)\n      other: '@scope/x@1.2.3'\n    transitivePeerDependencies:\n      - supports-color\n    optional: true\n";
    let text = PNPM
        .replace("    engines: {node: '>=18'}\n    os: [linux]\n", more)
        .replace("  '@scope/x@1.2.3': {}\n", snapshots)
        .replace("specifier: ^1.0.0", "specifier: npm:@scope/y@>=1 <2 || ~3");
    assert_eq!(
        Lock::parse(&text, &[]).unwrap().specifiers["@scope/x"],
        "npm:@scope/y@>=1 <2 || ~3",
        "{text}"
    );
}

#[test]
fn a_lock_that_leads_elsewhere_is_refused() {
    for (from, to) in [
        ("{integrity: sha512-AAAA+/==}", "{tarball: http://127.0.0.1/x.tgz}"),
        (
            "{integrity: sha512-AAAA+/==}",
            "{integrity: sha512-AAAA, tarball: http://127.0.0.1/x.tgz}",
        ),
        (
            "    resolution: {integrity: sha512-AAAA+/==}",
            "    resolution:\n      tarball: http://127.0.0.1/x.tgz",
        ),
        (
            "    resolution: {integrity: sha512-AAAA+/==}",
            "    resolution: &x\n      integrity: sha512-AAAA",
        ),
        ("version: 1.2.3", "version: link:../../etc"),
        ("version: 1.2.3", "version: https://127.0.0.1/x.tgz"),
        ("specifier: ^1.0.0", "specifier: someone/their-fork"),
        ("specifier: ^1.0.0", "specifier: ssh://127.0.0.1/x"),
        ("'@scope/x@1.2.3':\n", "'@scope/x@https://127.0.0.1/x.tgz':\n"),
        // A name that means another package.
        ("'@scope/x@1.2.3':\n", "'x@npm:@scope/x@1.2.3':\n"),
        ("settings:", "overrides:"),
        ("settings:", "\"packages\":"),
        ("settings:", "packages:\nsettings:"),
        ("  .:", "  ../other:"),
        // The same YAML in another form: on one line, with another indentation, with a line end
        // that only YAML knows, in a second document.
        (
            "'@scope/x@1.2.3':\n",
            "'@scope/x@1.2.3': {resolution: {tarball: 'http://127.0.0.1/x.tgz'}}\n",
        ),
        ("packages:\n", "packages: {x@1.0.0: {resolution: {tarball: 'http://127.0.0.1/x.tgz'}}}\n"),
        ("  '@scope/x@1.2.3':\n    resolution:", "   '@scope/x@1.2.3':\n      resolution:"),
        (
            "    os: [linux]\n",
            "    os: [linux]\n   x@1.0.0:\n      resolution: {tarball: 'http://127.0.0.1/x.tgz'}\n",
        ),
        ("    os: [linux]\n", "    # no comment\r    name: y\n"),
        ("    os: [linux]\n", "    # no comment\u{85}    name: y\n"),
        ("    os: [linux]\n", "    # no comment\u{2028}    name: y\n"),
        ("snapshots:", "--- {packages: {}}\nsnapshots:"),
        ("snapshots:", "- x\nsnapshots:"),
        ("    os: [linux]\n", "    os: 'a\n    tarball'\n"),
        ("    os: [linux]\n", "    os: \"a\n    b\"\n"),
        ("    os: [linux]\n", "    name: y\n    version: 1.0.0\n"),
        // A package that is installed without being listed.
        ("  '@scope/x@1.2.3': {}\n", "  'evil@1.0.0': {}\n"),
        (
            "  '@scope/x@1.2.3': {}\n",
            "  '@scope/x@1.2.3':\n    dependencies:\n      y: file:/etc\n",
        ),
    ] {
        let text = PNPM.replacen(from, to, 1);
        assert_ne!(text, PNPM, "{from}");
        assert!(Lock::parse(&text, &[]).is_err(), "{text}");
    }
    for (from, to) in [
        ("https://files.pythonhosted.org/packages", "http://127.0.0.1/packages"),
        (
            "https://files.pythonhosted.org/packages",
            "https://files.pythonhosted.org.evil.example/packages",
        ),
        (
            "https://files.pythonhosted.org/packages",
            "https://127.0.0.1\\\\@files.pythonhosted.org/packages",
        ),
        (
            "{ registry = \"https://pypi.org/simple\" }",
            "{ registry = \"http://127.0.0.1/simple\" }",
        ),
        (
            "{ registry = \"https://pypi.org/simple\" }",
            "{ registry = \"https://me@pypi.org/simple\" }",
        ),
        ("{ registry = \"https://pypi.org/simple\" }", "{ git = \"https://example.com/six\" }"),
        ("{ registry = \"https://pypi.org/simple\" }", "{ path = \"/etc\" }"),
        (
            ", hash = \"sha256:4721000000000000000000000000000000000000000000000000000000000000\"",
            "",
        ),
        // Hashes that stand for others once they are joined, or that no installer writes.
        (&*format!("{HASH}\""), &*format!("{HASH} sha256:{}\"", "0".repeat(64))),
        (HASH, "sha256:4721"),
        (HASH, &HASH.to_uppercase()),
        (HASH, &HASH.replace('4', "g")),
        ("url = ", "path = \"/etc/passwd\", url = "),
        ("name = \"six\"", "name = \"six\\\"\\n[x]\""),
        ("version = 1\n", "version = 2\n"),
        // Another package under the name of an allowed one, and a blocked one under another
        // spelling.
        ("packages/six-", "packages/evil-"),
        ("packages/six-", "packages/%65vil-"),
        ("name = \"six\"", "name = \"Six\""),
        ("name = \"six\"", "name = \"six--x\""),
        ("version = 1\n", "version = 1\ndistribution = []\n"),
    ] {
        let text = UV.replacen(from, to, 1);
        assert_ne!(text, UV, "{from}");
        assert!(Lock::parse(&text, &pypi()).is_err(), "{text}");
    }
}

#[test]
fn an_index_of_ones_own_is_a_registry_and_then_the_only_one() {
    let own = ["https://index.example/simple/".to_owned()];
    let text = UV
        .replace("https://pypi.org/simple", "https://index.example/simple")
        .replace("https://files.pythonhosted.org", "https://index.example");
    assert!(Lock::parse(&text, &pypi()).is_err());
    assert!(Lock::parse(&text, &own).is_ok());
    assert!(Lock::parse(&text, &["https://index.example.evil/simple/".to_owned()]).is_err());
    assert!(
        Lock::parse(UV, &own).is_err(),
        "the public index is not asked where another is configured"
    );
    let mixed =
        text.replace("https://index.example/packages", "https://files.pythonhosted.org/packages");
    assert!(Lock::parse(&mixed, &own).is_err(), "nor are its files had by naming another index");
    assert!(
        Lock::written(&mixed, &own).is_ok(),
        "where an index keeps its files is its own to say"
    );
    for host in [
        "https://127.0.0.1\\\\@index.example",
        "https://127.0.0.1?@index.example",
        "https://127.0.0.1#@index.example",
        "https://index.example@127.0.0.1",
        "https://index.example:81",
    ] {
        let text = text.replace("https://index.example/packages", &format!("{host}/packages"));
        assert!(Lock::parse(&text, &own).is_err(), "{host}");
    }
}

#[test]
fn files_are_in_the_folder_of_their_index_and_not_anywhere_on_its_host() {
    let own = ["https://host.example/group/project/simple".to_owned()];
    let lock = |place: &str| {
        let text = UV
            .replace("https://pypi.org/simple", own[0].as_str())
            .replace("https://files.pythonhosted.org/packages", place);
        Lock::parse(&text, &own)
    };
    for place in [
        "https://host.example/group/project/files",
        "https://host.example/group/project/simple/six",
    ] {
        assert!(lock(place).is_ok(), "{place}");
    }
    for place in [
        "https://host.example/stranger/project/files",
        "https://host.example/group/project-of-a-stranger/files",
        "https://host.example/group/project/../../stranger",
        "https://host.example/group/project/%2E%2e/%2e%2e/stranger",
        "https://host.example/group/project%2f..%2f..%2fstranger",
    ] {
        assert!(lock(place).is_err(), "{place}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(lockfileVersion: '9.0'\n)?(\\PC|\n|  |: |importers:\n|packages:\n|resolution: |@1|'){0,60}") {
        let _ = Lock::parse(&text, &[]);
    }

    /// Inserts a line into a lock of pnpm. If the lock is still accepted, every URL in it was
    /// refused.
    #[test]
    fn no_line_brings_an_address_in(line in " {0,8}('|\"|\\? |- |\\{|\\[|resolution: |tarball: |x@1.0.0: |version: |integrity: ){0,5}http://127.0.0.1/x.tgz('|\"|\\}|\\]|,){0,3}", at in 0_usize..20) {
        let mut lines: Vec<&str> = PNPM.lines().collect();
        lines.insert(at.min(lines.len()), &line);
        prop_assert!(Lock::parse(&lines.join("\n"), &[]).is_err(), "{}", lines.join("\n"));
    }
}
