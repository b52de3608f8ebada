//! The modules and packages that a run brings along or makes itself. For none of their names a package is installed: a stranger's may have the same.
//!
//! Where a language would look for a module depends on what a program does when it runs (`sys.path`, `NODE_PATH`, a file that it writes). So names count
//! in two degrees. A name that no table of packages has is the run's own wherever a file, a folder or the text of a file has it. A name of a well-known
//! package, as `requests`, is the run's own where its language finds it there, or where the program says that it looks elsewhere.

use std::collections::BTreeSet;
use std::path::Path;

use crate::known::is_known;
use crate::python_names::import_name;
use crate::requirement::{Ecosystem, npm, pypi};
use crate::typescript_config::TypeScriptConfig;

#[cfg(test)]
mod tests;

/// Bytes of one file that are looked through for names of modules.
const MAX_TEXT_BYTES: usize = 2 << 20;
/// The longest name of a module that is looked for in a text, with the folders before it.
const MAX_PATH_BYTES: usize = 256;

/// Configurations of TypeScript of one run, and the patterns in them beyond which no further one is read: each import is
/// compared with all of them.
const MAX_CONFIGS: usize = 100;
const MAX_PATTERNS: usize = 5_000;

/// Words of a program of Python that has modules looked for elsewhere than in the folder of its entry.
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
/// The same of Node.js.
const NODE_LOOKS_ELSEWHERE: [&str; 6] = ["NODE_PATH", "_resolveFilename", "registerHooks", "globalPaths", "module.paths", "module-alias"];
/// Words of a program that writes files of modules.
const NODE_WRITES: [&str; 3] = ["writeFile", "mkdir", "symlink"];

/// What a run has around its files.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Variables of its environment that say where modules are looked for have a value.
    pub sets_module_path: bool,
    /// Names of files and folders in the folders that it may read.
    pub granted: BTreeSet<String>,
    /// Modules of Python next to the program where it came from, that did not come with it.
    pub beside: BTreeSet<String>,
}

/// One file, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct OwnFile<'a> {
    /// Relative to the run's folder, with slashes.
    pub path: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

/// The modules and packages that a run brings along or makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnFiles {
    /// Modules of Python with code of their own, dotted: `helpers` for `helpers.py`, `pkg` for `pkg/__init__.py`, where Python looks from the entry. What is
    /// within them is theirs to find.
    modules: BTreeSet<String>,
    /// Folders with modules beneath them, dotted. Without an `__init__.py`, a folder is one of several that may make up a package.
    folders: BTreeSet<String>,
    /// Packages of npm: those in a `node_modules` where Node looks from the entry, and those that a `package.json` of the run gives its own folder.
    packages: BTreeSet<String>,
    /// Paths of all files and folders.
    paths: BTreeSet<String>,
    /// Names of modules at any depth, and of folders that hold some.
    code: BTreeSet<String>,
    /// Names of all folders.
    all_folders: BTreeSet<String>,
    /// Names of modules that the program makes: of Python, as its parser found them.
    made: BTreeSet<String>,
    /// Names that the text of a file mentions as those of a module: `name.py`, `node_modules/name`.
    mentioned: BTreeSet<String>,
    granted: BTreeSet<String>,
    beside: BTreeSet<String>,
    typescript: Vec<TypeScriptConfig>,
    looks_elsewhere: bool,
    writes_modules: bool,
}

impl OwnFiles {
    /// What files at these paths provide to a program that starts at `entry`. Paths have slashes and are relative to the run's folder.
    /// Python finds modules next to the entry and in the run's folder, where programs often have it look; both count. Node finds packages in the
    /// `node_modules` next to the entry and in every folder around it.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>, entry: &str) -> Self {
        let around_entry: Vec<&str> = entry.match_indices('/').map(|(at, _)| &entry[..=at]).collect();
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

    /// The same, and what the files say: which names they mention, where they look for modules.
    pub fn of_files(ecosystem: Ecosystem, files: &[OwnFile<'_>], entry: &str, around: &Surroundings) -> Self {
        let mut own = Self::new(files.iter().map(|file| file.path), entry);
        own.granted.clone_from(&around.granted);
        own.beside.clone_from(&around.beside);
        own.looks_elsewhere = around.sets_module_path;
        for file in files.iter().filter(|file| !is_installed(file.path)) {
            let Ok(text) = str::from_utf8(&file.bytes[..file.bytes.len().min(MAX_TEXT_BYTES)]) else { continue };
            match ecosystem {
                Ecosystem::PyPi => own.read_python(text),
                Ecosystem::Npm => own.read_node(file.path, text),
            }
        }
        own
    }

    /// Adds modules that a parser found the program to make.
    #[must_use]
    pub fn making(mut self, names: &[String]) -> Self {
        self.made.extend(names.iter().cloned());
        self
    }

    fn read_python(&mut self, text: &str) {
        self.looks_elsewhere |= PYTHON_LOOKS_ELSEWHERE.iter().any(|word| text.contains(word));
        // Where the word begins that a name is part of, and how far that has been looked for: a long word is read once, however
        // many names are in it.
        let (mut word_start, mut seen) = (0, 0);
        for (at, _) in text.match_indices(".py") {
            for (offset, character) in text[seen..at].char_indices() {
                if character.is_whitespace() || "'\"`(),;=".contains(character) {
                    word_start = seen + offset + character.len_utf8();
                }
            }
            seen = at;
            let goes_on =
                text[at + 3..].trim_start_matches(['c', 'i', 'w']).starts_with(|next: char| next.is_alphanumeric() || next == '_');
            if goes_on {
                continue;
            }
            let word = last_bytes(&text[word_start..at], MAX_PATH_BYTES);
            if word.contains("://") || word.contains("site-packages") {
                continue;
            }
            let path = word.rsplit(|c: char| !(c.is_alphanumeric() || c == '_' || c == '/' || c == '\\')).next().unwrap_or_default();
            self.mentioned.extend(path.split(['/', '\\']).filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }

    fn read_node(&mut self, path: &str, text: &str) {
        self.looks_elsewhere |= NODE_LOOKS_ELSEWHERE.iter().any(|word| text.contains(word));
        self.writes_modules |= NODE_WRITES.iter().any(|word| text.contains(word));
        for (at, folder) in text.match_indices("node_modules/") {
            let rest = &text[at + folder.len()..];
            // No further than a name can be long: the text may be one path of a megabyte.
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
        for (at, folder) in folders.split('/').filter(|folder| !folder.is_empty()).scan(0, |from, folder| {
            *from += folder.len() + 1;
            Some((*from - 1, folder))
        }) {
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

    /// The module that a file is, by its path from where Python looks.
    fn add_module(&mut self, path: &str) {
        let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
        // A folder with a dot in its name is no part of a module's.
        if !is_python(file) || folders.contains('.') {
            return;
        }
        let folders = folders.replace('/', ".");
        self.folders.extend(prefixes(&folders).filter(|folder| !folder.is_empty()).map(str::to_owned));
        // `fast` for `fast.cpython-313-x86_64-linux-gnu.so`.
        let module = match file.split('.').next().unwrap_or_default() {
            "__init__" => folders,
            name if folders.is_empty() => name.to_owned(),
            name => format!("{folders}.{name}"),
        };
        self.modules.insert(module);
    }

    /// The run's files can import themselves by this name.
    #[cfg(test)]
    fn add_self_name(&mut self, name: &str) {
        self.packages.insert(name.to_owned());
    }

    /// Whether a dotted module of Python, or a package of npm, is among the files where its language looks for it.
    pub fn provide(&self, ecosystem: Ecosystem, name: &str) -> bool {
        match ecosystem {
            // As far as there are but folders, another part of the package may be elsewhere.
            Ecosystem::PyPi => match prefixes(name).find(|part| !self.folders.contains(*part) || self.modules.contains(*part)) {
                Some(part) => self.modules.contains(part),
                None => true,
            },
            Ecosystem::Npm => self.packages.contains(name),
        }
    }

    /// Whether a dotted module of Python is the run's own, wherever it may be found once the program runs.
    pub fn have_module(&self, module: &str) -> bool {
        if self.provide(Ecosystem::PyPi, module) {
            return true;
        }
        let first = module.split('.').next().unwrap_or(module);
        let entry = import_name(module);
        if self.made.contains(first) || self.beside.contains(first) {
            return true;
        }
        // A namespace that distributions share, as `google`: the run's folder of that name is one more part of it.
        if entry.is_some_and(|entry| entry.module.contains('.')) {
            return false;
        }
        let is_listed = entry.is_some() || pypi::normalized(first).is_some_and(|name| is_known(Ecosystem::PyPi, &name));
        if is_listed {
            return self.looks_elsewhere && (self.code.contains(first) || self.granted.contains(first));
        }
        [&self.code, &self.all_folders, &self.granted, &self.mentioned].iter().any(|names| names.contains(first))
    }

    /// Whether a specifier of JavaScript, which is none of a path, is the run's own.
    pub fn have_specifier(&self, specifier: &str) -> bool {
        let Some(package) = package_of(specifier) else { return self.typescript.iter().any(|config| config.maps(specifier, &self.paths)) };
        if self.packages.contains(package) || self.typescript.iter().any(|config| config.maps(specifier, &self.paths)) {
            return true;
        }
        // A path from the run's folder, without the `./`.
        if specifier.contains('/') && has_module_at(&self.paths, specifier) {
            return true;
        }
        let first = specifier.split('/').next().unwrap_or(specifier);
        let is_elsewhere = |name: &str| self.code.contains(name) || self.granted.contains(name);
        if is_known(Ecosystem::Npm, package) {
            return self.looks_elsewhere && is_elsewhere(first) || self.writes_modules && self.mentioned.contains(package);
        }
        is_elsewhere(first) || self.all_folders.contains(first) || self.mentioned.contains(package)
    }

    /// Whether a module of Python lies next to the program where it came from, and did not come with it.
    pub fn is_beside(&self, module: &str) -> bool {
        let first = module.split('.').next().unwrap_or(module);
        self.beside.contains(first) && !self.code.contains(first) && !self.provide(Ecosystem::PyPi, module)
    }

    /// The file of the run that a name of JavaScript may mean, as `helpers.js` for `helpers`.
    pub fn file_of(&self, specifier: &str) -> Option<&str> {
        let is_it = |path: &&String| {
            let stem = path.strip_prefix(specifier);
            stem.is_some_and(|rest| rest.starts_with('.') && is_node(rest) && !rest.contains('/'))
        };
        self.paths.iter().find(is_it).map(String::as_str)
    }
}

/// Whether there is a file or folder at a path, also without its ending.
pub(crate) fn has_module_at(paths: &BTreeSet<String>, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    let begins =
        |stem: &str| paths.range(stem.to_owned()..).take_while(|other| other.starts_with(stem)).any(|other| is_file_of(other, stem));
    paths.contains(path) || begins(path) || stem != path && begins(stem)
}

/// `a/b.ts` for `a/b`.
fn is_file_of(path: &str, stem: &str) -> bool {
    path.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.') && !rest.contains('/') && is_node(rest))
}

fn is_python(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| ["py", "pyc", "pyw", "so"].iter().any(|one| extension == *one))
}

fn is_node(file: &str) -> bool {
    let endings = [".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx", ".json", ".node"];
    endings.iter().any(|ending| file.ends_with(ending))
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

/// `a`, `a.b`, `a.b.c`.
fn prefixes(dotted: &str) -> impl Iterator<Item = &str> {
    dotted.match_indices('.').map(|(at, _)| at).chain([dotted.len()]).map(|end| &dotted[..end])
}

/// The package whose file this is, where it lies in the `node_modules` at the top.
fn vendored_package(path: &str) -> Option<&str> {
    package_of(path.strip_prefix("node_modules/")?)
}

/// The package that a specifier begins with, where that is a name of npm's.
fn package_of(specifier: &str) -> Option<&str> {
    let package = crate::imports::package_part(specifier);
    npm::name_fault(package).is_none().then_some(package)
}
