//! The outcome as the structured content of an answer. Clients pass it to models, so its size is
//! bounded. A part that is too long is cut to its beginning and its end, and `cut` says what is
//! missing and where the full text is.

use belljar_protocol::{Outcome, plain};
use serde_json::{Map, Value, json};

use crate::rest::uri;
use crate::shares::shares;

/// The maximum size of structured content as JSON, without `cut`.
pub(crate) const MAX_STRUCTURED_BYTES: usize = 50_000;
/// The parts of an outcome whose size depends on the program.
const PARTS: [&str; 9] =
    ["value", "error", "logs", "results", "artifacts", "denied", "notes", "pending", "left_behind"];
/// The minimum size to which a text is cut.
const MIN_TEXT_BYTES: usize = 64;

/// Returns the outcome, without the bytes that are attached to the answer. The value, displayed
/// text and file names are exact. Hidden characters in all other texts are escaped, because clients
/// show those to models.
pub(crate) fn structured(outcome: &Outcome) -> Value {
    let mut value = serde_json::to_value(outcome).unwrap_or_default();
    for part in ["error", "logs", "denied", "notes", "pending"] {
        value.get_mut(part).into_iter().for_each(clean);
    }
    for result in value["results"].as_array_mut().into_iter().flatten() {
        let is_text = result["type"].as_str().is_some_and(is_text);
        if let Some(result) = result.as_object_mut().filter(|_| !is_text) {
            result.remove("data");
        }
    }
    if let Value::Object(members) = &mut value {
        bound(members, outcome);
    }
    value
}

/// Returns whether content of this type is part of the summary and not an attachment.
pub(crate) fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/") || ["application/json", "image/svg+xml"].contains(&media_type)
}

/// Escapes hidden characters in every text of a value.
fn clean(value: &mut Value) {
    each_text(value, &mut |text| {
        if let std::borrow::Cow::Owned(shown) = plain::text(text) {
            *text = shown;
        }
    });
}

fn each_text(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Object(members) => members.values_mut().for_each(|member| each_text(member, change)),
        _ => {}
    }
}

/// Returns the length of a value as JSON.
fn json_bytes(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

fn bound(members: &mut Map<String, Value>, outcome: &Outcome) {
    let parts: Vec<(&str, usize)> =
        PARTS.into_iter().filter_map(|name| Some((name, json_bytes(members.get(name)?)))).collect();
    let sizes: Vec<usize> = parts.iter().map(|(_, bytes)| *bytes).collect();
    let shares = shares(&sizes, MAX_STRUCTURED_BYTES);
    let mut cut = Map::new();
    for ((name, bytes), share) in
        parts.into_iter().zip(shares).filter(|((_, bytes), share)| bytes > share)
    {
        let part = members.get_mut(name).map(Value::take).unwrap_or_default();
        let (part, mut what) = match (name, part) {
            ("value", value) => cut_value(&value, share),
            (_, Value::Array(items)) => cut_list(items, share, name == "logs"),
            (_, other) => cut_object(other, share),
        };
        what["size_bytes"] = bytes.into();
        if let Some(file) = whole_in(name) {
            what["uri"] = uri(&outcome.id, file).into();
        }
        members.insert(name.to_owned(), part);
        cut.insert(name.to_owned(), what);
    }
    if !cut.is_empty() {
        members.insert("cut".to_owned(), Value::Object(cut));
    }
}

/// Returns the name of the resource with the full text of a part.
fn whole_in(part: &str) -> Option<&'static str> {
    match part {
        "value" => Some("value.json"),
        "error" => Some("error.txt"),
        "logs" => Some("logs.txt"),
        _ => None,
    }
}

/// Returns the beginning and the end of a text, together at most `max_bytes`, if it is longer.
fn ends(text: &str, max_bytes: usize) -> Option<(&str, &str)> {
    let half = max_bytes / 2;
    (text.len() > max_bytes).then(|| {
        (
            &text[..text.floor_char_boundary(half)],
            &text[text.ceil_char_boundary(text.len() - half)..],
        )
    })
}

fn shorten(text: &mut String, max_bytes: usize) {
    if let Some((beginning, end)) = ends(text, max_bytes) {
        *text = format!("{beginning} … ({} bytes in all) … {end}", text.len());
    }
}

/// Replaces a value by null, because a part of a value is not a value. Its beginning and end are
/// returned as text.
fn cut_value(value: &Value, share: usize) -> (Value, Value) {
    let text = value.to_string();
    let mut room = share;
    loop {
        let (beginning, end) = ends(&text, room).unwrap_or_default();
        let what = json!({"beginning": beginning, "end": end});
        if json_bytes(&what) <= share || room < MIN_TEXT_BYTES {
            return (Value::Null, what);
        }
        // A text takes up to six times its bytes as JSON, because characters are escaped.
        room /= 2;
    }
}

/// Keeps the first and the last items that fit, and shortens long texts in them.
fn cut_list(mut items: Vec<Value>, share: usize, is_log: bool) -> (Value, Value) {
    for item in items.iter_mut().filter(|item| json_bytes(item) > share / 8) {
        shorten_texts(item, share / 8);
    }
    let sizes: Vec<usize> = items.iter().map(|item| json_bytes(item) + 1).collect();
    if sizes.iter().sum::<usize>() <= share {
        return (Value::Array(items), json!({"left_out": 0}));
    }
    let within_half = |sizes: &mut dyn Iterator<Item = &usize>| {
        let mut used = 0;
        sizes
            .take_while(|bytes| {
                used += **bytes;
                used <= share / 2
            })
            .count()
    };
    let first = within_half(&mut sizes.iter());
    let last = within_half(&mut sizes[first..].iter().rev());
    let left_out = items.len() - first - last;
    let after = items.get(first).cloned();
    items.drain(first..items.len() - last);
    if let (true, Some(after)) = (is_log, after) {
        let message = format!("{left_out} log entries were left out here");
        items.insert(
            first,
            json!({"timestamp": after["timestamp"], "level": "warn", "message": message}),
        );
    }
    (Value::Array(items), json!({"left_out": left_out}))
}

/// Shortens the long texts of an object, such as an error, and drops nested values if that is not
/// enough.
fn cut_object(mut value: Value, share: usize) -> (Value, Value) {
    shorten_texts(&mut value, share);
    if json_bytes(&value) > share
        && let Some(members) = value.as_object_mut()
    {
        members.retain(|_, member| member.is_string());
        shorten_texts(&mut value, share);
    }
    (value, json!({}))
}

/// Shortens the texts in a value until it has at most `max_bytes` as JSON, or its texts cannot be
/// shortened further.
fn shorten_texts(value: &mut Value, max_bytes: usize) {
    let mut room = max_bytes;
    while json_bytes(value) > max_bytes && room > MIN_TEXT_BYTES {
        room /= 2;
        each_text(value, &mut |text| shorten(text, room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(value: &Value, logs: &Value, error: &Value, results: &Value) -> Outcome {
        let json = json!({
            "id": "run_019a", "status": "succeeded", "value": value, "error": error, "logs": logs, "results": results,
            "artifacts": [],
            "usage": {
                "wall_ms": 1, "cpu_user_ms": 1, "cpu_system_ms": 1, "peak_memory_bytes": 1, "output_bytes": 1,
                "processes": 1
            },
            "sandbox": {"runtime": "node@24.21.0", "start": "fork", "environment": null, "degraded": []}
        });
        serde_json::from_str(&json.to_string()).unwrap()
    }

    fn log(message: &str) -> Value {
        json!({"timestamp": "2026-01-02T03:04:05.678Z", "level": "info", "message": message})
    }

    #[test]
    fn an_outcome_that_fits_is_exact_and_has_no_cut() {
        let value = json!({"text": "é\u{202e}", "list": [1, 2.5, null]});
        let found = structured(&outcome(&value, &json!([log("a")]), &Value::Null, &json!([])));
        assert_eq!((&found["value"], found.get("cut")), (&value, None));
    }

    #[test]
    fn structured_content_is_bounded_and_says_what_is_missing() {
        let lines = |count: usize| {
            Value::from((0..count).map(|line| log(&format!("line {line}"))).collect::<Vec<_>>())
        };
        let quotes = Value::from("\"\\".repeat(2_000_000));
        let deep = json!({"name": "E", "message": "m".repeat(100_000), "stack": "\u{1}".repeat(100_000),
            "cause": {"name": "C", "message": "n".repeat(100_000)}});
        let many_errors = json!({"name": "E", "message": "m",
            "errors": (0..20_000).map(|number| json!({"name": "E", "message": number.to_string()})).collect::<Vec<_>>()});
        let shown = json!([{"type": "text/html", "data": "<p>".repeat(400_000)}, {"type": "text/plain", "data": "x"}]);
        let large = Value::from((0..200_000).collect::<Vec<_>>());
        let (none, empty) = (Value::Null, json!([]));
        for (value, logs, error, results, cut) in [
            (&large, &empty, &none, &empty, &["value"][..]),
            (&quotes, &empty, &none, &empty, &["value"]),
            (&none, &lines(10_000), &none, &empty, &["logs"]),
            (&none, &json!([log(&"long".repeat(200_000)), log("short")]), &none, &empty, &["logs"]),
            (&none, &empty, &deep, &empty, &["error"]),
            (&none, &empty, &many_errors, &empty, &["error"]),
            (&none, &empty, &none, &shown, &["results"]),
            (&large, &lines(10_000), &deep, &shown, &["value", "error", "logs", "results"]),
        ] {
            let found = structured(&outcome(value, logs, error, results));
            let size = json_bytes(&found);
            assert!(size < MAX_STRUCTURED_BYTES * 2 + 3_000, "{cut:?}: {size}");
            let mut names: Vec<&str> =
                found["cut"].as_object().unwrap().keys().map(String::as_str).collect();
            let mut cut = cut.to_vec();
            names.sort_unstable();
            cut.sort_unstable();
            assert_eq!(names, cut);
        }
    }

    #[test]
    fn logs_keep_both_ends_with_a_mark_between_and_a_value_is_never_half() {
        let lines: Vec<Value> = (0..5_000).map(|line| log(&format!("line {line}"))).collect();
        let value = Value::from("x".repeat(200_000));
        let found = structured(&outcome(&value, &Value::from(lines), &Value::Null, &json!([])));
        let logs = found["logs"].as_array().unwrap();
        assert_eq!(
            (&logs[0]["message"], &logs[logs.len() - 1]["message"]),
            (&json!("line 0"), &json!("line 4999"))
        );
        let left_out = found["cut"]["logs"]["left_out"].as_u64().unwrap();
        assert_eq!(logs.len() as u64 - 1 + left_out, 5_000);
        assert!(
            logs.iter()
                .any(|entry| entry["message"]
                    == format!("{left_out} log entries were left out here"))
        );
        assert!(found["value"].is_null());
        let cut = &found["cut"]["value"];
        assert_eq!(cut["uri"], "belljar://runs/run_019a/value.json");
        assert_eq!(cut["size_bytes"], 200_002);
        assert!(
            cut["beginning"].as_str().unwrap().starts_with("\"xx")
                && cut["end"].as_str().unwrap().ends_with("xx\"")
        );
    }
}
