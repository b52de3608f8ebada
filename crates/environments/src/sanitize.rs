//! Untrusted text, made safe for one line of a message.

use belljar_protocol::plain;

/// The maximum length of a text. No useful message is as long.
const MAX_CHARACTERS: usize = 1500;

/// Returns the text with escapes in place of everything that a terminal obeys or a reader cannot
/// see, cut to 1500 characters.
pub(crate) fn sanitize(text: &str) -> String {
    let shown = plain::line(text);
    match shown.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => shown[..end].to_owned(),
        None => shown.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(
            sanitize("a\u{1b}[2J\u{9b}31m\r\n\u{202e}\u{7f}"),
            r"a\u{1b}[2J\u{9b}31m\r\n\u{202e}\u{7f}"
        );
        assert_eq!(sanitize(&"x".repeat(5000)).len(), MAX_CHARACTERS);
    }
}
