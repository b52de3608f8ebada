//! The settings of a preparation: the place of the file in its run, and the compiler options of a
//! tsconfig.json that change what a program does.

use crate::dialect::ModuleKind;

/// The place of a file in its run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FileRole {
    /// The program itself, whose value is taken.
    #[default]
    Main,
    /// A file that the program imports or requires. It has no value.
    Imported,
}

/// The decorators that a program is written for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Decorators {
    /// Those of ECMAScript (the proposal of November 2023), which TypeScript 5 has by default.
    #[default]
    Standard,
    /// Legacy decorators: `experimentalDecorators`.
    Legacy,
    /// `experimentalDecorators` with `emitDecoratorMetadata`.
    LegacyWithMetadata,
}

/// The code that JSX becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JsxMode {
    /// Classic where the file declares or imports `React`, else automatic.
    #[default]
    Unset,
    /// `React.createElement(…)`, or the factory that was named.
    Classic,
    /// `jsx(…)`, imported from `react/jsx-runtime` or that of another package.
    Automatic,
}

/// The semantics of class fields: TypeScript's `useDefineForClassFields`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fields {
    /// The semantics of ECMAScript.
    #[default]
    Define,
    /// Assignments in the constructor. A field without a value does not exist.
    Assign,
}

/// The treatment of imports that no value refers to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnusedImports {
    /// Left out of TypeScript, as they may be of types.
    #[default]
    Drop,
    /// Kept, unless they say `type`: `verbatimModuleSyntax`.
    Keep,
}

/// Options of one preparation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The place of the file in its run.
    pub role: FileRole,
    /// The kind that the package of the file declares. It counts if the file's name and syntax do
    /// not decide.
    pub kind: Option<ModuleKind>,
    /// The decorators that it uses.
    pub decorators: Decorators,
    /// The code that JSX becomes.
    pub jsx: JsxMode,
    /// `jsxImportSource`: the package whose `jsx-runtime` is imported.
    pub jsx_import_source: Option<String>,
    /// The function that creates elements: `jsxFactory`.
    pub jsx_factory: Option<String>,
    /// The component of fragments: `jsxFragmentFactory`.
    pub jsx_fragment_factory: Option<String>,
    /// The semantics of class fields.
    pub fields: Fields,
    /// The treatment of imports that no value refers to.
    pub unused_imports: UnusedImports,
}

impl Options {
    /// Parses options as the driver writes them: one `name=value` per line. Unknown names and
    /// values are ignored.
    ///
    /// ```
    /// use belljar_syntax::{JsxMode, Options};
    ///
    /// let options = Options::parse("jsx=automatic\njsxImportSource=preact");
    /// assert_eq!(options.jsx, JsxMode::Automatic);
    /// assert_eq!(options.jsx_import_source.as_deref(), Some("preact"));
    /// ```
    pub fn parse(text: &str) -> Self {
        let mut options = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.split_once('=') else { continue };
            match (name, value) {
                ("role", "imported") => options.role = FileRole::Imported,
                ("kind", "module") => options.kind = Some(ModuleKind::Module),
                ("decorators", "legacy") => options.decorators = Decorators::Legacy,
                ("decorators", "metadata") => options.decorators = Decorators::LegacyWithMetadata,
                ("jsx", "classic") => options.jsx = JsxMode::Classic,
                ("jsx", "automatic") => options.jsx = JsxMode::Automatic,
                ("jsxImportSource", _) => options.jsx_import_source = Some(value.to_owned()),
                ("jsxFactory", _) => options.jsx_factory = Some(value.to_owned()),
                ("jsxFragmentFactory", _) => options.jsx_fragment_factory = Some(value.to_owned()),
                ("fields", "assign") => options.fields = Fields::Assign,
                ("unusedImports", "keep") => options.unused_imports = UnusedImports::Keep,
                _ => {}
            }
        }
        options
    }
}
