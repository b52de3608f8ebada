//! Locks: the same lock yields the same files, packages that do not match it are refused, and an
//! untrusted lock reaches nothing outside of the registries.

use std::fs;

use belljar_protocol::{Language, PackageOptions, PackagePolicy};
use belljar_test_support::files_in;

use crate::archive::{self, Entry};
use crate::home::{Home, parse, wanted};
use crate::registry::Registry;

fn filled() -> Registry {
    fill(Registry::start())
}

fn fill(registry: Registry) -> Registry {
    let scripts = Entry::file(
        "outer-1.0.dist-info/entry_points.txt",
        "[console_scripts]\nouter = outer:main\n",
    );
    registry.wheel(
        "outer",
        "1.0",
        &["inner>=1"],
        &[
            scripts,
            Entry::file("more/__init__.py", "X = 1\n"),
            Entry::file("outer-1.0.data/scripts/tool", "#!python\nprint(1)\n").mode(0o100_755),
        ],
    );
    registry.wheel("inner", "1.1", &[], &[]);
    registry.npm(
        "outer",
        "1.0.0",
        ", \"dependencies\": {\"inner\": \"^1.0.0\"}, \"bin\": {\"outer\": \"index.js\"}",
        &[],
    );
    registry.npm("inner", "1.1.0", "", &[]);
    registry
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_lock_gives_the_same_files_bit_by_bit() {
    let registry = filled();
    for language in [Language::Python, Language::JavaScript] {
        let first = Home::new(&registry);
        let one = first.get(&wanted(language, &["outer"])).await.unwrap();
        let second = Home::new(&registry);
        let mut locked = wanted(language, &[]);
        locked.lock = Some(parse(&second.environments, &one.lock));
        let other = second.get(&locked).await.unwrap();
        assert_eq!(one.record.content_sha256, other.record.content_sha256);
        let listed = |prepared: &belljar_environments::PreparedEnvironment| {
            let root = prepared.environment.folder.clone();
            let mut all: Vec<_> = files_in(&root)
                .into_iter()
                .map(|file| {
                    let content = fs::read_link(&file).map_or_else(
                        |_| fs::read(&file).unwrap(),
                        |to| to.to_string_lossy().into_owned().into_bytes(),
                    );
                    (file.strip_prefix(&root).unwrap().to_owned(), content)
                })
                .collect();
            all.sort();
            all
        };
        let (one_listed, other_listed) = (listed(&one), listed(&other));
        assert!(one_listed.len() > 4);
        for (one, other) in one_listed.iter().zip(&other_listed) {
            assert_eq!(one.0, other.0);
            assert!(one.1 == other.1, "{} differs", one.0.display());
        }
        assert_eq!(one_listed.len(), other_listed.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_the_lock_says_is_refused() {
    let registry = filled();
    let first = Home::new(&registry);
    let mut locks = Vec::new();
    for language in [Language::Python, Language::JavaScript] {
        locks.push((language, first.get(&wanted(language, &["outer"])).await.unwrap().lock));
    }
    registry.tamper(
        "/files/inner-1.1-py3-none-any.whl",
        archive::wheel("inner", "1.1", &[], &[Entry::file("evil.py", "")]),
    );
    registry.tamper(
        "/npm/inner/-/inner-1.1.0.tgz",
        archive::npm("inner", "1.1.0", "", &[Entry::file("package/evil.js", "")]),
    );
    let before = registry.asked().len();
    for (language, lock) in locks {
        let home = Home::new(&registry);
        let mut locked = wanted(language, &[]);
        locked.lock = Some(parse(&home.environments, &lock));
        let error = home.get(&locked).await.unwrap_err();
        let said = error.to_string().to_lowercase();
        assert!(
            said.contains("hash") || said.contains("integrity") || said.contains("checksum"),
            "{language}: {said}"
        );
        assert!(
            home.names("made").is_empty()
                && !home.all_files().iter().any(|file| file.to_string_lossy().contains("made")
                    && file.to_string_lossy().contains("evil"))
        );
    }
    assert!(registry.asked().len() > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_a_stranger_leads_nowhere_else() {
    let (registry, elsewhere) = (filled(), fill(Registry::start_elsewhere()));
    let home = Home::new(&registry);
    for language in [Language::Python, Language::JavaScript] {
        let prepared = home.get(&wanted(language, &["outer"])).await.unwrap();
        let (own, other) = (registry.address(), elsewhere.address());
        let mut texts = vec![];
        if language == Language::Python {
            texts.push(prepared.lock.replace(own, other));
            texts.push(
                prepared
                    .lock
                    .replace(&format!("http://{own}/files"), &format!("http://{other}/files")),
            );
            texts.push(prepared.lock.replace(
                &format!("http://{own}/files"),
                &format!("http://{other}\\\\@{own}/files"),
            ));
            texts.push(prepared.lock.replace(
                &format!("http://{own}/files/inner"),
                &format!("http://{own}/files/outer"),
            ));
        } else {
            for inserted in
                [format!("tarball: http://{other}/npm/inner/-/inner-1.1.0.tgz, "), String::new()]
            {
                let first =
                    prepared.lock.replace("{integrity: ", &format!("{{{inserted}integrity: "));
                texts.push(if inserted.is_empty() {
                    prepared.lock.replace(
                        "  inner@1.1.0:\n",
                        &format!("  inner@1.1.0: {{resolution: {{tarball: 'http://{other}/x.tgz'}}}}\n  other@1.1.0:\n"),
                    )
                } else {
                    first
                });
            }
        }
        for text in texts {
            assert_ne!(text, prepared.lock);
            let options = PackageOptions { lock: Some(text.clone()), ..PackageOptions::default() };
            let outcome = home.run(language, "1", &[], options, Some("a tenant")).await;
            let error = outcome.error.expect("it is refused");
            assert_eq!(error.name, "InvalidPackages", "{text}: {}", error.message);
        }
    }
    assert!(elsewhere.asked().is_empty(), "{:?}", elsewhere.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_named_by_a_package_is_never_contacted() {
    let (registry, elsewhere) = (Registry::start(), fill(Registry::start_elsewhere()));
    let inner = format!("{}/npm/inner/-/inner-1.1.0.tgz", elsewhere.origin());
    let wheel = format!("inner @ {}/files/inner-1.1-py3-none-any.whl", elsewhere.origin());
    registry.wheel("outer", "1.0", &[&wheel], &[]);
    registry.wheel(
        "with-find",
        "1.0",
        &[&format!("inner @ git+{}/x.git", elsewhere.origin())],
        &[],
    );
    let home = Home::new(&registry);
    for package in ["outer", "with-find"] {
        let error = home.python(&[package]).await.unwrap_err();
        eprintln!("{package}: {error}");
    }
    for (package, address) in [
        ("tarball", inner),
        ("git", format!("git+{}/x.git", elsewhere.origin())),
        ("file", "file:/etc".to_owned()),
        ("link", "link:/etc".to_owned()),
        ("shorthand", "someone/their-repository".to_owned()),
    ] {
        registry.npm(
            package,
            "1.0.0",
            &format!(", \"dependencies\": {{\"inner\": {address:?}}}"),
            &[],
        );
        let result = home.npm(&[package]).await;
        let error = result.unwrap_err();
        eprintln!("{package}: {error}");
        assert!(registry.count(&format!("/npm/{package}")) > 0);
    }
    assert!(elsewhere.asked().is_empty(), "{:?}", elsewhere.asked());
    assert!(home.names("made").is_empty());
}

/// A registry on this machine makes nothing else on it reachable: neither another port of its host
/// nor another name of that host.
#[tokio::test(flavor = "multi_thread")]
async fn a_package_of_a_registry_on_this_machine_reaches_no_other_port_of_it() {
    let (registry, neighbour) = (Registry::start(), fill(Registry::start()));
    assert_eq!(
        registry.address().split(':').next(),
        neighbour.address().split(':').next(),
        "the same host"
    );
    registry.redirect(
        "/moved/inner.tgz",
        &format!("{}/npm/inner/-/inner-1.1.0.tgz", neighbour.origin()),
    );
    let home = Home::new(&registry);
    let port = neighbour.address().rsplit(':').next().unwrap();
    let tarball = |host: &str| format!("http://{host}:{port}/npm/inner/-/inner-1.1.0.tgz");
    for (package, address) in [
        ("same-host", tarball("127.0.0.1")),
        ("other-name", tarball("localhost")),
        ("short-form", tarball("127.1")),
        ("with-login", format!("http://{}@127.0.0.1:{port}/inner.tgz", registry.address())),
        ("git-over-http", format!("git+http://127.0.0.1:{port}/x.git")),
        ("by-redirect", format!("{}/moved/inner.tgz", registry.origin())),
    ] {
        registry.npm(
            package,
            "1.0.0",
            &format!(", \"dependencies\": {{\"inner\": {address:?}}}"),
            &[],
        );
        let error = home.npm(&[package]).await.unwrap_err();
        eprintln!("{package}: {error}");
        assert!(
            registry.count(&format!("/npm/{package}")) > 0,
            "pnpm has read what {package} needs"
        );
    }
    assert!(registry.count("/moved/inner.tgz") > 0, "pnpm was redirected to the other port");
    let wheel = format!("inner @ http://127.0.0.1:{port}/files/inner-1.1-py3-none-any.whl");
    registry.wheel("outer", "1.0", &[&wheel], &[]);
    let error = home.python(&["outer"]).await.unwrap_err();
    eprintln!("outer: {error}");
    assert!(registry.count("outer") > 0, "uv has read what outer needs");
    assert!(neighbour.asked().is_empty(), "{:?}", neighbour.asked());
    assert!(home.names("made").is_empty());
    // The registry itself is reachable, and the server on the other port would have answered.
    registry.npm("plain", "1.0.0", "", &[]);
    home.npm(&["plain"]).await.unwrap();
    let mut ours = std::net::TcpStream::connect(neighbour.address()).unwrap();
    std::io::Write::write_all(&mut ours, b"HEAD /npm/inner HTTP/1.1\r\n\r\n").unwrap();
    std::io::Read::read(&mut ours, &mut [0; 16]).unwrap();
    assert_eq!(neighbour.count("/npm/inner"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_not_made_here_is_held_to_the_policy() {
    let registry = filled();
    let free = Home::new(&registry);
    let lock = free.python(&["outer"]).await.unwrap().lock;
    let with = |change: &dyn Fn(&mut PackagePolicy)| {
        let mut policy = PackagePolicy::default();
        change(&mut policy);
        policy
    };
    let stranger = Home::new(&registry);
    let refusal = async |policy: PackagePolicy, home: &Home| {
        let mut locked = wanted(Language::Python, &[]);
        locked.lock = Some(parse(&home.environments, &lock));
        home.environments
            .prepare(&locked, &policy, &home.tell())
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    };
    // Only the author of the lock says which package needs `inner`.
    let allowed = with(&|policy| policy.allowed = vec!["outer".into()]);
    let error = refusal(allowed.clone(), &stranger).await.unwrap_err();
    assert!(error.contains("inner") && error.contains("allowed"), "{error}");
    assert!(
        refusal(with(&|policy| policy.allowed = vec!["outer".into(), "inn*".into()]), &stranger)
            .await
            .is_ok()
    );
    let aged = with(&|policy| policy.min_requested_release_age_days = 2);
    assert!(refusal(aged.clone(), &stranger).await.unwrap_err().contains("minimum release age"));
    // A lock that was made here by the same rules is trusted.
    assert!(refusal(allowed, &free).await.is_ok());
    assert!(refusal(aged, &free).await.is_ok());
    let error =
        refusal(with(&|policy| policy.blocked = vec!["Inner".into()]), &free).await.unwrap_err();
    assert!(error.contains("inner") && error.contains("blocked"), "{error}");
}
