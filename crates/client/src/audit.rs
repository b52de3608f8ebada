//! The requests for the audit trail.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use belljar_protocol::{
    AuditEntry, AuditFilter, AuditOrder, AuditPage, AuditVerification, PageRequest, Timestamp,
};
use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};
use reqwest::Method;
use reqwest::header::ACCEPT;

use crate::client::{Client, pieces, with_query};
use crate::error::ClientError;
use crate::pages::paged;

fn path(filter: &AuditFilter, page: &PageRequest) -> String {
    let moment = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
    let (since, until) = (moment(filter.since), moment(filter.until));
    // A server of an earlier version does not know the parameter.
    let order = (filter.order != AuditOrder::default()).then(|| filter.order.name());
    let parameters = [
        ("all", Some(if filter.all { "true" } else { "false" })),
        ("actor", filter.actor.as_deref()),
        ("order", order),
        ("action", filter.action.as_deref()),
        ("target", filter.target.as_deref()),
        ("since", since.as_deref()),
        ("until", until.as_deref()),
        ("limit", Some(&page.limit.to_string())),
        ("cursor", page.cursor.as_deref()),
    ];
    with_query("/v1/audit", parameters)
}

/// Audit entries as NDJSON, exactly as the server writes them. The stream ends after an error.
pub struct AuditExport(BoxStream<'static, Result<Bytes, ClientError>>);

impl fmt::Debug for AuditExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditExport").finish_non_exhaustive()
    }
}

impl Stream for AuditExport {
    type Item = Result<Bytes, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl Client {
    /// Returns one page of entries, in the order of the filter.
    pub async fn audit_page(
        &self,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<AuditPage, ClientError> {
        self.get(&path(filter, page)).await
    }

    /// Returns all entries that match the filter, in its order.
    pub fn audit(
        &self,
        filter: AuditFilter,
    ) -> impl Stream<Item = Result<AuditEntry, ClientError>> + use<> {
        let client = self.clone();
        paged(move |cursor| {
            let (client, filter) = (client.clone(), filter.clone());
            async move {
                let page = client.audit_page(&filter, &PageRequest { cursor, limit: 1000 }).await?;
                Ok((page.entries, page.next_cursor))
            }
        })
    }

    /// Returns all entries that match the filter as NDJSON, in one request.
    pub async fn export_audit(&self, filter: &AuditFilter) -> Result<AuditExport, ClientError> {
        let path = path(filter, &PageRequest::first(1000));
        let response = self
            .retry(async || {
                self.send(self.request(Method::GET, &path).header(ACCEPT, "application/x-ndjson"))
                    .await
            })
            .await?;
        let stream =
            futures::stream::unfold(Some((self.clone(), pieces(response))), |at| async move {
                let (client, mut pieces) = at?;
                match client.piece(&mut pieces).await {
                    Ok(piece) => piece.map(|piece| (Ok(piece), Some((client, pieces)))),
                    Err(error) => Some((Err(error), None)),
                }
            });
        Ok(AuditExport(Box::pin(stream)))
    }

    /// Verifies the hash of every entry of the trail, without a time limit. Only the operator may.
    pub async fn verify_audit(&self) -> Result<AuditVerification, ClientError> {
        let response = self.send(self.request(Method::GET, "/v1/audit/verification")).await?;
        self.json(response).await
    }
}
