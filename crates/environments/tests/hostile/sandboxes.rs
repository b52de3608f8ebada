//! Access of a program to environments: only its own, and read-only.

use belljar_protocol::{Language, PackageOptions};
use serde_json::Value;

use crate::home::Home;
use crate::registry::Registry;

async fn value(
    home: &Home,
    language: Language,
    code: &str,
    package: &str,
    tenant: Option<&str>,
) -> Value {
    let outcome = home
        .run(
            language,
            code,
            &[package],
            PackageOptions { only: true, ..PackageOptions::default() },
            tenant,
        )
        .await;
    serde_json::from_str(outcome.value.unwrap_or_else(|| panic!("{:?}", outcome.error)).get())
        .unwrap()
}

const WRITES: &str = r"
import os, mine
def tried(what):
    try:
        return repr(what())
    except BaseException as error:
        return 'error ' + type(error).__name__
file, folder = mine.__file__, os.path.dirname(mine.__file__)
[mine.NAME, {
    'write': tried(lambda: open(file, 'w')),
    'append': tried(lambda: open(file, 'a')),
    'new': tried(lambda: open(folder + '/new.py', 'w')),
    'remove': tried(lambda: os.remove(file)),
    'rename': tried(lambda: os.rename(file, file + 'x')),
    'mode': tried(lambda: os.chmod(file, 0o777)),
    'owner': tried(lambda: os.chown(file, os.getuid(), os.getgid())),
    'times': tried(lambda: os.utime(file, (0, 0))),
    'link': tried(lambda: os.link(file, '/tmp/link')),
    'other': tried(lambda: __import__('other')),
}, sorted(name for name in os.listdir('/opt/belljar')), open('/proc/self/mountinfo').read()]
";

#[tokio::test(flavor = "multi_thread")]
async fn a_program_cannot_change_its_environment_or_see_another() {
    let registry = Registry::start();
    for package in ["mine", "other"] {
        registry.wheel(package, "1.0", &[], &[]);
        registry.npm(package, "1.0.0", "", &[]);
    }
    let home = Home::new(&registry);
    home.python(&["other"]).await.unwrap();
    home.npm(&["other"]).await.unwrap();
    let found = value(&home, Language::Python, WRITES, "mine", None).await;
    assert_eq!(found[0], "mine");
    for (attempt, answer) in found[1].as_object().unwrap() {
        assert!(answer.as_str().unwrap().starts_with("error"), "{attempt}: {answer}");
    }
    let store = home.store().display().to_string();
    // The list of mounts contains the folder of each mounted environment. Only the program's own
    // may be in it.
    let mounts = found[3].as_str().unwrap();
    let others: Vec<&str> = mounts.lines().filter(|line| line.contains("/made/")).collect();
    assert!(others.len() <= 1, "{others:?} of {store}");

    let code = "const fs = require('fs'); const tried = what => { try { return String(what()); } catch (error) { return 'error ' + error.code; } };\n\
                [require('mine').name, [tried(() => fs.writeFileSync('/node_modules/mine/index.js', 'x')), tried(() => fs.mkdirSync('/node_modules/new')), tried(() => fs.chmodSync('/node_modules/mine/index.js', 0o777)), tried(() => fs.rmSync('/node_modules/mine', { recursive: true })), tried(() => require('other'))], fs.readdirSync('/node_modules')]";
    let found = value(&home, Language::JavaScript, code, "mine", None).await;
    assert_eq!(found[0], "mine");
    assert!(
        found[1]
            .as_array()
            .unwrap()
            .iter()
            .all(|answer| answer.as_str().unwrap().starts_with("error")),
        "{found}"
    );
    assert!(!found[2].as_array().unwrap().contains(&"other".into()));
    // The next run finds nothing changed.
    assert_eq!(
        value(&home, Language::Python, "import mine\nmine.NAME", "mine", None).await,
        "mine"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_share_files_and_no_zygote() {
    let registry = Registry::start();
    registry.wheel("mine", "1.0", &[], &[]);
    let home = Home::new(&registry);
    // Forks of one zygote share their address layout.
    let code = "import mine\nhex(id(type)) + open('/proc/self/maps').readline().split()[0]";
    let of = async |tenant: &str| value(&home, Language::Python, code, "mine", Some(tenant)).await;
    let (one, again, other) = (of("one").await, of("one").await, of("other").await);
    assert_eq!(one, again, "runs of one tenant are forks of one zygote");
    assert_ne!(one, other, "runs of two are not");
    assert_eq!(home.names("made").len(), 1, "the files are the same for both");
}
