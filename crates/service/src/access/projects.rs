//! Projects and their usage.

use std::borrow::Cow;

use belljar_engine::CeilingGrants;
use belljar_protocol::{
    Explain, FsPolicy, IssuedToken, NewProject, NewToken, ProjectList, ProjectName, ProjectRecord,
    ProjectSettings, Quotas, Scope, UsageFilter, UsageReport,
};
use belljar_store::NewAuditEntry;
use serde_json::json;

use super::Access;
use crate::caller::{Caller, OPERATOR};
use crate::error::ServiceError;

impl Access {
    /// Creates the first project and a token for it, if the home has no project yet. Only this
    /// answer contains the token.
    pub async fn first_start(&self) -> Result<Option<IssuedToken>, ServiceError> {
        if !self.store.projects().await?.is_empty() {
            return Ok(None);
        }
        let name: ProjectName = Self::FIRST_PROJECT.parse()?;
        let audit = NewAuditEntry {
            project: Some(name.to_string()),
            actor: OPERATOR.into(),
            source: None,
            action: "project.create",
            target: name.to_string(),
            details: json!({}),
        };
        let project = self.store.create_project(name, ProjectSettings::default(), audit).await?;
        let caller = Caller { source: None, ..self.operator(project.name.as_str()).await? };
        let new =
            NewToken { name: "first".into(), scopes: Scope::ALL.to_vec(), expires_in_ms: None };
        Ok(Some(self.issue(&project, &caller, new).await?))
    }

    /// Creates a project.
    pub async fn create_project(
        &self,
        caller: &Caller,
        new: NewProject,
    ) -> Result<ProjectRecord, ServiceError> {
        caller.must_be_operator()?;
        let _changing = self.ceilings.changing().await;
        let grants = self.check_settings(&new.settings, None).await?;
        let audit =
            caller.did("project.create", new.name.as_str(), json!({"settings": new.settings}));
        let project = self
            .store
            .create_project(new.name, new.settings, audit)
            .await
            .map_err(|error| ServiceError::Conflict(error.to_string()))?;
        self.ceilings.set(&project.id, grants);
        Ok(self.with_settings_in_force(project))
    }

    /// Returns all projects, or a token's own project.
    pub async fn projects(&self, caller: &Caller) -> Result<ProjectList, ServiceError> {
        if !caller.is_operator() {
            caller.must(Scope::Read)?;
            return Ok(ProjectList { projects: vec![ProjectRecord::clone(&caller.project)] });
        }
        Ok(ProjectList { projects: self.store.projects().await? })
    }

    /// Returns a project with its settings in force. A token can only see its own.
    pub async fn project(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<ProjectRecord, ServiceError> {
        if !caller.is_operator() {
            caller.must(Scope::Read)?;
            if caller.project() != name {
                return Err(ServiceError::not_found("project", name));
            }
        }
        Ok(self.with_settings_in_force(self.store.project_named(name).await?))
    }

    /// Adds the settings in force to the record of a project.
    fn with_settings_in_force(&self, project: ProjectRecord) -> ProjectRecord {
        let settings = &project.settings;
        let (quotas, most) = (settings.quotas, self.server.concurrent_runs);
        let ceiling = settings.ceiling(self.engine.machine().ceiling());
        let in_force = ProjectSettings {
            policy: ceiling.policy,
            limits: ceiling.limits.into(),
            env_names: settings.env_names.clone(),
            packages: self.server.packages.within(&settings.packages),
            quotas: Quotas {
                concurrent_runs: Some(quotas.concurrent_runs.map_or(most, |runs| runs.min(most))),
                objects: Some(quotas.storage().objects),
                history_bytes: Some(quotas.history()),
                ..quotas
            },
        };
        ProjectRecord { in_force: Some(Box::new(in_force)), ..project }
    }

    /// Replaces a project's settings. Running runs keep the previous ones. The paths of the ceiling
    /// are opened again even if they have not changed.
    pub async fn set_project(
        &self,
        caller: &Caller,
        name: ProjectName,
        settings: ProjectSettings,
    ) -> Result<ProjectRecord, ServiceError> {
        caller.must_be_operator()?;
        let _changing = self.ceilings.changing().await;
        let grants = self.check_settings(&settings, Some(&name)).await?;
        let audit = caller.did("project.set", name.as_str(), json!({"settings": settings}));
        self.store.set_project(name.clone(), settings, audit).await?;
        self.cache.forget_projects();
        let project = self.store.project_named(name.as_str()).await?;
        self.ceilings.set(&project.id, grants);
        Ok(self.with_settings_in_force(project))
    }

    /// Deletes a project with its runs, objects and tokens. Only its audit entries stay.
    pub async fn delete_project(&self, caller: &Caller, name: &str) -> Result<(), ServiceError> {
        caller.must_be_operator()?;
        if name == Self::FIRST_PROJECT {
            return Err(ServiceError::Conflict(format!(
                "cannot delete the project `{name}`, which is used if a request names none"
            )));
        }
        let project = self.store.project_named(name).await?;
        self.live.cancel_all_of(&project.id).await;
        let audit = caller.did("project.delete", name, json!({"id": project.id}));
        let _changing = self.ceilings.changing().await;
        let id = project.id.clone();
        self.store.delete_project(project, audit).await?;
        self.ceilings.forget(&id);
        self.cache.forget_projects();
        Ok(())
    }

    /// Returns the usage by project and day, of all projects or of the caller's own.
    pub async fn usage(
        &self,
        caller: &Caller,
        filter: &UsageFilter,
    ) -> Result<UsageReport, ServiceError> {
        caller.must(Scope::Read)?;
        if filter.all {
            caller.must_be_operator()?;
        }
        for day in [&filter.since, &filter.until].into_iter().flatten() {
            let is_day = day.len() == 10
                && day.bytes().enumerate().all(|(at, byte)| {
                    if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() }
                });
            if !is_day {
                return Err(ServiceError::Invalid {
                    detail: format!("`{}` is not a day", day.escape_debug()),
                    hint: Some("write it like 2026-01-02".to_owned()),
                });
            }
        }
        Ok(self.store.usage(caller.project(), filter).await?)
    }

    /// Checks a ceiling and opens its paths. The current paths of the project `of` are about to be
    /// replaced, so they do not count.
    async fn check_settings(
        &self,
        settings: &ProjectSettings,
        of: Option<&ProjectName>,
    ) -> Result<CeilingGrants, ServiceError> {
        let ceiling = self.engine.machine().ceiling();
        settings.policy.validate().map_err(|error| ServiceError::explained(&error))?;
        settings.ceiling(ceiling).validate().map_err(|error| ServiceError::explained(&error))?;
        if settings.policy.fs == FsPolicy::default() {
            return Ok(CeilingGrants::default());
        }
        let itself = match of {
            Some(name) => Some(self.store.project_named(name.as_str()).await?.id),
            None => None,
        };
        let others = self.ceilings.of_others(itself.as_deref());
        let (engine, policy) = (self.engine.clone(), settings.policy.fs.clone());
        let open = move || {
            let grants = engine.ceiling(&policy);
            grants.check()?;
            others.iter().try_for_each(|other| grants.check_against(other)).map(|()| grants)
        };
        // A file system that does not answer must not block everyone.
        let opened = tokio::task::spawn_blocking(open)
            .await
            .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
        opened.map_err(|error| ServiceError::Invalid {
            detail: format!("policy.fs: {error}"),
            hint: error.hint().map(Cow::into_owned),
        })
    }
}
