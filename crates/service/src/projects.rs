//! Projects, and what they used.

use belljar_protocol::{Ceiling, NewProject, ProjectList, ProjectName, ProjectRecord, ProjectSettings, Scope, UsageReport};
use serde_json::json;

use crate::caller::Caller;
use crate::error::ServiceError;
use crate::service::Service;

impl Service {
    /// Makes a project.
    pub async fn create_project(&self, caller: &Caller, new: NewProject) -> Result<ProjectRecord, ServiceError> {
        caller.must_be_operator()?;
        self.check_settings(&new.settings)?;
        let audit = caller.did("project.create", new.name.as_str(), json!({"settings": new.settings}));
        self.store().create_project(new.name, new.settings, audit).await.map_err(|error| ServiceError::Conflict(error.to_string()))
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

    /// Replaces a project's settings. Runs under way keep theirs.
    pub async fn set_project(&self, caller: &Caller, name: ProjectName, settings: ProjectSettings) -> Result<ProjectRecord, ServiceError> {
        caller.must_be_operator()?;
        self.check_settings(&settings)?;
        let audit = caller.did("project.set", name.as_str(), json!({"settings": settings}));
        self.store().set_project(name.clone(), settings, audit).await?;
        self.forget_projects();
        Ok(self.store().project_named(name.as_str()).await?)
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
        self.store().delete_project(project, audit).await?;
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

    /// A ceiling has to be one that can be meant.
    fn check_settings(&self, settings: &ProjectSettings) -> Result<(), ServiceError> {
        settings.policy.validate().map_err(ServiceError::invalid)?;
        self.ceiling(settings).validate().map_err(ServiceError::invalid)
    }

    /// The most that runs of a project with these settings may be given.
    pub(crate) fn ceiling(&self, settings: &ProjectSettings) -> Ceiling {
        settings.ceiling(self.engine().machine().ceiling())
    }
}
