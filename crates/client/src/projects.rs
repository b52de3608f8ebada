//! The requests for projects, tokens and usage.

use belljar_protocol::{
    CallbackKey, IssuedToken, NewProject, NewToken, ProjectList, ProjectName, ProjectRecord,
    ProjectSettings, TokenList, TokenRecord, UsageFilter, UsageGroup, UsageReport,
};
use reqwest::Method;

use crate::client::{Client, with_query};
use crate::error::ClientError;
use crate::objects::path_of;

impl Client {
    /// Creates a token. The server never shows it again.
    pub async fn create_token(&self, new: &NewToken) -> Result<IssuedToken, ClientError> {
        self.change(self.request(Method::POST, "/v1/tokens").json(new)).await
    }

    /// Returns the tokens of the project, newest first.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, ClientError> {
        self.get("/v1/tokens").await.map(|TokenList { tokens }| tokens)
    }

    /// Revokes a token immediately.
    pub async fn revoke_token(&self, id: &str) -> Result<(), ClientError> {
        self.delete(&format!("/v1/tokens/{}", segment(id))).await
    }

    /// Returns the key that signs the callbacks of the project.
    pub async fn callback_key(&self) -> Result<String, ClientError> {
        self.get("/v1/callback-key").await.map(|CallbackKey { key }| key)
    }

    /// Creates a project. Only the operator may.
    pub async fn create_project(&self, new: &NewProject) -> Result<ProjectRecord, ClientError> {
        self.change(self.request(Method::POST, "/v1/projects").json(new)).await
    }

    /// Returns all projects for the operator, and its own project for a token.
    pub async fn projects(&self) -> Result<Vec<ProjectRecord>, ClientError> {
        self.get("/v1/projects").await.map(|ProjectList { projects }| projects)
    }

    /// Returns the record of a project.
    pub async fn project(&self, name: &ProjectName) -> Result<ProjectRecord, ClientError> {
        self.get(&format!("/v1/projects/{name}")).await
    }

    /// Replaces the ceiling and quotas of a project. Only the operator may.
    pub async fn set_project(
        &self,
        name: &ProjectName,
        settings: &ProjectSettings,
    ) -> Result<ProjectRecord, ClientError> {
        self.change(
            self.request(Method::PUT, &format!("/v1/projects/{name}/settings")).json(settings),
        )
        .await
    }

    /// Deletes a project with its runs, objects and tokens. Only the operator may.
    pub async fn delete_project(&self, name: &ProjectName) -> Result<(), ClientError> {
        self.delete(&format!("/v1/projects/{name}")).await
    }

    /// Returns the usage by day and project, or by day and token.
    pub async fn usage(&self, filter: &UsageFilter) -> Result<UsageReport, ClientError> {
        let all = if filter.all { "true" } else { "false" };
        // A server of an earlier version does not know the parameter.
        let by = (filter.group != UsageGroup::default()).then(|| filter.group.name());
        let path = with_query(
            "/v1/usage",
            [
                ("all", Some(all)),
                ("since", filter.since.as_deref()),
                ("until", filter.until.as_deref()),
                ("by", by),
            ],
        );
        self.get(&path).await
    }
}

/// Returns a text as one segment of a URL path.
fn segment(text: &str) -> String {
    path_of(text).replace('/', "%2F").replace('.', "%2E")
}
