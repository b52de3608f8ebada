//! The order in which environments and packages are removed: the least recently used first, and a
//! package only after all environments that are linked from it.

use std::collections::HashMap;
use std::time::SystemTime;

use crate::environment_record::EnvironmentRecord;
use crate::package_store::PackageRecord;

/// An environment or a package.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) key: String,
    pub(crate) used: SystemTime,
    pub(crate) is_package: bool,
    bytes: u64,
    linked_from: Vec<String>,
}

/// Cached environments and packages that were not examined yet.
#[derive(Debug)]
pub(crate) struct KeptThings {
    /// The most recently used first.
    environments: Vec<Kept>,
    packages: HashMap<String, Kept>,
    /// Number of environments that link to a package, by package.
    links: HashMap<String, usize>,
    /// Total size of the cache.
    pub(crate) bytes: u64,
}

impl KeptThings {
    pub(crate) fn new(
        environments: Vec<(EnvironmentRecord, SystemTime)>,
        packages: Vec<(PackageRecord, SystemTime)>,
    ) -> Self {
        let environment = |(record, used): (EnvironmentRecord, SystemTime)| Kept {
            key: record.key,
            used,
            is_package: false,
            // What is linked holds nothing of its own.
            bytes: if record.linked_from.is_empty() { record.size_bytes } else { 0 },
            linked_from: record.linked_from,
        };
        let mut environments: Vec<Kept> = environments.into_iter().map(environment).collect();
        environments.sort_by_key(|kept| std::cmp::Reverse(kept.used));
        let package = |(record, used): (PackageRecord, SystemTime)| {
            let key = record.key;
            (
                key.clone(),
                Kept {
                    key,
                    used,
                    is_package: true,
                    bytes: record.size_bytes,
                    linked_from: Vec::new(),
                },
            )
        };
        let packages: HashMap<String, Kept> = packages.into_iter().map(package).collect();
        let mut links: HashMap<String, usize> = HashMap::new();
        for key in environments.iter().flat_map(|environment| &environment.linked_from) {
            *links.entry(key.clone()).or_default() += 1;
        }
        let bytes = environments.iter().chain(packages.values()).map(|kept| kept.bytes).sum();
        Self { environments, packages, links, bytes }
    }

    /// The next one: it is not looked at again.
    pub(crate) fn least_used(&mut self) -> Option<Kept> {
        let is_free = |key: &str| self.links.get(key).is_none_or(|links| *links == 0);
        let free = self.packages.values().filter(|package| is_free(&package.key));
        let package = free
            .min_by(|one, other| (one.used, &one.key).cmp(&(other.used, &other.key)))
            .map(|package| (package.used, package.key.clone()));
        match (self.environments.last().map(|environment| environment.used), package) {
            (Some(environment), Some((used, key))) if used < environment => {
                self.packages.remove(&key)
            }
            (Some(_), _) => self.environments.pop(),
            (None, Some((_, key))) => self.packages.remove(&key),
            (None, None) => None,
        }
    }

    /// Notes that one was removed.
    pub(crate) fn removed(&mut self, kept: &Kept) {
        self.bytes = self.bytes.saturating_sub(kept.bytes);
        for key in &kept.linked_from {
            if let Some(links) = self.links.get_mut(key) {
                *links = links.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn kept(key: &str, seconds: u64, is_package: bool, bytes: u64, linked_from: &[&str]) -> Kept {
        let linked_from = linked_from.iter().map(|&key| key.to_owned()).collect();
        Kept {
            key: key.to_owned(),
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            is_package,
            bytes,
            linked_from,
        }
    }

    fn things() -> KeptThings {
        let environments = vec![
            kept("new", 9, false, 0, &["venv", "b"]),
            kept("old", 1, false, 0, &["venv", "a"]),
        ];
        let packages = [("venv", 2), ("a", 3), ("b", 4), ("free", 5)]
            .map(|(key, used)| (key.to_owned(), kept(key, used, true, 10, &[])));
        let links = [("venv", 2), ("a", 1), ("b", 1)].map(|(key, links)| (key.to_owned(), links));
        KeptThings { environments, packages: packages.into(), links: links.into(), bytes: 40 }
    }

    #[test]
    fn a_package_goes_once_nothing_is_linked_from_it() {
        let mut things = things();
        let mut order = Vec::new();
        while let Some(least) = things.least_used() {
            things.removed(&least);
            order.push(least.key);
        }
        assert_eq!(order, ["old", "a", "free", "new", "venv", "b"]);
        assert_eq!(things.bytes, 0);
    }

    #[test]
    fn what_an_environment_in_use_is_linked_from_stays() {
        let mut things = things();
        // It cannot be removed.
        assert_eq!(things.least_used().unwrap().key, "old");
        let left: Vec<String> = std::iter::from_fn(|| {
            let least = things.least_used()?;
            things.removed(&least);
            Some(least.key)
        })
        .collect();
        assert_eq!(left, ["free", "new", "b"]);
    }
}
