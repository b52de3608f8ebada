//! URLs of objects that work without a token.

use belljar_protocol::{Scope, SignedMethod, SignedUrl, SignedUrlRequest, Timestamp};
use serde_json::json;

use super::Storage;
use crate::access::signing::SignedAccess;
use crate::caller::Caller;
use crate::error::ServiceError;

/// The maximum lifetime of a signed URL.
const MAX_SIGNED_MS: u64 = 7 * 24 * 3600 * 1000;

impl Storage {
    /// Returns a URL of an object that works without a token until it expires.
    pub async fn sign_url(
        &self,
        caller: &Caller,
        request: SignedUrlRequest,
    ) -> Result<SignedUrl, ServiceError> {
        caller.must(Scope::Storage)?;
        if request.method == SignedMethod::Get {
            // Callers cannot sign access that they do not have themselves.
            caller.must(Scope::Read)?;
        }
        if request.expires_in_ms == 0 || request.expires_in_ms > MAX_SIGNED_MS {
            return Err(ServiceError::invalid(format!(
                "expires_in_ms: expected 1 to {MAX_SIGNED_MS} (seven days)"
            )));
        }
        let expires_at = Timestamp::now().plus_ms(request.expires_in_ms);
        let access = SignedAccess {
            project_id: caller.project_id().to_owned(),
            name: request.name,
            method: request.method,
            expires_at,
        };
        let signature = self.keys.sign(&access);
        let audit = caller.did(
            "object.sign",
            access.name.as_str(),
            json!({"method": access.method, "expires_at": expires_at}),
        );
        self.store.record_audit(audit).await?;
        let url = format!(
            "/v1/objects/{}?project={}&method={}&expires={}&signature={signature}",
            escape(access.name.as_str()),
            access.project_id,
            access.method.name(),
            expires_at.unix_ms(),
        );
        Ok(SignedUrl { url, expires_at })
    }
}

/// Returns a name as part of a URL's path. `/` stays, and all characters that are not unreserved
/// (RFC 3986, 2.3) are escaped.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            escaped.push(byte as char);
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
