//! Refusals of a server in words for someone who uses the command line. A server addresses its
//! hints to callers of its HTTP API.

use std::env;

use belljar_client::ClientError;
use belljar_protocol::Problem;

/// Replaces the hint of a refusal by one about flags and variables of this command.
pub fn address_to_user(error: &mut anyhow::Error) {
    let Some(ClientError::Refused { problem, .. }) = error.downcast_mut() else { return };
    let has_url = env::var_os("BELLJAR_URL").is_some_and(|url| !url.is_empty());
    if let Some(hint) = hint(problem, has_url) {
        problem.hint = Some(hint.to_owned());
    }
}

fn hint(problem: &Problem, has_url: bool) -> Option<&'static str> {
    match problem.status {
        401 => Some(
            "check the token in BELLJAR_TOKEN or of `belljar login`, or ask the operator for \
             another one, made with `belljar tokens create`",
        ),
        403 if problem.detail.contains("only the operator") && has_url => Some(
            "this command went to BELLJAR_URL with a token: unset BELLJAR_URL and BELLJAR_TOKEN \
             on the server's machine, as the user that the server runs as",
        ),
        413 => Some(
            "put large files into storage with `belljar storage cp`, and let the program download \
             them with `belljar.storage`",
        ),
        422 if problem.detail.starts_with("env: the run had values") => {
            Some("add --env NAME or --env NAME=VALUE for each of them")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_what_the_user_of_a_command_can_change() {
        let only = "only the operator may do this, over the server's own socket";
        let env = "env: the run had values for CITY, which the server did not keep";
        for (status, detail, has_url, words) in [
            (401, "the token is missing", false, Some("BELLJAR_TOKEN")),
            (403, only, true, Some("unset BELLJAR_URL")),
            (403, only, false, None),
            (403, "the token does not have the scope `run`", true, None),
            (413, "the body exceeds 1 bytes", false, Some("belljar storage cp")),
            (422, env, false, Some("--env NAME")),
            (422, "seed: too large", false, None),
        ] {
            let problem = Problem {
                kind: "urn:belljar:problem:test".into(),
                title: "test".into(),
                status,
                detail: detail.into(),
                hint: None,
            };
            let found = hint(&problem, has_url);
            assert_eq!(found.is_some(), words.is_some(), "{status} {detail}");
            assert!(found.unwrap_or_default().contains(words.unwrap_or_default()), "{found:?}");
        }
    }
}
