use std::collections::BTreeSet;

use belljar_access::{Exec, Network};
use proptest::prelude::*;

use super::*;
use crate::limits::{LIMITS, RequestedLimits};
use crate::policy::{FsPolicy, StoragePolicy};
use crate::units::Millis;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn ceiling() -> Ceiling {
    let policy = Policy {
        fs: FsPolicy { read: texts(&["/data"]), write: texts(&["/work"]) },
        net: texts(&["example.com:443"]),
        network: Network::None,
        env: [("CITY".to_owned(), "Oslo".to_owned())].into(),
        exec: Exec::Denied,
        secrets: texts(&["TOKEN"]),
        storage: StoragePolicy { read: texts(&["inputs/"]), write: texts(&["outputs/"]) },
    };
    Ceiling { policy, limits: Limits::default() }
}

fn refused(policy: &Policy) -> Widened {
    ceiling().check(policy, &Limits::default()).expect_err("it is wider")
}

fn allowed(policy: &Policy) {
    assert_eq!(ceiling().check(policy, &Limits::default()), Ok(()));
}

fn fs_policy(read: &[&str], write: &[&str]) -> Policy {
    Policy { fs: FsPolicy { read: texts(read), write: texts(write) }, ..Policy::default() }
}

#[test]
fn an_empty_policy_is_the_narrowest() {
    allowed(&Policy::default());
}

#[test]
fn reading_what_is_granted_and_what_lies_in_it() {
    allowed(&fs_policy(&["/data", "/data/2026/in.csv"], &[]));
    for wider in [
        "/",
        "/data2",
        "/dat",
        "/etc",
        "/data/../etc",
        "/data//x",
        "/data/./x",
        "/data/",
        "data",
        "",
    ] {
        assert_eq!(refused(&fs_policy(&[wider], &[])).field, "policy.fs.read", "{wider:?}");
    }
}

#[test]
fn what_may_be_written_may_be_read_but_not_the_other_way_round() {
    allowed(&fs_policy(&["/work"], &["/work"]));
    let widened = refused(&fs_policy(&[], &["/data"]));
    assert_eq!(
        widened.to_string(),
        r#"policy.fs.write: "/data" is more than the ceiling allows, which is ["/work"]"#
    );
}

#[test]
fn in_a_folder_that_runs_write_a_path_could_be_a_link_that_one_of_them_made() {
    assert_eq!(refused(&fs_policy(&["/work/x"], &[])).field, "policy.fs.read");
    assert_eq!(refused(&fs_policy(&[], &["/work/x"])).field, "policy.fs.write");
    // Also where the folder is granted for reading besides.
    let nested =
        Ceiling { policy: fs_policy(&["/work/in"], &["/work"]), limits: Limits::default() };
    assert!(nested.check(&fs_policy(&["/work/in/x"], &[]), &nested.limits).is_err());
    assert!(nested.check(&fs_policy(&["/work/in"], &[]), &nested.limits).is_ok());
}

#[test]
fn each_other_field_of_a_policy() {
    let ceiling = ceiling().policy;
    allowed(&Policy { fs: FsPolicy::default(), ..ceiling.clone() });
    let none = Policy::default();
    for (field, policy) in [
        ("policy.net", Policy { net: texts(&["example.com:443", "example.org"]), ..none.clone() }),
        ("policy.loopback", Policy { network: Network::Loopback, ..none.clone() }),
        ("policy.exec", Policy { exec: Exec::Granted, ..none.clone() }),
        ("policy.secrets", Policy { secrets: texts(&["OTHER"]), ..none.clone() }),
        (
            "policy.env",
            Policy { env: [("HOME".to_owned(), "Oslo".to_owned())].into(), ..none.clone() },
        ),
        (
            "policy.env",
            Policy { env: [("CITY".to_owned(), "Rome".to_owned())].into(), ..none.clone() },
        ),
        (
            "policy.storage.read",
            Policy {
                storage: StoragePolicy { read: texts(&["input"]), write: vec![] },
                ..none.clone()
            },
        ),
        (
            "policy.storage.read",
            Policy {
                storage: StoragePolicy { read: texts(&["outputs/x"]), write: vec![] },
                ..none.clone()
            },
        ),
        (
            "policy.storage.write",
            Policy { storage: StoragePolicy { read: vec![], write: texts(&[""]) }, ..none.clone() },
        ),
    ] {
        assert_eq!(refused(&policy).field, field);
    }
    allowed(&Policy {
        storage: StoragePolicy { read: texts(&["inputs/2026/"]), write: vec![] },
        ..none
    });
}

#[test]
fn an_error_does_not_reveal_the_values_of_the_ceilings_environment_variables() {
    let policy =
        Policy { env: [("CITY".to_owned(), "guess".to_owned())].into(), ..Policy::default() };
    let message = refused(&policy).to_string();
    assert!(message.contains("CITY") && !message.contains("Oslo"), "{message}");
}

#[test]
fn each_limit() {
    let most = ceiling().limits;
    let check = |limits| ceiling().check(&Policy::default(), &limits);
    for limit in &LIMITS {
        let wider =
            RequestedLimits::from_each(|other| (other == limit).then_some(limit.default + 1));
        assert_eq!(check(wider.over(most)).unwrap_err().field, limit.field);
    }
    assert_eq!(check(Limits { timeout_ms: Millis(1), processes: 1, ..most }), Ok(()));
    let widened = check(Limits { timeout_ms: Millis(60_000), ..most }).unwrap_err();
    assert_eq!(
        widened.to_string(),
        "limits.timeout_ms: 60000 (60 s) is more than the ceiling allows, which is at most 30000 (30 s)"
    );
}

#[test]
fn a_ceiling_has_no_grant_in_a_folder_that_programs_write() {
    let ceiling = |read: &[&str], write: &[&str]| Ceiling {
        policy: fs_policy(read, write),
        limits: Limits::default(),
    };
    assert_eq!(ceiling(&["/data", "/data/in"], &["/work"]).validate(), Ok(()));
    assert_eq!(ceiling(&["/work"], &["/work"]).validate(), Ok(()));
    for (read, write) in [(&["/work/in"][..], &["/work"][..]), (&[], &["/work/a", "/work"])] {
        assert!(
            matches!(ceiling(read, write).validate(), Err(InvalidCeiling::Nested { .. })),
            "{read:?} {write:?}"
        );
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
    rights.extend((policy.exec == Exec::Granted).then(|| "exec".to_owned()));
    rights.extend((policy.network == Network::Loopback).then(|| "loopback".to_owned()));
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
        env in prop::collection::btree_map(
            prop::sample::select(vec!["N", "M"]).prop_map(str::to_owned),
            "[12]",
            0..3,
        ),
        exec in proptest::sample::select(&Exec::ALL[..]),
        network in proptest::sample::select(&[Network::None, Network::Loopback][..]),
    ) -> Policy {
        let fs = FsPolicy { read, write };
        let storage = StoragePolicy { read: storage_read, write: storage_write };
        Policy { fs, net, network, env, exec, secrets, storage }
    }
}

prop_compose! {
    fn any_limits()(numbers in prop::collection::vec(1_u64..4, LIMITS.len())) -> Limits {
        let mut numbers = numbers.into_iter();
        RequestedLimits::from_each(|_| numbers.next()).over(Limits::default())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_is_let_through_is_never_wider_than_the_ceiling(
        most in any_policy(),
        limits in any_limits(),
        policy in any_policy(),
        asked in any_limits(),
    ) {
        let ceiling = Ceiling { policy: most, limits };
        if ceiling.check(&policy, &asked).is_ok() {
            prop_assert!(rights(&policy).is_subset(&rights(&ceiling.policy)), "{policy:?}");
            let mut pairs = asked.each().zip(ceiling.limits.each());
            prop_assert!(pairs.all(|((_, granted), (_, max))| granted <= max), "{asked:?}");
        }
    }

    #[test]
    fn the_ceiling_itself_is_within_it(most in any_policy(), limits in any_limits()) {
        let ceiling = Ceiling { policy: most, limits };
        prop_assert_eq!(ceiling.check(&ceiling.policy, &ceiling.limits), Ok(()));
    }
}
