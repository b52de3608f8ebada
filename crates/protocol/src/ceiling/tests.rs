use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::policy::{FsPolicy, StoragePolicy};

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn ceiling() -> Ceiling {
    let policy = Policy {
        fs: FsPolicy { read: texts(&["/data"]), write: texts(&["/work"]) },
        net: texts(&["example.com:443"]),
        loopback: false,
        env: [("CITY".to_owned(), "Oslo".to_owned())].into(),
        exec: false,
        secrets: texts(&["TOKEN"]),
        storage: StoragePolicy { read: texts(&["inputs/"]), write: texts(&["outputs/"]) },
    };
    Ceiling { policy, limits: Limits::default() }
}

fn refused(policy: &Policy) -> Widened {
    ceiling().narrow(Some(policy), None).expect_err("it is wider")
}

fn allowed(policy: &Policy) {
    assert_eq!(ceiling().narrow(Some(policy), None).as_ref().map(|(policy, _)| policy), Ok(policy));
}

fn fs_policy(read: &[&str], write: &[&str]) -> Policy {
    Policy { fs: FsPolicy { read: texts(read), write: texts(write) }, ..Policy::default() }
}

#[test]
fn who_asks_for_nothing_gets_what_was_granted_and_default_limits() {
    let mut ceiling = ceiling();
    ceiling.limits.memory_bytes = Bytes(64 << 20);
    ceiling.limits.timeout_ms = Millis(600_000);
    let (policy, limits) = ceiling.narrow(None, None).unwrap();
    assert_eq!(policy, ceiling.policy);
    assert_eq!(limits, Limits { memory_bytes: Bytes(64 << 20), ..Limits::default() });
}

#[test]
fn an_empty_policy_is_the_narrowest() {
    allowed(&Policy::default());
}

#[test]
fn reading_what_is_granted_and_what_lies_in_it() {
    allowed(&fs_policy(&["/data", "/data/2026/in.csv"], &[]));
    for wider in ["/", "/data2", "/dat", "/etc", "/data/../etc", "/data//x", "/data/./x", "/data/", "data", ""] {
        assert_eq!(refused(&fs_policy(&[wider], &[])).field, "policy.fs.read", "{wider:?}");
    }
}

#[test]
fn what_may_be_written_may_be_read_but_not_the_other_way_round() {
    allowed(&fs_policy(&["/work"], &["/work"]));
    let widened = refused(&fs_policy(&[], &["/data"]));
    assert_eq!(widened.to_string(), r#"policy.fs.write: "/data" is more than the ceiling allows, which is ["/work"]"#);
}

#[test]
fn in_a_folder_that_runs_write_a_path_could_be_a_link_that_one_of_them_made() {
    assert_eq!(refused(&fs_policy(&["/work/x"], &[])).field, "policy.fs.read");
    assert_eq!(refused(&fs_policy(&[], &["/work/x"])).field, "policy.fs.write");
    // Also where the folder is granted for reading besides.
    let nested = Ceiling { policy: fs_policy(&["/work/in"], &["/work"]), limits: Limits::default() };
    assert!(nested.narrow(Some(&fs_policy(&["/work/in/x"], &[])), None).is_err());
    assert!(nested.narrow(Some(&fs_policy(&["/work/in"], &[])), None).is_ok());
}

#[test]
fn each_other_field_of_a_policy() {
    let ceiling = ceiling().policy;
    allowed(&Policy { fs: FsPolicy::default(), ..ceiling.clone() });
    let none = Policy::default();
    for (field, policy) in [
        ("policy.net", Policy { net: texts(&["example.com:443", "example.org"]), ..none.clone() }),
        ("policy.loopback", Policy { loopback: true, ..none.clone() }),
        ("policy.exec", Policy { exec: true, ..none.clone() }),
        ("policy.secrets", Policy { secrets: texts(&["OTHER"]), ..none.clone() }),
        ("policy.env", Policy { env: [("HOME".to_owned(), "Oslo".to_owned())].into(), ..none.clone() }),
        ("policy.env", Policy { env: [("CITY".to_owned(), "Rome".to_owned())].into(), ..none.clone() }),
        ("policy.storage.read", Policy { storage: StoragePolicy { read: texts(&["input"]), write: vec![] }, ..none.clone() }),
        ("policy.storage.read", Policy { storage: StoragePolicy { read: texts(&["outputs/x"]), write: vec![] }, ..none.clone() }),
        ("policy.storage.write", Policy { storage: StoragePolicy { read: vec![], write: texts(&[""]) }, ..none.clone() }),
    ] {
        assert_eq!(refused(&policy).field, field);
    }
    allowed(&Policy { storage: StoragePolicy { read: texts(&["inputs/2026/"]), write: vec![] }, ..none });
}

#[test]
fn the_operators_values_are_not_told() {
    let policy = Policy { env: [("CITY".to_owned(), "guess".to_owned())].into(), ..Policy::default() };
    let told = refused(&policy).to_string();
    assert!(told.contains("CITY") && !told.contains("Oslo"), "{told}");
}

#[test]
fn each_limit() {
    let most = ceiling().limits;
    for (field, limits) in [
        ("limits.timeout_ms", Limits { timeout_ms: Millis(30_001), ..most }),
        ("limits.cpu_ms", Limits { cpu_ms: Millis(10_001), ..most }),
        ("limits.memory_bytes", Limits { memory_bytes: Bytes((256 << 20) + 1), ..most }),
        ("limits.processes", Limits { processes: 65, ..most }),
        ("limits.disk_bytes", Limits { disk_bytes: Bytes((64 << 20) + 1), ..most }),
        ("limits.files", Limits { files: 10_001, ..most }),
        ("limits.output_bytes", Limits { output_bytes: Bytes((1 << 20) + 1), ..most }),
        ("limits.open_files", Limits { open_files: 257, ..most }),
        ("limits.result_bytes", Limits { result_bytes: Bytes((10 << 20) + 1), ..most }),
    ] {
        assert_eq!(ceiling().narrow(None, Some(&limits)).unwrap_err().field, field);
    }
    let less = Limits { timeout_ms: Millis(1), processes: 1, ..most };
    assert_eq!(ceiling().narrow(None, Some(&less)).unwrap().1, less);
    let widened = ceiling().narrow(None, Some(&Limits { timeout_ms: Millis(60_000), ..most })).unwrap_err();
    assert_eq!(widened.to_string(), "limits.timeout_ms: 60000 (60 s) is more than the ceiling allows, which is at most 30000 (30 s)");
}

#[test]
fn a_ceiling_has_no_grant_in_a_folder_that_programs_write() {
    let ceiling = |read: &[&str], write: &[&str]| Ceiling { policy: fs_policy(read, write), limits: Limits::default() };
    assert_eq!(ceiling(&["/data", "/data/in"], &["/work"]).validate(), Ok(()));
    assert_eq!(ceiling(&["/work"], &["/work"]).validate(), Ok(()));
    for (read, write) in [(&["/work/in"][..], &["/work"][..]), (&[], &["/work/a", "/work"])] {
        assert!(matches!(ceiling(read, write).validate(), Err(InvalidCeiling::Nested { .. })), "{read:?} {write:?}");
    }
    assert!(ceiling(&["data"], &[]).validate().is_err());
}

/// All that a policy gives, each right by itself, over a small world of paths, names and prefixes.
fn rights(policy: &Policy) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for path in PATHS {
        let covers = |grant: &String| std::path::Path::new(path).starts_with(grant);
        if policy.fs.write.iter().any(covers) {
            rights.extend([format!("write {path}"), format!("read {path}")]);
        }
        if policy.fs.read.iter().any(covers) {
            rights.insert(format!("read {path}"));
        }
        let begins = |prefix: &String| path.starts_with(prefix.as_str());
        if policy.storage.read.iter().any(begins) {
            rights.insert(format!("download {path}"));
        }
        if policy.storage.write.iter().any(begins) {
            rights.insert(format!("upload {path}"));
        }
    }
    rights.extend(policy.net.iter().map(|host| format!("reach {host}")));
    rights.extend(policy.secrets.iter().map(|name| format!("know {name}")));
    rights.extend(policy.env.iter().map(|(name, value)| format!("see {name}={value}")));
    rights.extend(policy.exec.then(|| "exec".to_owned()));
    rights.extend(policy.loopback.then(|| "loopback".to_owned()));
    rights
}

const PATHS: [&str; 8] = ["/a", "/a/b", "/a/b/c", "/ab", "/a/../x", "/x", "a", "ab/c"];

fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(of).prop_map(str::to_owned), 0..3)
}

prop_compose! {
    fn any_policy()(
        read in some(&PATHS),
        write in some(&PATHS),
        net in some(&["h", "h:1"]),
        secrets in some(&["S", "T"]),
        storage_read in some(&["", "a", "ab/", "/a"]),
        storage_write in some(&["", "a", "ab/", "/a"]),
        env in prop::collection::btree_map(prop::sample::select(vec!["N", "M"]).prop_map(str::to_owned), "[12]", 0..3),
        exec in any::<bool>(),
        loopback in any::<bool>(),
    ) -> Policy {
        let (fs, storage) = (FsPolicy { read, write }, StoragePolicy { read: storage_read, write: storage_write });
        Policy { fs, net, loopback, env, exec, secrets, storage }
    }
}

prop_compose! {
    fn any_limits()(n in prop::array::uniform9(1_u32..4)) -> Limits {
        Limits {
            timeout_ms: Millis(n[0].into()), cpu_ms: Millis(n[1].into()), memory_bytes: Bytes(n[2].into()), processes: n[3],
            disk_bytes: Bytes(n[4].into()), files: n[5], output_bytes: Bytes(n[6].into()), open_files: n[7], result_bytes: Bytes(n[8].into()),
        }
    }
}

fn numbers(limits: &Limits) -> [u64; 9] {
    [
        limits.timeout_ms.0,
        limits.cpu_ms.0,
        limits.memory_bytes.0,
        limits.processes.into(),
        limits.disk_bytes.0,
        limits.files.into(),
        limits.output_bytes.0,
        limits.open_files.into(),
        limits.result_bytes.0,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_is_let_through_is_never_wider_than_the_ceiling(
        most in any_policy(),
        limits in any_limits(),
        asked in prop::option::of(any_policy()),
        asked_limits in prop::option::of(any_limits()),
    ) {
        let ceiling = Ceiling { policy: most, limits };
        if let Ok((policy, limits)) = ceiling.narrow(asked.as_ref(), asked_limits.as_ref()) {
            prop_assert!(rights(&policy).is_subset(&rights(&ceiling.policy)), "{policy:?}");
            prop_assert!(numbers(&limits).iter().zip(numbers(&ceiling.limits)).all(|(asked, most)| *asked <= most), "{limits:?}");
        }
    }

    #[test]
    fn the_ceiling_itself_is_within_it(most in any_policy(), limits in any_limits()) {
        let ceiling = Ceiling { policy: most, limits };
        prop_assert_eq!(ceiling.narrow(Some(&ceiling.policy), Some(&ceiling.limits)), Ok((ceiling.policy.clone(), ceiling.limits)));
    }
}
