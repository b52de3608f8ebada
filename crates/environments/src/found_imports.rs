//! The cached imports of programs.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use belljar_engine::FoundImports;
use belljar_protocol::{Language, ProgramFile, RuntimeName};
use sha2::{Digest, Sha256};

/// The maximum size of all cached imports.
const MAX_FOUND_BYTES: usize = 8 << 20;

/// The imports of programs by the hash of their files, so that a program that is run again is not
/// parsed again.
#[derive(Debug, Default)]
pub(crate) struct FoundImportsCache(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    by_program: HashMap<[u8; 32], Arc<FoundImports>>,
    order: VecDeque<[u8; 32]>,
    bytes: usize,
}

impl Found {
    fn remember(&mut self, program: [u8; 32], found: &Arc<FoundImports>) {
        if self.by_program.insert(program, Arc::clone(found)).is_none() {
            self.order.push_back(program);
            self.bytes += bytes_of(found);
        }
        while self.bytes > MAX_FOUND_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.by_program.remove(&oldest).map_or(0, |found| bytes_of(&found));
        }
    }
}

/// Returns the approximate size of a cached answer.
fn bytes_of(found: &FoundImports) -> usize {
    let texts = found
        .imports
        .iter()
        .map(|import| import.name.len())
        .chain(found.additions.iter().map(String::len));
    256 + texts.map(|bytes| bytes + 32).sum::<usize>()
}

impl FoundImportsCache {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, program: &[u8; 32]) -> Option<Arc<FoundImports>> {
        self.found().by_program.get(program).map(Arc::clone)
    }

    pub(crate) fn remember(&self, program: [u8; 32], found: &Arc<FoundImports>) {
        self.found().remember(program, found);
    }
}

/// Returns the hash of a program's files and of its runtime: versions of a runtime differ in the
/// syntax that they can parse.
pub(crate) fn program_hash(
    language: Language,
    runtime: Option<&RuntimeName>,
    files: &[ProgramFile],
) -> [u8; 32] {
    let runtime_name = runtime.map(ToString::to_string).unwrap_or_default();
    let mut digest = Sha256::new();
    for part in [language.to_string().as_bytes(), runtime_name.as_bytes()]
        .into_iter()
        .chain(files.iter().flat_map(|file| [file.path.as_str().as_bytes(), &file.content]))
    {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}
