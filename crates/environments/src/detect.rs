//! Stand-in until the decision is merged.
use std::sync::Arc;

use belljar_engine::FoundImports;
use belljar_protocol::{Language, ProgramFile};

use crate::requirement::{Ecosystem, Requirement, RequirementError};

pub(crate) enum Detection {
    None,
    Requirements(Vec<Requirement>),
    NeedsParser,
}

pub(crate) fn detect(explicit: &[Requirement], has_lock: bool, _: Language, _: &[ProgramFile]) -> Result<Detection, RequirementError> {
    if !explicit.is_empty() || has_lock {
        return Ok(Detection::Requirements(explicit.to_vec()));
    }
    let _ = Detection::None;
    Ok(Detection::NeedsParser)
}

pub(crate) struct NamedImports(Arc<FoundImports>);

impl From<Arc<FoundImports>> for NamedImports {
    fn from(found: Arc<FoundImports>) -> Self {
        Self(found)
    }
}

impl NamedImports {
    pub(crate) fn requirements(&self, language: Language, _: &[ProgramFile]) -> Result<Vec<Requirement>, RequirementError> {
        let std = ["os", "sys", "json", "re", "math", "fs", "node:fs", "belljar", "random"];
        self.0.imports.iter().filter(|import| !std.contains(&import.name.as_str())).map(|import| Requirement::any(Ecosystem::of(language), import.name.split(['.', '/']).next().unwrap_or_default())).collect()
    }

    pub(crate) fn modules(&self, _: Language, _: &[ProgramFile]) -> Vec<String> {
        self.0.imports.iter().map(|import| import.name.clone()).collect()
    }
}
