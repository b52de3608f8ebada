//! White space and comments between the tokens of a program.

/// Returns the position of `punctuator`, if only white space and comments precede it.
pub(crate) fn find_punctuator(source: &str, from: u32, punctuator: u8) -> Option<u32> {
    let at = skip_trivia(source, from);
    (source.as_bytes().get(at as usize) == Some(&punctuator)).then_some(at)
}

/// Returns the position of the first character that is neither white space nor in a comment.
pub(crate) fn skip_trivia(source: &str, from: u32) -> u32 {
    let mut rest = &source[from as usize..];
    loop {
        rest = rest.trim_start();
        let comment = match () {
            () if rest.starts_with("//") => rest.find(['\n', '\r', '\u{2028}', '\u{2029}']),
            () if rest.starts_with("/*") => rest.find("*/").map(|end| end + 2),
            () => None,
        };
        match comment {
            Some(end) => rest = &rest[end..],
            None => return (source.len() - rest.len()) as u32,
        }
    }
}
