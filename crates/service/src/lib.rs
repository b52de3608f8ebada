//! The use cases: runs, storage, tokens, audit, quotas. Knows nothing of HTTP.

#![forbid(unsafe_code)]
