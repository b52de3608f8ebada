//! The schemas of bodies that are not JSON.

use utoipa::ToSchema;

/// The content of a file.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "its schema is used, the value never: contents are streams")]
pub(crate) struct Content(Vec<u8>);

/// A form with a file.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "its schema is used, the value never: forms are read part by part")]
pub(crate) struct ObjectForm {
    /// Name of the object. Default: the file name of the file that follows.
    #[schema(nullable = false)]
    name: Option<String>,
    /// Content of the object.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}
