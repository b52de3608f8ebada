//! Attachments of an answer: images as image content, other files as embedded resources.
//!
//! The media type that a program claims for an image is not trusted: a client may refuse the whole
//! answer if it receives an image that is not one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use belljar_protocol::RunId;
use rmcp::model::{ContentBlock, ResourceContents};

/// The media types of image content, with the first bytes of such images.
const IMAGES: [(&str, &[u8]); 3] =
    [("image/png", b"\x89PNG\r\n\x1a\n"), ("image/jpeg", b"\xff\xd8\xff"), ("image/gif", b"GIF8")];

/// Media types by file extension. The type of other files depends on whether they are text.
const TYPES: [(&str, &str); 14] = [
    ("csv", "text/csv"),
    ("gz", "application/gzip"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("jsonl", "application/x-ndjson"),
    ("md", "text/markdown"),
    ("ndjson", "application/x-ndjson"),
    ("pdf", "application/pdf"),
    ("svg", "image/svg+xml"),
    ("tsv", "text/tab-separated-values"),
    ("xml", "application/xml"),
    ("zip", "application/zip"),
];

/// Returns the media type of image content, or `None` if the bytes are not a supported image.
pub(crate) fn image_type(bytes: &[u8]) -> Option<&'static str> {
    let webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    IMAGES
        .iter()
        .find(|(_, start)| bytes.starts_with(start))
        .map(|(name, _)| *name)
        .or(webp.then_some("image/webp"))
}

/// Returns an artifact of a run as content of an answer.
pub(crate) fn file(run: &RunId, name: &str, bytes: Vec<u8>) -> ContentBlock {
    if let Some(image) = image_type(&bytes) {
        return ContentBlock::image(STANDARD.encode(&bytes), image);
    }
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let by_name = TYPES
        .iter()
        .find(|(known, _)| Some(*known) == extension.as_deref())
        .map(|(_, media_type)| *media_type);
    resource(uri(run, "artifacts", name), by_name, bytes)
}

/// Returns a displayed result that is not text as content of an answer.
pub(crate) fn displayed(
    run: &RunId,
    number: usize,
    media_type: &str,
    bytes: Vec<u8>,
) -> ContentBlock {
    match image_type(&bytes) {
        Some(image) => ContentBlock::image(STANDARD.encode(&bytes), image),
        None => resource(uri(run, "results", &number.to_string()), Some(media_type), bytes),
    }
}

fn resource(uri: String, media_type: Option<&str>, bytes: Vec<u8>) -> ContentBlock {
    let contents = match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => ResourceContents::TextResourceContents {
            uri,
            mime_type: Some(media_type.unwrap_or("text/plain").to_owned()),
            text,
            meta: None,
        },
        Ok(text) => blob(uri, media_type, text.as_bytes()),
        Err(error) => blob(uri, media_type, error.as_bytes()),
    };
    ContentBlock::resource(contents)
}

fn blob(uri: String, media_type: Option<&str>, bytes: &[u8]) -> ResourceContents {
    let mime_type = Some(media_type.unwrap_or("application/octet-stream").to_owned());
    ResourceContents::BlobResourceContents {
        uri,
        mime_type,
        blob: STANDARD.encode(bytes),
        meta: None,
    }
}

/// Returns a URI that names an attachment. It cannot be read as a resource.
fn uri(run: &RunId, kind: &str, name: &str) -> String {
    let mut uri = format!("belljar://runs/{run}/{kind}/");
    for byte in name.bytes() {
        // The unreserved characters of RFC 3986, and the slash between segments.
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_valid_uri() {
        let uri = uri(&RunId::new(), "artifacts", "a b/ü?.txt");
        assert!(uri.ends_with("/artifacts/a%20b/%C3%BC%3F.txt"), "{uri}");
    }

    #[test]
    fn an_image_is_recognized_by_its_bytes_and_not_by_its_name() {
        let is_image = |name: &str, bytes: &[u8]| {
            file(&RunId::new(), name, bytes.to_vec()).as_image().is_some()
        };
        assert!(is_image("chart", b"\x89PNG\r\n\x1a\n..."));
        assert!(is_image("chart", b"RIFF....WEBP"));
        assert!(!is_image("chart.png", b"no image"));
    }

    #[test]
    fn text_stays_text_and_bytes_become_base64() {
        let contents = |name: &str, bytes: &[u8]| match file(&RunId::new(), name, bytes.to_vec()) {
            ContentBlock::Resource(attachment) => attachment.resource,
            other => panic!("{other:?}"),
        };
        for (name, bytes, expected) in [
            ("a.csv", &b"a,b"[..], "text/csv"),
            ("LICENSE", b"MIT", "text/plain"),
            ("a.json", b"{}", "application/json"),
        ] {
            let ResourceContents::TextResourceContents { mime_type, text, .. } =
                contents(name, bytes)
            else {
                panic!("{name}")
            };
            assert_eq!((mime_type.as_deref(), text.as_bytes()), (Some(expected), bytes));
        }
        for (name, bytes, expected) in [
            ("a.zip", &b"PK\xff"[..], "application/zip"),
            ("a", b"a\0b", "application/octet-stream"),
        ] {
            let ResourceContents::BlobResourceContents { mime_type, blob, .. } =
                contents(name, bytes)
            else {
                panic!("{name}")
            };
            assert_eq!(
                (mime_type.as_deref(), STANDARD.decode(blob).unwrap()),
                (Some(expected), bytes.to_vec())
            );
        }
    }
}
