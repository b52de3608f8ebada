//! `belljar self-test` on a machine where every check passes.

use belljar_test_support::{belljar, said};
use serde_json::Value;

#[test]
fn forks_are_safe_and_know_what_a_run_touches() {
    let said = said(&mut belljar(["self-test", "--json"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    let results: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
    let runtimes: Vec<&str> =
        results.iter().filter_map(|result| result["runtime"].as_str()?.split('@').next()).collect();
    assert_eq!(runtimes, ["node", "python"]);
    for result in &results {
        assert!(
            result["checks"]
                .as_object()
                .is_some_and(|checks| checks.len() > 5 && checks.values().all(Value::is_null)),
            "{result}"
        );
        assert_eq!(result["scout_came_back"], true, "{result}");
    }
}
