//! Lists that the server returns page by page.

use futures::{Stream, TryStreamExt};

use crate::error::ClientError;

/// Returns the items of all pages. `page` fetches the page of a cursor, and returns its items and
/// the cursor of the next page.
pub(crate) fn paged<T, F>(
    page: impl Fn(Option<String>) -> F + Send,
) -> impl Stream<Item = Result<T, ClientError>>
where
    F: Future<Output = Result<(Vec<T>, Option<String>), ClientError>> + Send,
{
    let pages = futures::stream::try_unfold(Some(None), move |cursor: Option<Option<String>>| {
        let next = cursor.map(&page);
        async move {
            let Some(next) = next else { return Ok(None) };
            let (items, cursor) = next.await?;
            Ok(Some((futures::stream::iter(items.into_iter().map(Ok)), cursor.map(Some))))
        }
    });
    pages.try_flatten()
}
