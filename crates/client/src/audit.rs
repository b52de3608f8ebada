//! The audit trail.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use belljar_protocol::{AuditEntry, AuditPage, AuditVerification, Timestamp};
use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};
use reqwest::Method;
use reqwest::header::ACCEPT;

use crate::client::{Client, pieces, with_query};
use crate::error::ClientError;
use crate::runs::paged;

/// Which entries are wanted. The default is all of the caller's project.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// By this token's id, or `operator`.
    pub actor: Option<String>,
    /// Of this action, or of all that begin with it: `run.`.
    pub action: Option<String>,
    /// About this id or name.
    pub target: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Of all projects and the server itself; the operator's to ask.
    pub all: bool,
}

impl AuditFilter {
    fn path(&self, limit: u32, cursor: Option<&str>) -> String {
        let moment = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
        let (since, until) = (moment(self.since), moment(self.until));
        let parameters = [
            ("all", Some(if self.all { "true" } else { "false" })),
            ("actor", self.actor.as_deref()),
            ("action", self.action.as_deref()),
            ("target", self.target.as_deref()),
            ("since", since.as_deref()),
            ("until", until.as_deref()),
            ("limit", Some(&limit.to_string())),
            ("cursor", cursor),
        ];
        with_query("/v1/audit", parameters)
    }
}

/// Entries as NDJSON, as the server writes them. An error is the last item.
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
    /// One page of entries, in order: at most `limit`, 1 to 1,000, after the page that gave `cursor`.
    pub async fn audit_page(&self, filter: &AuditFilter, limit: u32, cursor: Option<&str>) -> Result<AuditPage, ClientError> {
        self.get(&filter.path(limit, cursor)).await
    }

    /// All such entries, in order.
    pub fn audit(&self, filter: AuditFilter) -> impl Stream<Item = Result<AuditEntry, ClientError>> + use<> {
        let client = self.clone();
        paged(move |cursor| {
            let (client, filter) = (client.clone(), filter.clone());
            async move {
                let page = client.audit_page(&filter, 1000, cursor.as_deref()).await?;
                Ok((page.entries, page.next_cursor))
            }
        })
    }

    /// All such entries as NDJSON, in one request.
    pub async fn export_audit(&self, filter: &AuditFilter) -> Result<AuditExport, ClientError> {
        let path = filter.path(1000, None);
        let response =
            self.again(async || self.send(self.request(Method::GET, &path).header(ACCEPT, "application/x-ndjson")).await).await?;
        let stream = futures::stream::unfold(Some((self.clone(), pieces(response))), |at| async move {
            let (client, mut pieces) = at?;
            match client.piece(&mut pieces).await {
                Ok(piece) => piece.map(|piece| (Ok(piece), Some((client, pieces)))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(AuditExport(Box::pin(stream)))
    }

    /// Walks the whole trail and recomputes every hash, however long that takes. The operator's to do.
    pub async fn verify_audit(&self) -> Result<AuditVerification, ClientError> {
        let response = self.send(self.request(Method::GET, "/v1/audit/verification")).await?;
        self.json(response).await
    }
}
