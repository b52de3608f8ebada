//! The syntax of a file, as far as its dialect, its name and its options determine it.

use oxc_span::SourceType;

use crate::dialect::{Dialect, ModuleKind};
use crate::options::{FileRole, Options};

/// The properties of a program that follow from its dialect, its file name and its options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Syntax {
    pub(crate) dialect: Dialect,
    pub(crate) jsx: bool,
    pub(crate) role: FileRole,
    pub(crate) declared: Option<ModuleKind>,
}

impl Syntax {
    pub(crate) fn new(file_name: &str, dialect: Dialect, options: &Options) -> Self {
        let extension = file_name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let declared = match extension {
            "mjs" | "mts" => Some(ModuleKind::Module),
            "cjs" | "cts" => Some(ModuleKind::CommonJs),
            _ => options.kind,
        };
        Self { dialect, jsx: matches!(extension, "jsx" | "tsx"), role: options.role, declared }
    }

    /// Returns the syntax of printed code: plain JavaScript whose kind is known.
    pub(crate) fn printed(kind: ModuleKind) -> Self {
        Self {
            dialect: Dialect::JavaScript,
            jsx: false,
            role: FileRole::Main,
            declared: Some(kind),
        }
    }

    /// Returns the same syntax with JSX, which `code` may contain whatever its name is.
    pub(crate) fn with_jsx(self) -> Self {
        Self { jsx: true, ..self }
    }

    /// Returns the same syntax in another dialect.
    pub(crate) fn in_dialect(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }

    /// Returns whether V8 can read the program unchanged.
    pub(crate) fn is_plain(self) -> bool {
        self.dialect == Dialect::JavaScript && !self.jsx
    }

    /// Returns the kind of a program that cannot be parsed. V8 reports the mistake, so only its
    /// message depends on this.
    pub(crate) fn guessed_kind(self, source: &str) -> ModuleKind {
        match self.declared {
            Some(kind) => kind,
            None if source.lines().any(is_module_line) => ModuleKind::Module,
            None => ModuleKind::CommonJs,
        }
    }

    /// Returns the settings of the parser for a program of this kind.
    pub(crate) fn source_type(self, kind: ModuleKind) -> SourceType {
        let base = match self.dialect {
            Dialect::JavaScript => SourceType::cjs(),
            Dialect::TypeScript => SourceType::ts(),
        };
        let base = base.with_jsx(self.jsx);
        match kind {
            ModuleKind::CommonJs => base.with_commonjs(true),
            ModuleKind::Module => base.with_module(true),
        }
    }
}

/// Returns whether a line begins like an import or export declaration.
pub(crate) fn is_module_line(line: &str) -> bool {
    let line = line.trim_start();
    let after = line.strip_prefix("import").or_else(|| line.strip_prefix("export"));
    after.is_some_and(|after| after.starts_with([' ', '\t', '{', '*', '"', '\'']))
}
