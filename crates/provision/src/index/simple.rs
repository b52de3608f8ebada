//! The page of a project in an index's Simple API, as JSON (PEP 691) or HTML (PEP 503), which
//! contains the URL of a file.

use serde::Deserialize;
use url::Url;

use crate::error::ProvisionError;
use crate::http::{self, Page};

/// The accepted formats. JSON is preferred, but an old index only has HTML.
pub(crate) const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, \
     application/vnd.pypi.simple.v1+html; q=0.2, text/html; q=0.1";

/// Returns the URL of a file on the page. The hash on the page is not used, because it is known in
/// advance.
pub(crate) fn address_of(file_name: &str, page: &Page) -> Result<String, ProvisionError> {
    #[derive(Deserialize)]
    struct Project {
        files: Vec<File>,
    }
    #[derive(Deserialize)]
    struct File {
        filename: String,
        url: String,
    }

    let refuse = |why: String| ProvisionError::Metadata { url: http::shown(&page.url), why };
    // The format is detected from the text, because the server's media type is often wrong.
    let found = if page.text.trim_start().starts_with('{') {
        let project: Project = serde_json::from_str(&page.text)
            .map_err(|error| refuse(format!("it is no project's: {error}")))?;
        project.files.into_iter().find(|file| file.filename == file_name).map(|file| file.url)
    } else {
        anchors(&page.text).find(|(_, text)| *text == file_name).map(|(address, _)| address)
    };
    let address = found.ok_or_else(|| ProvisionError::NotListed {
        url: http::shown(&page.url),
        what: file_name.to_owned(),
    })?;
    let url = Url::parse(&page.url)
        .and_then(|base| base.join(&address))
        .map_err(|error| refuse(format!("the address of {file_name}: {error}")))?;
    match url.scheme() {
        "http" | "https" => Ok(url.into()),
        other => Err(refuse(format!("the address of {file_name} begins with {other}:"))),
    }
}

/// Returns the URLs and texts of the anchors of a page.
fn anchors(html: &str) -> impl Iterator<Item = (String, &str)> {
    html.split("<a ").skip(1).filter_map(|rest| {
        let (attributes, rest) = rest.split_once('>')?;
        let (text, _) = rest.split_once("</a>")?;
        let (_, address) = attributes.split_once("href=")?;
        let quote = address.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let (address, _) = address[1..].split_once(quote)?;
        Some((address.replace("&amp;", "&"), text.trim()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Result<String, ProvisionError> {
        let page = Page { url: "https://r.example/a/simple/uv/".to_owned(), text: text.to_owned() };
        address_of("uv-1.whl", &page)
    }

    #[test]
    fn a_file_is_found_by_its_exact_name_in_json_and_in_html() {
        let json = r#" {"files": [{"filename": "uv-1.whl.metadata", "url": "no"}, {"filename": "uv-1.whl", "url": "../../f/uv-1.whl", "size": 1}]}"#;
        assert_eq!(found(json).unwrap(), "https://r.example/a/f/uv-1.whl");
        let html = "<!DOCTYPE html><body><a href=\"no\">uv-1.whl.asc</a><br/>\n<a data-requires-python=\"&gt;=3.8\" \
                    href=\"https://f.example/uv-1.whl?a=b&amp;c=d#sha256=00\"\n rel='x'> uv-1.whl </a><a href='/late'>uv-1.whl</a>";
        assert_eq!(found(html).unwrap(), "https://f.example/uv-1.whl?a=b&c=d#sha256=00");
        assert_eq!(
            found("<a href='/f/uv-1.whl'>uv-1.whl</a>").unwrap(),
            "https://r.example/f/uv-1.whl"
        );
    }

    #[test]
    fn a_page_without_the_file_and_an_address_that_is_not_http_are_refused() {
        for text in [
            "",
            "{}",
            "{\"files\": []}",
            "{\"files\": [{}]}",
            "<a href=x>uv-1.whl</a>",
            "<a href=\"x\">uv-1.whl",
            "[[[[",
        ] {
            assert!(found(text).is_err(), "{text:?}");
        }
        for address in
            ["file:///etc/passwd", "ftp://r.example/x", "https://", "https://r.example:99999/"]
        {
            assert!(found(&format!("<a href=\"{address}\">uv-1.whl</a>")).is_err(), "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_page_makes_the_reader_panic(text in "(\\PC|<a |href=|\"|'|>|uv-1.whl|</a>|\\{){0,30}") {
            if let Ok(address) = found(&text) {
                prop_assert!(address.starts_with("http"));
            }
        }
    }
}
