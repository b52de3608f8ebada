//! Downloads over HTTP: limited in size and time, verified while they arrive, and repeated if the
//! network failed.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::thread;

use ureq::http::Response;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, ResponseExt as _};

use crate::config::{FetchBounds, ProvisionConfig, ProxyUse, Trust};
pub(crate) use crate::credential::Credential;
use crate::error::ProvisionError;

/// The paths at which Linux distributions keep the system's bundle of certificate authorities.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A function that receives the body in pieces, with the total size if the server has announced it.
type Sink<'a> = dyn FnMut(&[u8], Option<u64>) -> Result<(), ProvisionError> + 'a;

/// A text and its URL after all redirects, to which the URLs in the text are relative.
pub(crate) struct Page {
    pub url: String,
    pub text: String,
}

/// A client with the configured trust, proxy and limits.
pub(crate) struct Client {
    agent: Agent,
    bounds: FetchBounds,
}

impl Client {
    /// Returns a client. `ca_file` has additional certificate authorities of the server.
    pub fn new(config: &ProvisionConfig, ca_file: Option<&Path>) -> Result<Self, ProvisionError> {
        let bounds = config.bounds;
        let tls =
            TlsConfig::builder().root_certs(root_certificates(&config.trust, ca_file)?).build();
        let mut builder = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("belljar/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(bounds.connect))
            .timeout_recv_response(Some(bounds.silence))
            .timeout_per_read(Some(bounds.silence))
            .timeout_recv_body(Some(bounds.download))
            .tls_config(tls);
        if config.proxy == ProxyUse::Never {
            builder = builder.proxy(None);
        }
        Ok(Self { agent: builder.build().new_agent(), bounds })
    }

    /// Fetches a text of limited size.
    pub fn text(
        &self,
        url: &str,
        accept: &str,
        credential: Option<&Credential>,
    ) -> Result<String, ProvisionError> {
        self.page(url, accept, credential).map(|page| page.text)
    }

    /// Fetches a text of limited size with its final URL.
    pub fn page(
        &self,
        url: &str,
        accept: &str,
        credential: Option<&Credential>,
    ) -> Result<Page, ProvisionError> {
        self.with_retries(|| {
            let mut bytes = Vec::new();
            let url = self.stream(
                url,
                accept,
                credential,
                self.bounds.metadata_bytes,
                &mut |chunk, _total| {
                    bytes.extend_from_slice(chunk);
                    Ok(())
                },
            )?;
            match String::from_utf8(bytes) {
                Ok(text) => Ok(Page { url, text }),
                Err(_) => Err(ProvisionError::Metadata {
                    url: shown(&url),
                    why: "it is not UTF-8".to_owned(),
                }),
            }
        })
    }

    /// Fetches an archive. An empty piece announces another attempt.
    pub fn archive(
        &self,
        url: &str,
        credential: Option<&Credential>,
        sink: &mut Sink<'_>,
    ) -> Result<(), ProvisionError> {
        self.with_retries(|| {
            sink(&[], None)?;
            self.stream(
                url,
                "application/octet-stream, */*",
                credential,
                self.bounds.archive_bytes,
                sink,
            )
            .map(drop)
        })
    }

    fn with_retries<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, ProvisionError>,
    ) -> Result<T, ProvisionError> {
        let mut pause = self.bounds.pause;
        for _ in 1..self.bounds.attempts {
            match attempt() {
                Err(error) if error.is_transient() => thread::sleep(pause),
                other => return other,
            }
            pause *= 2;
        }
        attempt()
    }

    /// Returns the URL of the answer, which differs from `url` if there was a redirect.
    fn stream(
        &self,
        url: &str,
        accept: &str,
        credential: Option<&Credential>,
        cap: u64,
        sink: &mut Sink<'_>,
    ) -> Result<String, ProvisionError> {
        let failed = |why: String| ProvisionError::Fetch { url: shown(url), why };
        let response = self.get(url, accept, credential)?;
        let arrived_at = response.get_uri().to_string();
        let total = response
            .headers()
            .get("content-length")
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if total.is_some_and(|total| total > cap) {
            return Err(ProvisionError::TooLarge { url: shown(url), cap });
        }
        let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 16];
        let mut received = 0;
        loop {
            let count = reader.read(&mut buffer).map_err(|error| failed(error.to_string()))?;
            if count == 0 {
                break;
            }
            received += count as u64;
            if received > cap {
                return Err(ProvisionError::TooLarge { url: shown(url), cap });
            }
            sink(&buffer[..count], total)?;
        }
        if total.is_some_and(|total| total != received) {
            return Err(failed(format!(
                "the connection ended after {received} of {} bytes",
                total.unwrap_or_default()
            )));
        }
        Ok(arrived_at)
    }

    fn get(
        &self,
        url: &str,
        accept: &str,
        credential: Option<&Credential>,
    ) -> Result<Response<Body>, ProvisionError> {
        // A redirect must not lead from HTTPS to an unencrypted connection. ureq drops the
        // credential when it is redirected to another host.
        let mut request = self
            .agent
            .get(url)
            .config()
            .https_only(url.starts_with("https://"))
            .build()
            .header("accept", accept);
        if let Some(credential) = credential {
            request = request.header("authorization", credential.header());
        }
        let response = request
            .call()
            .map_err(|error| ProvisionError::Fetch { url: shown(url), why: error.to_string() })?;
        match response.status().as_u16() {
            200 => Ok(response),
            status => Err(ProvisionError::Status { url: shown(url), status }),
        }
    }
}

/// Returns a URL that can be shown: without user, password, query and fragment.
pub(crate) fn shown(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    match url[..end].split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
            let host = authority.rsplit_once('@').map_or(authority, |(_user, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url[..end].to_owned(),
    }
}

fn root_certificates(trust: &Trust, ca_file: Option<&Path>) -> Result<RootCerts, ProvisionError> {
    let mut certificates = Vec::new();
    if let Some(file) = &trust.file {
        certificates.extend(certificates_of(file)?);
    }
    for folder in &trust.directories {
        let unreadable = |error: std::io::Error| ProvisionError::Certificates {
            path: folder.clone(),
            why: error.to_string(),
        };
        for entry in fs::read_dir(folder).map_err(unreadable)?.flatten() {
            // OpenSSL's folders contain other files too. Files without a certificate are ignored.
            certificates.extend(certificates_of(&entry.path()).unwrap_or_default());
        }
    }
    if trust.file.is_none() && trust.directories.is_empty() {
        certificates.extend(
            SYSTEM_BUNDLES
                .iter()
                .map(Path::new)
                .find_map(|bundle| certificates_of(bundle).ok())
                .unwrap_or_default(),
        );
    }
    for extra in trust.extra.as_deref().into_iter().chain(ca_file) {
        certificates.extend(certificates_of(extra)?);
    }
    // On a machine without a bundle, Mozilla's bundle is trusted, which is built into the client.
    Ok(if certificates.is_empty() {
        RootCerts::WebPki
    } else {
        RootCerts::new_with_certs(&certificates)
    })
}

fn certificates_of(path: &Path) -> Result<Vec<Certificate<'static>>, ProvisionError> {
    let refuse = |why: String| ProvisionError::Certificates { path: path.to_owned(), why };
    let pem = fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        Err(refuse("there is no PEM certificate in it".to_owned()))
    } else {
        Ok(certificates)
    }
}

/// Truncates a file that is written again from the start after a failed attempt.
pub(crate) fn restart(file: &mut fs::File) -> std::io::Result<()> {
    use std::io::Seek;
    file.set_len(0)?;
    file.rewind()?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_a_url_are_not_shown() {
        assert_eq!(shown("https://me:pass@r.example:8443/p?token=x#y"), "https://r.example:8443/p");
        assert_eq!(shown("https://r.example/a@b"), "https://r.example/a@b");
        assert_eq!(shown("https://me:p@ss@r.example"), "https://r.example");
    }

    #[test]
    fn a_certificate_file_without_certificates_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let trust = Trust { file: Some(file.path().to_owned()), ..Trust::default() };
        let error = root_certificates(&trust, None).unwrap_err();
        assert!(
            matches!(&error, ProvisionError::Certificates { path, .. } if path == file.path()),
            "{error}"
        );
    }
}
