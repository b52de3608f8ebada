//! Installers from servers on loopback: pages in both formats, logins, several indexes, scopes of
//! npm, and everything that can be wrong with a wheel.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;

use belljar_protocol::Explain as _;
use belljar_provision::{
    Installer, PackageIndex, ProvisionConfig, ProvisionError, Provisioner, PythonIndex, Registry,
    Silent, Source, Step,
};

use crate::archives::Archive;
use crate::fetch::files;
use crate::registry::{Reply, Server, wants_archive};
use crate::wheels::{
    Page, UV, Wheel, config, index, program, program_entry, release, wants_wheel, wheel_name,
};

fn uv(config: &ProvisionConfig) -> Result<Installer, ProvisionError> {
    Provisioner::new(config.clone())?.uv(&mut Silent)
}

fn pnpm(config: &ProvisionConfig) -> Result<Installer, ProvisionError> {
    Provisioner::new(config.clone())?.pnpm(&mut Silent)
}

/// Returns the content of a cache without its locks.
fn left_in(cache: &Path) -> Vec<String> {
    files(cache).into_iter().filter(|path| !path.starts_with("locks/")).collect()
}

/// Requests uv, expects an error, and checks that nothing of the attempt remains.
fn refused(config: &ProvisionConfig) -> ProvisionError {
    let error = uv(config).expect_err("this must be refused");
    assert_eq!(left_in(&config.cache), [""; 0]);
    assert!(error.hint().is_some());
    error
}

#[test]
fn a_fetched_uv_is_cached_and_then_needs_no_network() {
    for page in [Page::Json, Page::Html] {
        let cache = tempfile::tempdir().unwrap();
        let wheel = Wheel::of_uv().bytes();
        let server = index(wheel.clone(), page, Reply::Whole);
        let mut config = config(&server, &wheel, cache.path());
        let mut reported = Vec::new();
        let fetched = Provisioner::new(config.clone())
            .unwrap()
            .uv(&mut |step: Step<'_>| {
                if let Step::Downloading { what, version, bytes, total } = step {
                    reported.push((what, version.to_string(), bytes, total));
                }
            })
            .unwrap();
        let size = wheel.len() as u64;
        assert_eq!(reported.last(), Some(&("uv", UV.to_owned(), size, Some(size))));
        assert_eq!((fetched.source, fetched.version.to_string().as_str()), (Source::Fetched, UV));
        assert_eq!(fs::read(&fetched.program).unwrap(), program());
        assert_eq!(fs::metadata(&fetched.program).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fetched.mounts, std::slice::from_ref(&fetched.program));
        let place = fetched.program.parent().unwrap().parent().unwrap();
        assert_eq!(files(place), ["LICENSE-APACHE", "LICENSE-MIT", "bin/uv", "manifest.json"]);
        assert_eq!(server.requests("").len(), 2);

        for offline in [false, true] {
            config.offline = offline;
            assert_eq!(
                uv(&config).unwrap(),
                Installer { source: Source::Cache, ..fetched.clone() }
            );
        }
        assert_eq!(server.requests("").len(), 2);
    }
}

#[test]
fn without_the_network_nothing_is_requested_and_a_hint_is_given() {
    let cache = tempfile::tempdir().unwrap();
    let wheel = Wheel::of_uv().bytes();
    let server = index(wheel.clone(), Page::Json, Reply::Whole);
    let config = ProvisionConfig { offline: true, ..config(&server, &wheel, cache.path()) };
    for (error, name) in
        [(uv(&config).unwrap_err(), "BELLJAR_UV"), (pnpm(&config).unwrap_err(), "BELLJAR_PNPM")]
    {
        assert!(matches!(&error, ProvisionError::Offline { .. }), "{error}");
        assert!(
            error.hint().unwrap().contains("BELLJAR_OFFLINE")
                && error.hint().unwrap().contains(name),
            "{error:?}"
        );
    }
    assert!(server.requests("").is_empty());
}

#[test]
fn several_at_once_download_once() {
    let cache = tempfile::tempdir().unwrap();
    let wheel = Wheel::of_uv().bytes();
    let server = index(wheel.clone(), Page::Json, Reply::Whole);
    let config = config(&server, &wheel, cache.path());
    let together = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (config, together) = (config.clone(), together.clone());
            thread::spawn(move || {
                together.wait();
                uv(&config).unwrap().source
            })
        })
        .collect();
    let sources: Vec<Source> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(
        sources.iter().filter(|source| **source == Source::Fetched).count(),
        1,
        "{sources:?}"
    );
    assert_eq!(server.requests(".whl").len(), 1);
}

#[test]
fn a_login_is_sent_only_to_its_host_and_never_shown() {
    let cache = tempfile::tempdir().unwrap();
    let wheel = Wheel::of_uv().bytes();
    let server = index(wheel.clone(), Page::Html, Reply::Whole);
    let with_login = |server: &Server| {
        let address = server.url.replace("http://", "http://me:s3cret@");
        PythonIndex::at(PackageIndex::parse(&format!("{address}/simple")).unwrap())
    };
    let mut config = config(&server, &wheel, cache.path());
    config.python_index = with_login(&server);
    assert!(!format!("{config:?}").contains("s3cret"));
    let fetched = uv(&config).unwrap();
    // The expected value is "me:s3cret" in Base64.
    assert!(
        server
            .requests("")
            .iter()
            .all(|request| request.header("authorization") == Some("Basic bWU6czNjcmV0"))
    );
    assert_eq!(server.requests("").len(), 2);
    let manifest = fs::read_to_string(
        fetched.program.parent().unwrap().parent().unwrap().join("manifest.json"),
    )
    .unwrap();
    assert!(
        manifest.contains(&server.url)
            && !manifest.contains("s3cret")
            && !manifest.contains("bWU6"),
        "{manifest}"
    );

    // The page or a redirect leads to a file on another host (another port counts as one), and the
    // login is not sent there.
    let storage = Arc::new(index(wheel.clone(), Page::Json, Reply::Whole));
    let file = format!("{}/files/{}", storage.url, wheel_name());
    let listing = Page::Json.listing(&wheel_name(), &file);
    let by_page = Server::start(move |_| Reply::Whole(listing.clone()));
    let by_redirect = index(wheel.clone(), Page::Json, move |_| Reply::Redirect(file.clone()));
    for (server, asked) in [(by_page, 1), (by_redirect, 2)] {
        let cache = tempfile::tempdir().unwrap();
        let config = ProvisionConfig {
            cache: cache.path().to_owned(),
            python_index: with_login(&server),
            ..config.clone()
        };
        assert_eq!(uv(&config).unwrap().source, Source::Fetched);
        assert_eq!(
            server
                .requests("")
                .iter()
                .filter(|request| request.header("authorization").is_some())
                .count(),
            asked
        );
        assert_eq!(storage.requests(".whl").last().unwrap().header("authorization"), None);
    }

    // No error shows the login either.
    let secret = |reply: fn() -> Reply| {
        let cache = tempfile::tempdir().unwrap();
        let server = Server::start(move |_| reply());
        let error = refused(&ProvisionConfig {
            cache: cache.path().to_owned(),
            python_index: with_login(&server),
            ..config.clone()
        });
        assert!(server.requests("")[0].header("authorization").is_some());
        let shown = format!("{error} {error:?} {:?}", error.hint());
        assert!(!shown.contains("s3cret") && !shown.contains("bWU6"), "{shown}");
        error
    };
    assert!(secret(|| Reply::Status(401)).hint().unwrap().contains("login"));
    assert!(matches!(
        secret(|| Reply::Whole(b"<html>".to_vec())),
        ProvisionError::NotListed { .. }
    ));
    assert!(matches!(secret(|| Reply::Whole(b"{".to_vec())), ProvisionError::Metadata { .. }));
    assert!(matches!(secret(|| Reply::Claiming(b"{".to_vec(), 10)), ProvisionError::Fetch { .. }));
    assert!(matches!(
        secret(|| Reply::Redirect("/simple/uv/".to_owned())),
        ProvisionError::Fetch { .. }
    ));
}

#[test]
fn a_further_index_is_tried_if_the_default_one_fails_and_not_if_it_has_wrong_bytes() {
    let wheel = Wheel::of_uv().bytes();
    let further = index(wheel.clone(), Page::Json, Reply::Whole);
    let other = Wheel::empty().bytes();
    let default = |status: Option<u16>| {
        let other = other.clone();
        index(wheel.clone(), Page::Json, move |_| {
            status.map_or(Reply::Whole(other.clone()), Reply::Status)
        })
    };
    let find = |default: &Server| {
        let cache = tempfile::tempdir().unwrap();
        let home = tempfile::tempdir().unwrap();
        // In a process of its own, because the configuration comes from the environment.
        let output = crate::fetch::example(home.path(), cache.path())
            .arg("uv")
            .env("PIP_CONFIG_FILE", "/dev/null")
            .env("UV_DEFAULT_INDEX", format!("{}/simple", default.url))
            .env("UV_INDEX", format!("further={}/simple/", further.url))
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    // The fake wheel is not the pinned one. The error about its hash proves that it was fetched.
    let (away, lying) = (default(Some(404)), default(None));
    let said = find(&away);
    assert!(
        said.contains("FallingBack")
            && said.contains(&format!("{}/files/", further.url))
            && said.contains("the hash of"),
        "{said}"
    );
    let asked = further.requests("").len();
    assert_eq!(asked, 2);
    let said = find(&lying);
    assert!(
        !said.contains("FallingBack")
            && said.contains(&format!("{}/files/", lying.url))
            && said.contains("the hash of"),
        "{said}"
    );
    assert_eq!(further.requests("").len(), asked);
}

#[test]
fn an_index_cannot_replace_the_pinned_wheel() {
    let cache = tempfile::tempdir().unwrap();
    let wheel = Wheel::of_uv().bytes();
    let server = index(Wheel::of_uv().file("uv/more.py", b"x").bytes(), Page::Json, Reply::Whole);
    assert!(matches!(
        refused(&config(&server, &wheel, cache.path())),
        ProvisionError::WrongHash { .. }
    ));
    assert_eq!(server.requests(".whl").len(), 1, "no second try");
}

#[test]
fn an_invalid_page_is_refused() {
    let wheel = Wheel::of_uv().bytes();
    let file = Page::Html.listing(&wheel_name(), "file:///etc/passwd");
    for page in [b"{}".to_vec(), b"\xff\xfe".to_vec(), vec![b'{'; 100_000], file] {
        let shown = String::from_utf8_lossy(&page).chars().take(60).collect::<String>();
        let cache = tempfile::tempdir().unwrap();
        let server = Server::start(move |_| Reply::Whole(page.clone()));
        let error = refused(&config(&server, &wheel, cache.path()));
        assert!(matches!(error, ProvisionError::Metadata { .. }), "{shown}: {error}");
    }
}

#[test]
fn an_index_without_the_wheel_is_named() {
    let wheel = Wheel::of_uv().bytes();
    let another = wheel_name().replace(UV, "0.13.8");
    for page in [
        b"".to_vec(),
        b"[]".to_vec(),
        Page::Json.listing(&another, "x"),
        Page::Html.listing(&another, "x"),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let server = Server::start(move |_| Reply::Whole(page.clone()));
        let error = refused(&config(&server, &wheel, cache.path()));
        assert!(
            matches!(&error, ProvisionError::NotListed { what, .. } if *what == wheel_name()),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("UV_DEFAULT_INDEX"), "{error:?}");
    }
}

/// Returns the reason why unpacking refuses a wheel. It has the pinned hash, so nothing else can
/// refuse it.
fn why_unpacking_refuses(wheel: Vec<u8>) -> String {
    let cache = tempfile::tempdir().unwrap();
    let server = index(wheel.clone(), Page::Json, Reply::Whole);
    let mut config = config(&server, &wheel, cache.path());
    config.bounds.unpacked_bytes = 1 << 20;
    match refused(&config) {
        ProvisionError::Archive { what: "uv", why, .. } => {
            assert_eq!(server.requests(".whl").len(), 1);
            why
        }
        other => panic!("{other}"),
    }
}

#[test]
fn an_entry_that_leads_out_of_the_wheel_is_refused() {
    let target = std::env::temp_dir().join(format!("belljar-escaped-wheel-{}", std::process::id()));
    let up = format!("uv/{}{}", "../".repeat(12), target.display());
    for path in ["../escaped", "uv/../../escaped", up.as_str(), target.to_str().unwrap()] {
        let before = Wheel::empty().file(path, b"x").file(&program_entry(), &program()).bytes();
        for wheel in [Wheel::of_uv().file(path, b"x").bytes(), before] {
            let why = why_unpacking_refuses(wheel);
            assert!(why.contains("leads out of it"), "{path}: {why}");
        }
        assert!(!target.exists());
    }
}

#[test]
fn links_are_refused() {
    assert!(
        why_unpacking_refuses(Wheel::of_uv().symlink("uv/x", "/etc/passwd").bytes())
            .contains("link or a device")
    );
    assert!(
        why_unpacking_refuses(Wheel::empty().symlink(&program_entry(), "/bin/sh").bytes())
            .contains("link or a device")
    );
}

#[test]
fn a_wheel_that_unpacks_to_too_much_is_refused_whatever_size_it_declares() {
    let large = vec![0; 4 << 20];
    let kept = Wheel::empty().file(&program_entry(), &large).bytes();
    let not_kept = Wheel::of_uv().file("uv/large", &large).bytes();
    // A zip archive has the size of the program in two places, which are both set to 100 bytes.
    let size = u32::try_from(large.len()).unwrap().to_le_bytes();
    let mut lying = kept.clone();
    let mut lies = 0;
    for at in 0..lying.len() - 4 {
        if lying[at..at + 4] == size {
            lying[at..at + 4].copy_from_slice(&100u32.to_le_bytes());
            lies += 1;
        }
    }
    assert_eq!(lies, 2);
    for wheel in [&kept, &not_kept] {
        assert!(wheel.len() < 100_000, "a bomb is small");
        assert!(why_unpacking_refuses(wheel.clone()).contains("more than 1048576 bytes"));
    }
    let why = why_unpacking_refuses(lying);
    assert!(why.contains("larger than its declared"), "{why}");
}

#[test]
fn a_wheel_without_the_program_and_a_malformed_wheel_are_refused() {
    let whole = Wheel::of_uv().bytes();
    assert!(
        why_unpacking_refuses(Wheel::empty().file("uv/uv", &program()).bytes())
            .contains("there is no uv-0.13.9.data/scripts/uv")
    );
    assert!(
        why_unpacking_refuses(
            Wheel::empty().file(&format!("./{}", program_entry()), &program()).bytes()
        )
        .contains("there is no")
    );
    for length in [0, 5, whole.len() / 2, whole.len() - 4] {
        assert!(why_unpacking_refuses(whole[..length].to_vec()).contains("malformed"), "{length}");
    }
    assert!(why_unpacking_refuses(Archive::package("24.0.0").bytes()).contains("malformed"));
    // The entry is not compressed, so that only one letter differs.
    let mut broken = Wheel::empty().stored(&program_entry(), &program()).bytes();
    let at = broken.windows(9).position(|window| window == b"pretended").unwrap();
    broken[at] = b'P';
    let why = why_unpacking_refuses(broken);
    assert!(why.contains("checksum"), "{why}");
}

#[test]
fn a_too_large_archive_is_refused_with_and_without_an_announced_length() {
    let replies: [fn(Vec<u8>) -> Reply; 2] = [Reply::Whole, Reply::Chunked];
    for reply in replies {
        let cache = tempfile::tempdir().unwrap();
        let wheel = Wheel::of_uv().bytes();
        let server = index(wheel.clone(), Page::Json, reply);
        let mut config = config(&server, &wheel, cache.path());
        config.bounds.archive_bytes = 100;
        assert!(matches!(refused(&config), ProvisionError::TooLarge { cap: 100, .. }));
        config.bounds.metadata_bytes = 10;
        assert!(matches!(refused(&config), ProvisionError::TooLarge { cap: 10, .. }));
    }
}

#[test]
fn a_uv_that_does_not_run_here_is_refused() {
    for content in [
        b"#!/bin/sh\necho 'uv 0.1.2'\n".to_vec(),
        b"#!/bin/sh\nexit 1\n".to_vec(),
        b"\x7fELF for another machine".to_vec(),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let wheel = Wheel::empty().file(&program_entry(), &content).bytes();
        let server = index(wheel.clone(), Page::Json, Reply::Whole);
        let error = refused(&config(&server, &wheel, cache.path()));
        assert!(matches!(error, ProvisionError::DoesNotRun { what: "uv", .. }), "{error}");
        assert!(error.hint().unwrap().contains("BELLJAR_UV"), "{error:?}");
    }
}

#[test]
fn a_tampered_installer_is_fetched_again_or_refused() {
    let cache = tempfile::tempdir().unwrap();
    let wheel = Wheel::of_uv().bytes();
    let server = index(wheel.clone(), Page::Json, Reply::Whole);
    let mut config = config(&server, &wheel, cache.path());
    let original = uv(&config).unwrap();
    fs::write(&original.program, b"#!/bin/sh\necho changed\n").unwrap();
    config.offline = true;
    assert!(matches!(uv(&config), Err(ProvisionError::Tampered { .. })));
    config.offline = false;
    let again = uv(&config).unwrap();
    assert_eq!((again.source, again.identity), (Source::Fetched, original.identity));
    assert_eq!(server.requests("").iter().filter(|request| wants_wheel(request)).count(), 2);
}

/// Returns the package with the program of a fake pnpm.
fn pnpm_package(version: &str) -> Vec<u8> {
    Archive::empty()
        .file("package/package.json", b"{}")
        .file("package/LICENSE", b"do as you like\n")
        .file("package/pnpm", format!("#!/bin/sh\necho {version}\n").as_bytes())
        .bytes()
}

/// Starts a registry with that package, which lists a wrong hash for it: only the pinned hash
/// counts.
fn pnpm_registry(package: Vec<u8>) -> Server {
    let tarball = format!(
        "{}@pnpm/exe.linux-x64/-/exe.linux-x64-12.0.1.tgz",
        belljar_provision::DEFAULT_REGISTRY
    );
    let described = serde_json::json!({"versions": {"12.0.1": {"dist": {"tarball": tarball, "integrity": "sha512-AAAA"}}}}).to_string();
    Server::start(move |request| {
        Reply::Whole(if wants_archive(request) {
            package.clone()
        } else {
            described.clone().into_bytes()
        })
    })
}

#[test]
fn pnpm_comes_from_the_registry_of_its_scope_by_its_pinned_hash() {
    let cache = tempfile::tempdir().unwrap();
    let package = pnpm_package("12.0.1");
    let server = pnpm_registry(package.clone());
    let mut config = server.config(cache.path());
    config.registry = Registry::at(&server.url.replace("http://", "http://me:s3cret@"));
    assert!(!format!("{config:?}").contains("s3cret"));
    config.pnpm_release = release("12.0.1", b"something else");
    assert!(matches!(pnpm(&config), Err(ProvisionError::WrongHash { .. })));
    config.pnpm_release = release("12.0.1", &package);
    let fetched = pnpm(&config).unwrap();
    assert_eq!((fetched.source, fetched.version.to_string().as_str()), (Source::Fetched, "12.0.1"));
    let place = fetched.program.parent().unwrap().parent().unwrap();
    assert_eq!(files(place), ["LICENSE", "bin/pnpm", "manifest.json", "package.json"]);
    assert_eq!(server.requests("").len(), 4);
    assert!(
        server
            .requests("")
            .iter()
            .all(|request| request.header("authorization") == Some("Basic bWU6czNjcmV0"))
    );
    let arch = if cfg!(target_arch = "x86_64") { "x64" } else { "arm64" };
    assert_eq!(server.requests("")[0].path, format!("/@pnpm%2fexe.linux-{arch}"));
}

#[test]
fn another_program_called_uv_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let cat = fs::read(fs::canonicalize("/bin/cat").unwrap()).unwrap();
    crate::node::write_program(&folder.path().join("bin/uv"), &cat);
    let config = ProvisionConfig {
        search_path: vec![folder.path().join("bin")],
        ..crate::node::offline(&folder.path().join("cache"))
    };
    let error = uv(&config).unwrap_err().to_string();
    assert!(
        error.starts_with("uv 0.9.17 or newer, below 1, is neither cached nor on PATH"),
        "{error}"
    );
    assert!(error.contains("does not answer like uv"), "{error}");
}
