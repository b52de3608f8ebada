//! How deep JSON may nest that goes into a run or comes out of one.

/// Levels. Common JSON parsers stop at 128, and an outcome wraps its value a few levels deep.
pub const MOST_JSON_DEPTH: usize = 120;

/// Whether valid JSON nests deeper than [`MOST_JSON_DEPTH`]. Needs no stack, however deep it is.
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
            if depth > MOST_JSON_DEPTH {
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
        assert!(!nests_too_deep(&nested(MOST_JSON_DEPTH)));
        assert!(nests_too_deep(&nested(MOST_JSON_DEPTH + 1)));
        assert!(!nests_too_deep(&format!("[\"{}\\\"{}\"]", "[".repeat(200), "{".repeat(200))));
    }
}
