//! Denials in words for a model. Other callers learn how to grant an access; a model cannot
//! grant anything, and must not try to.

use belljar_protocol::{Denial, Outcome, RunError, plain};

/// The words of drivers between a refused access and the grant that would allow it.
const ADVICE: &str = "; grant it with ";
/// The words for a model in the same place.
const FOR_MODEL: &str = "; only the operator can allow ";

/// Replaces advice to grant an access in the error of a program.
pub(crate) fn address_to_model(outcome: &mut Outcome) {
    if let Some(error) = &mut outcome.error {
        rewrite(error);
    }
}

fn rewrite(error: &mut RunError) {
    for text in [&mut error.message, &mut error.stack] {
        if text.contains(ADVICE) {
            *text = text.replace(ADVICE, FOR_MODEL);
        }
    }
    for related in error.cause.iter_mut().map(AsMut::as_mut).chain(&mut error.errors) {
        rewrite(related);
    }
}

/// Returns whether a denial is about hosts that this version cannot grant.
fn is_network(denial: &Denial) -> bool {
    denial.grant.starts_with("net:")
}

/// Returns the line of a denied access.
pub(crate) fn line(denial: &Denial) -> String {
    let [action, target, grant] =
        [&denial.action, &denial.target, &denial.grant].map(|text| plain::line(text));
    if is_network(denial) {
        return format!("{action} {target}: refused, because there is no network");
    }
    format!("{action} {target}: refused, because the operator has not granted {grant}")
}

/// Returns what a model can do about denials.
pub(crate) fn advice(denied: &[Denial]) -> &'static str {
    if denied.iter().all(is_network) {
        return "Programs have no network, and a call cannot change that. Change the program to do \
                without it.";
    }
    "A call cannot add grants: the flags or the policy of the operator of this server must allow \
     them. Change the program to do without them, or tell the user what was refused."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(grant: &str) -> Denial {
        Denial { action: "a".into(), target: "t".into(), grant: grant.into() }
    }

    #[test]
    fn no_error_tells_a_model_to_grant_something() {
        for (message, expected) in [
            (
                "running programs is not granted; grant it with exec: true",
                "running programs is not granted; only the operator can allow exec: true",
            ),
            (
                "network access to a:80 is not granted; this version gives programs no network",
                "network access to a:80 is not granted; this version gives programs no network",
            ),
        ] {
            let mut error = RunError::new("PermissionError", message);
            error.stack = format!("at main.js:1\n{message}");
            error.cause = Some(Box::new(RunError::new("Error", message)));
            rewrite(&mut error);
            assert_eq!(error.message, expected);
            assert_eq!(error.cause.unwrap().message, expected);
            assert!(error.stack.ends_with(expected), "{}", error.stack);
        }
    }

    #[test]
    fn a_denial_says_what_was_refused_and_who_can_allow_it() {
        assert!(line(&denial("exec: true")).contains("the operator has not granted exec: true"));
        assert!(line(&denial("net: [\"a\"]")).ends_with("there is no network"));
        assert!(advice(&[denial("net: [\"a\"]")]).contains("no network"));
        assert!(advice(&[denial("exec: true"), denial("net: []")]).contains("the operator"));
    }
}
