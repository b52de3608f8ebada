//! Analyses JavaScript and TypeScript programs: decides whether a program is CommonJS or a module,
//! prepares it so that its value can be taken when it runs, and finds its imports. This crate only
//! runs inside the sandbox, because a parser of hostile input has no place in the supervisor.
//!
//! A program stays as its author wrote it wherever possible: edits are made by position, line
//! numbers never change, and columns change only where a value is taken. Only TypeScript that needs
//! code of its own (enums, namespaces, decorators, JSX) is printed again, with a source map.
#![forbid(unsafe_code)]

mod bindings;
mod commonjs;
mod completion;
mod decorators;
mod depth;
mod dialect;
mod edits;
mod elision;
mod erase;
mod error;
mod fields;
mod file_imports;
mod forgiven;
mod interop;
mod jsx;
mod legacy_privates;
mod meanings;
mod mistakes;
mod namespaces;
mod options;
mod prepare;
mod prepared;
mod program;
mod starts;
mod syntax;
mod transform;
mod trivia;
mod uses;

pub use crate::dialect::{Dialect, ModuleKind};
pub use crate::error::PrepareError;
pub use crate::file_imports::{FileImport, FileImports, find_imports, find_imports_with};
pub use crate::mistakes::{Mistake, find_mistake};
pub use crate::options::{Decorators, Fields, FileRole, JsxMode, Options, UnusedImports};
pub use crate::prepare::{prepare, prepare_with};
pub use crate::prepared::PreparedProgram;
pub use crate::uses::{AllUses, Uses, ValueUse};
