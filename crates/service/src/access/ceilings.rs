//! The paths of all projects' ceilings. They are opened when a ceiling is set or the server starts,
//! and stay open: the grants of runs are opened beneath them, so that the name of a ceiling is
//! never resolved again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use belljar_engine::{CeilingGrants, Engine};
use belljar_protocol::ProjectRecord;

/// The open ceilings by project.
#[derive(Debug, Default)]
pub(crate) struct Ceilings {
    by_project: Mutex<HashMap<String, Arc<CeilingGrants>>>,
    /// Locked while a ceiling is checked against the others and stored.
    changing: tokio::sync::Mutex<()>,
}

impl Ceilings {
    /// Opens the ceilings of all projects. If a ceiling cannot be opened, or is in a place where
    /// runs write, only the runs of that project are refused.
    pub(crate) fn open(engine: &Engine, projects: &[ProjectRecord]) -> Self {
        let with_paths = projects
            .iter()
            .filter(|project| project.settings.policy.fs != belljar_protocol::FsPolicy::default());
        let opened: Vec<(&ProjectRecord, CeilingGrants)> = with_paths
            .map(|project| (project, engine.ceiling(&project.settings.policy.fs)))
            .collect();
        let checked = opened.iter().map(|(project, grants)| {
            if let Err(error) = grants.check() {
                tracing::warn!(
                    project = project.name.as_str(),
                    %error,
                    "a path of the project's ceiling cannot be granted until its policy is set again"
                );
            }
            let all = opened.iter().map(|(_, grants)| grants);
            (project.id.clone(), Arc::new(grants.clone().without_what_runs_write(all)))
        });
        Self { by_project: Mutex::new(checked.collect()), changing: tokio::sync::Mutex::default() }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<CeilingGrants>>> {
        self.by_project.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the ceiling of a project, which is empty if the project has no paths.
    pub(crate) fn of(&self, project_id: &str) -> Arc<CeilingGrants> {
        self.all().get(project_id).map(Arc::clone).unwrap_or_default()
    }

    pub(crate) fn of_others(&self, project_id: Option<&str>) -> Vec<Arc<CeilingGrants>> {
        self.all()
            .iter()
            .filter(|(id, _)| Some(id.as_str()) != project_id)
            .map(|(_, grants)| Arc::clone(grants))
            .collect()
    }

    pub(crate) fn set(&self, project_id: &str, grants: CeilingGrants) {
        self.all().insert(project_id.to_owned(), Arc::new(grants));
    }

    pub(crate) fn forget(&self, project_id: &str) {
        self.all().remove(project_id);
    }

    /// Locks the ceilings. No other ceiling can change until the guard is dropped.
    pub(crate) async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }
}
