//! What names of files in a sandbox and of objects in storage have in common: neither may lead anywhere else.

/// The longest name, bytes.
const MOST_BYTES: usize = 1024;

/// What is wrong with a relative name, if anything is: 1 to 1,024 bytes, parts divided by `/`, none of them empty, `.` or `..`, no control characters.
pub(crate) fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > MOST_BYTES {
        Some("it is longer than 1,024 bytes")
    } else if name.starts_with('/') {
        Some("it is absolute")
    } else if name.chars().any(char::is_control) {
        Some("it has a control character")
    } else if name.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        Some("it has an empty, `.` or `..` part")
    } else {
        None
    }
}

/// The name as an error may show it: as one line, and not too long.
pub(crate) fn printable(name: &str) -> String {
    crate::plain::line(name).chars().take(80).collect()
}
