//! Rules that the names of files in a sandbox and of objects in storage share, so that neither can
//! lead out of its folder.

/// The longest name, bytes.
const MAX_BYTES: usize = 1024;

/// Returns the rule that a relative name breaks, if it breaks one. A valid name has 1 to 1,024
/// bytes and no control characters; the parts between slashes are never empty, `.` or `..`.
pub(crate) fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > MAX_BYTES {
        Some("it is longer than 1,024 bytes")
    } else if name.starts_with('/') {
        Some("it is absolute")
    } else if name.chars().any(char::is_control) {
        Some("it contains a control character")
    } else if name.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        Some("it contains an empty, `.` or `..` part")
    } else {
        None
    }
}

/// Returns the name as an error message can show it: on one line, cut to 80 characters.
pub(crate) fn printable(name: &str) -> String {
    crate::plain::line(name).chars().take(80).collect()
}
