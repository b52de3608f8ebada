//! The table `tests/packages/packages.toml`.

use std::path::Path;

use belljar_environments::Ecosystem;
use belljar_protocol::{Bytes, Language, Limits, Network, Policy};
use serde::Deserialize;

use crate::AnyError;

/// One package, and the program that uses it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its name in its registry.
    pub name: String,
    pub ecosystem: Ecosystem,
    /// Why it is among those that are tried.
    pub reason: String,
    /// The program, in the folder of the table.
    pub program: String,
    /// Expected `value` of the program, as JSON.
    pub expected: String,
    /// Requested packages in addition to the imports.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Memory limit in MB, where the default one does not suffice.
    pub memory_mb: Option<u64>,
    /// Threads and processes, where the default limit does not suffice.
    pub processes: Option<u32>,
    /// Whether it serves and asks on the loopback interface.
    #[serde(default)]
    pub loopback: bool,
    /// Anything that a reader has to know.
    #[serde(default)]
    pub note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    package: Vec<Row>,
}

/// All rows, with the programs in place.
pub fn read(folder: &Path) -> Result<Vec<Row>, AnyError> {
    let table: Table = toml::from_str(&std::fs::read_to_string(folder.join("packages.toml"))?)?;
    for row in &table.package {
        serde_json::from_str::<serde_json::Value>(&row.expected)
            .map_err(|error| format!("{}: expected: {error}", row.name))?;
        if !folder.join(&row.program).is_file() {
            return Err(format!("{}: there is no {}", row.name, row.program).into());
        }
    }
    Ok(table.package)
}

impl Row {
    pub fn language(&self) -> Language {
        match self.ecosystem {
            Ecosystem::PyPi => Language::Python,
            Ecosystem::Npm => Language::JavaScript,
        }
    }

    pub fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        if let Some(megabytes) = self.memory_mb {
            limits.memory_bytes = Bytes(megabytes << 20);
        }
        if let Some(processes) = self.processes {
            limits.processes = processes;
        }
        limits
    }

    pub fn policy(&self) -> Policy {
        let network = if self.loopback { Network::Loopback } else { Network::None };
        Policy { network, ..Policy::default() }
    }
}
