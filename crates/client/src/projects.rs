//! Projects, tokens, usage.

use belljar_protocol::{
    IssuedToken, NewProject, NewToken, ProjectList, ProjectName, ProjectRecord, ProjectSettings, TokenList, TokenRecord, UsageReport,
};
use reqwest::Method;
use serde::Deserialize;

use crate::client::{Client, with_query};
use crate::error::ClientError;
use crate::objects::path_of;

/// Which usage is wanted. The default is all days of the caller's project.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    /// Of all projects; the operator's to ask.
    pub all: bool,
    /// From this day on, `2026-01-02`.
    pub since: Option<String>,
    /// To this day.
    pub until: Option<String>,
}

#[derive(Deserialize)]
struct CallbackKey {
    key: String,
}

impl Client {
    /// Makes a token. It is shown this once.
    pub async fn create_token(&self, new: &NewToken) -> Result<IssuedToken, ClientError> {
        self.change(self.request(Method::POST, "/v1/tokens").json(new)).await
    }

    /// The project's tokens, the latest first.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, ClientError> {
        self.get("/v1/tokens").await.map(|TokenList { tokens }| tokens)
    }

    /// Revokes a token, at once.
    pub async fn revoke_token(&self, id: &str) -> Result<(), ClientError> {
        self.delete(&format!("/v1/tokens/{}", segment(id))).await
    }

    /// What the callbacks of the project are signed with.
    pub async fn callback_key(&self) -> Result<String, ClientError> {
        self.get("/v1/callback-key").await.map(|CallbackKey { key }| key)
    }

    /// Makes a project. The operator's to do.
    pub async fn create_project(&self, new: &NewProject) -> Result<ProjectRecord, ClientError> {
        self.change(self.request(Method::POST, "/v1/projects").json(new)).await
    }

    /// Projects: the operator sees all, a token its own.
    pub async fn projects(&self) -> Result<Vec<ProjectRecord>, ClientError> {
        self.get("/v1/projects").await.map(|ProjectList { projects }| projects)
    }

    /// A project.
    pub async fn project(&self, name: &ProjectName) -> Result<ProjectRecord, ClientError> {
        self.get(&format!("/v1/projects/{name}")).await
    }

    /// Replaces a project's ceiling and quotas. The operator's to do.
    pub async fn set_project(&self, name: &ProjectName, settings: &ProjectSettings) -> Result<ProjectRecord, ClientError> {
        self.change(self.request(Method::PUT, &format!("/v1/projects/{name}/settings")).json(settings)).await
    }

    /// Deletes a project with all that it has. The operator's to do.
    pub async fn delete_project(&self, name: &ProjectName) -> Result<(), ClientError> {
        self.delete(&format!("/v1/projects/{name}")).await
    }

    /// What was used, by project and day.
    pub async fn usage(&self, filter: &UsageFilter) -> Result<UsageReport, ClientError> {
        let all = if filter.all { "true" } else { "false" };
        let path = with_query("/v1/usage", [("all", Some(all)), ("since", filter.since.as_deref()), ("until", filter.until.as_deref())]);
        self.get(&path).await
    }
}

/// One part of a path, whatever is in it.
fn segment(text: &str) -> String {
    path_of(text).replace('/', "%2F").replace('.', "%2E")
}
