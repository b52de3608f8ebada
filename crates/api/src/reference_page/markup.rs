//! Text as HTML.

/// Returns text as HTML, with its `code` and its paragraphs marked.
pub(super) fn prose(text: &str) -> String {
    let pieces = text.split('`').enumerate();
    pieces
        .map(|(at, piece)| {
            if at % 2 == 1 {
                format!("<code>{}</code>", escape(piece))
            } else {
                escape(piece).replace("\n\n", "<p>")
            }
        })
        .collect()
}

/// Returns text as HTML that shows it as it is.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
