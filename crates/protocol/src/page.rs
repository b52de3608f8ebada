//! Lists that are returned page by page.

/// A request for one page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The `next_cursor` of the previous page, or `None` for the first page.
    pub cursor: Option<String>,
    /// The maximum number of entries, 1 to 1,000.
    pub limit: u32,
}

impl PageRequest {
    /// Returns a request for the first page.
    pub fn first(limit: u32) -> Self {
        Self { cursor: None, limit }
    }
}
