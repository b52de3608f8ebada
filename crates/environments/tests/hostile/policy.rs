//! The effects of a policy and of a run's own options.

use std::time::{Duration, SystemTime};

use belljar_environments::{EnvironmentError, Wanted};
use belljar_protocol::{Language, PackageOptions, Timestamp};
use belljar_provision::{PackageIndex, PythonIndex};

use crate::home::{Home, parse, wanted};
use crate::registry::{OLD, Registry};

const BOTH: [Language; 2] = [Language::Python, Language::JavaScript];

fn days_ago(days: u64) -> String {
    let at = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    serde_json::to_value(Timestamp::from_system(at)).unwrap().as_str().unwrap().to_owned()
}

fn put(registry: &Registry, package: &str, version: &str, needs: &[&str], published: &str) {
    let file = format!("{}-{version}-py3-none-any.whl", package.replace('-', "_"));
    registry.python(package, &file, crate::archive::wheel(package, version, needs, &[]), published);
    let dependencies: Vec<String> = needs.iter().map(|name| format!("{name:?}: \"*\"")).collect();
    let dependencies = format!(", \"dependencies\": {{{}}}", dependencies.join(", "));
    registry.npm_at(package, &format!("{version}.0"), &dependencies, &[], published);
}

fn filled() -> Registry {
    let registry = Registry::start();
    put(&registry, "outer", "1.0", &["inner"], OLD);
    put(&registry, "inner", "1.0", &[], OLD);
    put(&registry, "inner", "1.1", &[], &days_ago(1));
    put(&registry, "young", "1.0", &[], &days_ago(1));
    put(&registry, "needs-young", "1.0", &["young"], OLD);
    registry
}

fn version_of(prepared: &belljar_environments::PreparedEnvironment, package: &str) -> String {
    prepared
        .record
        .packages
        .iter()
        .find(|known| known.name == package)
        .expect("it is in the record")
        .version
        .trim_end_matches(".0")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_are_too_young_do_not_count() {
    let registry = filled();
    let home = Home::new(&registry);
    for language in BOTH {
        let prepared = home.get(&wanted(language, &["outer"])).await.unwrap();
        assert_eq!(version_of(&prepared, "inner"), "1", "{language}");
        for package in ["young", "needs-young"] {
            let error = home.get(&wanted(language, &[package])).await.unwrap_err();
            assert!(
                error.to_string().contains("younger than 3 days are ignored")
                    && error.name() == "PackagesNotResolved",
                "{language}: {error}"
            );
        }
        let shortened = |days, packages| Wanted {
            minimum_release_age_days: Some(days),
            ..wanted(language, packages)
        };
        let prepared = home.get(&shortened(0, &["outer"])).await.unwrap();
        assert_eq!(version_of(&prepared, "inner"), "1.1", "{language}");
        home.get(&shortened(0, &["needs-young"])).await.unwrap();
        // A run cannot request less than the policy allows.
        let strict =
            Home::new(&registry).policy(|policy| policy.min_requested_release_age_days = 2);
        let error = strict.get(&shortened(1, &["outer"])).await.unwrap_err();
        assert!(matches!(error, EnvironmentError::Refused { .. }), "{error}");
        assert_eq!(
            version_of(&strict.get(&shortened(2, &["outer"])).await.unwrap(), "inner"),
            "1",
            "{language}"
        );
        // The same minimum applies to a run that requests none. The lock of such a run is accepted.
        let strict = Home::new(&registry).policy(|policy| {
            (policy.minimum_release_age_days, policy.min_requested_release_age_days) = (0, 2);
        });
        let prepared = strict.get(&wanted(language, &["outer"])).await.unwrap();
        assert_eq!(version_of(&prepared, "inner"), "1", "{language}");
        let lock = Some(parse(&strict.environments, &prepared.lock));
        assert_eq!(
            strict.get(&Wanted { lock, ..wanted(language, &[]) }).await.unwrap().record.key,
            prepared.record.key,
            "{language}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_npms_with_too_young_a_version_is_refused() {
    let registry = filled();
    let home = Home::new(&registry);
    let shortened =
        Wanted { minimum_release_age_days: Some(0), ..wanted(Language::JavaScript, &["young"]) };
    let lock = home.environments.lock(&shortened, &home.policy, &home.tell()).await.unwrap();
    let error = home
        .get(&Wanted { lock: Some(lock.clone()), ..wanted(Language::JavaScript, &[]) })
        .await
        .unwrap_err();
    assert!(error.to_string().contains("young"), "{error}");
    let young = Wanted {
        lock: Some(lock.clone()),
        minimum_release_age_days: Some(0),
        ..wanted(Language::JavaScript, &[])
    };
    home.get(&young).await.unwrap();
    // The version is still too young, although an environment with it exists by now.
    let error = home
        .get(&Wanted { lock: Some(lock), ..wanted(Language::JavaScript, &[]) })
        .await
        .unwrap_err();
    assert!(error.to_string().contains("young"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_packages_come_from_is_part_of_what_was_asked() {
    let (one, other) = (filled(), filled());
    let first = Home::new(&one);
    for language in BOTH {
        let prepared = first.get(&wanted(language, &["inner"])).await.unwrap();
        let before = other.asked().len();
        let second = Home::at_same(&first, &other);
        let again = second.get(&wanted(language, &["inner"])).await.unwrap();
        assert!(
            other.asked().len() > before,
            "{language}: the registry that is configured now was not asked"
        );
        assert_eq!(
            language == Language::Python,
            again.lock.contains(other.address()),
            "{language}: {}",
            again.lock
        );
        assert!(!again.lock.contains(one.address()), "{language}: {}", again.lock);
        drop(prepared);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_others_can_write_is_not_used_even_if_it_has_the_environment() {
    let registry = filled();
    let home = Home::new(&registry);
    home.python(&["inner"]).await.unwrap();
    std::fs::set_permissions(home.store(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    let error = home.python(&["inner"]).await.unwrap_err();
    assert!(error.to_string().contains("other users can write to it"), "{error}");
    let key = home.names("made").pop().unwrap();
    assert!(home.environments.find(&key).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_packages_and_a_lock_are_one_too_many() {
    let registry = filled();
    let home = Home::new(&registry);
    for language in BOTH {
        let lock = home.get(&wanted(language, &["inner"])).await.unwrap().lock;
        let options = PackageOptions { lock: Some(lock), ..PackageOptions::default() };
        let error =
            home.run(language, "1", &["outer"], options, None).await.error.expect("it is refused");
        assert!(
            error.name == "InvalidPackages"
                && error.message.contains("a list of packages and a lock file"),
            "{}",
            error.message
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_does_not_answer_is_not_taken_for_one_without_the_package() {
    let registry = filled();
    let home = Home::with(&registry, |config| {
        // No server listens there.
        config.provision.python_index =
            PythonIndex::at(PackageIndex::parse("http://127.0.0.1:9/simple").unwrap());
        config.provision.registry = belljar_provision::Registry::at("http://127.0.0.1:9");
    });
    for language in BOTH {
        let error = home.get(&wanted(language, &["inner"])).await.unwrap_err();
        assert!(matches!(error, EnvironmentError::Registry(_)), "{language}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_blocked_or_not_allowed_is_not_installed_also_not_for_another() {
    let registry = filled();
    for language in BOTH {
        let home = Home::new(&registry).policy(|policy| policy.blocked = vec!["Inner".into()]);
        let error = home.get(&wanted(language, &["outer"])).await.unwrap_err().to_string();
        assert!(error.contains("inner") && error.contains("blocked"), "{error}");
        assert!(home.names("made").is_empty());
        // A lock that is already known makes no difference.
        assert!(home.get(&wanted(language, &["outer"])).await.is_err());
        let home = Home::new(&registry).policy(|policy| policy.allowed = vec!["outer".into()]);
        let error = home.get(&wanted(language, &["inner"])).await.unwrap_err().to_string();
        assert!(error.contains("inner") && error.contains("allowed"), "{error}");
        assert!(
            home.get(&wanted(language, &["outer"])).await.is_ok(),
            "what an allowed one needs comes with it"
        );
        let home = Home::new(&registry).policy(|policy| policy.enabled = false);
        assert!(matches!(
            home.get(&wanted(language, &["inner"])).await,
            Err(EnvironmentError::Refused { .. })
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_and_offline_fetch_nothing() {
    let registry = filled();
    for language in BOTH {
        let home = Home::new(&registry);
        let before = registry.asked().len();
        let error =
            home.get(&Wanted { frozen: true, ..wanted(language, &["outer"]) }).await.unwrap_err();
        assert!(
            matches!(error, EnvironmentError::Unlocked(_)) && error.to_string().contains("outer"),
            "{error}"
        );
        let offline = Wanted { offline: true, ..wanted(language, &["outer"]) };
        let error = home.get(&offline).await.unwrap_err();
        assert!(matches!(error, EnvironmentError::Offline(_)), "{language}: {error}");
        assert_eq!(registry.asked().len(), before);
        let prepared = home.get(&wanted(language, &["outer"])).await.unwrap();
        let asked = registry.asked().len();
        assert!(asked > before);
        assert_eq!(home.get(&offline).await.unwrap().record.key, prepared.record.key);
        // The downloads are enough to install the environment again.
        drop(prepared);
        while home.environments.collect(Some(Duration::ZERO)).unwrap().in_use > 0 {}
        let lock = home
            .environments
            .lock(&wanted(language, &["outer"]), &home.policy, &home.tell())
            .await
            .unwrap();
        let asked = registry.asked().len();
        let again =
            Wanted { offline: true, frozen: true, lock: Some(lock), ..wanted(language, &[]) };
        assert!(home.get(&again).await.is_ok(), "{language}");
        assert_eq!(registry.asked().len(), asked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_exists_only_elsewhere_does_not_exist() {
    let registry = filled();
    let home = Home::new(&registry);
    // Both are in the public registries, which are not configured here.
    for (language, package) in [(Language::Python, "six"), (Language::JavaScript, "lodash")] {
        let error = home.get(&wanted(language, &[package])).await.unwrap_err();
        assert!(
            matches!(&error, EnvironmentError::NotInRegistry { name, .. } if name == package),
            "{error}"
        );
        assert!(error.to_string().contains(package) && home.names("made").is_empty());
        assert!(registry.count(package) > 0);
        let outcome = home.run(language, "1", &[package], PackageOptions::default(), None).await;
        assert_eq!(outcome.error.unwrap().name, "PackageNotFound");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_do_not_tell_a_tenant_where_the_host_keeps_things() {
    let registry = filled();
    let home = Home::new(&registry);
    std::fs::create_dir_all(home.store()).unwrap();
    // The folder cannot be created.
    std::fs::write(home.store().join("making"), "").unwrap();
    let path = home.store().display().to_string();
    let tenants = home
        .run(Language::Python, "1", &["inner"], PackageOptions::default(), Some("a tenant"))
        .await
        .error
        .unwrap();
    assert!(
        !tenants.message.contains(&path)
            && tenants.hint.is_some_and(|hint| hint.contains("operator")),
        "{}",
        tenants.message
    );
    let own = home
        .run(Language::Python, "1", &["inner"], PackageOptions::default(), None)
        .await
        .error
        .unwrap();
    assert!(own.message.contains(&path), "{}", own.message);
}

/// A mirror that forbids caching is not queried again for each combination of packages, unless a
/// version may be minutes old.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_index_answered_counts_for_a_while_where_no_version_can_be_so_new() {
    let registry = filled();
    registry.keep_nothing();
    let home = Home::new(&registry);
    home.get(&wanted(Language::Python, &["outer"])).await.unwrap();
    let asked = registry.count("/simple/inner");
    assert!(asked > 0);
    home.get(&wanted(Language::Python, &["outer", "inner"])).await.unwrap();
    assert_eq!(registry.count("/simple/inner"), asked);
    home.get(&Wanted { minimum_release_age_days: Some(0), ..wanted(Language::Python, &["inner"]) })
        .await
        .unwrap();
    assert!(registry.count("/simple/inner") > asked, "{:#?}", registry.asked());
}
