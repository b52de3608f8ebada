//! HTTP `/v1`: authentication, runs, objects, and the `OpenAPI` document of it all.

#![forbid(unsafe_code)]
