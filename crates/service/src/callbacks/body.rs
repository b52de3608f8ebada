//! The bodies of callbacks.

use belljar_protocol::{Outcome, Policy, RunRecord};
use serde::Serialize;

/// The maximum size of a body. If it is exceeded, the parts of the outcome that have no limit of
/// their own are left out, and the receiver can fetch them.
const MAX_BODY_BYTES: usize = 256 << 10;

/// The body of a callback: the record of the run, and whether parts of it were left out.
#[derive(Serialize)]
struct CallbackBody {
    #[serde(flatten)]
    record: RunRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Truncated>,
}

#[derive(Serialize)]
struct Truncated {
    /// Fields of the outcome or of the record that were left out.
    left_out: &'static [&'static str],
    /// The path of the complete record on this server.
    path: String,
}

/// Returns the body of a callback, of at most [`MAX_BODY_BYTES`]. If the whole outcome does not
/// fit, its unlimited parts are left out, and then the outcome and the policy as a whole.
pub(super) fn body(record: RunRecord, outcome: Option<Outcome>) -> serde_json::Result<Vec<u8>> {
    let path = format!("/v1/runs/{}", record.id);
    let mut body = CallbackBody {
        record: RunRecord { outcome: outcome.map(Box::new), ..record },
        truncated: None,
    };
    let whole = serde_json::to_vec(&body)?;
    if whole.len() <= MAX_BODY_BYTES {
        return Ok(whole);
    }
    if let Some(outcome) = &mut body.record.outcome {
        (outcome.value, outcome.logs, outcome.results) = (None, Vec::new(), Vec::new());
    }
    body.truncated =
        Some(Truncated { left_out: &["value", "logs", "results"], path: path.clone() });
    let most = serde_json::to_vec(&body)?;
    if most.len() <= MAX_BODY_BYTES {
        return Ok(most);
    }
    // The rest is limited, except for the variables and paths of the policy.
    (body.record.outcome, body.record.policy) = (None, Policy::default());
    body.truncated = Some(Truncated { left_out: &["outcome", "policy"], path });
    serde_json::to_vec(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RunRecord {
        serde_json::from_str(
            r#"{"id": "run_019a", "project": "default", "status": "succeeded", "language": "python", "runtime": null, "entry": "main.py",
            "code_sha256": "e3b0", "created_at": "2026-01-02T03:04:05.678Z", "started_at": null, "finished_at": null, "labels": {},
            "comment": null, "priority": "interactive", "attempt": 1, "attempts": 1, "rerun_of": null, "token": "tok_019a", "usage": null,
            "policy": {}, "limits": {}}"#,
        )
        .unwrap()
    }

    fn outcome(value: &str, error: &str) -> Outcome {
        let json = serde_json::json!({
            "id": "run_019a", "status": "succeeded", "value": value, "error": {"name": "E", "message": error}, "logs": [], "results": [], "artifacts": [],
            "usage": {"wall_ms": 1, "cpu_user_ms": 1, "cpu_system_ms": 1, "peak_memory_bytes": 1, "output_bytes": 1, "processes": 1},
            "sandbox": {"runtime": "python@3.11", "start": "fork", "environment": null, "degraded": []}
        });
        serde_json::from_str(&json.to_string()).unwrap()
    }

    #[test]
    fn a_body_is_bounded_and_says_what_it_lacks() {
        let long = "x".repeat(MAX_BODY_BYTES);
        let mut wordy = record();
        wordy.policy.env.insert("LONG".into(), long.clone());
        for (record, outcome, left_out) in [
            (record(), outcome("short", "short"), serde_json::json!(null)),
            (record(), outcome(&long, "short"), serde_json::json!(["value", "logs", "results"])),
            (record(), outcome("short", &long), serde_json::json!(["outcome", "policy"])),
            (wordy, outcome("short", "short"), serde_json::json!(["outcome", "policy"])),
        ] {
            let body = body(record, Some(outcome)).unwrap();
            assert!(body.len() <= MAX_BODY_BYTES, "{}", body.len());
            let sent: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                (&sent["id"], &sent["truncated"]["left_out"]),
                (&"run_019a".into(), &left_out)
            );
            assert!(left_out.is_null() || sent["truncated"]["path"] == "/v1/runs/run_019a");
            assert!(
                serde_json::from_slice::<RunRecord>(&body).is_ok(),
                "a receiver reads it as a record either way"
            );
        }
    }
}
