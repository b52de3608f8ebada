//! The dialect of a program, JavaScript or TypeScript, and the way in which it is loaded.

/// The declared dialect of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// JavaScript, including JSX if the file's name ends in `.jsx`.
    JavaScript,
    /// TypeScript, including JSX if the file's name ends in `.tsx`. Types are removed and never
    /// checked.
    TypeScript,
}

/// The way in which a program is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleKind {
    /// The body of a function with the parameters `exports, require, module, __filename, __dirname,
    /// __belljar_value`.
    CommonJs,
    /// An ECMAScript module.
    Module,
}
