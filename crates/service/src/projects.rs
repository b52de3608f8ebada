//! Projects, and what they used.

use belljar_engine::CeilingGrants;
use belljar_protocol::{Ceiling, FsPolicy, NewProject, ProjectList, ProjectName, ProjectRecord, ProjectSettings, Scope, UsageReport};
use serde_json::json;

use crate::caller::Caller;
use crate::error::ServiceError;
use crate::service::Service;

impl Service {
    /// Makes a project.
    pub async fn create_project(&self, caller: &Caller, new: NewProject) -> Result<ProjectRecord, ServiceError> {
        caller.must_be_operator()?;
        let _changing = self.ceilings().changing().await;
        let grants = self.check_settings(&new.settings, None).await?;
        let audit = caller.did("project.create", new.name.as_str(), json!({"settings": new.settings}));
        let project =
            self.store().create_project(new.name, new.settings, audit).await.map_err(|error| ServiceError::Conflict(error.to_string()))?;
        self.ceilings().set(&project.id, grants);
        Ok(project)
    }

    /// All projects; for a token, its own.
    pub async fn projects(&self, caller: &Caller) -> Result<ProjectList, ServiceError> {
        if !caller.is_operator() {
            caller.must(Scope::Read)?;
            return Ok(ProjectList { projects: vec![ProjectRecord::clone(&caller.project)] });
        }
        Ok(ProjectList { projects: self.store().projects().await? })
    }

    /// One project; for a token, its own.
    pub async fn project(&self, caller: &Caller, name: &str) -> Result<ProjectRecord, ServiceError> {
        if !caller.is_operator() {
            caller.must(Scope::Read)?;
            if caller.project() != name {
                return Err(ServiceError::not_found("project", name));
            }
        }
        Ok(self.store().project_named(name).await?)
    }

    /// Replaces a project's settings. Running runs keep theirs. The paths of its ceiling are opened again, also where they are the same.
    pub async fn set_project(&self, caller: &Caller, name: ProjectName, settings: ProjectSettings) -> Result<ProjectRecord, ServiceError> {
        caller.must_be_operator()?;
        let _changing = self.ceilings().changing().await;
        let grants = self.check_settings(&settings, Some(&name)).await?;
        let audit = caller.did("project.set", name.as_str(), json!({"settings": settings}));
        self.store().set_project(name.clone(), settings, audit).await?;
        self.forget_projects();
        let project = self.store().project_named(name.as_str()).await?;
        self.ceilings().set(&project.id, grants);
        Ok(project)
    }

    /// Deletes a project with all that it has: runs, objects, tokens. Only its audit entries stay.
    pub async fn delete_project(&self, caller: &Caller, name: &str) -> Result<(), ServiceError> {
        caller.must_be_operator()?;
        if name == Self::FIRST_PROJECT {
            return Err(ServiceError::Conflict(format!(
                "the project {name} is the one that is used when none is named; it cannot be deleted"
            )));
        }
        let project = self.store().project_named(name).await?;
        self.cancel_all_of(&project.id).await;
        let audit = caller.did("project.delete", name, json!({"id": project.id}));
        let _changing = self.ceilings().changing().await;
        let id = project.id.clone();
        self.store().delete_project(project, audit).await?;
        self.ceilings().forget(&id);
        self.forget_projects();
        Ok(())
    }

    /// What was used, by project and day; for a token, its own project's.
    pub async fn usage(&self, caller: &Caller, all: bool, since: Option<&str>, until: Option<&str>) -> Result<UsageReport, ServiceError> {
        caller.must(Scope::Read)?;
        if all {
            caller.must_be_operator()?;
        }
        for day in [since, until].into_iter().flatten() {
            let is_day = day.len() == 10
                && day.bytes().enumerate().all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
            if !is_day {
                return Err(ServiceError::invalid(format!("`{}` is not a day; write 2026-01-02", day.escape_debug())));
            }
        }
        let project = (!all).then(|| caller.project());
        Ok(self.store().usage(project, since, until).await?)
    }

    /// Checks that a ceiling is one that holds, and opens its paths. Those of the project `of` itself are about to be replaced.
    async fn check_settings(&self, settings: &ProjectSettings, of: Option<&ProjectName>) -> Result<CeilingGrants, ServiceError> {
        settings.policy.validate().map_err(ServiceError::invalid)?;
        self.ceiling(settings).validate().map_err(ServiceError::invalid)?;
        if settings.policy.fs == FsPolicy::default() {
            return Ok(CeilingGrants::default());
        }
        let itself = match of {
            Some(name) => Some(self.store().project_named(name.as_str()).await?.id),
            None => None,
        };
        let others = self.ceilings().of_others(itself.as_deref());
        let (engine, policy) = (self.engine().clone(), settings.policy.fs.clone());
        let open = move || {
            let grants = engine.ceiling(&policy);
            grants.check()?;
            others.iter().try_for_each(|other| grants.check_beside(other)).map(|()| grants)
        };
        // A file system that does not answer must not hold up everybody.
        let opened = tokio::task::spawn_blocking(open).await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
        opened.map_err(|error| ServiceError::invalid(format!("policy.fs: {error}")))
    }

    /// The most that runs of a project with these settings may be given.
    pub(crate) fn ceiling(&self, settings: &ProjectSettings) -> Ceiling {
        settings.ceiling(self.engine().machine().ceiling())
    }
}
