//! The modules and packages that a run brings or creates itself. No package is installed for their
//! names, because another author's package may have the same name.
//!
//! Where a language looks for a module depends on what a program does when it runs (`sys.path`,
//! `NODE_PATH`, a file that it writes). So names count in two degrees. A name that is in no table
//! of packages belongs to the run if any file, folder or text has it. The name of a popular
//! package, such as `requests`, belongs to the run if its language finds it there, or if the
//! program changes where modules are looked for.

use std::collections::BTreeSet;
use std::path::Path;

use crate::module_paths::{has_module_at, is_node};
use crate::popular_packages::is_popular;
use crate::python_names::import_name;
use crate::requirement::{Ecosystem, npm, pypi};
use crate::typescript_config::TypeScriptConfig;

#[cfg(test)]
mod tests;

/// The number of bytes of a file that are searched for names of modules.
pub(crate) const MAX_TEXT_BYTES: usize = 2 << 20;
/// The maximum length of a module's name in a text, including its folders.
const MAX_PATH_BYTES: usize = 256;

/// The maximum number of TypeScript configurations of a run, and the number of their patterns after
/// which no further one is read: each import is compared with all of them.
const MAX_CONFIGS: usize = 100;
const MAX_PATTERNS: usize = 5_000;

/// Parts of Python code that change where modules are looked for.
const PYTHON_LOOKS_ELSEWHERE: [&str; 17] = [
    "sys.path",
    "path.insert",
    "path.append",
    "PYTHONPATH",
    "addsitedir",
    "chdir",
    "spec_from_file_location",
    "SourceFileLoader",
    "run_path",
    "run_module",
    "subprocess",
    "os.system",
    "popen",
    "exec(",
    "meta_path",
    "path_hooks",
    "__path__",
];
/// The same parts of code for Node.js.
const NODE_LOOKS_ELSEWHERE: [&str; 6] = [
    "NODE_PATH",
    "_resolveFilename",
    "registerHooks",
    "globalPaths",
    "module.paths",
    "module-alias",
];
/// Parts of code that write files, which may be modules.
const NODE_WRITES: [&str; 3] = ["writeFile", "mkdir", "symlink"];

/// The surroundings of a run's files.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Whether a variable of the environment that changes where modules are looked for is set.
    pub sets_module_path: bool,
    /// Names of files and folders in the folders that the run may read.
    pub granted: BTreeSet<String>,
    /// Python modules that were next to the program but were not submitted with it.
    pub not_submitted: BTreeSet<String>,
}

/// A file of a run.
#[derive(Clone, Copy, Debug)]
pub struct OwnFile<'a> {
    /// Path relative to the run's folder, with slashes.
    pub path: &'a str,
    /// Content of the file.
    pub bytes: &'a [u8],
}

/// The modules and packages that a run brings or creates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnFiles {
    /// Dotted Python modules with code of their own, where Python looks from the entry: `helpers`
    /// for `helpers.py`, `pkg` for `pkg/__init__.py`. Their submodules belong to them.
    modules: BTreeSet<String>,
    /// Dotted folders with modules beneath them. A folder without `__init__.py` is one of several
    /// that may make up a package.
    folders: BTreeSet<String>,
    /// Packages of npm: those in a `node_modules` where Node looks from the entry, and those that a
    /// `package.json` of the run gives its own folder.
    packages: BTreeSet<String>,
    /// Paths of all files and folders.
    paths: BTreeSet<String>,
    /// Names of modules at any depth, and of folders that contain modules.
    code: BTreeSet<String>,
    /// Names of all folders.
    all_folders: BTreeSet<String>,
    /// Names of modules that a Python program creates, as its parser found them.
    made: BTreeSet<String>,
    /// Names that the text of a file mentions as modules: `name.py`, `node_modules/name`.
    mentioned: BTreeSet<String>,
    granted: BTreeSet<String>,
    not_submitted: BTreeSet<String>,
    typescript: Vec<TypeScriptConfig>,
    looks_elsewhere: bool,
    writes_modules: bool,
}

impl OwnFiles {
    /// Returns what files at these paths provide to a program that starts at `entry`. Paths have
    /// slashes and are relative to the run's folder. Python finds modules next to the entry.
    /// Programs often add the run's folder too, so both count. Node finds packages in the
    /// `node_modules` next to the entry and in every folder above it.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>, entry: &str) -> Self {
        let around_entry: Vec<&str> =
            entry.match_indices('/').map(|(at, _)| &entry[..=at]).collect();
        let mut own = Self::default();
        for path in paths {
            own.add_path(path);
            own.add_module(path);
            own.packages.extend(vendored_package(path).map(str::to_owned));
            for (depth, folder) in around_entry.iter().enumerate() {
                let Some(beneath) = path.strip_prefix(folder) else { break };
                own.packages.extend(vendored_package(beneath).map(str::to_owned));
                if depth + 1 == around_entry.len() {
                    own.add_module(beneath);
                }
            }
        }
        own
    }

    /// Returns what files provide by their paths and contents: also the names that they mention,
    /// and the places where they look for modules.
    pub fn of_files(
        ecosystem: Ecosystem,
        files: &[OwnFile<'_>],
        entry: &str,
        around: &Surroundings,
    ) -> Self {
        let mut own = Self::new(files.iter().map(|file| file.path), entry);
        own.granted.clone_from(&around.granted);
        own.not_submitted.clone_from(&around.not_submitted);
        own.looks_elsewhere = around.sets_module_path;
        for file in files.iter().filter(|file| !is_installed(file.path)) {
            let Ok(text) = str::from_utf8(&file.bytes[..file.bytes.len().min(MAX_TEXT_BYTES)])
            else {
                continue;
            };
            match ecosystem {
                Ecosystem::PyPi => own.read_python(text),
                Ecosystem::Npm => own.read_node(file.path, text),
            }
        }
        own
    }

    /// Adds modules that the program creates according to its parser.
    #[must_use]
    pub fn making(mut self, names: &[String]) -> Self {
        self.made.extend(names.iter().cloned());
        self
    }

    fn read_python(&mut self, text: &str) {
        self.looks_elsewhere |= PYTHON_LOOKS_ELSEWHERE.iter().any(|word| text.contains(word));
        // The start of the word that contains the name, and the position up to which it was
        // searched: a long word is scanned once, however many names it contains.
        let (mut word_start, mut seen) = (0, 0);
        for (at, _) in text.match_indices(".py") {
            for (offset, character) in text[seen..at].char_indices() {
                if character.is_whitespace() || "'\"`(),;=".contains(character) {
                    word_start = seen + offset + character.len_utf8();
                }
            }
            seen = at;
            let goes_on = text[at + 3..]
                .trim_start_matches(['c', 'i', 'w'])
                .starts_with(|next: char| next.is_alphanumeric() || next == '_');
            if goes_on {
                continue;
            }
            let word = last_bytes(&text[word_start..at], MAX_PATH_BYTES);
            if word.contains("://") || word.contains("site-packages") {
                continue;
            }
            let path = word
                .rsplit(|c: char| !(c.is_alphanumeric() || c == '_' || c == '/' || c == '\\'))
                .next()
                .unwrap_or_default();
            self.mentioned
                .extend(path.split(['/', '\\']).filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }

    fn read_node(&mut self, path: &str, text: &str) {
        self.looks_elsewhere |= NODE_LOOKS_ELSEWHERE.iter().any(|word| text.contains(word));
        self.writes_modules |= NODE_WRITES.iter().any(|word| text.contains(word));
        for (at, folder) in text.match_indices("node_modules/") {
            let rest = &text[at + folder.len()..];
            // The scan is limited to the length of a name, because the text may be one path of a
            // megabyte.
            let is_of_path = |byte: &u8| byte.is_ascii_alphanumeric() || b"@/-_.".contains(byte);
            let end = rest.bytes().take(MAX_PATH_BYTES).take_while(is_of_path).count();
            self.mentioned.extend(package_of(&rest[..end]).map(str::to_owned));
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name == "package.json" {
            self.packages.extend(crate::manifest::package_name(text));
            self.mentioned.extend(crate::manifest::module_aliases(text));
        } else if (name.starts_with("tsconfig") || name.starts_with("jsconfig"))
            && Path::new(name).extension().is_some_and(|end| end == "json")
        {
            let patterns: usize = self.typescript.iter().map(TypeScriptConfig::patterns).sum();
            if self.typescript.len() < MAX_CONFIGS && patterns < MAX_PATTERNS {
                self.typescript.extend(TypeScriptConfig::read(text, folder));
            }
        }
    }

    fn add_path(&mut self, path: &str) {
        if is_installed(path) {
            return;
        }
        let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
        let is_code = is_python(file) || is_node(file);
        for (at, folder) in
            folders.split('/').filter(|folder| !folder.is_empty()).scan(0, |from, folder| {
                *from += folder.len() + 1;
                Some((*from - 1, folder))
            })
        {
            self.all_folders.insert(folder.to_owned());
            self.paths.insert(path[..at].to_owned());
            if is_code {
                self.code.insert(folder.to_owned());
            }
        }
        self.paths.insert(path.to_owned());
        if is_code {
            let stem = file.split('.').next().unwrap_or_default();
            self.code.insert(stem.to_owned());
        }
    }

    /// Adds the module of a file, by its path from where Python looks.
    fn add_module(&mut self, path: &str) {
        let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
        // A folder with a dot in its name is not part of a module's name.
        if !is_python(file) || folders.contains('.') {
            return;
        }
        let folders = folders.replace('/', ".");
        self.folders
            .extend(prefixes(&folders).filter(|folder| !folder.is_empty()).map(str::to_owned));
        // `fast` for `fast.cpython-313-x86_64-linux-gnu.so`.
        let module = match file.split('.').next().unwrap_or_default() {
            "__init__" => folders,
            name if folders.is_empty() => name.to_owned(),
            name => format!("{folders}.{name}"),
        };
        self.modules.insert(module);
    }

    /// Adds a name by which the run's files can import themselves.
    #[cfg(test)]
    fn add_self_name(&mut self, name: &str) {
        self.packages.insert(name.to_owned());
    }

    /// Returns whether a dotted Python module, or an npm package, is among the files where its
    /// language looks for it.
    pub fn provide(&self, ecosystem: Ecosystem, name: &str) -> bool {
        match ecosystem {
            // If there are only folders, another part of the package may be elsewhere.
            Ecosystem::PyPi => match prefixes(name)
                .find(|part| !self.folders.contains(*part) || self.modules.contains(*part))
            {
                Some(part) => self.modules.contains(part),
                None => true,
            },
            Ecosystem::Npm => self.packages.contains(name),
        }
    }

    /// Returns whether a dotted Python module belongs to the run, wherever it may be found when the
    /// program runs.
    pub fn have_module(&self, module: &str) -> bool {
        if self.provide(Ecosystem::PyPi, module) {
            return true;
        }
        let first = module.split('.').next().unwrap_or(module);
        let entry = import_name(module);
        if self.made.contains(first) || self.not_submitted.contains(first) {
            return true;
        }
        // A namespace that distributions share, such as `google`: the run's folder of that name is
        // another part of it.
        if entry.is_some_and(|entry| entry.module.contains('.')) {
            return false;
        }
        let is_listed = entry.is_some()
            || pypi::normalized(first).is_some_and(|name| is_popular(Ecosystem::PyPi, &name));
        if is_listed {
            return self.looks_elsewhere
                && (self.code.contains(first) || self.granted.contains(first));
        }
        [&self.code, &self.all_folders, &self.granted, &self.mentioned]
            .iter()
            .any(|names| names.contains(first))
    }

    /// Returns whether a JavaScript specifier that is not a path belongs to the run.
    pub fn have_specifier(&self, specifier: &str) -> bool {
        let Some(package) = package_of(specifier) else {
            return self.typescript.iter().any(|config| config.maps(specifier, &self.paths));
        };
        if self.packages.contains(package)
            || self.typescript.iter().any(|config| config.maps(specifier, &self.paths))
        {
            return true;
        }
        // A path from the run's folder, without the `./`.
        if specifier.contains('/') && has_module_at(&self.paths, specifier) {
            return true;
        }
        let first = specifier.split('/').next().unwrap_or(specifier);
        let is_elsewhere = |name: &str| self.code.contains(name) || self.granted.contains(name);
        if is_popular(Ecosystem::Npm, package) {
            return self.looks_elsewhere && is_elsewhere(first)
                || self.writes_modules && self.mentioned.contains(package);
        }
        is_elsewhere(first) || self.all_folders.contains(first) || self.mentioned.contains(package)
    }

    /// Returns whether a Python module was next to the program but was not submitted with it.
    pub fn was_not_submitted(&self, module: &str) -> bool {
        let first = module.split('.').next().unwrap_or(module);
        self.not_submitted.contains(first)
            && !self.code.contains(first)
            && !self.provide(Ecosystem::PyPi, module)
    }

    /// Returns the file of the run that a JavaScript name may mean, such as `helpers.js` for
    /// `helpers`.
    pub fn file_of(&self, specifier: &str) -> Option<&str> {
        let is_it = |path: &&String| {
            let stem = path.strip_prefix(specifier);
            stem.is_some_and(|rest| rest.starts_with('.') && is_node(rest) && !rest.contains('/'))
        };
        self.paths.iter().find(is_it).map(String::as_str)
    }
}

fn is_python(file: &str) -> bool {
    Path::new(file)
        .extension()
        .is_some_and(|extension| ["py", "pyc", "pyw", "so"].iter().any(|one| extension == *one))
}

fn is_installed(path: &str) -> bool {
    path.split('/').any(|part| part == "node_modules")
}

fn last_bytes(text: &str, most: usize) -> &str {
    let mut from = text.len().saturating_sub(most);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// Returns the prefixes of a dotted name: `a`, `a.b`, `a.b.c`.
fn prefixes(dotted: &str) -> impl Iterator<Item = &str> {
    dotted.match_indices('.').map(|(at, _)| at).chain([dotted.len()]).map(|end| &dotted[..end])
}

/// Returns the package of a file in the `node_modules` at the top.
fn vendored_package(path: &str) -> Option<&str> {
    package_of(path.strip_prefix("node_modules/")?)
}

/// Returns the package at the beginning of a specifier, if that is a valid name.
fn package_of(specifier: &str) -> Option<&str> {
    let package = npm::package_part(specifier);
    npm::name_fault(package).is_none().then_some(package)
}
