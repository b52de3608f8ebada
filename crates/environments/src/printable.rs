//! Texts of others, made fit for a terminal, a log and one line of a message.

/// Longer than any message that says something.
const MOST_CHARACTERS: usize = 1500;

/// The text without what moves a cursor, ends a line or turns the direction of writing.
pub(crate) fn printable(text: &str) -> String {
    let is_fit = |character: &char| {
        !character.is_control()
            && !matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
    };
    text.chars().filter(is_fit).take(MOST_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}31mc\r\nd\u{202e}e\u{7f}"), "a[2Jb31mcde");
        assert_eq!(printable(&"x".repeat(5000)).len(), MOST_CHARACTERS);
    }
}
