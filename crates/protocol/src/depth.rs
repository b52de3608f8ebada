//! The maximum nesting depth of JSON that goes into a run or comes out of one.

/// Maximum number of nested levels. Common JSON parsers stop at 128, and an outcome nests its value
/// a few levels deep.
pub const MAX_JSON_DEPTH: usize = 120;

/// Returns whether valid JSON is nested deeper than [`MAX_JSON_DEPTH`]. Uses no stack, whatever the
/// depth.
pub fn nests_too_deep(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > MAX_JSON_DEPTH {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_and_those_in_texts_do_not() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!nests_too_deep(&nested(MAX_JSON_DEPTH)));
        assert!(nests_too_deep(&nested(MAX_JSON_DEPTH + 1)));
        assert!(!nests_too_deep(&format!("[\"{}\\\"{}\"]", "[".repeat(200), "{".repeat(200))));
    }
}
